//! `$((…))`: numbers of 64 bits with the usual operators (POSIX.1-2017, "Arithmetic Expansion").

/// How deep parentheses and signs may lie in each other.
const MAX_DEPTH: usize = 32;

/// The operators that stand between two numbers, those that bind least first.
const OPERATORS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// The value of an expression; `None` if it is none that is known here.
pub(super) fn evaluate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<i64> {
    let mut parser = Parser {
        rest: text,
        variable,
    };
    let value = parser.binary(0, 0)?;
    parser.rest.trim_start().is_empty().then_some(value)
}

struct Parser<'t> {
    rest: &'t str,
    variable: &'t dyn Fn(&str) -> Option<String>,
}

impl Parser<'_> {
    fn binary(&mut self, level: usize, depth: usize) -> Option<i64> {
        let Some(operators) = OPERATORS.get(level) else {
            return self.unary(depth);
        };
        let mut value = self.binary(level + 1, depth)?;
        loop {
            self.rest = self.rest.trim_start();
            let found = operators
                .iter()
                .find(|operator| self.rest.starts_with(**operator));
            let Some(operator) = found else {
                return Some(value);
            };
            let after = &self.rest[operator.len()..];
            // Shifts, and assignments by an operator.
            if after.starts_with(['=', '<', '>'])
                || (operator.len() == 1 && after.starts_with(*operator))
            {
                return None;
            }
            self.rest = after;
            let other = self.binary(level + 1, depth)?;
            value = match *operator {
                "||" => i64::from(value != 0 || other != 0),
                "&&" => i64::from(value != 0 && other != 0),
                "==" => i64::from(value == other),
                "!=" => i64::from(value != other),
                "<=" => i64::from(value <= other),
                ">=" => i64::from(value >= other),
                "<" => i64::from(value < other),
                ">" => i64::from(value > other),
                "+" => value.checked_add(other)?,
                "-" => value.checked_sub(other)?,
                "*" => value.checked_mul(other)?,
                "/" => value.checked_div(other)?,
                _ => value.checked_rem(other)?,
            };
        }
    }

    fn unary(&mut self, depth: usize) -> Option<i64> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.chars();
        match chars.next()? {
            '(' => {
                self.rest = chars.as_str();
                let value = self.binary(0, depth + 1)?;
                self.rest = self.rest.trim_start().strip_prefix(')')?;
                Some(value)
            }
            '-' if !chars.as_str().starts_with('-') => {
                self.rest = chars.as_str();
                self.unary(depth + 1)?.checked_neg()
            }
            '!' => {
                self.rest = chars.as_str();
                Some(i64::from(self.unary(depth + 1)? == 0))
            }
            _ => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(len);
                self.rest = rest;
                if rest.trim_start().starts_with('=') && !rest.trim_start().starts_with("==") {
                    return None;
                }
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    return number(word);
                }
                match (self.variable)(word) {
                    _ if word.is_empty() => None,
                    None => Some(0),
                    Some(value) if value.is_empty() => Some(0),
                    Some(value) => number(&value),
                }
            }
        }
    }
}

/// A number; a zero in front of others would make it octal.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_shell_counts() {
        let variable = |name: &str| (name == "x").then(|| "7".to_owned());
        for (text, wanted) in [
            ("1 + 2 * 3", Some(7)),
            ("(1+2)*3 - -1", Some(10)),
            ("x % 4 == 3 && !0", Some(1)),
            ("y", Some(0)),
            ("1 <= 2", Some(1)),
            ("1 / 0", None),
            ("010", None),
            ("x = 1", None),
            ("1 << 2", None),
            ("", None),
            ("9223372036854775807 + 1", None),
        ] {
            assert_eq!(evaluate(text, &variable), wanted, "{text}");
        }
        assert_eq!(evaluate(&"(".repeat(10_000), &variable), None);
    }
}
