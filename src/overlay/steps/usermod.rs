//! `usermod`: a user that is there, changed.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_guest::users::{UserChange, change_user};

/// Changes a user that the image has, as usermod and gpasswd do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usermod {
    name: String,
    /// Groups that the user becomes a member of; they must be there.
    #[serde(default)]
    add_groups: Vec<String>,
    /// Groups that the user leaves.
    #[serde(default)]
    remove_groups: Vec<String>,
    /// The primary group, by name or number.
    group: Option<String>,
    home: Option<String>,
    shell: Option<String>,
    comment: Option<String>,
    /// Whether no password fits; `false` makes the password that was locked fit again.
    locked: Option<bool>,
}

impl Usermod {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let change = self.clone();
        let change = UserChange {
            name: change.name,
            add_groups: change.add_groups,
            remove_groups: change.remove_groups,
            group: change.group,
            home: change.home,
            shell: change.shell,
            comment: change.comment,
            locked: change.locked,
        };
        Ok(change_user(context.editor, &change)?)
    }
}
