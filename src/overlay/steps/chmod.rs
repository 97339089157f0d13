//! `chmod`: permissions.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::Mode;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, LastLink};

/// Sets the permissions of what a path leads to, and of everything below it if it is `recursive`.
/// Symbolic links below have none to set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chmod {
    path: ImagePath,
    mode: Mode,
    #[serde(default)]
    recursive: bool,
}

impl Chmod {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let attributes = Attributes {
            permissions: Some(self.mode.0),
            ..Attributes::default()
        };
        for path in context.paths(&self.path, self.recursive)? {
            let editor = &mut *context.editor;
            editor.set_attributes(&path, LastLink::Keep, attributes)?;
        }
        Ok(())
    }
}
