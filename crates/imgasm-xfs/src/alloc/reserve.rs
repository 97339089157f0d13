//! Free blocks that files do not get.
//!
//! The kernel reserves as many blocks of each group as its trees could still need, and a pool of
//! blocks of the whole filesystem. A filesystem that lacks them mounts with a warning, so they are
//! reserved here, too. Nothing on the disk records them.

use crate::format::agf::Agf;
use crate::format::agi::Agi;
use crate::format::btree::records::{InodeRecord, OwnerRecord, RefcountRecord};
use crate::format::btree::{FREE_INODES, Kind, OWNERS, REFCOUNTS, Record};
use crate::format::geometry::Geometry;
use crate::format::numbers::GroupNumber;

/// The most blocks in the pool.
const MAX_POOL: u64 = 8192;
/// The largest share of all blocks that the pool has: one in so many.
const POOL_PART: u64 = 20;
/// The smallest share of a group for the tree of owners: one block in so many.
const OWNERS_PART: u32 = 100;

/// How many blocks are reserved.
#[derive(Debug)]
pub(crate) struct Reserve {
    groups: Vec<u32>,
    pool: u64,
}

impl Reserve {
    /// The pool alone.
    pub(crate) fn new(geometry: &Geometry) -> Self {
        Self {
            groups: Vec::new(),
            pool: (geometry.total_blocks / POOL_PART).min(MAX_POOL),
        }
    }

    /// Adds what the next group's trees could still grow by.
    pub(crate) fn add_group(&mut self, geometry: &Geometry, agf: &Agf, agi: &Agi) {
        let features = geometry.features;
        let blocks = agf.agf_length.get();
        let mut missing = 0;
        if features.finobt {
            let chunks = u64::from(blocks) * u64::from(geometry.inodes_per_block()) / 64;
            let has = if features.inobtcount {
                agi.agi_fblocks.get()
            } else {
                1
            };
            missing += largest::<InodeRecord>(FREE_INODES, geometry, chunks).saturating_sub(has);
        }
        if features.reflink {
            let most = largest::<RefcountRecord>(REFCOUNTS, geometry, u64::from(blocks));
            missing += most.saturating_sub(agf.agf_refcount_blocks.get());
        }
        if features.rmapbt {
            let most = largest::<OwnerRecord>(OWNERS, geometry, u64::from(blocks));
            let most = most.max(blocks / OWNERS_PART);
            missing += most.saturating_sub(agf.agf_rmap_blocks.get());
        }
        self.groups.push(missing.min(blocks));
    }

    /// Blocks reserved in a group.
    pub(crate) fn of_group(&self, group: GroupNumber) -> u32 {
        self.groups.get(group.0 as usize).copied().unwrap_or(0)
    }

    /// Blocks reserved in all.
    pub(crate) fn total(&self) -> u64 {
        self.pool
            + self
                .groups
                .iter()
                .map(|blocks| u64::from(*blocks))
                .sum::<u64>()
    }
}

/// Blocks of a tree whose blocks are all half full.
fn largest<R: Record>(kind: Kind, geometry: &Geometry, records: u64) -> u32 {
    let leaf = (kind.leaf_capacity::<R>(geometry) / 2) as u64;
    let node = (kind.node_capacity::<R>(geometry) / 2) as u64;
    let mut level = records.div_ceil(leaf);
    let mut blocks = level;
    while level > 1 {
        level = level.div_ceil(node);
        blocks += level;
    }
    u32::try_from(blocks).unwrap_or(u32::MAX)
}
