//! A user that is there, changed as by usermod(8) and gpasswd(1).

use super::database::Database;
use super::{Error, Result, UserSpec, check_fields};
use imgasm_fs::tree::Editor;

/// What is to be changed of a user. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The user, who must be there.
    pub name: String,
    /// Groups that the user becomes a member of; they must be there.
    pub add_groups: Vec<String>,
    /// Groups that the user leaves; they must be there.
    pub remove_groups: Vec<String>,
    /// The primary group, by name or number.
    pub group: Option<String>,
    /// The home folder, which is not moved.
    pub home: Option<String>,
    /// The shell.
    pub shell: Option<String>,
    /// The full name or whatever else stands in that field.
    pub comment: Option<String>,
    /// Whether the password is locked, so that none fits.
    pub locked: Option<bool>,
}

/// Changes a user.
///
/// # Errors
/// [`Error::UnknownUser`] and [`Error::UnknownGroup`]; [`Error::NoPassword`] if the password is to be
/// unlocked and there is none.
pub fn change_user(editor: &mut Editor<'_>, change: &UserChange) -> Result<()> {
    let spec = UserSpec {
        name: change.name.clone(),
        group: change.group.clone(),
        home: change.home.clone(),
        shell: change.shell.clone(),
        comment: change.comment.clone(),
        ..UserSpec::default()
    };
    check_fields(&spec)?;
    let mut database = Database::load(editor.fs())?;
    if database.uid(&change.name).is_none() {
        return Err(Error::UnknownUser(change.name.clone()));
    }
    database.change_user(&spec)?;
    for group in change.add_groups.iter().chain(&change.remove_groups) {
        if database.gid(group).is_none() {
            return Err(Error::UnknownGroup(group.clone()));
        }
    }
    for group in &change.add_groups {
        database.add_member(group, &change.name);
    }
    for group in &change.remove_groups {
        database.remove_member(group, &change.name);
    }
    if let Some(locked) = change.locked {
        database.set_locked(&change.name, locked)?;
    }
    database.save(editor)
}
