//! Which key, in which format.

use std::fmt;

use serde::Deserialize;

use imgasm_fs::path::ImagePath;

/// The format of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// YAML.
    Yaml,
    /// Lines `key = value` under `[section]` lines, or without sections.
    Ini,
    /// Lines `KEY=value` as a shell reads them.
    Shell,
    /// Lines `key value`, and blocks that begin with a `Match` line.
    Space,
    /// JSON.
    Json,
    /// TOML.
    Toml,
}

/// Files of `key value` lines that do not say so by their names.
const SPACE: [&str; 6] = [
    "/etc/ssh/sshd_config",
    "/etc/ssh/ssh_config",
    "/etc/login.defs",
    "/etc/chrony.conf",
    "/etc/chrony/",
    "/etc/resolv.conf",
];

impl Format {
    /// The format that a file of this name usually has.
    pub fn of_path(path: &ImagePath) -> Option<Self> {
        let text = path.to_string();
        let name = text.rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        match extension {
            Some("yaml" | "yml") => Some(Self::Yaml),
            Some("cfg") if text.starts_with("/etc/cloud/") => Some(Self::Yaml),
            Some("json") => Some(Self::Json),
            Some("toml") => Some(Self::Toml),
            Some("env" | "sh") => Some(Self::Shell),
            _ if SPACE.iter().any(|path| text.starts_with(path)) => Some(Self::Space),
            _ if ["/etc/sysconfig/", "/etc/default/"]
                .iter()
                .any(|d| text.starts_with(d)) =>
            {
                Some(Self::Shell)
            }
            Some(
                "ini" | "conf" | "cfg" | "repo" | "service" | "socket" | "timer" | "mount"
                | "target" | "network" | "link",
            ) => Some(Self::Ini),
            _ if matches!(name, "os-release" | "environment" | "ecs.config") => Some(Self::Shell),
            _ => None,
        }
    }
}

/// A key: a text that is split at its dots, or the list of its names if they contain dots.
///
/// In an ini file the first dot ends the section; a name of a shell variable has no dots to split.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a key is a string or a list of strings")]
pub enum Key {
    /// A text that is split at dots.
    Text(String),
    /// The names themselves.
    Names(Vec<String>),
}

impl Key {
    /// A key from its text.
    pub fn new(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The names from the top downwards.
    pub(super) fn names(&self, format: Format) -> Vec<String> {
        let text = match self {
            Self::Text(text) => text,
            Self::Names(names) => return names.clone(),
        };
        let owned = ToOwned::to_owned;
        match format {
            Format::Shell | Format::Space => vec![text.clone()],
            Format::Ini => text.splitn(2, '.').map(owned).collect(),
            Format::Yaml | Format::Json | Format::Toml => text.split('.').map(owned).collect(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Names(names) => write!(f, "{names:?}"),
        }
    }
}
