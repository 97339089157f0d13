//! Regular expressions as grep and sed have them (POSIX.1-2017, chapter 9, with GNU's `\+` and
//! `\?`), by way of the `regex` crate.
//!
//! POSIX wants the longest match, the crate gives the first: these differ only where there are
//! alternatives, and such expressions are only used where all that counts is whether they match.

use ::regex::{Regex, RegexBuilder};

/// The most memory that an expression may take, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// How an expression is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// As grep and sed have it.
    Basic,
    /// As they have it with `-E`.
    Extended,
    /// Text that stands for itself, as with `grep -F`.
    Fixed,
}

/// An expression that can be searched for.
#[derive(Debug)]
pub(super) struct Expression {
    pub regex: Regex,
    /// Whether it has alternatives, so that where a match ends is not certain.
    pub has_alternatives: bool,
}

/// Makes an expression; `None` if it is not known here.
pub(super) fn compile(text: &str, syntax: Syntax, ignores_case: bool) -> Option<Expression> {
    let (pattern, has_alternatives) = match syntax {
        Syntax::Fixed => (::regex::escape(text), false),
        syntax => translate(text, syntax == Syntax::Extended)?,
    };
    let regex = RegexBuilder::new(&pattern)
        .case_insensitive(ignores_case)
        .size_limit(SIZE_LIMIT)
        .build();
    Some(Expression {
        regex: regex.ok()?,
        has_alternatives,
    })
}

fn translate(text: &str, is_extended: bool) -> Option<(String, bool)> {
    let mut pattern = String::new();
    let mut has_alternatives = false;
    // Whether nothing stands before that could be repeated.
    let mut is_start = true;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let (c, is_escaped) = match c {
            '\\' => (chars.next()?, true),
            c => (c, false),
        };
        let is_operator = is_escaped != is_extended;
        match c {
            '(' | ')' | '{' | '}' | '+' | '?' | '|' if is_operator => {
                match c {
                    '|' => has_alternatives = true,
                    '+' | '?' | '{' if is_start => return None,
                    '{' => {
                        let mut inside = String::new();
                        loop {
                            match chars.next()? {
                                '}' if is_extended => break,
                                '\\' if !is_extended && chars.next_if_eq(&'}').is_some() => break,
                                c if c.is_ascii_digit() || c == ',' => inside.push(c),
                                _ => return None,
                            }
                        }
                        if inside.starts_with(',') || inside.is_empty() {
                            return None;
                        }
                        pattern.push('{');
                        pattern.push_str(&inside);
                        pattern.push('}');
                        continue;
                    }
                    '}' => return None,
                    _ => {}
                }
                pattern.push(c);
                is_start = matches!(c, '(' | '|');
                continue;
            }
            '*' if !is_escaped && is_start && !is_extended => pattern.push_str("\\*"),
            '*' if !is_escaped && is_start => return None,
            '*' if !is_escaped => {
                // A repetition of a repetition means something else to the crate.
                if pattern.ends_with(['*', '+', '?', '}']) && !pattern.ends_with("\\*") {
                    return None;
                }
                pattern.push('*');
                continue;
            }
            '.' if !is_escaped => pattern.push('.'),
            '[' if !is_escaped => bracket(&mut chars, &mut pattern)?,
            '^' if !is_escaped && (is_extended || is_start) => {
                pattern.push('^');
                continue;
            }
            '$' if !is_escaped => {
                let rest: String = chars.clone().collect();
                let is_end = rest.is_empty() || rest.starts_with("\\)") || rest.starts_with("\\|");
                pattern.push_str(if is_extended || is_end { "$" } else { "\\$" });
            }
            's' | 'S' | 'w' | 'W' | 'b' | 'B' if is_escaped => {
                pattern.push_str(match c {
                    's' => "\\s",
                    'S' => "\\S",
                    'w' => "[A-Za-z0-9_]",
                    'W' => "[^A-Za-z0-9_]",
                    'b' => "\\b",
                    _ => return None,
                });
            }
            't' if is_escaped => pattern.push('\t'),
            'n' if is_escaped => pattern.push('\n'),
            '<' | '>' if is_escaped => {
                pattern.push_str(if c == '<' { "\\b{start}" } else { "\\b{end}" });
                continue;
            }
            // Back references, and what has no meaning that all agree on.
            c if is_escaped && (c.is_ascii_alphanumeric() || "'`".contains(c)) => return None,
            c => pattern.push_str(&::regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        is_start = false;
    }
    Some((pattern, has_alternatives))
}

/// A bracket expression behind its `[`.
fn bracket(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    pattern: &mut String,
) -> Option<()> {
    pattern.push('[');
    if chars.next_if_eq(&'^').is_some() {
        pattern.push('^');
    }
    let mut is_first = true;
    loop {
        let c = chars.next()?;
        match c {
            ']' if !is_first => break,
            '[' if chars.peek() == Some(&':') => {
                let mut name = String::new();
                chars.next();
                while let Some(c) = chars.next_if(|c| *c != ':') {
                    name.push(c);
                }
                chars.next()?;
                chars.next_if_eq(&']')?;
                let known = [
                    "alpha", "digit", "alnum", "upper", "lower", "space", "blank", "punct",
                    "xdigit",
                ];
                known.contains(&name.as_str()).then_some(())?;
                pattern.push_str("[:");
                pattern.push_str(&name);
                pattern.push_str(":]");
            }
            '[' if matches!(chars.peek(), Some('.' | '=')) => return None,
            '-' => pattern.push_str(if is_first || chars.peek() == Some(&']') {
                "\\-"
            } else {
                "-"
            }),
            c if c.is_ascii_punctuation() => {
                pattern.push('\\');
                pattern.push(c);
            }
            c => pattern.push(c),
        }
        is_first = false;
    }
    pattern.push(']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_syntaxes() {
        for (text, syntax, line, wanted) in [
            ("^a*b$", Syntax::Basic, "aab", Some(true)),
            ("a+b", Syntax::Basic, "aab", Some(false)),
            ("a\\+b", Syntax::Basic, "aab", Some(true)),
            ("a+b", Syntax::Extended, "aab", Some(true)),
            ("*a", Syntax::Basic, "*a", Some(true)),
            ("a$b", Syntax::Basic, "a$b", Some(true)),
            ("\\(x\\|y\\)z", Syntax::Basic, "yz", Some(true)),
            ("[]a-c[:digit:]]$", Syntax::Basic, "]", Some(true)),
            ("[a\\.]", Syntax::Basic, "\\", Some(true)),
            ("x\\{2,\\}", Syntax::Basic, "xxx", Some(true)),
            ("a.b", Syntax::Fixed, "axb", Some(false)),
            ("\\(a\\)\\1", Syntax::Basic, "aa", None),
            ("[a", Syntax::Basic, "a", None),
        ] {
            let found = compile(text, syntax, false).map(|found| found.regex.is_match(line));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
