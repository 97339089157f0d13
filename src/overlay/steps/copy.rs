//! `copy`: a file or a tree of the overlay.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{Account, Mode, RelativePath};
use crate::fs::path::ImagePath;
use crate::overlay::files::{self, Rendering};

/// Copies a file, link or folder of the overlay to a path in the image.
///
/// Modes come from the host's execute bit, and everything belongs to root, but for what the step
/// gives; a mode that it gives is for files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    from: RelativePath,
    to: ImagePath,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
    #[serde(default)]
    template: bool,
}

impl Copy {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let from = files::host_path(context.folder, self.from.as_path())?;
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(self.mode, owner, group)?;
        let rendering = if self.template {
            Rendering::Template
        } else {
            Rendering::AsItIs
        };
        files::copy(context, &from, &self.to, attributes, rendering)
    }
}
