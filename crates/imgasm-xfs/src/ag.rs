//! The allocation groups: their heads, and what their trees hold, checked against the heads.

use imgasm_fs::{Location, Result};

use crate::btree::{Home, Tree, read};
use crate::format::ag::sector;
use crate::format::agf::Agf;
use crate::format::agfl;
use crate::format::agi::Agi;
use crate::format::btree::records::{
    FreeRecord, InodeRecord, OwnerRecord, RefcountRecord, SizedFreeRecord,
};
use crate::format::btree::{
    FREE_BY_BLOCK, FREE_BY_SIZE, FREE_INODES, INODES, Kind, MAX_LEVELS, OWNERS, REFCOUNTS, Record,
};
use crate::format::geometry::CHUNK_INODES;
use crate::format::numbers::{GroupBlock, GroupInode, GroupNumber};
use crate::problem::corrupt;
use crate::volume::Volume;

/// Reads and checks the head of a group's free space.
pub(crate) fn read_agf(volume: &Volume, group: GroupNumber) -> Result<Agf> {
    Agf::decode(
        &volume.read_sector(group, sector::AGF)?,
        &volume.geometry,
        group,
    )
    .map_err(|problem| corrupt(Location::Group(group.0), format!("AGF: {problem}")))
}

/// Reads and checks the head of a group's inodes.
pub(crate) fn read_agi(volume: &Volume, group: GroupNumber) -> Result<Agi> {
    Agi::decode(
        &volume.read_sector(group, sector::AGI)?,
        &volume.geometry,
        group,
    )
    .map_err(|problem| corrupt(Location::Group(group.0), format!("AGI: {problem}")))
}

/// Blocks of a group's tree.
pub(crate) type TreeBlocks = Vec<GroupBlock>;

/// Reads one tree of a group.
fn read_tree<R: Record>(
    volume: &Volume,
    kind: Kind,
    group: GroupNumber,
    root: GroupBlock,
    levels: u32,
) -> Result<(Vec<R>, TreeBlocks)> {
    let level = u16::try_from(levels)
        .ok()
        .and_then(|levels| levels.checked_sub(1))
        .filter(|level| *level < MAX_LEVELS)
        .ok_or_else(|| {
            corrupt(
                Location::Group(group.0),
                format!("{}: {levels} levels", kind.name),
            )
        })?;
    let Tree { records, blocks } = read(
        volume,
        kind,
        Home::Group(group),
        vec![u64::from(root.0)],
        level,
    )?;
    let blocks = blocks
        .into_iter()
        .map(|block| volume.geometry.split(block).expect("it has been read").1)
        .collect();
    Ok((records, blocks))
}

/// A group's free space.
pub(crate) struct FreeSpace {
    pub(crate) agf: Agf,
    /// Free runs by block.
    pub(crate) runs: Vec<FreeRecord>,
    pub(crate) by_block_blocks: TreeBlocks,
    pub(crate) by_size_blocks: TreeBlocks,
    /// The list of free blocks for the trees.
    pub(crate) list: Vec<GroupBlock>,
}

/// Reads a group's free space: both trees, which must agree with each other and with the head.
pub(crate) fn read_free_space(volume: &Volume, group: GroupNumber) -> Result<FreeSpace> {
    let bad = |problem: String| corrupt(Location::Group(group.0), problem);
    let agf = read_agf(volume, group)?;
    let sector = volume.read_sector(group, sector::AGFL)?;
    let list = agfl::decode(&sector, &volume.geometry, group, &agf)
        .map_err(|problem| bad(format!("AGFL: {problem}")))?;
    let (runs, by_block_blocks) = read_tree::<FreeRecord>(
        volume,
        FREE_BY_BLOCK,
        group,
        GroupBlock(agf.agf_bno_root.get()),
        agf.agf_bno_level.get(),
    )?;
    let (sized, by_size_blocks) = read_tree::<SizedFreeRecord>(
        volume,
        FREE_BY_SIZE,
        group,
        GroupBlock(agf.agf_cnt_root.get()),
        agf.agf_cnt_level.get(),
    )?;
    let mut end = GroupBlock::FIRST;
    let mut free = 0;
    for run in &runs {
        let behind = volume.geometry.run_end(group, run.start, run.len);
        end = behind
            .filter(|_| run.len > 0 && run.start >= end)
            .ok_or_else(|| bad(format!("bnobt: {run:?} after one that ends at {end}")))?;
        free += u64::from(run.len);
    }
    let longest = runs.iter().map(|run| run.len).max().unwrap_or(0);
    if free != u64::from(agf.agf_freeblks.get()) || longest != agf.agf_longest.get() {
        return Err(bad(format!(
            "AGF: {} free blocks, {} in the longest run; the tree has {free} and {longest}",
            agf.agf_freeblks, agf.agf_longest
        )));
    }
    let mut expected: Vec<_> = runs.iter().copied().map(SizedFreeRecord).collect();
    expected.sort_by_key(Record::low);
    if expected != sized {
        return Err(bad(
            "cntbt: it does not hold what the bnobt holds".to_owned()
        ));
    }
    Ok(FreeSpace {
        agf,
        runs,
        by_block_blocks,
        by_size_blocks,
        list,
    })
}

/// A group's inode chunks.
pub(crate) struct InodeChunks {
    pub(crate) agi: Agi,
    pub(crate) chunks: Vec<InodeRecord>,
    pub(crate) tree_blocks: TreeBlocks,
    /// Blocks of the tree of chunks with free inodes; empty if the filesystem has none.
    pub(crate) free_tree_blocks: TreeBlocks,
}

/// Reads a group's inode chunks: the tree of all chunks and the tree of those with free inodes,
/// which must agree with each other and with the head.
pub(crate) fn read_inode_chunks(volume: &Volume, group: GroupNumber) -> Result<InodeChunks> {
    let geometry = &volume.geometry;
    let bad = |problem: String| corrupt(Location::Group(group.0), problem);
    let agi = read_agi(volume, group)?;
    let (chunks, tree_blocks) = read_tree::<InodeRecord>(
        volume,
        INODES,
        group,
        GroupBlock(agi.agi_root.get()),
        agi.agi_level.get(),
    )?;
    let mut end = GroupInode::FIRST;
    let (mut count, mut free) = (0u32, 0u32);
    for chunk in &chunks {
        let last = GroupInode(chunk.start.0.saturating_add(CHUNK_INODES - 1));
        if chunk.start < end || !geometry.has_block(group, geometry.inode_block(last)) {
            return Err(bad(format!("inobt: chunk {} after {end}", chunk.start)));
        }
        end = last.plus(1);
        count += u32::from(chunk.count);
        free += u32::from(chunk.free_count);
    }
    if count != agi.agi_count.get() || free != agi.agi_freecount.get() {
        return Err(bad(format!(
            "AGI: {} inodes, {} free; the tree has {count} and {free}",
            agi.agi_count, agi.agi_freecount
        )));
    }
    let free_tree_blocks = if geometry.features.finobt {
        let (with_free, blocks) = read_tree::<InodeRecord>(
            volume,
            FREE_INODES,
            group,
            GroupBlock(agi.agi_free_root.get()),
            agi.agi_free_level.get(),
        )?;
        let expected = chunks.iter().filter(|chunk| chunk.free_count > 0);
        if !with_free.iter().eq(expected) {
            return Err(bad(
                "finobt: it does not hold the chunks with free inodes".to_owned()
            ));
        }
        blocks
    } else {
        TreeBlocks::new()
    };
    Ok(InodeChunks {
        agi,
        chunks,
        tree_blocks,
        free_tree_blocks,
    })
}

/// Reads a group's shared blocks.
pub(crate) fn read_refcounts(
    volume: &Volume,
    group: GroupNumber,
    agf: &Agf,
) -> Result<(Vec<RefcountRecord>, TreeBlocks)> {
    let (records, blocks) = read_tree::<RefcountRecord>(
        volume,
        REFCOUNTS,
        group,
        GroupBlock(agf.agf_refcount_root.get()),
        agf.agf_refcount_level.get(),
    )?;
    let mut end = (false, GroupBlock::FIRST);
    for record in &records {
        let least = if record.staged { 1 } else { 2 };
        let behind = volume
            .geometry
            .run_end(group, record.start, record.len)
            .filter(|_| record.len > 0 && record.low() >= end && record.count >= least)
            .ok_or_else(|| {
                corrupt(
                    Location::Group(group.0),
                    format!("refcountbt: {record:?} after one that ends at {}", end.1),
                )
            })?;
        end = (record.staged, behind);
    }
    Ok((records, blocks))
}

/// Reads the owners of a group's blocks.
pub(crate) fn read_owners(
    volume: &Volume,
    group: GroupNumber,
    agf: &Agf,
) -> Result<(Vec<OwnerRecord>, TreeBlocks)> {
    let (records, blocks) = read_tree::<OwnerRecord>(
        volume,
        OWNERS,
        group,
        GroupBlock(agf.agf_rmap_root.get()),
        agf.agf_rmap_level.get(),
    )?;
    let outside = |record: &&OwnerRecord| {
        let end = volume.geometry.run_end(group, record.start, record.len);
        record.len == 0 || end.is_none()
    };
    if let Some(record) = records.iter().find(outside) {
        return Err(corrupt(
            Location::Group(group.0),
            format!("rmapbt: {record:?}"),
        ));
    }
    Ok((records, blocks))
}
