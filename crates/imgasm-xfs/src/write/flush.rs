//! From memory to the device: everything is laid out first, then written.

use imgasm_fs::Result;

use crate::alloc::Allocator;
use crate::alloc::commit::{OwnerChanges, count_changes};
use crate::format::features::version;
use crate::format::inode::encode;
use crate::format::numbers::{GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::format::superblock::quota;
use crate::inode;
use crate::owners::add_inode;
use crate::volume::Volume;
use crate::write::Writer;
use crate::writes::Writes;

impl Writer {
    /// Writes all that has changed.
    pub(crate) fn flush(&mut self, volume: &Volume, superblock: &mut Superblock) -> Result<()> {
        if self.staged.is_empty() && self.freed.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        self.allocator.drop_empty_chunks(volume)?;
        let numbers: Vec<InodeNumber> = self.staged.keys().copied().collect();
        for number in numbers {
            self.settle(volume, number, &mut writes)?;
        }
        for (number, core) in &self.freed {
            if self.allocator.has_inode(volume, *number)? {
                let bytes = encode(&volume.geometry, core, &[], &[]);
                writes.put(inode::byte_offset(volume, *number)?, bytes);
            }
        }
        let owners = self.owner_changes(volume)?;
        let counters = self
            .allocator
            .commit(volume, &owners, self.options.seed, &mut writes)?;
        let has_attributes = self
            .staged
            .values()
            .any(|staged| staged.inode.attributes.is_some());
        let mut next = superblock.clone();
        count_changes(&mut next, &counters)?;
        if has_attributes {
            let bits = next.raw.sb_versionnum.get() | version::ATTRIBUTES;
            next.raw.sb_versionnum = bits.into();
        }
        // The usage of users, groups and projects is not counted here: the kernel counts it anew.
        let counted = next.raw.sb_qflags.get() & !quota::CHECKED;
        next.raw.sb_qflags = counted.into();
        let mut sector = volume.read_sector(GroupNumber::FIRST, 0)?;
        next.encode_into(&mut sector);
        writes.put(0, sector);
        writes.write(&volume.device)?;
        *superblock = next;
        self.allocator = Allocator::new(volume, superblock)?;
        self.staged.clear();
        self.freed.clear();
        Ok(())
    }

    /// The owners of the blocks of changed inodes, for filesystems that store owners.
    fn owner_changes(&self, volume: &Volume) -> Result<OwnerChanges> {
        let mut changes = OwnerChanges::default();
        if !volume.geometry.features.rmapbt {
            return Ok(changes);
        }
        changes.inodes.extend(self.freed.keys());
        for (&number, staged) in &self.staged {
            changes.inodes.insert(number);
            add_inode(volume, &staged.inode, &mut changes.records)?;
        }
        Ok(changes)
    }
}
