//! Finding unit files in an image.
//!
//! Search path: systemd.unit(5), "Unit File Load Path", without the directories that only a
//! running system has.

use std::collections::BTreeMap;

use super::super::{Error, Result};
use super::install_section::InstallSection;
use super::name::{NameKind, UnitName};
use crate::files::{entry, link_target, list, read_optional};
use crate::known_path;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink, locate};
use imgasm_fs::{FileSystem, FileType};

/// Where the administrator's units and all links lie.
pub const CONFIG_DIRECTORY: &str = "/etc/systemd/system";

/// Which manager's units are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// That of the system.
    #[default]
    System,
    /// Those of all users (`systemctl --global`).
    Users,
}

impl Scope {
    /// Where the administrator's units and all links lie.
    pub fn configuration(self) -> ImagePath {
        known_path(self.folders()[0])
    }

    /// Directories of units, those of the administrator first (systemd.unit(5)).
    const fn folders(self) -> &'static [&'static str] {
        match self {
            Self::System => &[
                CONFIG_DIRECTORY,
                "/usr/local/lib/systemd/system",
                "/usr/lib/systemd/system",
                "/lib/systemd/system",
            ],
            Self::Users => &[
                "/etc/systemd/user",
                "/usr/local/share/systemd/user",
                "/usr/share/systemd/user",
                "/usr/local/lib/systemd/user",
                "/usr/lib/systemd/user",
            ],
        }
    }

    /// Directories of preset files, the administrator's first (systemd.preset(5)).
    pub(super) const fn preset_folders(self) -> &'static [&'static str] {
        match self {
            Self::System => &[
                "/etc/systemd/system-preset",
                "/usr/local/lib/systemd/system-preset",
                "/usr/lib/systemd/system-preset",
                "/lib/systemd/system-preset",
            ],
            Self::Users => &[
                "/etc/systemd/user-preset",
                "/usr/local/lib/systemd/user-preset",
                "/usr/lib/systemd/user-preset",
            ],
        }
    }
}

/// How many aliases may lead to a unit: systemd's own limit.
const MAX_ALIASES: u32 = 64;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No file has the name.
    Nothing,
    /// A link that leads nowhere.
    Dangling(ImagePath),
    /// The unit is masked.
    Masked,
    /// A unit's file.
    Unit(Unit),
}

/// A unit with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name, after aliases were followed.
    pub name: UnitName,
    /// The file, by the path that links to it use: in the search path if it lies there.
    pub path: ImagePath,
    /// Whether the file lies elsewhere and was linked into the search path.
    pub linked: bool,
    /// Whether it was found through an alias among the administrator's links.
    pub by_configured_alias: bool,
    /// What it asks for when it is enabled, with its drop-ins.
    pub install: InstallSection,
    /// Whose unit it is.
    pub scope: Scope,
    /// How many bytes were read of its files.
    pub bytes: u64,
}

impl Unit {
    /// The name of its file: that of the template for an instance.
    pub fn file_name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default()
    }
}

/// The directories in which this image has units, in order. `/lib` is left out if it is only
/// another name for `/usr/lib`.
pub fn search_path(fs: &dyn FileSystem, scope: Scope) -> Result<Vec<ImagePath>> {
    let mut directories = Vec::new();
    let mut real = Vec::new();
    for directory in scope.folders().iter().map(|folder| known_path(folder)) {
        if let Some((place, _)) = entry(fs, &directory, LastLink::Follow)?
            && !real.contains(&place.path)
        {
            real.push(place.path);
            directories.push(directory);
        }
    }
    Ok(directories)
}

/// Finds what `name` leads to in the system, through the aliases that the administrator's links make.
pub fn find(fs: &dyn FileSystem, name: &UnitName) -> Result<Found> {
    find_in(fs, Scope::System, name)
}

/// The same for any manager's units.
pub fn find_in(fs: &dyn FileSystem, scope: Scope, name: &UnitName) -> Result<Found> {
    let directories = search_path(fs, scope)?;
    let mut name = name.clone();
    let mut by_configured_alias = false;
    for _ in 0..MAX_ALIASES {
        match step(fs, &directories, &name)? {
            Step::End(Found::Unit(unit)) => {
                return Ok(Found::Unit(Unit {
                    by_configured_alias,
                    scope,
                    ..unit
                }));
            }
            Step::End(found) => return Ok(found),
            Step::Alias { link, real } => {
                let configured = link.starts_with(&scope.configuration());
                by_configured_alias |= configured;
                name = real;
            }
        }
    }
    Err(Error::AliasLoop {
        unit: name.to_string(),
    })
}

enum Step {
    End(Found),
    /// The link makes the name an alias of another unit.
    Alias {
        link: ImagePath,
        real: UnitName,
    },
}

fn step(fs: &dyn FileSystem, directories: &[ImagePath], name: &UnitName) -> Result<Step> {
    for file_name in [Some(name.clone()), name.template()].into_iter().flatten() {
        for directory in directories {
            let path = directory.child(file_name.as_str().as_bytes());
            let Some((place, file_type)) = entry(fs, &path, LastLink::Keep)? else {
                continue;
            };
            if file_type != FileType::Symlink {
                return load(fs, directories, name, path, false);
            }
            let target = link_target(fs, &path)?.unwrap_or_default();
            if target == b"/dev/null" {
                return Ok(Step::End(Found::Masked));
            }
            let target = absolute_target(fs, &place.path, &target)?;
            let in_search_path = target
                .parent()
                .is_some_and(|parent| directories.contains(&parent));
            let target_name = target
                .file_name()
                .and_then(|bytes| std::str::from_utf8(bytes).ok());
            if !in_search_path {
                return load(fs, directories, name, target, true);
            }
            if target_name == Some(file_name.as_str()) {
                return load(fs, directories, name, target, false);
            }
            let Some(real) = target_name.and_then(UnitName::new) else {
                return Ok(Step::End(Found::Dangling(path)));
            };
            let real = match (name.kind(), real.kind()) {
                (NameKind::Instance(instance), NameKind::Template) => real.with_instance(instance),
                _ => Some(real),
            };
            return Ok(match real {
                Some(real) => Step::Alias { link: path, real },
                None => Step::End(Found::Dangling(path)),
            });
        }
    }
    Ok(Step::End(Found::Nothing))
}

/// Where a link leads by its text; that is not followed further, so that it can be compared with
/// the search path.
fn absolute_target(fs: &dyn FileSystem, link: &ImagePath, target: &[u8]) -> Result<ImagePath> {
    if let Ok(absolute) = ImagePath::parse(target) {
        return Ok(absolute);
    }
    // A relative target may contain `..`, which has to be resolved inside the image.
    match locate(fs, link, LastLink::Follow) {
        Ok(place) => Ok(place.path),
        Err(tree::Error::NotFound { missing, .. }) => Ok(missing),
        Err(error) => Err(error.into()),
    }
}

fn load(
    fs: &dyn FileSystem,
    directories: &[ImagePath],
    name: &UnitName,
    path: ImagePath,
    linked: bool,
) -> Result<Step> {
    let Some(file) = read_optional(fs, &path)? else {
        return Ok(Step::End(Found::Dangling(path)));
    };
    if file.is_empty() {
        return Ok(Step::End(Found::Masked));
    }
    let mut install = InstallSection::default();
    install.read(&file);
    let mut bytes = file.len() as u64;
    for drop_in in drop_ins(fs, directories, name)? {
        let file = read_optional(fs, &drop_in)?.unwrap_or_default();
        bytes += file.len() as u64;
        install.read(&file);
    }
    Ok(Step::End(Found::Unit(Unit {
        name: name.clone(),
        path,
        linked,
        by_configured_alias: false,
        install,
        scope: Scope::default(),
        bytes,
    })))
}

/// The drop-ins of a unit and of its template in the order of their file names; of two with one
/// name, the one in the earlier directory is used.
fn drop_ins(
    fs: &dyn FileSystem,
    directories: &[ImagePath],
    name: &UnitName,
) -> Result<Vec<ImagePath>> {
    let mut folders = Vec::new();
    for owner in [Some(name.clone()), name.template()].into_iter().flatten() {
        let folder = format!("{owner}.d");
        folders.extend(
            directories
                .iter()
                .map(|directory| directory.child(folder.as_bytes())),
        );
    }
    configuration_files(fs, &folders, b".conf")
}

/// The files in `folders` whose name ends in `suffix`, in the order of their names; of two with one
/// name, the one in the earlier folder is used, and none of them if that one is a link to
/// `/dev/null`.
pub fn configuration_files(
    fs: &dyn FileSystem,
    folders: &[ImagePath],
    suffix: &[u8],
) -> Result<Vec<ImagePath>> {
    let mut files: BTreeMap<Vec<u8>, ImagePath> = BTreeMap::new();
    for folder in folders {
        for (name, _) in list(fs, folder)? {
            if name.ends_with(suffix) {
                let path = folder.child(&name);
                files.entry(name).or_insert(path);
            }
        }
    }
    let mut kept = Vec::new();
    for path in files.into_values() {
        if link_target(fs, &path)?.as_deref() != Some(b"/dev/null") {
            kept.push(path);
        }
    }
    Ok(kept)
}
