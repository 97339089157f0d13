//! Patterns of the shell (POSIX.1-2017, "Pattern Matching Notation").

/// Text of which each character may be quoted, and then only stands for itself.
pub(super) type Quotable = [(char, bool)];

/// Whether a text has characters that make a pattern of it.
pub(super) fn is_pattern(text: &Quotable) -> bool {
    text.iter()
        .any(|(c, is_quoted)| !is_quoted && "*?[".contains(*c))
}

/// How much work it is at most to match a pattern with a text of this length.
pub(super) fn cost(pattern: &Quotable, len: usize) -> u64 {
    (pattern.len() as u64 + 1).saturating_mul(len as u64 + 1)
}

/// Whether the pattern matches all of the text.
pub(super) fn matches(pattern: &Quotable, text: &[char]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` stands, and what it takes: if the rest does not fit, it takes one more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if let Some(('*', false)) = pattern.get(at) {
            star = Some((at, from));
            at += 1;
            continue;
        }
        if at == pattern.len() && from == text.len() {
            return true;
        }
        let next = text
            .get(from)
            .and_then(|c| one(&pattern[at.min(pattern.len())..], *c));
        if let Some(len) = next {
            at += len;
            from += 1;
            continue;
        }
        match star {
            Some((star_at, taken)) if taken < text.len() => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
            _ => return false,
        }
    }
}

/// How much of the pattern matches this one character, if it does.
fn one(pattern: &Quotable, c: char) -> Option<usize> {
    match *pattern.first()? {
        ('?', false) => Some(1),
        ('[', false) => match bracket(pattern, c) {
            Some((len, true)) => Some(len),
            Some((_, false)) => None,
            None => (c == '[').then_some(1),
        },
        (literal, _) => (literal == c).then_some(1),
    }
}

/// A bracket expression: its length and whether it matches; `None` if it has no end.
fn bracket(pattern: &Quotable, c: char) -> Option<(usize, bool)> {
    let mut at = 1;
    let is_negated = matches!(pattern.get(at), Some(('!' | '^', false)));
    if is_negated {
        at += 1;
    }
    let first = at;
    let mut is_match = false;
    loop {
        let (start, is_quoted) = *pattern.get(at)?;
        if start == ']' && !is_quoted && at > first {
            return Some((at + 1, is_match != is_negated));
        }
        if start == '[' && !is_quoted && pattern.get(at + 1)?.0 == ':' {
            let rest = &pattern[at + 2..];
            let len = rest.iter().position(|(c, _)| *c == ':')?;
            let name: String = rest[..len].iter().map(|(c, _)| *c).collect();
            is_match |= class(&name, c)?;
            at += len + 4;
            continue;
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(('-', false)), Some((end, is_quoted))) if *end != ']' || *is_quoted => {
                is_match |= (start..=*end).contains(&c);
                at += 3;
            }
            _ => {
                is_match |= start == c;
                at += 1;
            }
        }
    }
}

fn class(name: &str, c: char) -> Option<bool> {
    Some(match name {
        "alpha" => c.is_ascii_alphabetic(),
        "digit" => c.is_ascii_digit(),
        "alnum" => c.is_ascii_alphanumeric(),
        "upper" => c.is_ascii_uppercase(),
        "lower" => c.is_ascii_lowercase(),
        "space" => c.is_ascii_whitespace() || c == '\x0b',
        "blank" => c == ' ' || c == '\t',
        "punct" => c.is_ascii_punctuation(),
        "xdigit" => c.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_matches() {
        let matches = |pattern: &str, text: &str| {
            let pattern: Vec<_> = pattern.chars().map(|c| (c, false)).collect();
            let text: Vec<_> = text.chars().collect();
            super::matches(&pattern, &text)
        };
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "ab", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[[:digit:]_]", "7", true),
            ("[a", "[a", true),
            ("*.conf", "a.conf", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
        let slow: Vec<_> = "*a".repeat(50).chars().map(|c| (c, false)).collect();
        assert!(!super::matches(&slow, &['a'; 49]));
        assert!(super::matches(&[('*', true)], &['*']) && !super::matches(&[('*', true)], &['x']));
    }
}
