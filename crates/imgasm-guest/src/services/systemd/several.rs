//! Several units at once, as `systemctl` takes them (systemd 252, `shared/install.c`).

use std::collections::BTreeSet;

use super::name::UnitName;
use super::preset::{Presets, Verdict};
use super::units::{Scope, configuration_files, search_path};
use super::{
    Error, Result, enable, existing, file_name, mask, names_to_remove, remove_links, unmask,
};
use crate::files::{list, read_optional};
use crate::known_path;
use crate::services::Wish;
use imgasm_fs::tree::Editor;
use imgasm_fs::{FileSystem, FileType};

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whether the command fails.
    pub is_failure: bool,
    /// What it says of single units.
    pub notes: Vec<Error>,
}

impl Outcome {
    /// The command fails for this; that the image cannot be read or written is no outcome.
    fn fail(&mut self, error: Error) -> Result<()> {
        if let Error::Tree(_) = error {
            return Err(error);
        }
        self.is_failure = true;
        self.notes.push(error);
        Ok(())
    }
}

/// Does what is wanted for these units. If one that is to be enabled is missing or masked, nothing is
/// done; one that is to be disabled may be missing.
///
/// # Errors
/// If the image cannot be read or written.
pub fn set(
    editor: &mut Editor<'_>,
    scope: Scope,
    names: &[UnitName],
    wish: Wish,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match wish {
        Wish::Enabled => {
            for name in names {
                if let Err(error) = existing(editor.fs(), scope, name) {
                    outcome.fail(error)?;
                    return Ok(outcome);
                }
            }
            enable_each(editor, scope, names, &mut outcome)?;
        }
        Wish::Preset => {
            let presets = presets(editor.fs(), scope)?;
            let mut plan = Plan::default();
            for name in names {
                if let Err(error) = plan.add(editor.fs(), scope, &presets, name) {
                    outcome.fail(error)?;
                    return Ok(outcome);
                }
            }
            plan.follow(editor, scope, &mut outcome)?;
        }
        Wish::Disabled => {
            let mut all = BTreeSet::new();
            for name in names {
                match names_to_remove(editor.fs(), scope, name) {
                    Ok(names) => all.extend(names),
                    Err(error @ Error::Unknown { .. }) => {
                        all.insert(file_name(name));
                        outcome.notes.push(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            remove_links(editor, scope, all)?;
        }
        Wish::Masked | Wish::Unmasked => {
            let act = if wish == Wish::Masked { mask } else { unmask };
            for name in names {
                if let Err(error) = act(editor, scope, name) {
                    outcome.fail(error)?;
                }
            }
        }
    }
    Ok(outcome)
}

/// Enables or disables all units of the image as its preset files say (`systemctl preset-all`).
///
/// # Errors
/// If the image cannot be read or written.
pub fn preset_all(editor: &mut Editor<'_>, scope: Scope) -> Result<Outcome> {
    let presets = presets(editor.fs(), scope)?;
    let (mut seen, mut plan) = (BTreeSet::new(), Plan::default());
    for directory in search_path(editor.fs(), scope)? {
        for (name, file_type) in list(editor.fs(), &directory)? {
            let is_file = matches!(file_type, FileType::Regular | FileType::Symlink);
            let name = std::str::from_utf8(&name).ok().and_then(UnitName::new);
            let Some(name) = name.filter(|name| is_file && seen.insert(name.clone())) else {
                continue;
            };
            // What cannot be used has no presets.
            if let Err(error @ Error::Tree(_)) = plan.add(editor.fs(), scope, &presets, &name) {
                return Err(error);
            }
        }
    }
    let mut outcome = Outcome::default();
    plan.follow(editor, scope, &mut outcome)?;
    Ok(outcome)
}

/// Enables or disables a unit as the image's preset files say (`systemctl preset`). One that is masked
/// stays so.
pub fn preset(editor: &mut Editor<'_>, scope: Scope, name: &UnitName) -> Result<()> {
    let presets = presets(editor.fs(), scope)?;
    let mut plan = Plan::default();
    match plan.add(editor.fs(), scope, &presets, name) {
        Err(Error::Masked { .. }) => return Ok(()),
        added => added?,
    }
    let mut outcome = Outcome::default();
    plan.follow(editor, scope, &mut outcome)?;
    match outcome.notes.pop().filter(|_| outcome.is_failure) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What presets say of some units.
#[derive(Default)]
struct Plan {
    /// The names of the links that go. Unlike when units are disabled, those in `Also=` are left to
    /// their own rules.
    removed: BTreeSet<Vec<u8>>,
    enabled: Vec<UnitName>,
}

impl Plan {
    /// Adds what they say of one.
    fn add(
        &mut self,
        fs: &dyn FileSystem,
        scope: Scope,
        presets: &Presets,
        name: &UnitName,
    ) -> Result<()> {
        let verdict = presets.verdict(name);
        match existing(fs, scope, name) {
            // Other names of a unit follow it.
            Ok(unit) if unit.name != *name => return Ok(()),
            Err(Error::Masked { .. }) if !matches!(verdict, Verdict::Enable(_)) => return Ok(()),
            found => found?,
        };
        match verdict {
            Verdict::Ignore => {}
            Verdict::Disable => {
                self.removed.insert(file_name(name));
            }
            Verdict::Enable(instances) if instances.is_empty() => self.enabled.push(name.clone()),
            Verdict::Enable(instances) => {
                for instance in instances {
                    let instantiated = name.with_instance(&instance);
                    self.enabled
                        .push(instantiated.ok_or_else(|| Error::InvalidName {
                            name: format!("{name} with the instance {instance}"),
                        })?);
                }
            }
        }
        Ok(())
    }

    /// Does it.
    fn follow(self, editor: &mut Editor<'_>, scope: Scope, outcome: &mut Outcome) -> Result<()> {
        remove_links(editor, scope, self.removed)?;
        enable_each(editor, scope, &self.enabled, outcome)
    }
}

fn enable_each(
    editor: &mut Editor<'_>,
    scope: Scope,
    names: &[UnitName],
    outcome: &mut Outcome,
) -> Result<()> {
    for name in names {
        match enable(editor, scope, name) {
            Ok(()) => {}
            Err(error @ Error::NothingToEnable { .. }) => outcome.notes.push(error),
            // The others are not looked at any more.
            Err(error @ Error::Alias { .. }) => return outcome.fail(error),
            Err(error) => outcome.fail(error)?,
        }
    }
    Ok(())
}

/// What all preset files say.
fn presets(fs: &dyn FileSystem, scope: Scope) -> Result<Presets> {
    let mut presets = Presets::default();
    let folders = scope
        .preset_folders()
        .iter()
        .map(|folder| known_path(folder));
    let folders: Vec<_> = folders.collect();
    for file in configuration_files(fs, &folders, b".preset")? {
        presets.read(&read_optional(fs, &file)?.unwrap_or_default());
    }
    Ok(presets)
}
