//! `swap`: a file that the kernel swaps to.

use serde::Deserialize;
use uuid::Uuid;

use super::{Context, Error};
use crate::config::values::ByteSize;
use crate::filesystem::swap::{PAGE_BYTES, header};
use imgasm_fs::FileType;
use imgasm_fs::holes::has_holes;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, At, Attributes, LastLink};
use imgasm_guest::fstab::{self, Entry, Field, MountPoint};
use imgasm_guest::known_path;

/// Makes a file with a swap area, as `mkswap --file` does, and its line in `/etc/fstab`.
///
/// The kernel goes past the filesystem to the blocks of the file, so that there must be no holes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    path: ImagePath,
    size: ByteSize,
    #[serde(default)]
    label: String,
    #[serde(default = "usual_options")]
    options: Field,
}

/// The namespace of the UUIDs: the same file has the same one in every build.
const NAMESPACE: Uuid = Uuid::from_u128(0x7b0f_7a52_3a0c_4a76_9c52_56b6_9d0f_5a11);

fn usual_options() -> Field {
    Field::new("defaults").expect("a constant word")
}

impl Swap {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let size = self.size.0;
        if !size.is_multiple_of(PAGE_BYTES) {
            return Err(self.unfit(format!("{size} bytes are no whole pages of {PAGE_BYTES}")));
        }
        let uuid = Uuid::new_v5(&NAMESPACE, self.path.as_bytes());
        let header = header(size, uuid, self.label.as_bytes());
        let header = header.map_err(|error| self.unfit(error.to_string()))?;
        let owned = Attributes::of_root(0o600);
        if self.is_there(context, &header)? {
            let editor = &mut *context.editor;
            editor.set_attributes(&self.path, LastLink::Keep, owned)?;
        } else {
            context.editor.remove_tree(&self.path)?;
            let editor = &mut *context.editor;
            editor.write(&self.path, LastLink::Keep, &header, owned)?;
            editor.extend_with_zeros(&self.path, size)?;
        }
        self.list(context)
    }

    /// Whether the file is a swap area with this header, without holes.
    fn is_there(&self, context: &Context<'_, '_>, header: &[u8]) -> Result<bool, Error> {
        let fs = context.editor.fs();
        let place = tree::locate(fs, &self.path, LastLink::Keep)?;
        let Some(node) = place.node else {
            return Ok(false);
        };
        let metadata = fs.metadata(node).at("read", &place.path)?;
        match metadata.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(self.unfit("is a directory")),
            _ => return Ok(false),
        }
        if metadata.size != self.size.0 {
            return Ok(false);
        }
        let is_area = tree::holds(fs, node, 0, header).at("read", &place.path)?;
        let has_holes = has_holes(fs, node, metadata.size).at("read", &place.path)?;
        Ok(is_area && !has_holes)
    }

    /// Gives the file its line in `/etc/fstab`.
    fn list(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let device = self.path.to_string();
        let entry = Field::new(&device).zip(MountPoint::new("none"));
        let (device, mount) =
            entry.ok_or_else(|| self.unfit("a path like this cannot stand in /etc/fstab"))?;
        let entry = Entry {
            device,
            mount,
            kind: Field::new("swap").expect("a constant word"),
            options: self.options.clone(),
            dump: 0,
            pass: 0,
        };
        let path = known_path("/etc/fstab");
        let content = context.read_or_empty(&path)?;
        context.rewrite(&path, &fstab::set(&content, &entry))
    }

    fn unfit(&self, problem: impl Into<String>) -> Error {
        Error::Unfit {
            path: self.path.clone(),
            problem: problem.into(),
            hint: None,
        }
    }
}
