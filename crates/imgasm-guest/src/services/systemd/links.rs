//! The links through which an enabled unit is found: in `NAME.wants` and the like, and its aliases.

use super::super::{Error, Result};
use super::name::{NameKind, UnitName};
use super::specifier::expand;
use super::units::Unit;
use imgasm_fs::path::ImagePath;

/// A link that enabling a unit makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLink {
    /// Its path.
    pub path: ImagePath,
    /// The unit's file.
    pub target: ImagePath,
    /// Whether it replaces a link that leads elsewhere: an alias does not.
    pub replaces: bool,
}

/// Suffixes of the directories in which a link makes another unit depend on this one.
const DEPENDENCY_SUFFIXES: [&str; 3] = ["wants", "requires", "upholds"];

/// The links that `unit` asks for.
pub fn links_of(unit: &Unit) -> Result<Vec<UnitLink>> {
    let config = unit.scope.configuration();
    let mut links = Vec::new();
    for alias in &unit.install.alias {
        links.push(UnitLink {
            path: alias_path(unit, &expanded(unit, alias)?)?,
            target: unit.path.clone(),
            replaces: false,
        });
    }
    let linked_as = instantiated(unit)?;
    let lists = [
        &unit.install.wanted_by,
        &unit.install.required_by,
        &unit.install.upheld_by,
    ];
    for (list, suffix) in lists.into_iter().zip(DEPENDENCY_SUFFIXES) {
        for dependent in list {
            let dependent = expanded(unit, dependent)?;
            let dependent = UnitName::new(&dependent).ok_or_else(|| invalid(unit, &dependent))?;
            // Only the instances of a template can want a template as such.
            if linked_as.kind() == NameKind::Template && dependent.kind() != NameKind::Template {
                return Err(invalid(unit, dependent.as_str()));
            }
            let folder = config.child(format!("{dependent}.{suffix}").as_bytes());
            links.push(UnitLink {
                path: folder.child(linked_as.as_str().as_bytes()),
                target: unit.path.clone(),
                replaces: true,
            });
        }
    }
    Ok(links)
}

/// The names of links that mean that `unit` itself is enabled.
pub fn names_of(unit: &Unit) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![unit.name.as_str().to_owned()];
    names.push(instantiated(unit)?.to_string());
    for alias in &unit.install.alias {
        names.push(expanded(unit, alias)?);
    }
    Ok(names.into_iter().map(String::into_bytes).collect())
}

/// The name under which others depend on the unit: for a template that of its default instance.
fn instantiated(unit: &Unit) -> Result<UnitName> {
    match (unit.name.kind(), &unit.install.default_instance) {
        (NameKind::Template, Some(instance)) => {
            let instance = expanded(unit, instance)?;
            let name = unit.name.with_instance(&instance);
            name.ok_or_else(|| invalid(unit, &instance))
        }
        _ => Ok(unit.name.clone()),
    }
}

fn expanded(unit: &Unit, text: &str) -> Result<String> {
    expand(text, &unit.name).map_err(|unknown| Error::Specifier {
        unit: unit.name.to_string(),
        specifier: unknown.0,
    })
}

fn invalid(unit: &Unit, value: &str) -> Error {
    Error::InvalidInstall {
        unit: unit.name.to_string(),
        value: value.to_owned(),
    }
}

/// Where the link for an alias goes: beside the units, or, in the old form, in the directory of a
/// dependent unit.
fn alias_path(unit: &Unit, alias: &str) -> Result<ImagePath> {
    let config = unit.scope.configuration();
    if let Some((folder, name)) = alias.split_once('/') {
        let dependent = DEPENDENCY_SUFFIXES
            .iter()
            .find_map(|suffix| folder.strip_suffix(suffix)?.strip_suffix('.'));
        let valid = dependent.is_some_and(|dependent| UnitName::new(dependent).is_some());
        if !valid || name != unit.name.as_str() {
            return Err(invalid(unit, alias));
        }
        return Ok(config.child(folder.as_bytes()).child(name.as_bytes()));
    }
    let name = UnitName::new(alias).ok_or_else(|| invalid(unit, alias))?;
    let name = match (name.kind(), unit.name.kind()) {
        (NameKind::Template, NameKind::Instance(instance)) => name.with_instance(instance),
        (NameKind::Plain, NameKind::Template) => None,
        (NameKind::Instance(_) | NameKind::Template, NameKind::Plain) => None,
        (NameKind::Instance(alias), NameKind::Instance(own)) if alias != own => None,
        _ => Some(name),
    };
    match name {
        Some(name) if name.suffix() == unit.name.suffix() && may_have_aliases(name.suffix()) => {
            Ok(config.child(name.as_str().as_bytes()))
        }
        _ => Err(invalid(unit, alias)),
    }
}

/// Whether units of this type may have several names: systemd.unit(5), "Alias=".
fn may_have_aliases(suffix: &str) -> bool {
    !matches!(suffix, "mount" | "slice" | "swap" | "automount" | "scope")
}
