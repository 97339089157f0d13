//! From the text of a sed script to its commands.

use super::super::super::regex::{Syntax, compile};
use super::{Action, Address, Command, Piece};

/// The commands of a script; `None` if one is not known here.
pub(super) fn parse(script: &str, is_extended: bool) -> Option<Vec<Command>> {
    let mut commands = Vec::new();
    let mut rest = script;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', ';']);
        if rest.is_empty() {
            return Some(commands);
        }
        let mut addresses = Vec::new();
        if let Some((address, after)) = address(rest, is_extended)? {
            addresses.push(address);
            rest = after;
            if let Some(after) = rest.strip_prefix(',') {
                let (address, after) = address_only(after, is_extended)?;
                addresses.push(address);
                rest = after;
            }
        }
        rest = rest.trim_start_matches(' ');
        let is_negated = rest.starts_with('!');
        if is_negated {
            rest = rest[1..].trim_start_matches(' ');
        }
        let mut chars = rest.chars();
        let letter = chars.next()?;
        rest = chars.as_str();
        let action = match letter {
            'd' => Action::Delete,
            'p' => Action::Print,
            'q' if addresses.len() < 2 => Action::Quit,
            'a' | 'i' | 'c' => {
                if letter == 'c' && (addresses.len() > 1 || is_negated) {
                    return None;
                }
                let (text, after) = rest.split_once('\n').unwrap_or((rest, ""));
                rest = after;
                let text = text.strip_prefix('\\').unwrap_or(text).trim_start();
                if text.is_empty() || text.contains('\\') {
                    return None;
                }
                match letter {
                    'a' => Action::Append(text.to_owned()),
                    'i' => Action::Insert(text.to_owned()),
                    _ => Action::Change(text.to_owned()),
                }
            }
            's' => {
                let (action, after) = substitution(rest, is_extended)?;
                rest = after;
                action
            }
            _ => return None,
        };
        if !matches!(letter, 'a' | 'i' | 'c') {
            rest = rest.trim_start_matches(' ');
            if !rest.is_empty() && !rest.starts_with([';', '\n']) {
                return None;
            }
        }
        let starts_open = matches!(addresses.first(), Some(Address::Line(0)));
        commands.push(Command {
            addresses,
            is_negated,
            action,
            starts_open,
            is_open: starts_open,
        });
    }
}

/// An address at the beginning of a text, if there is one; `None` in `None` if it is not known.
#[allow(clippy::option_option, reason = "both layers are said above")]
fn address(text: &str, is_extended: bool) -> Option<Option<(Address, &str)>> {
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '$' || c == '/' || c == '\\') {
        address_only(text, is_extended).map(Some)
    } else {
        Some(None)
    }
}

fn address_only(text: &str, is_extended: bool) -> Option<(Address, &str)> {
    if let Some(rest) = text.strip_prefix('$') {
        return Some((Address::Last, rest));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let rest = &text[digits..];
        let number: usize = text[..digits].parse().ok()?;
        // GNU's line 0 comes before the first, and only begins a range.
        let is_fine = number > 0 || rest.starts_with(",/");
        return (is_fine && !rest.starts_with('~')).then_some((Address::Line(number), rest));
    }
    let (delimiter, text) = match text.strip_prefix('\\') {
        Some(text) => (text.chars().next()?, text),
        None => ('/', text.starts_with('/').then_some(text)?),
    };
    let (pattern, rest) = delimited(&text[delimiter.len_utf8()..], delimiter, true)?;
    let expression = compile(&pattern, syntax(is_extended), false)?;
    // Nothing stands for the expression before.
    (!pattern.is_empty() && !rest.starts_with(['I', 'M']))
        .then_some((Address::Matches(expression), rest))
}

fn syntax(is_extended: bool) -> Syntax {
    if is_extended {
        Syntax::Extended
    } else {
        Syntax::Basic
    }
}

/// The text up to a delimiter, in which the delimiter may be escaped.
fn delimited(text: &str, delimiter: char, is_pattern: bool) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut is_bracket = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == delimiter && !is_bracket => {
                return Some((inside, &text[at + c.len_utf8()..]));
            }
            '\\' if !is_bracket => {
                let (_, next) = chars.next()?;
                if next != delimiter {
                    inside.push('\\');
                } else if is_pattern
                    && !matches!(
                        delimiter,
                        '/' | '#' | ',' | '@' | ':' | '%' | '!' | '~' | '_'
                    )
                {
                    return None;
                }
                inside.push(next);
                continue;
            }
            '[' if is_pattern => {
                // In GNU's sed a bracket does not hide the delimiter: only plain ones are known.
                let end = text[at + 1..].find(']')?;
                let inside = &text[at + 1..at + 1 + end];
                // A backslash stands for itself there, but before a letter it may not.
                let mut pieces = inside.split('\\').skip(1);
                let is_escape =
                    |piece: &str| piece.is_empty() || piece.starts_with(char::is_alphanumeric);
                let is_class = inside.starts_with("[:") || inside.starts_with("^[:");
                if inside.contains(delimiter) || end == 0 || inside == "^" || pieces.any(is_escape)
                {
                    return None;
                }
                if inside.contains('[') && !is_class {
                    return None;
                }
                is_bracket = true;
            }
            ']' => is_bracket = false,
            '\n' => return None,
            _ => {}
        }
        inside.push(c);
    }
    None
}

fn substitution(text: &str, is_extended: bool) -> Option<(Action, &str)> {
    let delimiter = text
        .chars()
        .next()
        .filter(|c| !c.is_alphanumeric() && !"\\\n ".contains(*c))?;
    let (pattern, rest) = delimited(&text[delimiter.len_utf8()..], delimiter, true)?;
    let (replacement, mut rest) = delimited(rest, delimiter, false)?;
    let (mut is_global, mut prints, mut ignores_case, mut first) = (false, false, false, 1);
    while let Some(c) = rest.chars().next() {
        match c {
            'g' => is_global = true,
            'p' => prints = true,
            'I' | 'i' => ignores_case = true,
            '1'..='9' => first = usize::try_from(c.to_digit(10)?).ok()?,
            _ => break,
        }
        rest = &rest[1..];
    }
    if pattern.is_empty() {
        return None;
    }
    let expression = compile(&pattern, syntax(is_extended), ignores_case)?;
    if expression.has_alternatives {
        return None;
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        let group = match c {
            '&' => 0,
            '\\' => match chars.next()? {
                digit @ '0'..='9' => usize::try_from(digit.to_digit(10)?).ok()?,
                'n' => {
                    plain.push('\n');
                    continue;
                }
                't' => {
                    plain.push('\t');
                    continue;
                }
                c if c.is_ascii_alphabetic() => return None,
                c => {
                    plain.push(c);
                    continue;
                }
            },
            c => {
                plain.push(c);
                continue;
            }
        };
        if group >= expression.regex.captures_len() {
            return None;
        }
        pieces.push(Piece::Text(std::mem::take(&mut plain)));
        pieces.push(Piece::Group(group));
    }
    pieces.push(Piece::Text(plain));
    let action = Action::Substitute {
        expression,
        replacement: pieces,
        first,
        is_global,
        prints,
    };
    Some((action, rest))
}
