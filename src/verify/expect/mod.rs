//! What a recipe expects of the image: its `[[expect]]` tables.
//!
//! - [`Expectation`]: one table, about a path, a service or a package.
//! - [`evaluate`]: whether it holds.

mod evaluate;

use std::fmt;

use regex::bytes::Regex;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use evaluate::{Evaluator, InstalledPackages, Packages};

use crate::config::pattern::{Matches, compile};
use crate::config::{Account, Mode};
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_guest::keyfile::{Format, Key, Value};

/// One thing that is expected.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub enum Expectation {
    /// About a path.
    Path(Box<PathExpectation>),
    /// About a service: its state, in the words of `systemctl is-enabled`.
    Service {
        /// The unit, init script or job.
        name: String,
        /// `enabled`, `disabled`, `masked`, `static`, …
        state: String,
    },
    /// About a package.
    Package {
        /// Its name.
        name: String,
        /// What is expected of it.
        version: PackageVersion,
    },
}

/// What is expected of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageVersion {
    /// That it is installed.
    Any,
    /// That this version is installed: `1.7`, or with the release, `1.7-4`.
    Is(String),
    /// That it is not installed.
    Absent,
}

/// What is expected of a path. A symbolic link at its end is followed, unless a link is expected.
#[derive(Debug, Clone)]
pub struct PathExpectation {
    path: ImagePath,
    is_there: bool,
    file_type: Option<FileType>,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
    target: Option<String>,
    contains: Option<String>,
    matches: Option<Regex>,
    sha256: Option<String>,
    size: Option<u64>,
    key: Option<KeyExpectation>,
}

/// What a key of a configuration file is expected to hold.
#[derive(Debug, Clone)]
struct KeyExpectation {
    key: Key,
    value: Value,
    format: Format,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    path: Option<ImagePath>,
    exists: Option<bool>,
    #[serde(rename = "type")]
    file_type: Option<TypeName>,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
    target: Option<String>,
    contains: Option<String>,
    matches: Option<String>,
    sha256: Option<String>,
    size: Option<u64>,
    key: Option<Key>,
    value: Option<Value>,
    format: Option<Format>,
    service: Option<String>,
    state: Option<String>,
    package: Option<String>,
    version: Option<String>,
    installed: Option<bool>,
    // What is taken out before this is decoded. Named here, so that messages know the key.
    #[serde(rename = "live")]
    _live: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TypeName {
    File,
    Directory,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

impl From<TypeName> for FileType {
    fn from(name: TypeName) -> Self {
        match name {
            TypeName::File => Self::Regular,
            TypeName::Directory => Self::Directory,
            TypeName::Symlink => Self::Symlink,
            TypeName::Char => Self::CharDevice,
            TypeName::Block => Self::BlockDevice,
            TypeName::Fifo => Self::Fifo,
            TypeName::Socket => Self::Socket,
        }
    }
}

impl TryFrom<Keys> for Expectation {
    type Error = String;

    fn try_from(mut keys: Keys) -> Result<Self, String> {
        let of_path = keys.has_path_keys();
        let of_service = keys.state.is_some();
        let of_package = keys.version.is_some() || keys.installed.is_some();
        match (keys.path.take(), keys.service.take(), keys.package.take()) {
            (Some(path), None, None) if !of_service && !of_package => {
                Ok(Self::Path(Box::new(keys.of_path(path)?)))
            }
            (None, Some(name), None) if !of_path && !of_package => Ok(Self::Service {
                name,
                state: keys
                    .state
                    .ok_or("a service is expected to have a `state`")?,
            }),
            (None, None, Some(name)) if !of_path && !of_service => {
                let version = match (keys.version, keys.installed) {
                    (Some(version), None | Some(true)) => PackageVersion::Is(version),
                    (None, None | Some(true)) => PackageVersion::Any,
                    (None, Some(false)) => PackageVersion::Absent,
                    (Some(_), Some(false)) => {
                        return Err("a package that is not installed has no `version`".to_owned());
                    }
                };
                Ok(Self::Package { name, version })
            }
            _ => Err(
                "an expectation is about one of `path`, `service` and `package`, and has \
                      only keys that belong to it"
                    .to_owned(),
            ),
        }
    }
}

impl Keys {
    fn has_path_keys(&self) -> bool {
        self.exists.is_some() || self.format.is_some() || self.value.is_some() || self.has_details()
    }

    /// Whether there is a key about what is at the path.
    fn has_details(&self) -> bool {
        self.file_type.is_some()
            || self.mode.is_some()
            || self.owner.is_some()
            || self.group.is_some()
            || self.target.is_some()
            || self.contains.is_some()
            || self.matches.is_some()
            || self.sha256.is_some()
            || self.size.is_some()
            || self.key.is_some()
    }

    fn of_path(self, path: ImagePath) -> Result<PathExpectation, String> {
        let is_there = self.exists.unwrap_or(true);
        if !is_there && self.has_details() {
            return Err("nothing else can be expected of a path that does not exist".to_owned());
        }
        let key = match (self.key, self.value) {
            (Some(key), Some(value)) => Some(KeyExpectation {
                key,
                value,
                format: self
                    .format
                    .or_else(|| Format::of_path(&path))
                    .ok_or("the format does not follow from the name: add `format`")?,
            }),
            (None, None) if self.format.is_none() => None,
            _ => return Err("`key` and `value` belong together".to_owned()),
        };
        let matches = self
            .matches
            .map(|pattern| compile(&pattern, Matches::Lines).map_err(|error| error.to_string()));
        let is_digest =
            |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(digest) = self.sha256.as_ref().filter(|text| !is_digest(text)) {
            return Err(format!("{digest:?} is not a SHA-256 in hexadecimal"));
        }
        Ok(PathExpectation {
            path,
            is_there,
            file_type: self.file_type.map(FileType::from),
            mode: self.mode,
            owner: self.owner,
            group: self.group,
            target: self.target,
            contains: self.contains,
            matches: matches.transpose()?,
            sha256: self.sha256,
            size: self.size,
            key,
        })
    }
}

/// What is expected, as the name of a check.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(expected) => expected.fmt(f),
            Self::Service { name, state } => write!(f, "service {name} is {state}"),
            Self::Package { name, version } => match version {
                PackageVersion::Any => write!(f, "package {name} is installed"),
                PackageVersion::Is(version) => write!(f, "package {name} has version {version}"),
                PackageVersion::Absent => write!(f, "package {name} is not installed"),
            },
        }
    }
}

impl fmt::Display for PathExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if !self.is_there {
            return f.write_str(" does not exist");
        }
        let account = |account: &Account| match account {
            Account::Number(number) => number.to_string(),
            Account::Name(name) => name.clone(),
        };
        let mut facts = Vec::new();
        facts.extend(
            self.file_type
                .map(|kind| format!("is {}", kind.article_and_name())),
        );
        facts.extend(
            self.target
                .as_ref()
                .map(|target| format!("leads to {target}")),
        );
        facts.extend(self.mode.map(|mode| format!("has mode {:04o}", mode.0)));
        facts.extend(
            self.owner
                .as_ref()
                .map(|owner| format!("belongs to {}", account(owner))),
        );
        facts.extend(
            self.group
                .as_ref()
                .map(|group| format!("has group {}", account(group))),
        );
        facts.extend(self.size.map(|size| format!("has {size} bytes")));
        facts.extend(
            self.contains
                .as_ref()
                .map(|text| format!("contains {text:?}")),
        );
        facts.extend(
            self.matches
                .as_ref()
                .map(|regex| format!("matches {:?}", regex.as_str())),
        );
        facts.extend(self.sha256.as_ref().map(|_| "has the digest".to_owned()));
        let key = self.key.as_ref();
        facts.extend(key.map(|expected| format!("has {} = {}", expected.key, expected.value)));
        if facts.is_empty() {
            return f.write_str(" exists");
        }
        write!(f, " {}", facts.join(", "))
    }
}
