//! What becomes of a configuration file that is there already.
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
    /// What is there stays.
    Keep,
    /// What is there stays, and the new one goes beside it, with `.rpmnew` behind its name.
    Beside,
    /// What is there is moved aside, with this behind its name.
    MoveAside(&'static str),
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
/// package at the same path with whether both packages have the same there.
pub fn decide(new: &PackagedFile, found: &Found, old: Option<(&PackagedFile, bool)>) -> Fate {
    let Some((old, is_same)) = old else {
        return of_unknown(new, found);
    };
    if (old.flags | new.flags) & flags::CONFIG == 0 || new.file_type == FileType::Directory {
        return Fate::Create;
    }
    let save = if new.is(flags::NO_REPLACE) {
        Fate::Beside
    } else {
        Fate::MoveAside(".rpmsave")
    };
    let comparable = matches!(old.file_type, FileType::Regular | FileType::Symlink);
    if found.file_type != new.file_type && !comparable {
        return save;
    }
    if new.file_type != old.file_type && found.file_type != old.file_type {
        return save;
    }
    if old.file_type != new.file_type || !comparable {
        return Fate::Create;
    }
    let (is_old, is_new) = match old.file_type {
        FileType::Symlink => (found.target == old.target, found.target == new.target),
        _ => (found.is_old, found.is_new),
    };
    if found.file_type == old.file_type && (is_old || is_new) {
        return Fate::Create;
    }
    if is_same { Fate::Keep } else { save }
}

/// The fate of a file that no installed package has.
fn of_unknown(new: &PackagedFile, found: &Found) -> Fate {
    let is_config =
        new.is(flags::CONFIG) && matches!(new.file_type, FileType::Regular | FileType::Symlink);
    let is_same = match (new.file_type, found.file_type) {
        (FileType::Regular, FileType::Regular) => found.is_new,
        (FileType::Symlink, FileType::Symlink) => found.target == new.target,
        _ => false,
    };
    if !is_config || is_same {
        Fate::Create
    } else if new.is(flags::NO_REPLACE) {
        Fate::Beside
    } else {
        Fate::MoveAside(".rpmorig")
    }
}
