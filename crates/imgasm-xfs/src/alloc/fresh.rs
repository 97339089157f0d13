//! A new group: its head and the roots of its trees, where `mkfs.xfs` and a kernel that grows a
//! filesystem put them.

use std::ops::Range;

use crate::alloc::free_runs::FreeRuns;
use crate::alloc::trees::write_tree;
use crate::format::ag::sector;
use crate::format::agf::Agf;
use crate::format::agfl;
use crate::format::agi::Agi;
use crate::format::btree::records::{
    FreeRecord, InodeRecord, OwnerRecord, RefcountRecord, SizedFreeRecord, owner,
};
use crate::format::btree::{
    FREE_BY_BLOCK, FREE_BY_SIZE, FREE_INODES, INODES, Kind, OWNERS, REFCOUNTS, Record,
};
use crate::format::bytes::as_u32;
use crate::format::geometry::{CHUNK_INODES, Geometry};
use crate::format::numbers::{GroupBlock, GroupInode, GroupNumber};
use crate::owners::runs_of;
use crate::writes::Writes;

/// Where the roots of a new group's trees lie, one block per root: behind the head, in this order.
struct Roots {
    by_block: GroupBlock,
    by_size: GroupBlock,
    inodes: GroupBlock,
    free_inodes: Option<GroupBlock>,
    owners: Option<GroupBlock>,
    shared: Option<GroupBlock>,
    /// The first block behind them.
    end: GroupBlock,
}

impl Roots {
    fn of(geometry: &Geometry) -> Self {
        let features = geometry.features;
        let by_block = GroupBlock(geometry.head_blocks());
        let (by_size, inodes) = (by_block.plus(1), by_block.plus(2));
        let mut end = by_block.plus(3);
        let mut next = |there: bool| {
            there.then(|| {
                let root = end;
                end = end.plus(1);
                root
            })
        };
        let free_inodes = next(features.finobt);
        let owners = next(features.rmapbt);
        let shared = next(features.reflink);
        Self {
            by_block,
            by_size,
            inodes,
            free_inodes,
            owners,
            shared,
            end,
        }
    }
}

/// The first block of a new group behind its head and its trees.
pub(crate) fn first_free(geometry: &Geometry) -> GroupBlock {
    Roots::of(geometry).end
}

/// How many blocks a group whose trees have one level keeps on its list (`xfs_alloc_min_freelist`):
/// for each tree of free space and of owners, as many as it has levels after a split.
fn list_len(geometry: &Geometry) -> u32 {
    let group = geometry.group_blocks;
    let split = |levels: u32| levels.min(2);
    let by_block = split(most_levels::<FreeRecord>(
        FREE_BY_BLOCK,
        geometry,
        group.div_ceil(2),
    ));
    let owners = if geometry.features.rmapbt {
        split(most_levels::<OwnerRecord>(OWNERS, geometry, group))
    } else {
        0
    };
    2 * by_block + owners
}

/// The levels of a tree whose blocks are all half full.
fn most_levels<R: Record>(kind: Kind, geometry: &Geometry, records: u32) -> u32 {
    let mut levels = 1;
    let mut blocks = (records as usize).div_ceil(kind.leaf_capacity::<R>(geometry) / 2);
    while blocks > 1 {
        blocks = blocks.div_ceil(kind.node_capacity::<R>(geometry) / 2);
        levels += 1;
    }
    levels
}

/// A new group.
pub(crate) struct FreshGroup {
    number: GroupNumber,
    roots: Roots,
    free: FreeRuns,
    /// The list of free blocks for the trees.
    list: Vec<GroupBlock>,
    log: Option<Range<GroupBlock>>,
    chunks: Vec<InodeRecord>,
}

impl FreshGroup {
    /// A group whose blocks are all free, except those of its head and its trees.
    pub(crate) fn new(geometry: &Geometry, number: GroupNumber) -> Self {
        let roots = Roots::of(geometry);
        let free = FreeRecord {
            start: roots.end,
            len: geometry.group_len(number) - roots.end.0,
        };
        Self {
            number,
            free: FreeRuns::new(&[free]),
            roots,
            list: Vec::new(),
            log: None,
            chunks: Vec::new(),
        }
    }

    /// Puts the log into the group, which has room for it there.
    pub(crate) fn put_log(&mut self, blocks: Range<GroupBlock>) {
        self.free.take(blocks.start, blocks.end.since(blocks.start));
        self.log = Some(blocks);
    }

    /// Fills the list of free blocks, as far as there is room. A kernel does that later, when it
    /// first needs the list.
    pub(crate) fn fill_list(&mut self, geometry: &Geometry) {
        let len = list_len(geometry);
        if let Some(start) = self.free.find(self.roots.end, len, 1) {
            self.free.take(start, len);
            self.list = (0..len).map(|n| start.plus(n)).collect();
        }
    }

    /// Makes the first inodes of the group, the first `used` of them in use, at a multiple of `align`
    /// blocks; false if there is no room.
    #[must_use]
    pub(crate) fn make_inodes(&mut self, geometry: &Geometry, align: u32, used: u32) -> bool {
        let inodes = CHUNK_INODES.max(geometry.inodes_per_block());
        let blocks = inodes / geometry.inodes_per_block();
        let behind = self.list.last().map_or(self.roots.end, |last| last.plus(1));
        let near = GroupBlock(behind.0.next_multiple_of(align));
        let Some(block) = self.free.find(near, blocks, align) else {
            return false;
        };
        self.free.take(block, blocks);
        let first = geometry.first_inode(block);
        for start in (0..inodes).step_by(CHUNK_INODES as usize) {
            let mut chunk = InodeRecord::free(first.plus(start));
            if start == 0 {
                chunk.free <<= used;
                chunk.free_count -= u8::try_from(used).expect("a chunk has 64 inodes");
            }
            self.chunks.push(chunk);
        }
        true
    }

    /// Free blocks as the superblock counts them, including those on the list.
    pub(crate) fn free_blocks(&self) -> u64 {
        u64::from(self.free.total()) + self.list.len() as u64
    }

    /// The inodes of the group.
    pub(crate) fn inodes(&self) -> Range<GroupInode> {
        let first = self
            .chunks
            .first()
            .map(|chunk| chunk.start)
            .unwrap_or_default();
        first..first.plus(as_u32(self.chunks.len()) * CHUNK_INODES)
    }

    /// Lays out the head and the trees. `superblock` is the sector of the superblock's copy.
    pub(crate) fn write(&self, geometry: &Geometry, superblock: Vec<u8>, writes: &mut Writes) {
        let mut put = |sector: u32, bytes: Vec<u8>| {
            let at = u64::from(sector) * u64::from(geometry.sector_size);
            writes.put(
                geometry.byte_offset(self.number, GroupBlock::FIRST) + at,
                bytes,
            );
        };
        put(0, superblock);
        put(sector::AGF, self.agf(geometry));
        put(sector::AGI, self.agi(geometry));
        put(
            sector::AGFL,
            agfl::new_sector(geometry, self.number, &self.list),
        );
        self.write_trees(geometry, writes);
    }

    fn agf(&self, geometry: &Geometry) -> Vec<u8> {
        let mut agf = Agf::new(geometry, self.number);
        agf.agf_bno_root = self.roots.by_block.0.into();
        agf.agf_cnt_root = self.roots.by_size.0.into();
        agf.agf_bno_level = 1.into();
        agf.agf_cnt_level = 1.into();
        if let Some(root) = self.roots.owners {
            agf.agf_rmap_root = root.0.into();
            agf.agf_rmap_level = 1.into();
            agf.agf_rmap_blocks = 1.into();
        }
        if let Some(root) = self.roots.shared {
            agf.agf_refcount_root = root.0.into();
            agf.agf_refcount_level = 1.into();
            agf.agf_refcount_blocks = 1.into();
        }
        agf.agf_flfirst = as_u32(agfl::FIRST_SLOT).into();
        agf.agf_fllast = as_u32(agfl::FIRST_SLOT + self.list.len() - 1).into();
        agf.agf_flcount = as_u32(self.list.len()).into();
        agf.agf_freeblks = self.free.total().into();
        agf.agf_longest = self.free.longest().into();
        let mut bytes = vec![0; geometry.sector_size as usize];
        agf.encode_into(&mut bytes);
        bytes
    }

    fn agi(&self, geometry: &Geometry) -> Vec<u8> {
        let mut agi = Agi::new(geometry, self.number);
        let inodes = self.inodes();
        let free = self.chunks.iter().map(|chunk| u32::from(chunk.free_count));
        agi.agi_count = inodes.end.since(inodes.start).into();
        agi.agi_freecount = free.sum::<u32>().into();
        if let Some(chunk) = self.chunks.first() {
            agi.agi_newino = chunk.start.0.into();
        }
        agi.agi_root = self.roots.inodes.0.into();
        agi.agi_level = 1.into();
        if let Some(root) = self.roots.free_inodes {
            agi.agi_free_root = root.0.into();
            agi.agi_free_level = 1.into();
        }
        if geometry.features.inobtcount {
            agi.agi_iblocks = 1.into();
            agi.agi_fblocks = u32::from(self.roots.free_inodes.is_some()).into();
        }
        let mut bytes = vec![0; geometry.sector_size as usize];
        agi.encode_into(&mut bytes);
        bytes
    }

    fn write_trees(&self, geometry: &Geometry, writes: &mut Writes) {
        let (number, roots) = (self.number, &self.roots);
        let runs = self.free.records();
        let mut sized: Vec<_> = runs.iter().copied().map(SizedFreeRecord).collect();
        sized.sort_unstable_by_key(Record::low);
        write_tree(
            geometry,
            number,
            FREE_BY_BLOCK,
            &runs,
            &[roots.by_block],
            writes,
        );
        write_tree(
            geometry,
            number,
            FREE_BY_SIZE,
            &sized,
            &[roots.by_size],
            writes,
        );
        write_tree(
            geometry,
            number,
            INODES,
            &self.chunks,
            &[roots.inodes],
            writes,
        );
        if let Some(root) = roots.free_inodes {
            write_tree(geometry, number, FREE_INODES, &self.chunks, &[root], writes);
        }
        if let Some(root) = roots.owners {
            write_tree(
                geometry,
                number,
                OWNERS,
                &self.owners(geometry),
                &[root],
                writes,
            );
        }
        if let Some(root) = roots.shared {
            write_tree::<RefcountRecord>(geometry, number, REFCOUNTS, &[], &[root], writes);
        }
    }

    /// The owners of the blocks that are not free.
    fn owners(&self, geometry: &Geometry) -> Vec<OwnerRecord> {
        let roots = &self.roots;
        let mut space = vec![roots.by_block, roots.by_size];
        space.extend(roots.owners);
        space.extend(&self.list);
        let mut inode_trees = vec![roots.inodes];
        inode_trees.extend(roots.free_inodes);
        let inodes = self.inodes();
        let inode_blocks = geometry.inode_block(inodes.start).0..geometry.inode_block(inodes.end).0;
        let mut records = [
            runs_of(
                owner::HEADS,
                (0..roots.by_block.0).map(GroupBlock).collect(),
            ),
            runs_of(owner::FREE_SPACE, space),
            runs_of(owner::INODE_TREES, inode_trees),
            runs_of(owner::REFCOUNTS, roots.shared.into_iter().collect()),
            runs_of(owner::INODES, inode_blocks.map(GroupBlock).collect()),
        ]
        .concat();
        records.extend(self.log.as_ref().map(|log| OwnerRecord {
            start: log.start,
            owner: owner::LOG,
            offset: 0,
            len: log.end.since(log.start),
        }));
        records.sort_unstable_by_key(Record::low);
        records
    }
}
