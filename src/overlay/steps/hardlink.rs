//! `hardlink`: a further name of a file.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;

/// Makes `path` a further name of the file `target`, replacing a file or link there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardlink {
    path: ImagePath,
    target: ImagePath,
}

impl Hardlink {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        Ok(context.editor.hard_link(&self.path, &self.target)?)
    }
}
