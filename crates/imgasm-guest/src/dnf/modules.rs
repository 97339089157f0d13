//! Which streams of modules a system has chosen.

use std::collections::BTreeMap;

use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

use super::config::Sections;
use super::{MAIN, main_file};
use crate::files::{list, read_known, read_optional};
use crate::known_path;

/// What was chosen: a file for each module.
const STATES: &str = "/etc/dnf/modules.d";
/// The system's own defaults, which count more than those of repositories.
const DEFAULTS: &str = "/etc/dnf/modules.defaults.d";
/// What is kept of streams that were chosen, in case that no repository has them any more.
const KEPT: &str = "/var/lib/dnf/modulefailsafe";
/// Where a system says which platform it is, the first first.
const RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// What a system says of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// What was chosen, by the names of modules.
    pub states: BTreeMap<String, State>,
    /// The texts of the system's own defaults, in their order.
    pub defaults: Vec<String>,
    /// Texts about streams, by `MODULE:STREAM:` with which the names of their files begin.
    pub kept: Vec<(String, String)>,
    /// The name and the stream of the platform.
    pub platform: Option<(String, String)>,
}

/// What was chosen of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// This stream.
    Enabled(String),
    /// None, nor may others need one.
    Disabled,
}

impl Modules {
    /// Those of a system.
    pub fn read(fs: &dyn FileSystem) -> tree::Result<Self> {
        let mut states = BTreeMap::new();
        for (name, path) in files(fs, STATES, ".module")? {
            let content = read_optional(fs, &path)?.unwrap_or_default();
            let state = state(&Sections::parse(&content), &name);
            states.extend(state.map(|state| (name, state)));
        }
        let text = |path: &ImagePath| {
            let content = read_optional(fs, path)?.unwrap_or_default();
            Ok::<_, tree::Error>(String::from_utf8_lossy(&content).into_owned())
        };
        let defaults = files(fs, DEFAULTS, ".yaml")?;
        let defaults = defaults.iter().map(|(_, path)| text(path));
        let kept = files(fs, KEPT, ".yaml")?;
        let kept = kept
            .iter()
            .map(|(name, path)| Ok((name.clone(), text(path)?)));
        Ok(Self {
            states,
            defaults: defaults.collect::<tree::Result<_>>()?,
            kept: kept.collect::<tree::Result<_>>()?,
            platform: platform(fs)?,
        })
    }
}

/// The files in a folder whose names end so, in their order, each with its name without that.
fn files(fs: &dyn FileSystem, folder: &str, end: &str) -> tree::Result<Vec<(String, ImagePath)>> {
    let folder = known_path(folder);
    let mut files = Vec::new();
    for (name, _) in list(fs, &folder)? {
        let text = String::from_utf8_lossy(&name);
        if let Some(stem) = text.strip_suffix(end) {
            files.push((stem.to_owned(), folder.child(&name)));
        }
    }
    files.sort();
    Ok(files)
}

/// What a file says of a module, if it is whole.
fn state(sections: &Sections, module: &str) -> Option<State> {
    let value = |key| sections.value(module, key);
    value("profiles")?;
    let stream = value("stream")?;
    match value("enabled").or_else(|| value("state"))? {
        "1" | "true" | "enabled" => Some(State::Enabled(stream.to_owned())),
        "0" | "false" | "disabled" => Some(State::Disabled),
        _ => None,
    }
}

/// What dnf takes for the platform: what it is told, or what stands between quotes after
/// `PLATFORM_ID=`.
fn platform(fs: &dyn FileSystem) -> tree::Result<Option<(String, String)>> {
    let split = |text: &str| {
        let (name, stream) = text.split_once(':')?;
        let is_whole = !name.is_empty() && !stream.is_empty();
        is_whole.then(|| (name.to_owned(), stream.to_owned()))
    };
    let (_, main) = main_file(fs)?;
    if let Some(told) = main.value(MAIN, "module_platform_id").and_then(split) {
        return Ok(Some(told));
    }
    for path in RELEASES {
        let content = read_known(fs, path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.split_once("PLATFORM_ID="));
        let quoted = line.and_then(|(_, value)| value.split('"').nth(1));
        if let Some(found) = quoted.and_then(split) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
