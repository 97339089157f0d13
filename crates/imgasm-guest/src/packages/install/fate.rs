//! What becomes of a file where something is there already, and of a file of a package that goes.
//!
//! The rules are RPM's own (`rpmfilesDecideFate`, `rpmfilesConfigConflict`): what an administrator
//! changed is never lost.

use super::super::file_list::{PackagedFile, flags};
use imgasm_fs::FileType;

/// What is done about a file of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It takes the place of what is there.
    Create,
    /// What is there is the same already; it gets the owners, the permissions and the time.
    Touch,
    /// What is there stays.
    Keep,
    /// What is there stays, and the new one goes beside it, with `.rpmnew` behind its name.
    Beside,
    /// What is there is moved aside, with this behind its name.
    MoveAside(&'static str),
}

impl Fate {
    /// Whether the file is written, wherever.
    pub fn is_written(self) -> bool {
        !matches!(self, Self::Touch | Self::Keep)
    }
}

/// What is done about a file of a package that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// It goes; a directory if nothing is in it.
    Erase,
    /// It is moved aside, with `.rpmsave` behind its name.
    Save,
    /// It belongs to another package too, or did not come with this one.
    Keep,
}

/// What is at a file's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub file_type: FileType,
    /// Where it leads, if it is a link.
    pub target: Vec<u8>,
    /// Whether it is a regular file as the new package has it.
    pub is_new: bool,
    /// Whether it is a regular file as the replaced package had it.
    pub is_old: bool,
}

/// What becomes of the new file, where `found` is there, and `old` is the file of an installed
/// package at the same path with whether both packages have the same there. One of the two is a
/// configuration file.
pub fn decide(new: &PackagedFile, found: Option<&Found>, old: (&PackagedFile, bool)) -> Fate {
    if new.is(flags::GHOST) {
        return Fate::Keep;
    }
    let Some(found) = found else {
        // What may be missing does not come back.
        let may_be_missing = new.is(flags::MISSING_OK);
        return if may_be_missing {
            Fate::Keep
        } else {
            Fate::Create
        };
    };
    let (old, is_same) = old;
    let is_alike = new.file_type == old.file_type;
    let (is_old, is_new) = match (old.file_type, found.file_type) {
        (FileType::Regular, FileType::Regular) => (found.is_old, found.is_new && is_alike),
        (FileType::Symlink, FileType::Symlink) => (
            found.target == old.target,
            found.target == new.target && is_alike,
        ),
        (FileType::Regular | FileType::Symlink, _) => (false, false),
        _ => return Fate::Create,
    };
    if is_new {
        Fate::Touch
    } else if is_old {
        Fate::Create
    } else if !new.is(flags::CONFIG) {
        Fate::MoveAside(".rpmsave")
    } else if is_alike && is_same {
        Fate::Keep
    } else if new.is(flags::NO_REPLACE) {
        Fate::Beside
    } else {
        Fate::MoveAside(".rpmsave")
    }
}

/// Whether what is at the path of a configuration file is another than the one of the package, whose
/// `is_new` says so of regular files. Folders are no configuration files.
pub fn is_changed(file: &PackagedFile, found: Option<&Found>) -> bool {
    let is_config =
        file.is(flags::CONFIG) && matches!(file.file_type, FileType::Regular | FileType::Symlink);
    is_config
        && found.is_some_and(|found| {
            // What did not come with the package counts as changed.
            file.is(flags::GHOST)
                || found.file_type != file.file_type
                || match file.file_type {
                    FileType::Regular => !found.is_new,
                    _ => found.target != file.target,
                }
        })
}

/// The fate of a file that no installed package has. What another package of the same transaction has
/// at its path is laid by that one, and `is_shared`.
pub fn of_unknown(new: &PackagedFile, found: Option<&Found>, is_shared: bool) -> Fate {
    if new.is(flags::GHOST) {
        Fate::Keep
    } else if !is_changed(new, found) {
        Fate::Create
    } else if new.is(flags::NO_REPLACE) {
        Fate::Beside
    } else if is_shared {
        Fate::Keep
    } else {
        Fate::MoveAside(".rpmorig")
    }
}
