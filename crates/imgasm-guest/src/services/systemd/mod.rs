//! Services that systemd starts, enabled and disabled as `systemctl --root` does it.
//!
//! - [`name`]: names of units, templates and instances.
//! - [`syntax`]: unit files as text.
//! - [`install_section`], [`specifier`]: what a unit asks for when it is enabled.
//! - [`units`]: finding unit files.
//! - [`links`]: the links that enabling makes.
//! - [`mod@preset`]: which units a distribution wants enabled.
//! - [`several`]: several units at once.

pub mod install_section;
pub mod links;
pub mod name;
pub mod preset;
pub mod several;
pub mod specifier;
pub mod syntax;
pub mod units;

use std::collections::{BTreeSet, VecDeque};

use name::UnitName;
use units::{Found, Scope, Unit, find_in, search_path};

use super::{Error, Result, State};
use crate::files::{entry, link_target, list};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink, locate};
use imgasm_fs::{FileSystem, FileType};

/// Whether there is a unit of this name.
pub fn has_unit(fs: &dyn FileSystem, scope: Scope, name: &UnitName) -> Result<bool> {
    Ok(find_in(fs, scope, name)? != Found::Nothing)
}

/// Makes the links that a unit and those in its `Also=` ask for (`systemctl enable`).
///
/// # Errors
/// [`Error::NothingToEnable`] if no link is asked for and the distribution has none either.
pub fn enable(editor: &mut Editor<'_>, scope: Scope, name: &UnitName) -> Result<()> {
    let first = existing(editor.fs(), scope, name)?;
    if first.by_configured_alias {
        return Err(Error::Alias {
            alias: name.to_string(),
            unit: first.name.to_string(),
        });
    }
    let mut links = 0;
    for unit in with_also(editor.fs(), first.clone())? {
        for link in links::links_of(&unit)? {
            links += 1;
            make_link(editor, scope, &link)?;
        }
    }
    if links > 0 {
        return Ok(());
    }
    for directory in search_path(editor.fs(), scope)? {
        if !links_to(editor.fs(), &directory, &first)?.is_empty() {
            return Ok(());
        }
    }
    Err(Error::NothingToEnable {
        unit: name.to_string(),
    })
}

/// Removes all links to a unit and those in its `Also=` (`systemctl disable`).
pub fn disable(editor: &mut Editor<'_>, scope: Scope, name: &UnitName) -> Result<()> {
    let names = names_to_remove(editor.fs(), scope, name)?;
    remove_links(editor, scope, names)
}

/// The names of the links that go when a unit is disabled.
fn names_to_remove(
    fs: &dyn FileSystem,
    scope: Scope,
    name: &UnitName,
) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::from([file_name(name)]);
    match find_in(fs, scope, name)? {
        Found::Nothing => {
            return Err(Error::Unknown {
                service: name.to_string(),
            });
        }
        // The link that masks a unit has its name, but does not enable it.
        Found::Masked => names.clear(),
        Found::Dangling(_) => {}
        Found::Unit(unit) => {
            for unit in with_also(fs, unit)? {
                names.insert(file_name(&unit.name));
            }
        }
    }
    Ok(names)
}

/// Makes it impossible to start a unit (`systemctl mask`).
pub fn mask(editor: &mut Editor<'_>, scope: Scope, name: &UnitName) -> Result<()> {
    let path = scope.configuration().child(name.as_str().as_bytes());
    let in_the_way = entry(editor.fs(), &path, LastLink::Keep)?;
    if in_the_way.is_some() && link_target(editor.fs(), &path)?.as_deref() != Some(b"/dev/null") {
        return Err(Error::InTheWay { path });
    }
    editor.mkdir_all(&scope.configuration(), Attributes::default())?;
    Ok(editor.symlink(&path, b"/dev/null")?)
}

/// Undoes [`mask`] (`systemctl unmask`).
pub fn unmask(editor: &mut Editor<'_>, scope: Scope, name: &UnitName) -> Result<()> {
    let path = scope.configuration().child(name.as_str().as_bytes());
    if link_target(editor.fs(), &path)?.as_deref() == Some(b"/dev/null") {
        editor.remove_tree(&path)?;
    }
    Ok(())
}

/// The state of a unit, as in `systemctl is-enabled`.
pub fn state(fs: &dyn FileSystem, scope: Scope, name: &UnitName) -> Result<State> {
    let unit = match find_in(fs, scope, name)? {
        Found::Nothing | Found::Dangling(_) => {
            return Err(Error::Unknown {
                service: name.to_string(),
            });
        }
        Found::Masked => return Ok(State::Masked),
        Found::Unit(unit) => unit,
    };
    if unit.name != *name {
        return Ok(State::Alias);
    }
    let names = links_to(fs, &scope.configuration(), &unit)?;
    let own_names = links::names_of(&unit)?;
    if names.iter().any(|name| own_names.contains(name)) {
        return Ok(State::Enabled);
    }
    if !names.is_empty() {
        return Ok(State::Indirect);
    }
    Ok(if unit.linked {
        State::Linked
    } else if unit.install.is_installable() {
        State::Disabled
    } else if unit.install.also.is_empty() {
        State::Static
    } else {
        State::Indirect
    })
}

fn file_name(name: &UnitName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

fn existing(fs: &dyn FileSystem, scope: Scope, name: &UnitName) -> Result<Unit> {
    match find_in(fs, scope, name)? {
        Found::Unit(unit) => Ok(unit),
        Found::Masked => Err(Error::Masked {
            unit: name.to_string(),
        }),
        Found::Nothing | Found::Dangling(_) => Err(Error::Unknown {
            service: name.to_string(),
        }),
    }
}

/// A unit with all that it names in `Also=`, recursively. Those that are missing or masked are left
/// out, as systemctl does with a warning.
fn with_also(fs: &dyn FileSystem, first: Unit) -> Result<Vec<Unit>> {
    let scope = first.scope;
    let mut seen = BTreeSet::from([first.name.clone()]);
    let mut units = Vec::new();
    let mut pending = VecDeque::from([first]);
    while let Some(unit) = pending.pop_front() {
        for also in &unit.install.also {
            let also = specifier::expand(also, &unit.name).map_err(|unknown| Error::Specifier {
                unit: unit.name.to_string(),
                specifier: unknown.0,
            })?;
            let Some(name) = UnitName::new(&also) else {
                continue;
            };
            if let Found::Unit(other) = find_in(fs, scope, &name)?
                && seen.insert(other.name.clone())
            {
                pending.push_back(other);
            }
        }
        units.push(unit);
    }
    Ok(units)
}

fn make_link(editor: &mut Editor<'_>, scope: Scope, link: &links::UnitLink) -> Result<()> {
    let there = entry(editor.fs(), &link.path, LastLink::Keep)?;
    if let Some((_, file_type)) = there {
        if file_type != FileType::Symlink {
            return Err(Error::InTheWay {
                path: link.path.clone(),
            });
        }
        if leads_to_unit(editor.fs(), scope, &link.path, &link.target)? {
            return Ok(());
        }
        if !link.replaces {
            return Err(Error::InTheWay {
                path: link.path.clone(),
            });
        }
    }
    if let Some(folder) = link.path.parent() {
        editor.mkdir_all(&folder, Attributes::default())?;
    }
    Ok(editor.symlink(&link.path, link.target.as_bytes())?)
}

/// Whether the link at `link` is equivalent to one to `file`: it leads there, or to a file of the
/// same name if both are in the search path.
fn leads_to_unit(
    fs: &dyn FileSystem,
    scope: Scope,
    link: &ImagePath,
    file: &ImagePath,
) -> Result<bool> {
    let leads_to = real_path(fs, link)?;
    let file = real_path(fs, file)?;
    if leads_to == file {
        return Ok(true);
    }
    let directories = search_path(fs, scope)?;
    let in_search_path = |path: &ImagePath| {
        path.parent()
            .is_some_and(|parent| directories.contains(&parent))
    };
    Ok(leads_to.file_name() == file.file_name()
        && in_search_path(&leads_to)
        && in_search_path(&file))
}

/// Where a path leads; if it leads nowhere, as far as it can be followed.
fn real_path(fs: &dyn FileSystem, path: &ImagePath) -> Result<ImagePath> {
    match locate(fs, path, LastLink::Follow) {
        Ok(place) => Ok(place.path),
        Err(tree::Error::NotFound { missing, .. }) => Ok(missing),
        Err(error) => Err(error.into()),
    }
}

/// Removes all links in the configuration directory that have one of `names`, or lead to a file
/// that has one, and those that lead to a removed link; folders that become empty are removed, too.
fn remove_links(editor: &mut Editor<'_>, scope: Scope, mut names: BTreeSet<Vec<u8>>) -> Result<()> {
    let config = scope.configuration();
    loop {
        let mut removed = BTreeSet::new();
        for (folder, name) in configured_links(editor.fs(), &config)? {
            let path = folder.child(&name);
            let target = real_path(editor.fs(), &path)?;
            let target_name = target.file_name().unwrap_or_default();
            let is_unit = std::str::from_utf8(&name)
                .ok()
                .and_then(UnitName::new)
                .is_some();
            if !is_unit || !(names.contains(&name) || names.contains(target_name)) {
                continue;
            }
            editor.remove_tree(&path)?;
            removed.insert(name);
            if folder != config && list(editor.fs(), &folder)?.is_empty() {
                editor.remove_tree(&folder)?;
            }
        }
        let before = names.len();
        names.append(&mut removed);
        if names.len() == before {
            return Ok(());
        }
    }
}

/// The symbolic links in a directory of units and in the folders in it: folder and name.
pub fn configured_links(
    fs: &dyn FileSystem,
    directory: &ImagePath,
) -> Result<Vec<(ImagePath, Vec<u8>)>> {
    let mut links = Vec::new();
    for (name, file_type) in list(fs, directory)? {
        match file_type {
            FileType::Symlink => links.push((directory.clone(), name)),
            FileType::Directory => {
                let folder = directory.child(&name);
                for (inner, inner_type) in list(fs, &folder)? {
                    if inner_type == FileType::Symlink {
                        links.push((folder.clone(), inner));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(links)
}

/// The names of the links below `directory` that lead to a unit, except the one through which its
/// own file is found.
fn links_to(fs: &dyn FileSystem, directory: &ImagePath, unit: &Unit) -> Result<Vec<Vec<u8>>> {
    let file = real_path(fs, &unit.path)?;
    let own_name = file_name(&unit.name);
    let mut names = Vec::new();
    for (folder, name) in configured_links(fs, directory)? {
        let is_own_file = folder == *directory && name == own_name;
        if !is_own_file && real_path(fs, &folder.child(&name))? == file {
            names.push(name);
        }
    }
    Ok(names)
}
