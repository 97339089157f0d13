//! The block groups' descriptors in memory.

use super::format::checksum::FsSeed;
use super::format::geometry::Geometry;
use super::format::group::GroupDescriptor;
use super::format::numbers::{GroupNumber, to_usize};
use crate::problem::Problem;
use imgasm_block::BlockDevice;
use imgasm_fs::error::{Location, Result};

/// A group: its descriptor, and which of its bitmaps have changed, so that their checksums in the
/// descriptor are stale.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The descriptor as it is to be written.
    pub descriptor: GroupDescriptor,
    /// Whether the bitmap of blocks was changed since the last flush.
    pub blocks_changed: bool,
    /// Whether the bitmap of inodes was.
    pub inodes_changed: bool,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    all: Vec<Group>,
    /// Groups whose descriptor does not match its checksum.
    doubtful: Vec<(GroupNumber, Problem)>,
    changed: bool,
}

impl Groups {
    /// Reads and checks the descriptor table.
    pub fn load(
        device: &dyn BlockDevice,
        geometry: &Geometry,
        seed: FsSeed,
        uuid: &[u8; 16],
    ) -> Result<Self> {
        let features = geometry.features();
        let mut all = Vec::with_capacity(to_usize(geometry.group_count));
        let mut doubtful = Vec::new();
        let mut table = vec![0; geometry.block_size.len()];
        for index in 0..geometry.descriptor_blocks() {
            let block = geometry.descriptor_block(index);
            device.read_at(geometry.block_size.offset_of(block), &mut table)?;
            for place in table.chunks_exact(usize::from(geometry.desc_size)) {
                let number = GroupNumber(super::format::numbers::to_u32(all.len()));
                if number.0 == geometry.group_count {
                    break;
                }
                check(geometry, number, &GroupDescriptor::decode(place))
                    .map_err(|p| p.at(Location::Group(number.0)))?;
                if let Err(problem) = GroupDescriptor::verify(place, number, features, seed, uuid) {
                    doubtful.push((number, problem));
                }
                all.push(Group {
                    descriptor: GroupDescriptor::decode(place),
                    blocks_changed: false,
                    inodes_changed: false,
                });
            }
        }
        Ok(Self {
            all,
            doubtful,
            changed: false,
        })
    }

    /// The groups whose descriptor does not match its checksum: with one of those, a filesystem can
    /// be read but must not be written.
    pub fn doubtful(&self) -> &[(GroupNumber, Problem)] {
        &self.doubtful
    }

    /// A descriptor.
    pub fn get(&self, group: GroupNumber) -> &GroupDescriptor {
        &self.all[to_usize(group.0)].descriptor
    }

    /// All descriptors, in the order of the groups.
    pub fn iter(&self) -> impl Iterator<Item = &GroupDescriptor> {
        self.all.iter().map(|group| &group.descriptor)
    }

    /// A group as it is now.
    pub fn state(&self, group: GroupNumber) -> Group {
        self.all[to_usize(group.0)]
    }

    /// Adds a group behind the last one.
    pub fn push(&mut self, descriptor: GroupDescriptor) {
        self.all.push(Group {
            descriptor,
            blocks_changed: false,
            inodes_changed: false,
        });
        self.changed = true;
    }

    /// Whether a descriptor or a bitmap was changed since the last flush.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Notes that all descriptors and bitmaps have been written.
    pub fn settle(&mut self) {
        for group in &mut self.all {
            (group.blocks_changed, group.inodes_changed) = (false, false);
        }
        self.changed = false;
    }

    /// A group to be changed.
    pub fn change(&mut self, group: GroupNumber) -> &mut Group {
        let place = &mut self.all[to_usize(group.0)];
        self.changed = true;
        place
    }

    /// A descriptor to be changed.
    pub fn change_descriptor(&mut self, group: GroupNumber) -> &mut GroupDescriptor {
        &mut self.change(group).descriptor
    }
}

/// Checks that a group's structures lie inside the filesystem and that its counts are possible.
fn check(
    geometry: &Geometry,
    group: GroupNumber,
    descriptor: &GroupDescriptor,
) -> Result<(), Problem> {
    let places = [
        ("block bitmap", descriptor.block_bitmap(), 1),
        ("inode bitmap", descriptor.inode_bitmap(), 1),
        (
            "inode table",
            descriptor.inode_table(),
            u64::from(geometry.inode_table_blocks),
        ),
    ];
    for (what, block, len) in places {
        if !geometry.contains(block, len) {
            return Err(Problem::new(format!(
                "{what} is at {block}, outside the filesystem of {} blocks",
                geometry.blocks_count
            )));
        }
    }
    let limits = [
        (
            "free blocks",
            descriptor.free_blocks_count(),
            geometry.clusters_in_group(group),
        ),
        (
            "free inodes",
            descriptor.free_inodes_count(),
            geometry.inodes_per_group,
        ),
        (
            "directories",
            descriptor.used_dirs_count(),
            geometry.inodes_per_group,
        ),
        (
            "unused inodes",
            descriptor.itable_unused(),
            geometry.inodes_per_group,
        ),
    ];
    for (what, seen, most) in limits {
        if seen > most {
            return Err(Problem::new(format!(
                "it says {seen} {what}, at most {most} are possible"
            )));
        }
    }
    Ok(())
}
