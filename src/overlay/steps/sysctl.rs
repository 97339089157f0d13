//! `sysctl`: a parameter of the kernel, from boot on.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes};
use imgasm_guest::files::{list, read_optional};
use imgasm_guest::{Init, known_path};

/// The folders that are read at boot, the first counting for files of one name (sysctl.d(5)).
const FOLDERS: [&str; 3] = ["/etc/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// Read last of all by the scripts of older systems, and by systemd under the name of a link.
const LAST: &str = "/etc/sysctl.conf";

/// Sets a parameter of the kernel in a file of `/etc/sysctl.d`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// `vm.max_map_count`.
    key: String,
    value: Parameter,
    /// The file that the line stands in.
    #[serde(default = "usual_path")]
    path: ImagePath,
}

/// The value of a parameter.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a parameter's value is a text, a whole number, true or false"
)]
enum Parameter {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

fn usual_path() -> ImagePath {
    known_path("/etc/sysctl.d/90-imgasm.conf")
}

impl Sysctl {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let value = match &self.value {
            Parameter::Text(text) => text.trim().to_owned(),
            Parameter::Integer(number) => number.to_string(),
            Parameter::Boolean(flag) => u8::from(*flag).to_string(),
        };
        let is_key = |c: char| c.is_ascii_graphic() && !matches!(c, '=' | '#' | ';');
        if self.key.is_empty() || !self.key.chars().all(is_key) || value.contains('\n') {
            return Err(self.unfit(format!("{:?} is no parameter of the kernel", self.key)));
        }
        if let Some((path, other)) = self.later(context)?
            && other != value
        {
            return Err(Error::Unfit {
                path,
                problem: format!("sets {} to {other:?}, and is read later", self.key),
                hint: Some("name that file as `path`, or one that comes behind it"),
            });
        }
        let before = context.text_or_empty(&self.path)?;
        let line = format!("{} = {value}", self.key);
        let mut after = String::new();
        let mut is_written = false;
        for old in before.split_inclusive('\n') {
            match assignment(old) {
                Some((key, _)) if is_same(key, &self.key) => {
                    if !is_written && is_set(old, &value) {
                        after.push_str(old);
                    } else if !is_written {
                        after.push_str(&line);
                        after.push('\n');
                    }
                    is_written = true;
                }
                _ => after.push_str(old),
            }
        }
        if !is_written {
            if !after.is_empty() && !after.ends_with('\n') {
                after.push('\n');
            }
            after.push_str(&line);
            after.push('\n');
        }
        if let Some(folder) = self.path.parent() {
            context.editor.mkdir_all(&folder, Attributes::default())?;
        }
        context.rewrite_text(&self.path, &after)
    }

    /// The last file after this step's that sets the parameter, and the value that it gives.
    fn later(&self, context: &Context<'_, '_>) -> Result<Option<(ImagePath, String)>, Error> {
        let fs = context.editor.fs();
        let own = self.path.file_name().unwrap_or_default().to_vec();
        let mut files: Vec<(Vec<u8>, ImagePath)> = Vec::new();
        for folder in FOLDERS.map(known_path) {
            if !tree::exists(fs, &folder)? {
                continue;
            }
            for (name, _) in list(fs, &folder)? {
                let is_new = !files.iter().any(|(known, _)| *known == name);
                if name.ends_with(b".conf") && name > own && is_new {
                    files.push((name.clone(), folder.child(&name)));
                }
            }
        }
        files.sort();
        let mut paths: Vec<ImagePath> = files.into_iter().map(|(_, path)| path).collect();
        if self.path != known_path(LAST) && context.facts.init != Some(Init::Systemd) {
            paths.push(known_path(LAST));
        }
        let mut found = None;
        for path in paths {
            let content = read_optional(fs, &path)?.unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let mut lines = content.lines().rev().filter_map(assignment);
            let set = lines.find(|(key, _)| is_same(key, &self.key));
            if let Some((_, value)) = set {
                found = Some((path, value.to_owned()));
            }
        }
        Ok(found)
    }

    fn unfit(&self, problem: impl Into<String>) -> Error {
        Error::Unfit {
            path: self.path.clone(),
            problem: problem.into(),
            hint: None,
        }
    }
}

/// The key and the value of a line that sets something.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix('-').unwrap_or(line);
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim(), value.trim()))
}

fn is_set(line: &str, value: &str) -> bool {
    assignment(line).is_some_and(|(_, found)| found == value)
}

/// Slashes and dots both separate the names of a key.
fn is_same(key: &str, other: &str) -> bool {
    let usual = |key: &str| match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => key.replace('/', "."),
        _ => key.to_owned(),
    };
    usual(key) == usual(other)
}
