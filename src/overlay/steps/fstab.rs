//! `fstab`: a line of `/etc/fstab`.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_guest::{fstab, known_path};

/// Gives a mount point its line in `/etc/fstab`, replacing an existing one.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Fstab(fstab::Entry);

impl Fstab {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let path = known_path("/etc/fstab");
        let content = context.read_or_empty(&path)?;
        context.rewrite(&path, &fstab::set(&content, &self.0))
    }
}
