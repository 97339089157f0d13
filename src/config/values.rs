//! The kinds of values in recipes and overlays.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::place::is_url;
pub use imgasm_block::ByteSize;

/// A number of seconds since 1970 that is not negative, as in `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(i64);

impl Epoch {
    /// 2020-01-01T00:00:00Z: the time given to everything that is made or changed if nothing else
    /// names one.
    pub const DEFAULT: Self = Self(1_577_836_800);

    /// The number of seconds.
    pub fn seconds(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Epoch {
    type Error = String;

    fn try_from(seconds: i64) -> Result<Self, String> {
        if seconds < 0 {
            return Err(format!("{seconds} {NO_EPOCH}"));
        }
        Ok(Self(seconds))
    }
}

impl FromStr for Epoch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(seconds) if is_number => Ok(Self(seconds)),
            _ => Err(format!("{text:?} {NO_EPOCH}")),
        }
    }
}

const NO_EPOCH: &str = "is not a number of seconds since 1970";

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = i64::deserialize(deserializer)?;
        Self::try_from(seconds).map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number that is not negative, or a text"
)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// The low twelve bits of `st_mode`, written as an octal text: `"0644"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u16);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_octal = (3..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match u16::from_str_radix(text, 8) {
            Ok(bits) if is_octal && bits <= 0o7777 => Ok(Self(bits)),
            _ => Err(format!(
                "{text:?} is not a mode; write it in octal, as \"0644\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(_) => {
                let problem = "a mode is a text in octal, as \"0644\", not a number";
                Err(de::Error::custom(problem))
            }
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// A user or a group: a number, or a name that is looked up in the image's own files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The number itself.
    Number(u32),
    /// A name in `/etc/passwd` or `/etc/group`.
    Name(String),
}

/// The number of a user or group. The largest of 32 bits is none: for the kernel it is "no change".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Id(pub u32);

impl TryFrom<u64> for Id {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        id.map(Self)
            .ok_or_else(|| format!("{number} is too large for a user or group"))
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |number: u64| match Id::try_from(number) {
            Ok(Id(number)) => Ok(Self::Number(number)),
            Err(problem) => Err(de::Error::custom(problem)),
        };
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(n) => number(n),
            NumberOrText::Text(text) => match text.parse() {
                Ok(n) => number(n),
                Err(_) if text.is_empty() || text.contains([':', '\n', '/']) => Err(
                    de::Error::custom(format!("{text:?} is not the name of a user or group")),
                ),
                Err(_) => Ok(Self::Name(text)),
            },
        }
    }
}

/// A path below the folder of an overlay: relative and without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativePath(PathBuf);

impl RelativePath {
    /// The path itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = relative(text)?;
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{text:?} contains `..`"));
        }
        Ok(Self(path))
    }
}

/// A path that is relative to the folder of a recipe or overlay. It may go up: what it names is only
/// used if it is inside the [`Boundary`](super::Boundary).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPath(PathBuf);

impl ProjectPath {
    /// The path itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for ProjectPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        relative(text).map(Self)
    }
}

/// A relative path of a file, without its empty parts.
fn relative(text: &str) -> Result<PathBuf, String> {
    if is_url(text) {
        return Err(format!(
            "{text:?} is a URL, and the file of this key must lie here"
        ));
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(_) | Component::ParentDir => path.push(component),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => {
                return Err(format!("{text:?} is not a relative path"));
            }
        }
    }
    if path.file_name().is_none() || text.contains('\0') {
        return Err(format!("{text:?} is not the path of a file"));
    }
    Ok(path)
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ProjectPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A text without a line end or NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains(['\n', '\0']) {
            return Err(de::Error::custom("this must be one line, without NUL"));
        }
        Ok(Self(text))
    }
}

/// One value or a list of them, written as a text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(text.into_deserializer())?])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
            }
        }

        let values = deserializer.deserialize_any(Visitor(PhantomData))?;
        Ok(Self(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs() {
        assert_eq!("0".parse::<Epoch>().map(Epoch::seconds), Ok(0));
        for bad in ["", "-5", "+5", "abc", " 1", "1.5", "99999999999999999999"] {
            assert!(bad.parse::<Epoch>().is_err(), "{bad:?}");
        }
        assert!(Epoch::try_from(-1).is_err());
    }

    #[test]
    fn modes() {
        assert_eq!("0644".parse(), Ok(Mode(0o644)));
        assert_eq!("4755".parse(), Ok(Mode(0o4755)));
        for bad in ["", "64", "0o644", "888", "10000", "+644", "077777"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_paths() {
        assert!("files/a".parse::<RelativePath>().is_ok());
        for bad in ["", ".", "/etc", "a/../b", "..", "a\0"] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
        }
    }
}
