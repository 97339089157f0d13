//! `/etc/os-release`: which distribution this is (`os-release(5)`).

use std::collections::BTreeMap;

use crate::files::read_known;
use imgasm_fs::FileSystem;
use imgasm_fs::tree::Result;

/// The assignments of an os-release file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

impl OsRelease {
    /// Reads the first of `/etc/os-release` and `/usr/lib/os-release` that is there; `None` if
    /// neither is.
    pub fn read(fs: &dyn FileSystem) -> Result<Option<Self>> {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            if let Some(content) = read_known(fs, path)? {
                return Ok(Some(Self::parse(&content)));
            }
        }
        Ok(None)
    }

    /// Takes the assignments from the file's content; other lines are skipped.
    pub fn parse(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let assignments = text.lines().filter_map(|line| {
            let line = line.trim();
            let (key, value) = line.split_once('=')?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            (!key.is_empty() && key.chars().all(is_name)).then(|| (key.to_owned(), unquote(value)))
        });
        Self {
            fields: assignments.collect(),
        }
    }

    /// `ID`: `amzn`, `debian`, …; `linux` if the file does not say.
    pub fn id(&self) -> &str {
        self.field("ID").unwrap_or("linux")
    }

    /// `ID_LIKE`: the distributions that this one is derived from.
    pub fn id_like(&self) -> impl Iterator<Item = &str> {
        self.field("ID_LIKE").unwrap_or_default().split_whitespace()
    }

    /// `VERSION_ID`: `2018.03`, `2`, `2023`, `12`, …
    pub fn version_id(&self) -> Option<&str> {
        self.field("VERSION_ID")
    }

    /// `PRETTY_NAME`, for people.
    pub fn pretty_name(&self) -> Option<&str> {
        self.field("PRETTY_NAME")
    }

    /// Any field by its name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// A value as a shell reads it: within single quotes as it is, else with backslashes removed.
fn unquote(value: &str) -> String {
    let value = value.trim_end();
    if let Some(inner) = value.strip_prefix('\'') {
        return inner.strip_suffix('\'').unwrap_or(inner).to_owned();
    }
    let inner = match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => value,
    };
    let mut unquoted = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => unquoted.extend(characters.next()),
            c => unquoted.push(c),
        }
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazon_linux_1() {
        let release = OsRelease::parse(
            b"NAME=\"Amazon Linux AMI\"\nVERSION=\"2018.03\"\nID=\"amzn\"\nID_LIKE=\"rhel fedora\"\n\
              VERSION_ID=\"2018.03\"\nPRETTY_NAME='Amazon Linux AMI 2018.03'\n",
        );
        assert_eq!(release.id(), "amzn");
        assert_eq!(release.id_like().collect::<Vec<_>>(), ["rhel", "fedora"]);
        assert_eq!(release.version_id(), Some("2018.03"));
        assert_eq!(release.pretty_name(), Some("Amazon Linux AMI 2018.03"));
    }

    #[test]
    fn anything_can_be_parsed() {
        let release =
            OsRelease::parse(b"# ID=no\nrubbish\n=x\nA B=c\nX=\"a\\\"b\nY=\\\n\xff=\xff\n");
        assert_eq!(release.id(), "linux");
        assert_eq!(release.version_id(), None);
        assert_eq!(release.field("X"), Some("a\"b"));
        assert_eq!(release.field("Y"), Some(""));
    }
}
