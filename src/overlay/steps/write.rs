//! `write`: a file with this content.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{Account, Mode};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::LastLink;

/// Creates or replaces a file; if the path is a link, the file that it leads to. Its directory must
/// be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    path: ImagePath,
    content: String,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

impl Write {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(self.mode, owner, group)?;
        let content = self.content.as_bytes();
        let editor = &mut *context.editor;
        Ok(editor.write(&self.path, LastLink::Follow, content, attributes)?)
    }
}
