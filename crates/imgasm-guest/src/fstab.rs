//! `/etc/fstab`: what is mounted where (`fstab(5)`).

use serde::{Deserialize, Deserializer, de};

/// Columns that the first two fields take up with the tabs behind them.
const FIELD_COLUMNS: usize = 16;
/// Columns from one tab stop to the next.
const TAB_COLUMNS: usize = 8;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The device that is mounted: a path, `LABEL=…`, `UUID=…`.
    pub device: Field,
    /// Where it is mounted: an absolute path, or `none`.
    pub mount: MountPoint,
    /// The kind of filesystem.
    #[serde(rename = "type")]
    pub kind: Field,
    /// The mount options, between commas.
    #[serde(default = "default_options")]
    pub options: Field,
    /// Whether `dump` backs it up: 0 or 1.
    #[serde(default)]
    pub dump: u8,
    /// The pass in which it is checked at boot: 0 for never, 1 for the root, 2 for all others.
    #[serde(default)]
    pub pass: u8,
}

fn default_options() -> Field {
    Field("defaults".to_owned())
}

/// A line of the file that mounts something, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of the line; the first is 1.
    pub number: usize,
    /// The fields before any comment, without their escapes.
    pub fields: Vec<String>,
}

/// The lines that are neither empty nor a comment.
pub fn lines(content: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(content);
    let numbered = (1..).zip(text.lines());
    numbered
        .filter_map(|(number, line)| {
            let fields = fields_of(line);
            (!fields.is_empty()).then(|| Line {
                number,
                fields: fields.into_iter().map(unescape).collect(),
            })
        })
        .collect()
}

/// The fields of a line up to a comment.
fn fields_of(line: &str) -> Vec<&str> {
    line.split_ascii_whitespace()
        .take_while(|field| !field.starts_with('#'))
        .collect()
}

/// A text that a field can hold: no line ends, and no white space at its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(String);

impl Field {
    /// A field, if the text can be one.
    pub fn new(text: &str) -> Option<Self> {
        let is_field =
            !text.is_empty() && !text.starts_with('#') && !text.contains(char::is_control);
        is_field.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} cannot be a field of fstab")))
    }
}

/// An absolute path, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint(Field);

impl MountPoint {
    /// A mount point, if the text is one. A slash at the end is dropped.
    pub fn new(text: &str) -> Option<Self> {
        let is_path = text.starts_with('/') && !text.split('/').any(|name| name == "..");
        let text = match text.trim_end_matches('/') {
            "" if is_path => "/",
            text => text,
        };
        Field::new(text)
            .filter(|_| is_path || text == "none")
            .map(Self)
    }

    /// The path, or `none`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<'de> Deserialize<'de> for MountPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a mount point: an absolute path, or `none`"
            ))
        })
    }
}

impl Entry {
    /// The fields, as written in the file.
    fn fields(&self) -> [String; 6] {
        [
            escape(self.device.as_str()),
            escape(self.mount.as_str()),
            escape(self.kind.as_str()),
            escape(self.options.as_str()),
            self.dump.to_string(),
            self.pass.to_string(),
        ]
    }

    /// The line, without its end.
    fn line(&self) -> String {
        let fields = self.fields();
        let [device, mount, rest @ ..] = &fields;
        let padded = [device, mount].map(|field| {
            let missing = FIELD_COLUMNS.saturating_sub(field.len());
            let tabs = missing.div_ceil(TAB_COLUMNS).max(1);
            format!("{field}{}", "\t".repeat(tabs))
        });
        format!("{}{}", padded.concat(), rest.join("\t"))
    }

    /// Whether a line of the file is about the same thing: the mount point, or the device if there
    /// is none.
    fn is_about(&self, fields: &[&str]) -> bool {
        let own = self.fields();
        let index = usize::from(self.mount.as_str() != "none");
        fields
            .get(index)
            .is_some_and(|field| field.trim_end_matches('/') == own[index].trim_end_matches('/'))
    }
}

/// Gives the entry its line in the file: it replaces the first line about the same mount point, and
/// others about it are removed; or else it goes at the end. A line with the same fields stays as it
/// is.
pub fn set(content: &[u8], entry: &Entry) -> Vec<u8> {
    let own = entry.fields();
    let mut is_written = false;
    let mut text = Vec::with_capacity(content.len() + 80);
    for line in content.split_inclusive(|&b| b == b'\n') {
        let words = String::from_utf8_lossy(line);
        let mut fields: Vec<&str> = words.split_ascii_whitespace().collect();
        if fields_of(&words).is_empty() || !entry.is_about(&fields) {
            text.extend_from_slice(line);
            continue;
        }
        if is_written {
            continue;
        }
        is_written = true;
        fields.resize(fields.len().max(4), "defaults");
        fields.resize(own.len(), "0");
        if fields == own {
            text.extend_from_slice(line);
        } else {
            text.extend_from_slice(entry.line().as_bytes());
            text.push(b'\n');
        }
    }
    if !is_written {
        if text.last().is_some_and(|&last| last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(entry.line().as_bytes());
        text.push(b'\n');
    }
    text
}

/// White space and the backslash as octal escapes (`getmntent(3)`).
fn escape(field: &str) -> String {
    let mut escaped = String::with_capacity(field.len());
    for c in field.chars() {
        match c {
            ' ' => escaped.push_str("\\040"),
            '\t' => escaped.push_str("\\011"),
            '\\' => escaped.push_str("\\134"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Octal escapes, as getmntent(3) reads them.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [
            ("\\040", ' '),
            ("\\011", '\t'),
            ("\\012", '\n'),
            ("\\134", '\\'),
        ];
        let found = known
            .into_iter()
            .find_map(|(escaped, plain)| Some((plain, rest.strip_prefix(escaped)?)));
        let (plain, after) = found.unwrap_or(('\\', &rest[1..]));
        text.push(plain);
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: &str, mount: &str) -> Entry {
        Entry {
            device: Field::new(device).unwrap(),
            mount: MountPoint::new(mount).unwrap(),
            kind: Field::new("ext4").unwrap(),
            options: Field::new("defaults,noatime").unwrap(),
            dump: 0,
            pass: 0,
        }
    }

    #[test]
    fn a_line_is_added_once() {
        let docker = entry("LABEL=docker", "/data");
        let line = b"LABEL=docker\t/data\t\text4\tdefaults,noatime\t0\t0\n";
        assert_eq!(set(b"", &docker), line);
        assert_eq!(set(line, &docker), line);
        let with_root = [&b"LABEL=/ / ext4 defaults 1 1"[..], b"\n", line].concat();
        assert_eq!(set(b"LABEL=/ / ext4 defaults 1 1", &docker), with_root);
        let spaced = b"LABEL=docker /data/  ext4 defaults,noatime  # x\n";
        assert_ne!(set(spaced, &docker), spaced);
        let short = b"LABEL=docker  /data  ext4 defaults,noatime\n";
        assert_eq!(set(short, &docker), short);
    }

    #[test]
    fn the_line_of_a_mount_point_is_replaced() {
        let before = b"# /data is\n/dev/sdb /data xfs defaults 0 0\nx / y z\n/dev/sdc /data/ xfs\n";
        let after = set(before, &entry("LABEL=docker", "/data"));
        let text = String::from_utf8(after).unwrap();
        assert_eq!(
            text,
            "# /data is\nLABEL=docker\t/data\t\text4\tdefaults,noatime\t0\t0\nx / y z\n"
        );
    }

    #[test]
    fn lines_are_read_as_the_c_library_does() {
        let text = b"# all\n\nLABEL=a\\040b  /c\\134040d ext4 defaults # why\n";
        let wanted = Line {
            number: 3,
            fields: ["LABEL=a b", "/c\\040d", "ext4", "defaults"]
                .map(str::to_owned)
                .to_vec(),
        };
        assert_eq!(lines(text), [wanted]);
    }

    #[test]
    fn fields_that_are_none() {
        assert!(Field::new("a\nb").is_none() && Field::new("").is_none());
        assert!(MountPoint::new("data").is_none() && MountPoint::new("/a/../b").is_none());
        let spaced = entry("/dev/disk/by-label/a b", "/mnt/c d");
        let line = String::from_utf8(set(b"", &spaced)).unwrap();
        assert!(
            line.starts_with("/dev/disk/by-label/a\\040b\t/mnt/c\\040d\t"),
            "{line}"
        );
    }
}
