//! What a recipe expects of the running machine: its `[[expect.live]]` tables.
//!
//! - [`read()`]: finds the tables in a recipe or an overlay.
//! - [`Live`]: one table, about a service, a mount, a command, a port, or the whole machine.
//! - [`seen`]: what a probe in the machine saw; [`mounted`](mod@mounted): what was mounted.
//! - [`evaluate`](mod@evaluate): compares what was seen with what is expected.

mod evaluate;
pub mod mounted;
mod read;
pub mod seen;

use std::fmt;
use std::time::Duration;

use regex::bytes::Regex;
use serde::Deserialize;

pub use evaluate::{Clock, evaluate};
pub use read::{add_to, read};
pub use seen::Seen;

use crate::config::pattern::{Matches, compile};

/// How long a started machine may take to become as expected, by default.
const USUAL_WITHIN: Duration = Duration::from_mins(1);

/// The longest that a machine may be given, in seconds.
const LONGEST_WITHIN_SECONDS: u64 = 3600;

/// One thing that is expected of the running machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Live {
    /// What.
    pub subject: Subject,
    /// How long after the boot it may take until it holds.
    pub within: Duration,
}

/// What an expectation is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A service runs, or does not.
    Service {
        /// The unit; without a suffix a service.
        name: String,
        /// `ActiveState` of it.
        state: ServiceState,
    },
    /// Something is mounted.
    Mount {
        /// Where.
        point: String,
        /// The kind of filesystem.
        kind: Option<String>,
        /// Options that it is mounted with, among others.
        options: Vec<String>,
        /// The label of the filesystem.
        label: Option<String>,
    },
    /// A command of the shell, run as root. It runs again until it is as expected.
    Command {
        /// The command.
        command: String,
        /// What it prints, apart from white space at the end.
        stdout: Option<String>,
        /// What its output matches.
        matches: Option<Regex>,
        /// Its exit status.
        status: i32,
    },
    /// Something listens.
    Port {
        /// The TCP port.
        port: u16,
        /// What it answers to a request.
        http: Option<Http>,
    },
    /// No other units than these fail.
    FailedUnits(Vec<String>),
    /// The boot takes no more than this, if the machine runs at its own speed.
    BootTime(Duration),
}

/// The state of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It runs, or did its work and counts as running.
    #[default]
    Active,
    /// It does not run.
    Inactive,
}

impl ServiceState {
    /// The name in systemd.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// What a port answers to `GET`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The path.
    #[serde(default = "slash")]
    pub path: String,
    /// The status of the answer.
    #[serde(default = "ok_status")]
    pub status: u16,
    /// What its body matches.
    #[serde(default, deserialize_with = "pattern")]
    pub matches: Option<Regex>,
}

fn slash() -> String {
    "/".to_owned()
}

fn ok_status() -> u16 {
    200
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| regex(&text).map_err(serde::de::Error::custom))
        .transpose()
}

fn regex(pattern: &str) -> Result<Regex, String> {
    compile(pattern, Matches::Lines).map_err(|error| error.to_string())
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    service: Option<String>,
    state: Option<ServiceState>,
    mount: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    options: Option<String>,
    label: Option<String>,
    command: Option<String>,
    stdout: Option<String>,
    matches: Option<String>,
    status: Option<i32>,
    port: Option<u16>,
    http: Option<Http>,
    failed_units: Option<Vec<String>>,
    boot_seconds: Option<u64>,
    within: Option<u64>,
}

impl TryFrom<Keys> for Live {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let within = match keys.within {
            None => USUAL_WITHIN,
            Some(seconds) if seconds <= LONGEST_WITHIN_SECONDS => Duration::from_secs(seconds),
            Some(_) => {
                return Err(format!(
                    "`within` is at most {LONGEST_WITHIN_SECONDS} seconds"
                ));
            }
        };
        Ok(Self {
            subject: keys.subject()?,
            within,
        })
    }
}

impl Keys {
    fn subject(mut self) -> Result<Subject, String> {
        let subject = self.take_subject()?;
        let left = [
            ("state", self.state.is_some()),
            ("type", self.kind.is_some()),
            ("options", self.options.is_some()),
            ("label", self.label.is_some()),
            ("stdout", self.stdout.is_some()),
            ("matches", self.matches.is_some()),
            ("status", self.status.is_some()),
            ("http", self.http.is_some()),
        ];
        match left.into_iter().find(|(_, is_left)| *is_left) {
            Some((key, _)) => Err(format!("`{key}` does not belong to that")),
            None => Ok(subject),
        }
    }

    /// The subject; removes the keys that belong to it.
    fn take_subject(&mut self) -> Result<Subject, String> {
        let given = [
            self.service.is_some(),
            self.mount.is_some(),
            self.command.is_some(),
            self.port.is_some(),
            self.failed_units.is_some(),
            self.boot_seconds.is_some(),
        ];
        if given.into_iter().filter(|is_given| *is_given).count() != 1 {
            return Err(
                "a live expectation is about one of `service`, `mount`, `command`, `port`, \
                 `failed_units` and `boot_seconds`"
                    .to_owned(),
            );
        }
        if let Some(name) = self.service.take() {
            return Ok(Subject::Service {
                name: word("service", name)?,
                state: self.state.take().unwrap_or_default(),
            });
        }
        if let Some(point) = self.mount.take() {
            if !point.starts_with('/') {
                return Err(format!("{point:?} is not an absolute path"));
            }
            let options = self.options.take().unwrap_or_default();
            let options = options.split(',').filter(|option| !option.is_empty());
            return Ok(Subject::Mount {
                point,
                kind: self.kind.take(),
                options: options.map(str::to_owned).collect(),
                label: self.label.take(),
            });
        }
        if let Some(command) = self.command.take() {
            if command.contains('\0') {
                return Err("a command has no NUL in it".to_owned());
            }
            return Ok(Subject::Command {
                command,
                stdout: self.stdout.take(),
                matches: self.matches.take().as_deref().map(regex).transpose()?,
                status: self.status.take().unwrap_or(0),
            });
        }
        if let Some(port) = self.port {
            let http = self.http.take();
            let is_path = |http: &Http| {
                http.path.starts_with('/') && http.path.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if http.as_ref().is_some_and(|http| !is_path(http)) {
                return Err("the `path` of a request begins with `/` and is ASCII".to_owned());
            }
            return Ok(Subject::Port { port, http });
        }
        if let Some(seconds) = self.boot_seconds {
            return Ok(Subject::BootTime(Duration::from_secs(seconds)));
        }
        let units = self.failed_units.take().unwrap_or_default();
        let units = units
            .into_iter()
            .map(|unit| Ok(with_suffix(&word("unit", unit)?)));
        Ok(Subject::FailedUnits(units.collect::<Result<_, String>>()?))
    }
}

/// The name of something in systemd.
fn word(what: &str, name: String) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(is_fine) {
        return Err(format!("{name:?} is not the name of a {what}"));
    }
    Ok(name)
}

/// The name of a unit; without a suffix it is a service.
fn with_suffix(name: &str) -> String {
    const KINDS: [&str; 8] = [
        "service", "socket", "mount", "target", "timer", "path", "swap", "device",
    ];
    match name.rsplit_once('.') {
        Some((_, kind)) if KINDS.contains(&kind) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

/// The beginning of a command: its first line that is not empty, and not all of a long one.
fn beginning(command: &str) -> String {
    const MOST: usize = 100;
    let command = command.trim();
    let line = command.lines().next().unwrap_or_default();
    let mut beginning: String = line.chars().take(MOST).collect();
    if beginning.len() < command.len() {
        beginning.push('…');
    }
    beginning
}

/// What is expected, as the name of a check.
impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Service { name, state } => write!(f, "service {name} is {}", state.name()),
            Subject::Mount { point, .. } => write!(f, "{point} is mounted as expected"),
            Subject::Command { command, .. } => write!(f, "command {:?}", beginning(command)),
            Subject::Port { port, http: None } => write!(f, "port {port} is open"),
            Subject::Port {
                port,
                http: Some(http),
            } => write!(f, "port {port} answers {}", http.path),
            Subject::FailedUnits(units) if units.is_empty() => f.write_str("no unit has failed"),
            Subject::FailedUnits(units) => {
                write!(f, "no unit but {} has failed", units.join(", "))
            }
            Subject::BootTime(limit) => write!(f, "boot takes {} s at most", limit.as_secs()),
        }
    }
}
