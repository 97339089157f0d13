//! Guards of steps: on which systems, and with which variables, a step is done.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::steps::edit::Pattern;
use crate::config::values::OneOrMany;
use crate::config::{Setting, Variables};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;
use imgasm_guest::files::read_optional;
use imgasm_guest::{Arch, Facts, Init};

/// Conditions that must all hold; one that lists several values holds if any of them fits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The distribution, by `ID` of os-release.
    os: Option<OneOrMany<String>>,
    /// The distribution or one that it is derived from, by `ID` and `ID_LIKE`.
    os_like: Option<OneOrMany<String>>,
    /// `VERSION_ID` of os-release, or its beginning up to a dot.
    version: Option<OneOrMany<String>>,
    /// The init system; upstart also counts as `sysv`, because it runs those scripts.
    init: Option<OneOrMany<Init>>,
    /// The architecture of the programs.
    arch: Option<OneOrMany<Arch>>,
    /// A path that leads to something at the time of the step.
    exists: Option<OneOrMany<ImagePath>>,
    /// A file with a line that a pattern matches, at the time of the step.
    matches: Option<Matches>,
    /// Variables by name, each with the value that it has, or a list with one of them.
    #[serde(default)]
    variables: BTreeMap<String, Setting>,
    /// Conditions that must not all hold.
    not: Option<Box<When>>,
}

/// What a file is to hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matches {
    path: ImagePath,
    pattern: Pattern,
}

impl When {
    /// Whether the step is to be done.
    pub fn holds(
        &self,
        facts: &Facts,
        fs: &dyn FileSystem,
        variables: &Variables,
    ) -> tree::Result<bool> {
        let release = &facts.os_release;
        let fits = any(self.os.as_ref(), |id| release.id() == id)
            && any(self.os_like.as_ref(), |id| facts.is_like(id))
            && any(self.version.as_ref(), |version| {
                release
                    .version_id()
                    .is_some_and(|full| is_version(full, version))
            })
            && any(self.init.as_ref(), |&init| is_init(facts.init, init))
            && any(self.arch.as_ref(), |&arch| facts.arch == Some(arch))
            && self.variables.iter().all(|(name, wanted)| {
                let value = variables.get(name);
                value.is_some_and(|value| accepted(wanted).iter().any(|one| is_value(value, one)))
            });
        if !fits {
            return Ok(false);
        }
        if let Some(paths) = &self.exists {
            let mut any = false;
            for path in &paths.0 {
                any = any || tree::exists(fs, path)?;
            }
            if !any {
                return Ok(false);
            }
        }
        if let Some(Matches { path, pattern }) = &self.matches {
            let content = read_optional(fs, path)?.unwrap_or_default();
            if !pattern.0.is_match(&content) {
                return Ok(false);
            }
        }
        match &self.not {
            Some(not) => Ok(!not.holds(facts, fs, variables)?),
            None => Ok(true),
        }
    }

    /// Checks that the variables can have the values that they are compared with.
    ///
    /// # Errors
    /// If one cannot, in words.
    pub(super) fn check(&self, variables: &Variables) -> Result<(), String> {
        for (name, wanted) in &self.variables {
            let Some(value) = variables.get(name) else {
                let hint = variables.suggest(name);
                return Err(format!("there is no variable `{name}`; {hint}"));
            };
            if variables.is_sensitive(name) {
                return Err(format!(
                    "`{name}` is sensitive, and a guard would show what it holds"
                ));
            }
            if matches!(value, Setting::List(_) | Setting::Table(_)) {
                let kind = value.kind();
                return Err(format!("`{name}` is {kind}, which a guard cannot test"));
            }
            for one in accepted(wanted) {
                let Some(one) = one.clone().like(value) else {
                    let kind = value.kind();
                    return Err(format!("`{name}` is {kind}, so it is never {one}"));
                };
                let allowed = variables.allows(name, &one);
                allowed.map_err(|problem| format!("`{name}` is never {one}, which {problem}"))?;
            }
        }
        self.not.as_ref().map_or(Ok(()), |not| not.check(variables))
    }
}

fn any<T>(values: Option<&OneOrMany<T>>, fits: impl FnMut(&T) -> bool) -> bool {
    values.is_none_or(|values| values.0.iter().any(fits))
}

/// The values of which a variable must have one.
fn accepted(wanted: &Setting) -> &[Setting] {
    match wanted {
        Setting::List(values) => values,
        one => std::slice::from_ref(one),
    }
}

fn is_value(value: &Setting, wanted: &Setting) -> bool {
    wanted.clone().like(value).as_ref() == Some(value)
}

fn is_version(full: &str, wanted: &str) -> bool {
    let rest = full.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_init(found: Option<Init>, wanted: Init) -> bool {
    match wanted {
        Init::Sysv => found.is_some_and(Init::runs_sysv_scripts),
        wanted => found == Some(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(is_version("2018.03", "2018.03"));
        assert!(is_version("2018.03", "2018"));
        assert!(is_version("2", "2"));
        assert!(!is_version("2023", "2"));
        assert!(!is_version("2", "2023"));
    }

    #[test]
    fn upstart_runs_scripts() {
        assert!(is_init(Some(Init::Upstart), Init::Sysv));
        assert!(is_init(Some(Init::Upstart), Init::Upstart));
        assert!(!is_init(Some(Init::Sysv), Init::Upstart));
        assert!(!is_init(Some(Init::Systemd), Init::Sysv));
        assert!(!is_init(None, Init::Sysv));
    }
}
