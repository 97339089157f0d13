//! `user`: a user that is to be there.

use serde::Deserialize;

use super::password::PasswordHash;
use super::{Context, Error};
use crate::config::Id;
use imgasm_fs::tree;
use imgasm_guest::known_path;
use imgasm_guest::users::{UserSpec, ensure_user};

/// Makes a user as the guest's own useradd would, or changes what the keys say about an existing
/// one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    name: String,
    uid: Option<Id>,
    /// The primary group, by name or number.
    group: Option<String>,
    /// Further groups.
    #[serde(default)]
    groups: Vec<String>,
    home: Option<String>,
    shell: Option<String>,
    comment: Option<String>,
    /// Whether it is the account of a service.
    #[serde(default)]
    system: bool,
    create_home: Option<bool>,
    /// The hashed password; a new user without one cannot log in by password.
    password: Option<PasswordHash>,
}

impl User {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let shadow = known_path("/etc/shadow");
        if self.password.is_some() && !tree::exists(context.editor.fs(), &shadow)? {
            return Err(Error::Unfit {
                path: shadow,
                problem: format!(
                    "the image has no such file, in which the password of `{}` belongs",
                    self.name
                ),
                hint: Some("a password in /etc/passwd could be read by everyone"),
            });
        }
        let user = self.clone();
        let spec = UserSpec {
            name: user.name,
            uid: user.uid.map(|Id(uid)| uid),
            group: user.group,
            groups: user.groups,
            home: user.home,
            shell: user.shell,
            comment: user.comment,
            system: user.system,
            create_home: user.create_home,
            password: user.password.map(|hash| hash.as_str().to_owned()),
        };
        Ok(ensure_user(context.editor, &spec, context.now)?)
    }
}
