//! Allocation: free blocks, shared blocks and inodes of the groups, kept in memory from the first
//! touch of a group on.
//!
//! - [`free_runs`], [`shared`], [`chunks`]: what a group has, without the trees that hold it.
//! - [`group`]: a group; [`fresh`]: a new one.
//! - [`reserve`]: free blocks that files do not get.
//! - [`chunk_blocks`]: chunks of inodes, made and freed.
//! - [`commit`]: the trees, built anew from the state of the groups; [`trees`], one of them for the
//!   disk.
//! - here: choosing a group and a place.

pub(crate) mod chunk_blocks;
pub(crate) mod chunks;
pub(crate) mod commit;
pub(crate) mod free_runs;
pub(crate) mod fresh;
pub(crate) mod group;
pub(crate) mod reserve;
pub(crate) mod shared;
mod trees;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use imgasm_fs::{Error, Location, Result};

use crate::ag::{read_agf, read_agi};
use crate::alloc::free_runs::FreeRuns;
use crate::alloc::group::Group;
use crate::alloc::reserve::Reserve;
use crate::alloc::shared::SharedRuns;
use crate::format::btree::records::{FreeRecord, RefcountRecord};
use crate::format::extent::Extent;
use crate::format::numbers::{FsBlock, GroupBlock, GroupInode, GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::problem::{corrupt, not_writable};
use crate::volume::Volume;

/// What blocks are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Contents of files and new inodes, which must leave the reserve alone.
    Content,
    /// What is needed to store what has been promised.
    Metadata,
}

/// Where blocks are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// As near to here as possible.
    pub(crate) near: FsBlock,
    /// How many are wanted now.
    pub(crate) blocks: u64,
    /// How many will be wanted in all, for which there should be room in the same run.
    pub(crate) room: u64,
    pub(crate) purpose: Purpose,
}

/// The groups and their totals.
pub(crate) struct Allocator {
    groups: BTreeMap<GroupNumber, Group>,
    /// Free blocks of all groups.
    free: u64,
    reserve: Reserve,
    inodes: u64,
    /// The most inodes that there may be.
    max_inodes: u64,
    /// Chunks and parts of chunks made since the last commit: group, first inode, and how many.
    new_chunks: BTreeMap<(GroupNumber, GroupInode), u32>,
}

impl Allocator {
    /// Reads the heads of all groups, which must agree with the superblock.
    pub(crate) fn new(volume: &Volume, superblock: &Superblock) -> Result<Self> {
        let geometry = &volume.geometry;
        let raw = &superblock.raw;
        let mut reserve = Reserve::new(geometry);
        let (mut free, mut counted) = (0, 0);
        let (mut inodes, mut free_inodes) = (0, 0);
        for number in geometry.group_numbers() {
            let agf = read_agf(volume, number)?;
            let agi = read_agi(volume, number)?;
            let in_group = u64::from(agf.agf_freeblks.get());
            free += in_group;
            counted +=
                in_group + u64::from(agf.agf_flcount.get()) + u64::from(agf.agf_btreeblks.get());
            inodes += u64::from(agi.agi_count.get());
            free_inodes += u64::from(agi.agi_freecount.get());
            reserve.add_group(geometry, &agf, &agi);
        }
        let seen = (
            raw.sb_fdblocks.get(),
            raw.sb_icount.get(),
            raw.sb_ifree.get(),
        );
        if seen != (counted, inodes, free_inodes) {
            return Err(not_writable(format!(
                "the superblock counts {seen:?} free blocks, inodes and free inodes, the groups \
                 {:?}: repair it first (xfs_repair)",
                (counted, inodes, free_inodes)
            )));
        }
        let max_inodes = match u64::from(raw.sb_imax_pct) {
            0 => u64::MAX,
            percent => {
                geometry.total_blocks / 100 * percent * u64::from(geometry.inodes_per_block())
            }
        };
        Ok(Self {
            groups: BTreeMap::new(),
            free,
            reserve,
            inodes,
            max_inodes,
            new_chunks: BTreeMap::new(),
        })
    }

    fn group(&mut self, volume: &Volume, number: GroupNumber) -> Result<&mut Group> {
        Ok(match self.groups.entry(number) {
            Entry::Occupied(group) => group.into_mut(),
            Entry::Vacant(place) => place.insert(Group::read(volume, number)?),
        })
    }

    /// The group of a run of blocks, with the run's first block and length in it.
    fn locate(
        volume: &Volume,
        start: FsBlock,
        blocks: u64,
    ) -> Result<(GroupNumber, GroupBlock, u32)> {
        let geometry = &volume.geometry;
        geometry
            .split(start)
            .filter(|_| geometry.holds(start, blocks))
            .and_then(|(group, block)| Some((group, block, u32::try_from(blocks).ok()?)))
            .ok_or_else(|| corrupt(Location::Block(start.0), "there is no such run of blocks"))
    }

    /// Free blocks of all groups.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.free
    }

    /// The free runs of a group, if it has been read.
    pub(crate) fn free_runs(&self, number: GroupNumber) -> Option<Vec<FreeRecord>> {
        Some(self.groups.get(&number)?.free.records())
    }

    /// Whether an inode is of a chunk that has been made since the last commit.
    pub(crate) fn is_new(&self, volume: &Volume, number: InodeNumber) -> bool {
        let located = volume.geometry.split_inode(number);
        located.is_some_and(|(group, inode)| {
            let below = self.new_chunks.range(..=(group, inode)).next_back();
            below.is_some_and(|((home, start), count)| {
                *home == group && inode.since(*start) < *count
            })
        })
    }

    /// Checks that `blocks` blocks are available for contents.
    pub(crate) fn check_room(&self, blocks: u64) -> Result<()> {
        let free = self.free.saturating_sub(self.reserve.total());
        if blocks <= free {
            Ok(())
        } else {
            Err(Error::NoSpace {
                unit: "blocks",
                needed: blocks,
                free,
            })
        }
    }

    /// Allocates a run of at least one of the wanted blocks. Even metadata is taken from the
    /// reserve only if there is nothing else, because the kernel complains about a group without
    /// its reserve.
    pub(crate) fn allocate(&mut self, volume: &Volume, wish: &Wish) -> Result<(FsBlock, u64)> {
        let limit = |blocks: u64| {
            u32::try_from(blocks.min(Extent::MAX_BLOCKS)).expect("extents have 21 bits of length")
        };
        let (want, room) = (limit(wish.blocks), limit(wish.room));
        let purposes: &[Purpose] = match wish.purpose {
            Purpose::Content => {
                self.check_room(u64::from(want))?;
                &[Purpose::Content]
            }
            Purpose::Metadata => &[Purpose::Content, Purpose::Metadata],
        };
        for purpose in purposes {
            if let Some(run) = self.allocate_for(volume, wish.near, want, room, *purpose)? {
                return Ok(run);
            }
        }
        Err(Error::NoSpace {
            unit: "blocks",
            needed: wish.blocks,
            free: self.free,
        })
    }

    /// Allocates a run of the blocks that a purpose may use, if there are any.
    fn allocate_for(
        &mut self,
        volume: &Volume,
        near: FsBlock,
        want: u32,
        room: u32,
        purpose: Purpose,
    ) -> Result<Option<(FsBlock, u64)>> {
        let geometry = &volume.geometry;
        let (home, near) = geometry.split(near).unwrap_or_default();
        let at_near = self.group(volume, home)?.free.run_from(near);
        if at_near >= want && self.usable(home, purpose) >= want {
            return Ok(Some(self.take(volume, home, near, want)));
        }
        let mut best = None;
        for number in geometry.group_numbers_from(home) {
            let near = if number == home {
                near
            } else {
                GroupBlock::FIRST
            };
            let free = &self.group(volume, number)?.free;
            let place = free.find(near, room, 1);
            let longest = free.longest();
            let usable = self.usable(number, purpose);
            if let Some(place) = place.filter(|_| usable >= room) {
                return Ok(Some(self.take(volume, number, place, want)));
            }
            let len = longest.min(usable);
            if len > 0 && best.is_none_or(|(_, most)| len > most) {
                best = Some((number, len));
            }
        }
        let Some((number, len)) = best else {
            return Ok(None);
        };
        let free = &self.group(volume, number)?.free;
        let place = free.find(near, len.min(want), 1).or(free.longest_start());
        let place = place.expect("the group has a run of this length");
        Ok(Some(self.take(volume, number, place, len.min(want))))
    }

    /// How many free blocks of a group that has been read a purpose may use.
    fn usable(&self, number: GroupNumber, purpose: Purpose) -> u32 {
        let free = self.groups[&number].free.total();
        match purpose {
            Purpose::Content => free.saturating_sub(self.reserve.of_group(number)),
            Purpose::Metadata => free,
        }
    }

    fn take(
        &mut self,
        volume: &Volume,
        number: GroupNumber,
        start: GroupBlock,
        len: u32,
    ) -> (FsBlock, u64) {
        let group = self
            .groups
            .get_mut(&number)
            .expect("the group has been read");
        group.take(start, len);
        self.free -= u64::from(len);
        (volume.geometry.fs_block(number, start), u64::from(len))
    }

    /// Frees blocks that nothing else has.
    pub(crate) fn free(&mut self, volume: &Volume, start: FsBlock, blocks: u64) -> Result<()> {
        let (group, start, len) = Self::locate(volume, start, blocks)?;
        self.group(volume, group)?.give(start, len)?;
        self.free += u64::from(len);
        Ok(())
    }

    /// Releases a file's hold on blocks of its content, which others may share.
    pub(crate) fn free_content(
        &mut self,
        volume: &Volume,
        start: FsBlock,
        blocks: u64,
    ) -> Result<()> {
        if !volume.geometry.features.reflink {
            return self.free(volume, start, blocks);
        }
        let (group, start, len) = Self::locate(volume, start, blocks)?;
        let freed = self.group(volume, group)?.give_shared(volume, start, len)?;
        self.free += u64::from(freed);
        Ok(())
    }

    /// How many blocks from `start` on are alike, and whether they are shared.
    pub(crate) fn shared_run(
        &mut self,
        volume: &Volume,
        start: FsBlock,
        blocks: u64,
    ) -> Result<(u64, bool)> {
        if !volume.geometry.features.reflink {
            return Ok((blocks, false));
        }
        let (group, start, len) = Self::locate(volume, start, blocks)?;
        let shared = self.group(volume, group)?.shared(volume)?;
        let (len, is_shared) = shared.runs.run_from(start, len);
        Ok((u64::from(len), is_shared))
    }

    /// Notes that the records of the owners of a group's blocks have changed.
    pub(crate) fn touch(&mut self, volume: &Volume, block: FsBlock) -> Result<()> {
        let (group, ..) = Self::locate(volume, block, 1)?;
        self.group(volume, group)?.changed = true;
        Ok(())
    }

    /// Notes that a group has no more unlinked inodes that are in use.
    pub(crate) fn clear_unlinked(&mut self, volume: &Volume, number: GroupNumber) -> Result<()> {
        let inodes = self.group(volume, number)?.inodes(volume)?;
        inodes.agi.agi_unlinked = [GroupInode::NONE.0.into(); 64];
        inodes.changed = true;
        Ok(())
    }

    /// Makes these blocks of a group the free and the shared ones, whatever its trees hold.
    pub(crate) fn replace(
        &mut self,
        volume: &Volume,
        number: GroupNumber,
        free: &[FreeRecord],
        shared: &[RefcountRecord],
    ) -> Result<()> {
        let group = self.group(volume, number)?;
        group.free = FreeRuns::new(free);
        group.changed = true;
        if volume.geometry.features.reflink {
            group.shared(volume)?.runs = SharedRuns::changed(shared);
        }
        Ok(())
    }

    /// Whether there is such an inode, in use or not.
    pub(crate) fn has_inode(&mut self, volume: &Volume, number: InodeNumber) -> Result<bool> {
        let Some((group, inode)) = volume.geometry.split_inode(number) else {
            return Ok(false);
        };
        let inodes = self.group(volume, group)?.inodes(volume)?;
        Ok(inodes.chunks.has(inode))
    }

    /// Frees an inode.
    pub(crate) fn free_inode(&mut self, volume: &Volume, number: InodeNumber) -> Result<()> {
        let bad = |problem: &str| corrupt(Location::Inode(number.0), problem);
        let (group, inode) = volume
            .geometry
            .split_inode(number)
            .ok_or_else(|| bad("there is no such inode"))?;
        let inodes = self.group(volume, group)?.inodes(volume)?;
        inodes.changed = true;
        if inodes.chunks.give(inode) {
            Ok(())
        } else {
            Err(bad("it is freed, but was not in use"))
        }
    }
}
