//! `mkdir`: a directory and those above it.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{Account, Mode};
use imgasm_fs::path::ImagePath;

/// Makes a directory, along with missing ones above it; the attributes are for the last one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mkdir {
    path: ImagePath,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

impl Mkdir {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(self.mode, owner, group)?;
        Ok(context.editor.mkdir_all(&self.path, attributes)?)
    }
}
