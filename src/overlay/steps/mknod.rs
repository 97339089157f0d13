//! `mknod`: a device node or a named pipe.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{Account, Mode};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, NodeKind};

/// Makes a device node or a named pipe, replacing a file or link there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mknod {
    path: ImagePath,
    #[serde(rename = "type")]
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Char,
    Block,
    Fifo,
}

impl Mknod {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let device = self.major.zip(self.minor);
        let device = device.map(|(major, minor)| DeviceNumber { major, minor });
        let kind = match (self.kind, device) {
            (Kind::Char, Some(device)) => NodeKind::CharDevice(device),
            (Kind::Block, Some(device)) => NodeKind::BlockDevice(device),
            (Kind::Fifo, None) if self.major.is_none() && self.minor.is_none() => NodeKind::Fifo,
            (Kind::Fifo, _) => return Err(self.unfit("a named pipe has no `major` and `minor`")),
            (_, None) => return Err(self.unfit("a device needs `major` and `minor`")),
        };
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(self.mode, owner, group)?;
        Ok(context.editor.mknod(&self.path, kind, attributes)?)
    }

    fn unfit(&self, problem: &str) -> Error {
        Error::Unfit {
            path: self.path.clone(),
            problem: problem.to_owned(),
            hint: None,
        }
    }
}
