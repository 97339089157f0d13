//! From the text of a script in Lua to its tokens (Lua 5.3 reference manual, 3.1).

/// A token. Names and keywords are told apart by the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or keyword.
    Word(String),
    Number(i64),
    Text(String),
    Mark(&'static str),
}

/// The marks, those that begin with others first. `...`, `::` and the operators of bits are not known.
const MARKS: [&str; 27] = [
    "..", "==", "~=", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "^", "#", "(", ")", "{",
    "}", "[", "]", ",", ";", ":", ".", "~", "&",
];

/// Takes a script apart; `None` if something in it is not known.
pub(super) fn tokens(script: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = script;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Some(tokens);
        };
        if let Some(comment) = rest.strip_prefix("--") {
            rest = match long_brackets(comment) {
                Some((_, after)) => after,
                None if comment.starts_with("[[") || comment.starts_with("[=") => return None,
                None => comment.split_once('\n').map_or("", |(_, rest)| rest),
            };
        } else if let Some((text, after)) = long_brackets(rest) {
            tokens.push(Token::Text(text.to_owned()));
            rest = after;
        } else if first == '"' || first == '\'' {
            let (text, after) = quoted(&rest[1..], first)?;
            tokens.push(Token::Text(text));
            rest = after;
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let after = &rest[end..];
            // Fractions, exponents and other bases.
            if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return None;
            }
            if after.starts_with('.') && !after.starts_with("..") {
                return None;
            }
            tokens.push(Token::Number(rest[..end].parse().ok()?));
            rest = after;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            if rest.starts_with("...") || rest.starts_with("::") || rest.starts_with("//") {
                return None;
            }
            let mark = MARKS.iter().find(|mark| rest.starts_with(**mark))?;
            if matches!(*mark, "~" | "&") {
                return None;
            }
            tokens.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        }
    }
}

/// `[[…]]` at the beginning, and what follows it. A line end behind the opening is dropped.
fn long_brackets(text: &str) -> Option<(&str, &str)> {
    let (inside, after) = text.strip_prefix("[[")?.split_once("]]")?;
    Some((inside.strip_prefix('\n').unwrap_or(inside), after))
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((inside, &text[at + 1..])),
            '\n' => return None,
            '\\' => inside.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            }),
            c => inside.push(c),
        }
    }
    None
}
