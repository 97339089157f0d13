//! Storing the state of the groups: their trees are built anew from the records in memory, in the
//! blocks that they already have and as many more as they need.

use std::collections::{BTreeMap, BTreeSet};

use imgasm_fs::{Error, Location, Result};

use crate::ag::{TreeBlocks, read_agi, read_owners};
use crate::alloc::Allocator;
use crate::alloc::chunk_blocks::write_new_inodes;
use crate::alloc::group::Group;
use crate::alloc::trees::write_tree;
use crate::format::ag::sector;
use crate::format::agf::Agf;
use crate::format::agfl;
use crate::format::btree::build::Shape;
use crate::format::btree::records::{
    FreeRecord, InodeRecord, OwnerRecord, RefcountRecord, SizedFreeRecord, owner,
};
use crate::format::btree::{
    FREE_BY_BLOCK, FREE_BY_SIZE, FREE_INODES, INODES, OWNERS, REFCOUNTS, Record,
};
use crate::format::bytes::as_u32;
use crate::format::geometry::CHUNK_INODES;
use crate::format::numbers::{GroupBlock, GroupNumber, InodeNumber};
use crate::format::superblock::Superblock;
use crate::owners::{GroupRecords, runs_of};
use crate::problem::corrupt;
use crate::volume::Volume;
use crate::writes::Writes;

/// The changes to the blocks of inodes.
#[derive(Debug, Default)]
pub(crate) struct OwnerChanges {
    /// Inodes whose earlier records are all void.
    pub(crate) inodes: BTreeSet<InodeNumber>,
    /// Their new records, by group.
    pub(crate) records: GroupRecords,
    /// Whether those are the records of all inodes.
    all: bool,
}

impl OwnerChanges {
    /// The records of all inodes; nothing is staged for copy on write.
    pub(crate) fn all(records: GroupRecords) -> Self {
        Self {
            inodes: BTreeSet::new(),
            records,
            all: true,
        }
    }

    /// Whether earlier records of an owner are void.
    fn voids(&self, owner: u64) -> bool {
        self.inodes.contains(&InodeNumber(owner)) || self.all && owner <= owner::STAGED
    }
}

/// The changes to the superblock's counters.
#[derive(Debug, Default)]
pub(crate) struct CounterChanges {
    pub(crate) free_blocks: i64,
    pub(crate) inodes: i64,
    pub(crate) free_inodes: i64,
}

/// Changes the superblock's counters.
pub(crate) fn count_changes(superblock: &mut Superblock, changes: &CounterChanges) -> Result<()> {
    let raw = &mut superblock.raw;
    for (counter, change) in [
        (&mut raw.sb_fdblocks, changes.free_blocks),
        (&mut raw.sb_icount, changes.inodes),
        (&mut raw.sb_ifree, changes.free_inodes),
    ] {
        let value = counter.get().checked_add_signed(change).ok_or_else(|| {
            corrupt(
                Location::Superblock,
                format!("a counter of {counter} changes by {change}"),
            )
        })?;
        *counter = value.into();
    }
    Ok(())
}

impl Allocator {
    /// Builds all that has changed, into `writes`.
    pub(crate) fn commit(
        &mut self,
        volume: &Volume,
        owners: &OwnerChanges,
        seed: [u8; 16],
        writes: &mut Writes,
    ) -> Result<CounterChanges> {
        let mut counters = CounterChanges::default();
        for (&(number, start), &count) in &self.new_chunks {
            let inodes = self
                .groups
                .get(&number)
                .and_then(|group| group.inodes.as_ref());
            if inodes.is_some_and(|inodes| inodes.chunks.has(start)) {
                write_new_inodes(
                    &volume.geometry,
                    number,
                    start..start.plus(count),
                    seed,
                    writes,
                );
            }
        }
        for group in self.groups.values_mut() {
            let inodes_changed = group.inodes.as_ref().is_some_and(|inodes| inodes.changed);
            if group.changed || inodes_changed {
                commit_group(volume, group, owners, writes, &mut counters)?;
            }
        }
        Ok(counters)
    }
}

/// Adds to a group the blocks by which the filesystem has grown at its end.
pub(crate) fn lengthen(
    before: &Volume,
    grown: &Volume,
    number: GroupNumber,
    writes: &mut Writes,
) -> Result<CounterChanges> {
    let mut counters = CounterChanges::default();
    let (old, new) = (
        before.geometry.group_len(number),
        grown.geometry.group_len(number),
    );
    if new > old {
        let mut group = Group::read(before, number)?;
        group.give(GroupBlock(old), new - old)?;
        group.agf.agf_length = new.into();
        commit_group(
            grown,
            &mut group,
            &OwnerChanges::default(),
            writes,
            &mut counters,
        )?;
        let mut agi = read_agi(before, number)?;
        agi.agi_length = new.into();
        let mut bytes = grown.read_sector(number, sector::AGI)?;
        agi.encode_into(&mut bytes);
        writes.put(grown.sector_offset(number, sector::AGI), bytes);
    }
    Ok(counters)
}

/// Gives a tree as many blocks as it needs.
fn resize(group: &mut Group, blocks: &mut TreeBlocks, needed: usize) -> Result<()> {
    while blocks.len() > needed {
        let block = blocks.pop().expect("there are more than needed");
        group.give(block, 1)?;
    }
    while blocks.len() < needed {
        blocks.push(take_one(group)?);
    }
    Ok(())
}

/// Allocates the first free block of a group, or one from its list if there is no other.
fn take_one(group: &mut Group) -> Result<GroupBlock> {
    if let Some(block) = group.free.find(GroupBlock::FIRST, 1, 1) {
        group.take(block, 1);
        Ok(block)
    } else if let Some(block) = group.list.pop() {
        Ok(block)
    } else {
        Err(Error::NoSpace {
            unit: "blocks",
            needed: 1,
            free: 0,
        })
    }
}

fn commit_group(
    volume: &Volume,
    group: &mut Group,
    owners: &OwnerChanges,
    writes: &mut Writes,
    counters: &mut CounterChanges,
) -> Result<()> {
    let counted = |agf: &Agf| {
        i64::from(agf.agf_freeblks.get())
            + i64::from(agf.agf_flcount.get())
            + i64::from(agf.agf_btreeblks.get())
    };
    let before = counted(&group.agf);
    commit_inodes(volume, group, writes, counters)?;
    commit_shared(volume, group, writes)?;
    if !group.changed {
        return Ok(());
    }
    commit_space(volume, group, owners, writes)?;
    counters.free_blocks += counted(&group.agf) - before;
    let mut bytes = volume.read_sector(group.number, sector::AGF)?;
    group.agf.encode_into(&mut bytes);
    writes.put(volume.sector_offset(group.number, sector::AGF), bytes);
    group.changed = false;
    Ok(())
}

fn commit_inodes(
    volume: &Volume,
    group: &mut Group,
    writes: &mut Writes,
    counters: &mut CounterChanges,
) -> Result<()> {
    let geometry = &volume.geometry;
    let Some(mut inodes) = group.inodes.take_if(|inodes| inodes.changed) else {
        return Ok(());
    };
    let number = group.number;
    let records = inodes.chunks.records();
    let shape = Shape::new::<InodeRecord>(INODES, geometry, records.len(), 1);
    resize(group, &mut inodes.tree, shape.blocks())?;
    let root = write_tree(geometry, number, INODES, &records, &inodes.tree, writes);
    let agi = &mut inodes.agi;
    agi.agi_root = root.block.0.into();
    agi.agi_level = root.levels.into();
    if geometry.features.finobt {
        let records = inodes.chunks.records_with_free();
        let shape = Shape::new::<InodeRecord>(FREE_INODES, geometry, records.len(), 1);
        resize(group, &mut inodes.free_tree, shape.blocks())?;
        let root = write_tree(
            geometry,
            number,
            FREE_INODES,
            &records,
            &inodes.free_tree,
            writes,
        );
        agi.agi_free_root = root.block.0.into();
        agi.agi_free_level = root.levels.into();
    }
    if geometry.features.inobtcount {
        agi.agi_iblocks = as_u32(inodes.tree.len()).into();
        agi.agi_fblocks = as_u32(inodes.free_tree.len()).into();
    }
    let (count, free) = inodes.chunks.counts();
    counters.inodes += i64::from(count) - i64::from(agi.agi_count.get());
    counters.free_inodes += i64::from(free) - i64::from(agi.agi_freecount.get());
    agi.agi_count = count.into();
    agi.agi_freecount = free.into();
    let mut bytes = volume.read_sector(number, sector::AGI)?;
    agi.encode_into(&mut bytes);
    writes.put(volume.sector_offset(number, sector::AGI), bytes);
    group.inodes = Some(inodes);
    Ok(())
}

fn commit_shared(volume: &Volume, group: &mut Group, writes: &mut Writes) -> Result<()> {
    let Some(mut shared) = group.shared.take_if(|shared| shared.runs.is_changed()) else {
        return Ok(());
    };
    let records = shared.runs.records();
    let shape = Shape::new::<RefcountRecord>(REFCOUNTS, &volume.geometry, records.len(), 1);
    resize(group, &mut shared.tree, shape.blocks())?;
    let root = write_tree(
        &volume.geometry,
        group.number,
        REFCOUNTS,
        &records,
        &shared.tree,
        writes,
    );
    group.agf.agf_refcount_root = root.block.0.into();
    group.agf.agf_refcount_level = root.levels.into();
    group.agf.agf_refcount_blocks = as_u32(shared.tree.len()).into();
    group.shared = Some(shared);
    Ok(())
}

/// The trees of free space and of owners. Their own blocks change what they hold, so they are given
/// blocks until they have enough.
fn commit_space(
    volume: &Volume,
    group: &mut Group,
    owners: &OwnerChanges,
    writes: &mut Writes,
) -> Result<()> {
    let geometry = &volume.geometry;
    let number = group.number;
    let (kept, mut owner_tree) = if geometry.features.rmapbt {
        read_owners(volume, number, &group.agf)?
    } else {
        Default::default()
    };
    let list_before = group.list.clone();
    let mut by_block = std::mem::take(&mut group.by_block);
    let mut by_size = std::mem::take(&mut group.by_size);
    let mut shrunk = false;
    let mut records;
    loop {
        let runs = group.free.count();
        let block_need = Shape::new::<FreeRecord>(FREE_BY_BLOCK, geometry, runs, 1).blocks();
        let size_need = Shape::new::<SizedFreeRecord>(FREE_BY_SIZE, geometry, runs, 1).blocks();
        let trees = [&by_block, &by_size, &owner_tree, &group.list];
        records = owner_records(volume, group, &kept, owners, trees);
        let owner_need = if geometry.features.rmapbt {
            Shape::new::<OwnerRecord>(OWNERS, geometry, records.len(), 1).blocks()
        } else {
            0
        };
        let mut trees = [
            (&mut by_block, block_need),
            (&mut by_size, size_need),
            (&mut owner_tree, owner_need),
        ];
        if trees.iter().all(|(blocks, need)| blocks.len() == *need) {
            break;
        }
        for (blocks, need) in &mut trees {
            // Surplus blocks are freed once; after that they go to the list, so that this ends.
            while shrunk && blocks.len() > *need {
                let block = blocks.pop().expect("there are more than needed");
                group.list.push(block);
            }
            resize(group, blocks, *need)?;
        }
        shrunk = true;
    }
    if group.list.len() > agfl::capacity(geometry) {
        return Err(corrupt(
            Location::Group(number.0),
            "the list of free blocks is full",
        ));
    }
    let runs = group.free.records();
    let root = write_tree(geometry, number, FREE_BY_BLOCK, &runs, &by_block, writes);
    group.agf.agf_bno_root = root.block.0.into();
    group.agf.agf_bno_level = root.levels.into();
    let mut sized: Vec<_> = runs.into_iter().map(SizedFreeRecord).collect();
    sized.sort_unstable_by_key(Record::low);
    let root = write_tree(geometry, number, FREE_BY_SIZE, &sized, &by_size, writes);
    group.agf.agf_cnt_root = root.block.0.into();
    group.agf.agf_cnt_level = root.levels.into();
    let mut tree_blocks = by_block.len() + by_size.len() - 2;
    if geometry.features.rmapbt {
        let root = write_tree(geometry, number, OWNERS, &records, &owner_tree, writes);
        group.agf.agf_rmap_root = root.block.0.into();
        group.agf.agf_rmap_level = root.levels.into();
        group.agf.agf_rmap_blocks = as_u32(owner_tree.len()).into();
        tree_blocks += owner_tree.len() - 1;
    }
    group.agf.agf_btreeblks = as_u32(tree_blocks).into();
    group.agf.agf_freeblks = group.free.total().into();
    group.agf.agf_longest = group.free.longest().into();
    group.by_block = by_block;
    group.by_size = by_size;
    if group.list != list_before {
        let mut bytes = volume.read_sector(number, sector::AGFL)?;
        agfl::encode_into(&mut bytes, geometry, &group.list);
        writes.put(volume.sector_offset(number, sector::AGFL), bytes);
        let last = as_u32(group.list.len().max(1) - 1);
        group.agf.agf_flfirst = 0.into();
        group.agf.agf_fllast = last.into();
        group.agf.agf_flcount = as_u32(group.list.len()).into();
    }
    Ok(())
}

/// The owners of the group's blocks now: the earlier records that still hold, and the rest from
/// what has been read of the group and from the changed inodes.
fn owner_records(
    volume: &Volume,
    group: &Group,
    kept: &[OwnerRecord],
    changes: &OwnerChanges,
    space_trees: [&TreeBlocks; 4],
) -> Vec<OwnerRecord> {
    if !volume.geometry.features.rmapbt {
        return Vec::new();
    }
    let mut blocks_of: BTreeMap<u64, TreeBlocks> = BTreeMap::new();
    blocks_of.insert(
        owner::FREE_SPACE,
        space_trees.into_iter().flatten().copied().collect(),
    );
    if let Some(shared) = &group.shared {
        blocks_of.insert(owner::REFCOUNTS, shared.tree.clone());
    }
    if let Some(inodes) = &group.inodes {
        let trees = inodes.tree.iter().chain(&inodes.free_tree).copied();
        blocks_of.insert(owner::INODE_TREES, trees.collect());
        let mut blocks = Vec::new();
        for chunk in inodes.chunks.records() {
            blocks.extend(
                (0..CHUNK_INODES)
                    .filter(|index| chunk.has(*index))
                    .map(|index| volume.geometry.inode_block(chunk.start.plus(index))),
            );
        }
        blocks_of.insert(owner::INODES, blocks);
    }
    let mut records: Vec<OwnerRecord> = kept
        .iter()
        .filter(|record| !blocks_of.contains_key(&record.owner) && !changes.voids(record.owner))
        .copied()
        .collect();
    for (owner, blocks) in blocks_of {
        records.extend(runs_of(owner, blocks));
    }
    let of_inodes = changes.records.get(&group.number);
    records.extend(of_inodes.into_iter().flatten());
    records.sort_unstable_by_key(Record::low);
    records
}
