//! `chown`: owner and group.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::Account;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::LastLink;

/// Sets owner, group or both of what a path leads to, and of everything below it if it is
/// `recursive`, links included. A file that changes hands loses its set-ID bits and capabilities.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chown {
    path: ImagePath,
    owner: Option<Account>,
    group: Option<Account>,
    #[serde(default)]
    recursive: bool,
}

impl Chown {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        if self.owner.is_none() && self.group.is_none() {
            return Err(Error::Unfit {
                path: self.path.clone(),
                problem: "neither `owner` nor `group` is given".to_owned(),
                hint: None,
            });
        }
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(None, owner, group)?;
        for path in context.paths(&self.path, self.recursive)? {
            let editor = &mut *context.editor;
            editor.set_attributes(&path, LastLink::Keep, attributes)?;
        }
        Ok(())
    }
}
