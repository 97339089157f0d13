//! The form of dnf's files: `key = value` lines under `[section]` lines.

use std::collections::BTreeMap;

/// The sections of a file, and the values of each.
#[derive(Debug, Default)]
pub struct Sections(BTreeMap<String, BTreeMap<String, String>>);

impl Sections {
    /// Reads a file. A line that begins with a space goes on with the value before it; of a key that is
    /// there twice, the last counts.
    pub fn parse(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let (mut section, mut key): (Option<String>, Option<String>) = (None, None);
        for line in text.lines() {
            if line.trim().is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.split(']').next().unwrap_or_default().trim().to_owned();
                sections.entry(name.clone()).or_default();
                (section, key) = (Some(name), None);
                continue;
            }
            let values = section.as_ref().and_then(|name| sections.get_mut(name));
            let Some(values) = values else { continue };
            if line.starts_with([' ', '\t']) {
                if let Some(value) = key.as_ref().and_then(|key| values.get_mut(key)) {
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once('=') {
                let name = name.trim().to_owned();
                values.insert(name.clone(), value.trim().to_owned());
                key = Some(name);
            }
        }
        Self(sections)
    }

    /// The names of the sections, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A value.
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.0.get(section)?.get(key).map(String::as_str)
    }
}

/// The items of a list, between commas and spaces.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    let items = value.split(|c: char| c == ',' || c.is_whitespace());
    items.filter(|item| !item.is_empty())
}

/// A truth value, if it is one.
pub fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_on_and_the_last_counts() {
        let text = "stray = 1\n[main]\n# no\nexclude = a*, b\n  c\n\td\ngpgcheck=1\ngpgcheck = 0\n\
                    [other ] # x\nbaseurl=https://a/?x=y\n";
        let sections = Sections::parse(text.as_bytes());
        assert_eq!(sections.names().collect::<Vec<_>>(), ["main", "other"]);
        let excludes = sections.value("main", "exclude").unwrap();
        assert_eq!(list(excludes).collect::<Vec<_>>(), ["a*", "b", "c", "d"]);
        assert_eq!(
            truth(sections.value("main", "gpgcheck").unwrap()),
            Some(false)
        );
        assert_eq!(sections.value("other", "baseurl"), Some("https://a/?x=y"));
        assert_eq!(sections.value("main", "baseurl"), None);
    }
}
