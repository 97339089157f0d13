//! The `[Install]` section of a unit file and of its drop-ins.
//!
//! Keys: systemd.unit(5), "`[Install]` Section Options".

use super::syntax;

/// What a unit asks for when it is enabled. Specifiers are not expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallSection {
    /// Further names of the unit.
    pub alias: Vec<String>,
    /// Units that want it.
    pub wanted_by: Vec<String>,
    /// Units that require it.
    pub required_by: Vec<String>,
    /// Units that keep it up.
    pub upheld_by: Vec<String>,
    /// Units that are enabled and disabled with it.
    pub also: Vec<String>,
    /// The instance that is enabled if a template is.
    pub default_instance: Option<String>,
}

impl InstallSection {
    /// Adds what `file` says to what earlier files said: a list grows, and is emptied by an empty
    /// assignment. What is not an assignment is skipped, as systemd does with a warning.
    pub fn read(&mut self, file: &[u8]) {
        for assignment in syntax::assignments(&String::from_utf8_lossy(file)) {
            if assignment.section == "Install" {
                self.assign(&assignment.key, &assignment.value);
            }
        }
    }

    /// Whether the section asks for anything that enabling can do by itself.
    pub fn is_installable(&self) -> bool {
        !(self.alias.is_empty()
            && self.wanted_by.is_empty()
            && self.required_by.is_empty()
            && self.upheld_by.is_empty())
    }

    fn assign(&mut self, key: &str, value: &str) {
        let list = match key {
            "Alias" => &mut self.alias,
            "WantedBy" => &mut self.wanted_by,
            "RequiredBy" => &mut self.required_by,
            "UpheldBy" => &mut self.upheld_by,
            // Unlike the other lists, this one is never emptied.
            "Also" => {
                self.also.extend(words(value));
                return;
            }
            "DefaultInstance" => {
                self.default_instance = (!value.is_empty()).then(|| value.to_owned());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(words(value));
    }
}

/// Splits at white space outside quotes.
fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in value.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if character.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> InstallSection {
        let mut section = InstallSection::default();
        section.read(text.as_bytes());
        section
    }

    #[test]
    fn only_the_install_section_counts() {
        let read = section("[Unit]\nAlias=no.service\n[Install]\nWantedBy = a.target  b.target\n");
        assert_eq!(read.wanted_by, ["a.target", "b.target"]);
        assert_eq!(read.alias, [""; 0]);
        assert!(read.is_installable());
    }

    #[test]
    fn lists_grow_and_are_emptied() {
        let mut read = section("[Install]\nAlias=a.service\nAlias=b.service\nAlso=x.socket\n");
        assert_eq!(read.alias, ["a.service", "b.service"]);
        read.read(b"[Install]\nAlias=\nAlias=c.service\n");
        assert_eq!(read.alias, ["c.service"]);
        assert_eq!(read.also, ["x.socket"]);
    }

    #[test]
    fn lines_continue_over_comments() {
        let read = section(
            "[Install]\nWantedBy=a.target \\\n# note\n  b.target\n;x\nDefaultInstance=tty1",
        );
        assert_eq!(read.wanted_by, ["a.target", "b.target"]);
        assert_eq!(read.default_instance.as_deref(), Some("tty1"));
    }

    #[test]
    fn quotes_protect_space() {
        assert_eq!(words("a \"b c\" 'd'e"), ["a", "b c", "de"]);
    }

    #[test]
    fn also_alone_installs_nothing() {
        assert!(!section("[Install]\nAlso=x.socket\n").is_installable());
    }
}
