//! `move`: another path for a file or a tree.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;

/// Moves a file or a tree to exactly the path given, replacing a file there. If it has been moved
/// before, nothing is left to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    from: ImagePath,
    to: ImagePath,
}

impl Move {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        Ok(context.editor.rename(&self.from, &self.to)?)
    }
}
