//! `truncate`: the size of a file.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::ByteSize;
use imgasm_fs::path::ImagePath;

/// Gives an existing file exactly this size: truncated, or extended by a hole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncate {
    path: ImagePath,
    size: ByteSize,
}

impl Truncate {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        Ok(context.editor.set_size(&self.path, self.size.0)?)
    }
}
