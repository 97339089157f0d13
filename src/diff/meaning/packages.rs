//! Which packages were added, removed and updated.

use super::{Facts, differing};
use crate::diff::change::FieldChange;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::{chain, name_text};
use imgasm_guest::known_path;
use imgasm_guest::packages::database::{FOLDERS, dpkg, side_file};
use imgasm_guest::packages::{self, Package};

/// A database of packages that a filesystem may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Database {
    /// RPM's, several files in one folder, and what imgasm keeps beside it.
    Rpm,
    /// dpkg's, the status file.
    Dpkg,
}

impl Database {
    /// The database that a path belongs to, if it belongs to one.
    pub(super) fn of(path: &ImagePath) -> Option<Self> {
        if path.as_bytes() == dpkg::PATH.as_bytes() {
            return Some(Self::Dpkg);
        }
        let is_in_folder = |folder| path.parent().as_ref() == Some(&known_path(folder));
        (FOLDERS.into_iter().any(is_in_folder) || *path == side_file::path()).then_some(Self::Rpm)
    }

    /// The packages that differ. If one side cannot be read, the reason, and the number of packages
    /// on the other side.
    pub(super) fn compare(self, old: &dyn FileSystem, new: &dyn FileSystem) -> Vec<FieldChange> {
        let read = |fs| match self {
            Self::Rpm => packages::open_rpm(fs),
            Self::Dpkg => packages::open_dpkg(fs),
        };
        match (read(old), read(new)) {
            (Ok(old), Ok(new)) => differing(&facts(old.as_deref()), &facts(new.as_deref())),
            (old, new) => {
                let says = |packages: Result<Option<Vec<Package>>, packages::Error>| match packages
                {
                    Ok(packages) => packages.map(|packages| packages.len().to_string()),
                    Err(error) => {
                        let why = chain(&error);
                        Some(name_text(format!("cannot be read: {why}").as_bytes()))
                    }
                };
                vec![FieldChange {
                    name: "packages".to_owned(),
                    old: says(old),
                    new: says(new),
                }]
            }
        }
    }
}

/// The versions of each package, of which several may be installed beside each other.
fn facts(packages: Option<&[Package]>) -> Facts {
    let mut facts = Facts::new();
    for package in packages.unwrap_or_default() {
        let mut name = format!("package {}", package.name);
        if let Some(arch) = &package.arch {
            name = format!("{name} {arch}");
        }
        let version = name_text(package.full_version().as_bytes());
        facts
            .entry(name_text(name.as_bytes()))
            .and_modify(|versions| *versions = format!("{versions}, {version}"))
            .or_insert(version);
    }
    facts
}
