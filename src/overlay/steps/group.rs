//! `group`: a group that is to be there.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::Id;
use imgasm_guest::users::{GroupSpec, ensure_group};

/// Makes a group as the guest's own groupadd would.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    name: String,
    gid: Option<Id>,
    /// Whether it is the group of a service.
    #[serde(default)]
    system: bool,
}

impl Group {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let group = self.clone();
        let spec = GroupSpec {
            name: group.name,
            gid: group.gid.map(|Id(gid)| gid),
            system: group.system,
        };
        Ok(ensure_group(context.editor, &spec)?)
    }
}
