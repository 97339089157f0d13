//! One line of a `file_contexts` file: which paths get which context.
//!
//! Format: `selabel_file(5)`, "File Contexts Specification" and `file_contexts(5)`.

use imgasm_fs::FileType;

/// A line that says which paths get which context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// An anchored regular expression for the whole path.
    pub pattern: String,
    /// The only type of file to which the line applies, if it names one.
    pub file_type: Option<FileType>,
    /// The context; `None` for `<<none>>`: the file is to have no label from this policy.
    pub context: Option<String>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The word between pattern and context is not a file type.
    #[error("`{0}` is not a file type (--, -b, -c, -d, -l, -p, -s)")]
    FileType(String),
    /// There is a pattern and no context.
    #[error("`{0}` has no context")]
    NoContext(String),
}

impl Spec {
    /// Reads a line; `None` for a blank one or a comment.
    pub fn parse(line: &str) -> Result<Option<Self>, SpecError> {
        let line = line.trim();
        let mut words = line.split_whitespace();
        let Some(pattern) = words.next().filter(|_| !line.starts_with('#')) else {
            return Ok(None);
        };
        let second = words
            .next()
            .ok_or_else(|| SpecError::NoContext(pattern.to_owned()))?;
        let (file_type, context) = match words.next() {
            Some(context) => (Some(file_type(second)?), context),
            None => (None, second),
        };
        Ok(Some(Self {
            pattern: pattern.to_owned(),
            file_type,
            context: (context != "<<none>>").then(|| context.to_owned()),
        }))
    }

    /// Whether the pattern is a plain path (with `\` before special characters).
    pub fn is_literal(&self) -> bool {
        let mut bytes = self.pattern.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => {
                    bytes.next();
                }
                b'.' | b'^' | b'$' | b'?' | b'*' | b'+' | b'|' | b'[' | b'(' | b'{' => {
                    return false;
                }
                _ => {}
            }
        }
        true
    }

    /// The bytes with which every path that the pattern can match begins.
    pub fn literal_prefix(&self) -> Vec<u8> {
        let bytes = self.pattern.as_bytes();
        if has_alternatives(bytes) {
            return Vec::new();
        }
        let mut prefix = Vec::new();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let (literal, next) = match (byte, bytes.get(at + 1)) {
                (b'\\', Some(escaped)) if !escaped.is_ascii_alphanumeric() => (*escaped, at + 2),
                (b'\\' | b'.' | b'^' | b'$' | b'[' | b'(', _) => break,
                _ => (byte, at + 1),
            };
            match bytes.get(next) {
                // The character may be absent.
                Some(b'?' | b'*' | b'{') => break,
                Some(b'+') => {
                    prefix.push(literal);
                    break;
                }
                _ => prefix.push(literal),
            }
            at = next;
        }
        prefix
    }
}

/// The regular expression of a policy, written for PCRE, in the syntax of the `regex` crate:
/// characters that are ordinary in the former and special in the latter get a `\`.
pub fn translated(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                let escaped = after.chars().next().map_or(0, char::len_utf8);
                translated.push_str(&rest[..=escaped]);
                rest = &after[escaped..];
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                translated.push('[');
                // A `]` right at the beginning does not end the class.
                let negation = after.len() - after.trim_start_matches('^').len();
                translated.push_str(&after[..negation]);
                rest = &after[negation..];
                if let Some(behind) = rest.strip_prefix(']') {
                    translated.push_str("\\]");
                    rest = behind;
                }
                continue;
            }
            '[' if after.starts_with(':') => {
                let end = after.find(":]").map_or(0, |at| at + 2);
                translated.push_str(&rest[..=end]);
                rest = &after[end..];
                continue;
            }
            '[' | '&' | '~' if in_class => translated.push('\\'),
            ']' => in_class = false,
            '{' if !in_class && !begins_repetition(after) => translated.push('\\'),
            _ => {}
        }
        translated.push(character);
        rest = after;
    }
    translated
}

/// Whether `{` followed by `after` is a repetition, as in `{2}`, `{2,}` and `{2,3}`.
fn begins_repetition(after: &str) -> bool {
    let Some((bounds, _)) = after.split_once('}') else {
        return false;
    };
    let (least, most) = bounds.split_once(',').unwrap_or((bounds, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

/// Whether a `|` stands outside all parentheses and brackets.
fn has_alternatives(pattern: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut in_class = false;
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'[' if !in_class => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => depth += 1,
            b')' if !in_class => depth = depth.saturating_sub(1),
            b'|' if !in_class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

fn file_type(word: &str) -> Result<FileType, SpecError> {
    Ok(match word {
        "--" => FileType::Regular,
        "-b" => FileType::BlockDevice,
        "-c" => FileType::CharDevice,
        "-d" => FileType::Directory,
        "-l" => FileType::Symlink,
        "-p" => FileType::Fifo,
        "-s" => FileType::Socket,
        _ => return Err(SpecError::FileType(word.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(pattern: &str) -> Spec {
        Spec::parse(&format!("{pattern}\tu:r:t:s0"))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn lines_have_two_or_three_words() {
        let parsed = Spec::parse("/dev/[^/]*\t-b\tsystem_u:object_r:device_t:s0")
            .unwrap()
            .unwrap();
        assert_eq!(parsed.file_type, Some(FileType::BlockDevice));
        assert_eq!(
            parsed.context.as_deref(),
            Some("system_u:object_r:device_t:s0")
        );
        assert_eq!(
            Spec::parse("/proc/.* <<none>>").unwrap().unwrap().context,
            None
        );
        assert_eq!(Spec::parse("  # x y"), Ok(None));
        assert_eq!(Spec::parse(""), Ok(None));
        assert_eq!(
            Spec::parse("/a -x c"),
            Err(SpecError::FileType("-x".to_owned()))
        );
        assert_eq!(
            Spec::parse("/a"),
            Err(SpecError::NoContext("/a".to_owned()))
        );
    }

    #[test]
    fn escaped_characters_are_literal() {
        assert!(spec(r"/etc/a\.conf").is_literal());
        assert!(!spec("/etc/a.conf").is_literal());
    }

    #[test]
    fn what_only_one_syntax_finds_special_is_escaped() {
        for (pcre, rust) in [
            (r"/a\.b[^/]*(c|d)?", r"/a\.b[^/]*(c|d)?"),
            ("/x{2}y{2,}z{2,3}", "/x{2}y{2,}z{2,3}"),
            ("/%{USERID}/{}", r"/%\{USERID}/\{}"),
            ("/[[:digit:]a][[a&&b]", r"/[[:digit:]a][\[a\&\&b]"),
            ("/[]a][^]b]", r"/[\]a][^\]b]"),
            (r"/[\]&]", r"/[\]\&]"),
        ] {
            assert_eq!(translated(pcre), rust);
            assert!(regex::Regex::new(rust).is_ok(), "{rust}");
        }
    }

    #[test]
    fn the_prefix_ends_before_what_may_be_absent() {
        for (pattern, prefix) in [
            (r"/etc/a\.conf", "/etc/a.conf"),
            ("/usr(/.*)?", "/usr"),
            ("/usr/lib64?/x", "/usr/lib6"),
            ("/a+b", "/a"),
            ("/run|/var/run", ""),
            ("/x/(a|b)/c", "/x/"),
            ("/x/[ab|]c", "/x/"),
            (r"/x\d", "/x"),
            (r"/x\.?y", "/x"),
        ] {
            assert_eq!(
                spec(pattern).literal_prefix(),
                prefix.as_bytes(),
                "{pattern}"
            );
        }
    }
}
