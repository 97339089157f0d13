//! Growing a filesystem onto a device that has become larger, as the kernel does it: the last group
//! is completed, and new ones are added behind it.

use std::sync::Arc;

use imgasm_fs::{FileSystem, Result};

use crate::alloc::Allocator;
use crate::alloc::commit::{count_changes, lengthen};
use crate::alloc::fresh::FreshGroup;
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;
use crate::format::superblock::{MIN_GROUP_BLOCKS, Superblock};
use crate::problem::unstorable;
use crate::volume::Volume;
use crate::write::Writer;
use crate::writes::Writes;
use crate::xfs::Xfs;

/// The most groups that a filesystem gets: each has a head to be written now, and to be read whenever
/// it is opened. `mkfs.xfs` makes no more for 16 TiB.
const MAX_GROUPS: u32 = 1 << 20;

/// The size that a filesystem is to have.
struct Target {
    blocks: u64,
    groups: u32,
}

impl Target {
    /// All of a device of `len` bytes, except a rest that is too small for a group; `None` if the
    /// filesystem has that already.
    fn of(geometry: &Geometry, len: u64) -> Result<Option<Self>> {
        let group = u64::from(geometry.group_blocks);
        let blocks = len / u64::from(geometry.block_size);
        let rest = blocks % group;
        let blocks = if rest < MIN_GROUP_BLOCKS {
            blocks - rest
        } else {
            blocks
        };
        if blocks <= geometry.total_blocks {
            return Ok(None);
        }
        let groups = blocks.div_ceil(group);
        let most = geometry.most_groups().min(MAX_GROUPS);
        match u32::try_from(groups) {
            Ok(groups) if groups <= most => Ok(Some(Self { blocks, groups })),
            _ => Err(unstorable(
                format!("an XFS filesystem of {blocks} blocks in groups of {group}"),
                format!("it has {groups} groups, and {most} at most are possible"),
            )),
        }
    }
}

impl Xfs {
    /// Makes the filesystem as large as a device of `len` bytes allows; gives its size in bytes.
    /// What is staged is flushed first.
    pub(crate) fn grow_to(&mut self, len: u64) -> Result<u64> {
        if let Some(target) = Target::of(&self.volume.geometry, len)? {
            self.check_writer()?;
            self.flush()?;
            let mut superblock = self.superblock.clone();
            superblock.raw.sb_dblocks = target.blocks.into();
            superblock.raw.sb_agcount = target.groups.into();
            self.volume = self.change(|writer, before| writer.grow(before, &mut superblock))?;
            self.superblock = superblock;
        }
        let geometry = &self.volume.geometry;
        Ok(geometry.total_blocks * u64::from(geometry.block_size))
    }
}

impl Writer {
    /// Grows the filesystem to the size that `superblock` has by now. Nothing is staged.
    fn grow(&mut self, before: &Volume, superblock: &mut Superblock) -> Result<Volume> {
        let grown = Volume::new(Arc::clone(&before.device), Geometry::of(superblock))?;
        let (old, new) = (&before.geometry, &grown.geometry);
        let mut writes = Writes::default();
        let changes = lengthen(before, &grown, GroupNumber(old.groups - 1), &mut writes)?;
        count_changes(superblock, &changes)?;
        let fresh: u64 = (old.groups..new.groups)
            .map(GroupNumber)
            .map(|number| FreshGroup::new(new, number).free_blocks())
            .sum();
        superblock.raw.sb_fdblocks = (superblock.raw.sb_fdblocks.get() + fresh).into();
        for number in (old.groups..new.groups).map(GroupNumber) {
            let mut sector = vec![0; new.sector_size as usize];
            superblock.encode_into(&mut sector);
            let mut writes = Writes::default();
            FreshGroup::new(new, number).write(new, sector, &mut writes);
            writes.write(&grown.device)?;
        }
        for number in old.group_numbers() {
            let mut sector = grown.read_sector(number, 0)?;
            superblock.encode_into(&mut sector);
            writes.put(grown.sector_offset(number, 0), sector);
        }
        writes.write(&grown.device)?;
        self.allocator = Allocator::new(&grown, superblock)?;
        Ok(grown)
    }
}
