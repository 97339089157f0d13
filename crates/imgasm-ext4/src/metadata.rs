//! What `stat` reports of a file, and changing it.

use zerocopy::little_endian::U16;

use super::format::device_number;
use super::format::inode::{Inode, TimeField, flags};
use super::format::numbers::{InodeNumber, to_u64};
use crate::problem::at_inode;
use crate::volume::Ext4;
use imgasm_fs::error::Result;
use imgasm_fs::types::{FileType, Metadata, MetadataChange};

/// The bits of a mode that are not the file type.
pub const PERMISSIONS: u16 = 0o7777;

impl Ext4 {
    /// What `stat` reports.
    pub(super) fn stat(&self, number: InodeNumber) -> Result<Metadata> {
        let inode = self.read_inode(number)?;
        let file_type = inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        let size = if file_type == FileType::Symlink && inode.has_flag(flags::ENCRYPT) {
            to_u64(self.symlink_target(number, &inode)?.len())
        } else {
            inode.size()
        };
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        Ok(Metadata {
            file_type,
            permissions: inode.head.i_mode.get() & PERMISSIONS,
            uid: inode.uid(),
            gid: inode.gid(),
            size,
            links: u32::from(inode.head.i_links_count.get()),
            device: is_device.then(|| device_number::decode(&inode.head.i_block)),
            accessed: inode.time(TimeField::Accessed),
            modified: inode.time(TimeField::Modified),
            changed: inode.time(TimeField::Changed),
            created: inode.created(),
        })
    }

    /// Sets some of an inode's times to now.
    pub(super) fn touch(&self, inode: &mut Inode, fields: &[TimeField]) -> Result<()> {
        let now = self.options()?.now;
        for &field in fields {
            inode.set_time(field, now);
        }
        Ok(())
    }

    /// Changes permissions, owner, group or times.
    pub(super) fn change_metadata(
        &mut self,
        number: InodeNumber,
        change: &MetadataChange,
    ) -> Result<()> {
        let mut inode = self.read_inode(number)?;
        if let Some(permissions) = change.permissions {
            let file_type = inode.head.i_mode.get() & !PERMISSIONS;
            inode.head.i_mode = U16::new(file_type | permissions & PERMISSIONS);
        }
        if let Some(uid) = change.uid {
            inode.set_uid(uid);
        }
        if let Some(gid) = change.gid {
            inode.set_gid(gid);
        }
        if let Some(time) = change.accessed {
            inode.set_time(TimeField::Accessed, time);
        }
        if let Some(time) = change.modified {
            inode.set_time(TimeField::Modified, time);
        }
        self.touch(&mut inode, &[TimeField::Changed])?;
        self.write_inode(number, &mut inode)
    }
}
