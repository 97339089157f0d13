//! Users and groups that go, as userdel(8) and groupdel(8) remove them.

use super::database::{Database, group, passwd, shadow};
use super::{Error, Result};
use imgasm_fs::tree::Editor;

/// Removes a user, whose home folder stays, and the user's own group; gives whether there was one.
pub fn remove_user(editor: &mut Editor<'_>, name: &str) -> Result<bool> {
    let mut database = Database::load(editor.fs())?;
    let was_there = database.remove_user(name);
    database.save(editor)?;
    Ok(was_there)
}

/// Removes a group; gives whether there was one.
///
/// # Errors
/// [`Error::Primary`] if a user logs in with it, unless `forces` is given.
pub fn remove_group(editor: &mut Editor<'_>, name: &str, forces: bool) -> Result<bool> {
    let mut database = Database::load(editor.fs())?;
    if let Some(gid) = database.gid(name)
        && !forces
        && database.is_primary(gid)
    {
        return Err(Error::Primary(name.to_owned()));
    }
    let was_there = database.remove_group(name);
    database.save(editor)?;
    Ok(was_there)
}

impl Database {
    /// Removes a user from all files, and the group of the same name if it is the user's own; gives
    /// whether there was one (userdel(8)).
    pub(super) fn remove_user(&mut self, name: &str) -> bool {
        let gid = self.passwd.number(name, passwd::GID);
        if !self.passwd.remove(name) {
            return false;
        }
        let others = [&mut self.shadow, &mut self.subuid, &mut self.subgid];
        for file in others.into_iter().flatten() {
            file.remove(name);
        }
        let groups: Vec<_> = self.group.rows().map(|row| row[0].to_vec()).collect();
        for group in groups {
            let group = String::from_utf8_lossy(&group);
            self.group.remove_from_list(&group, group::MEMBERS, name);
            if let Some(gshadow) = &mut self.gshadow {
                gshadow.remove_from_list(&group, shadow::GROUP_MEMBERS, name);
                gshadow.remove_from_list(&group, shadow::ADMINISTRATORS, name);
            }
        }
        if self.defaults.user_groups() && self.gid(name).is_some() && self.gid(name) == gid {
            let row = self.group.row(name).unwrap_or_default();
            let is_empty = row
                .get(group::MEMBERS)
                .is_none_or(|members| members.is_empty());
            if is_empty && gid.is_some_and(|gid| !self.is_primary(gid)) {
                self.remove_group(name);
            }
        }
        true
    }

    /// Removes a group; gives whether there was one.
    pub(super) fn remove_group(&mut self, name: &str) -> bool {
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.remove(name);
        }
        self.group.remove(name)
    }

    /// Whether a group is the one that a user logs in with.
    pub(super) fn is_primary(&self, gid: u32) -> bool {
        self.passwd.numbers(passwd::GID).contains(&gid)
    }
}
