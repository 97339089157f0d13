//! `symlink`: a symbolic link.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::values::Line;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

/// Makes a symbolic link, replacing a file or link there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    path: ImagePath,
    target: Line,
    /// Whether the target must be there.
    #[serde(default)]
    must_exist: bool,
}

impl Symlink {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let target = self.target.as_str();
        if target.is_empty() {
            return Err(Error::Unfit {
                path: self.path.clone(),
                problem: "a link needs a target".to_owned(),
                hint: None,
            });
        }
        context.editor.symlink(&self.path, target.as_bytes())?;
        if self.must_exist && !tree::exists(context.editor.fs(), &self.path)? {
            return Err(Error::Unfit {
                path: self.path.clone(),
                problem: format!("the target {target} does not exist in the image"),
                hint: Some("without `must_exist` the link may lead nowhere"),
            });
        }
        Ok(())
    }
}
