//! Quota files of version 2, revision 1: a header, then a tree of four levels, indexed by the 32
//! bits of an id, whose leaves are blocks of entries. All blocks have 1 KiB. Linux,
//! `fs/quota/quota_tree.h` and `fs/quota/quotaio_v2.h`.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::to_u32;
use super::{put_u16, put_u32, read_u32};
use crate::problem::{Decoded, Problem};
use imgasm_block::bytes::is_zero;

/// Bytes of a block of the file.
const BLOCK_LEN: usize = 1024;
/// Where the tree begins.
const ROOT_BLOCK: u32 = 1;
/// Levels of blocks of references, each indexed by eight bits of the id.
const DEPTH: u32 = 4;
/// Bytes of the header of a block of entries, and of an entry.
const LEAF_HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 72;
/// Entries in a block.
const ENTRIES: usize = (BLOCK_LEN - LEAF_HEADER_LEN) / ENTRY_LEN;
/// `dqh_version`.
const REVISION_1: u32 = 1;
/// Where the header's fields lie behind magic number and version.
const INFO_AT: usize = 8;
const BLOCKS_AT: usize = INFO_AT + 12;
const FREE_BLOCK_AT: usize = INFO_AT + 16;
const FREE_ENTRY_AT: usize = INFO_AT + 20;
/// The longest file that is read; an entry per inode needs no more.
pub const LONGEST_FILE: u64 = 1 << 30;

/// What kind of owner a file counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// Owners'.
    User,
    /// Groups'.
    Group,
    /// Projects'.
    Project,
}

impl QuotaKind {
    /// `dqh_magic`.
    fn magic(self) -> u32 {
        match self {
            Self::User => 0xd9c0_1f11,
            Self::Group => 0xd9c0_1927,
            Self::Project => 0xd9c0_3f14,
        }
    }
}

/// What one id uses and may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// `dqb_curinodes`.
    pub inodes: u64,
    /// `dqb_curspace`, in bytes.
    pub space: u64,
    /// `dqb_ihardlimit` and `dqb_isoftlimit`.
    pub inode_limits: [u64; 2],
    /// `dqb_bhardlimit` and `dqb_bsoftlimit`, in KiB.
    pub space_limits: [u64; 2],
    /// `dqb_btime` and `dqb_itime`.
    pub times: [u64; 2],
}

/// A quota file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaFile {
    /// `dqi_bgrace` and `dqi_igrace`, in seconds, and `dqi_flags`.
    info: [u32; 3],
    /// By id.
    pub quotas: BTreeMap<u32, Quota>,
}

impl QuotaFile {
    /// Decodes a whole file.
    pub fn decode(kind: QuotaKind, file: &[u8]) -> Decoded<Self> {
        let header = file
            .get(..BLOCK_LEN)
            .ok_or_else(|| Problem::new("the quota file has no header"))?;
        let (magic, version) = (read_u32(header, 0), read_u32(header, 4));
        if magic != kind.magic() || version != REVISION_1 {
            return Err(Problem::new(format!(
                "the quota file has magic {magic:#010x} and version {version}, expected {:#010x} \
                 and {REVISION_1}",
                kind.magic()
            )));
        }
        let mut decoded = Self {
            info: [0, 4, 8].map(|at| read_u32(header, INFO_AT + at)),
            quotas: BTreeMap::new(),
        };
        decoded.read_tree(file, ROOT_BLOCK, DEPTH, &mut BTreeSet::new())?;
        Ok(decoded)
    }

    /// Reads what is below a block that lies `levels` above the entries. Each block is visited
    /// once.
    fn read_tree(
        &mut self,
        file: &[u8],
        number: u32,
        levels: u32,
        seen: &mut BTreeSet<u32>,
    ) -> Decoded<()> {
        let start = super::numbers::to_usize(number).checked_mul(BLOCK_LEN);
        let block = start
            .and_then(|start| file.get(start..start.checked_add(BLOCK_LEN)?))
            .ok_or_else(|| Problem::new(format!("the quota file has no block {number}")))?;
        // Several ids share a block of entries, but no two nodes share one.
        if !seen.insert(number) {
            return if levels == 0 {
                Ok(())
            } else {
                Err(Problem::new(format!(
                    "block {number} of the quota file is in its tree twice"
                )))
            };
        }
        if levels == 0 {
            for entry in block[LEAF_HEADER_LEN..].chunks_exact(ENTRY_LEN) {
                if entry.iter().any(|&byte| byte != 0) {
                    self.quotas.insert(read_u32(entry, 0), decode_entry(entry));
                }
            }
            return Ok(());
        }
        for reference in block.chunks_exact(4) {
            match read_u32(reference, 0) {
                0 => {}
                child => self.read_tree(file, child, levels - 1, seen)?,
            }
        }
        Ok(())
    }

    /// The bytes of the file, with as few blocks as possible.
    pub fn encode(&self, kind: QuotaKind) -> Vec<u8> {
        let mut file = vec![0; 2 * BLOCK_LEN];
        let mut leaf = 0;
        for (index, (&id, quota)) in self.quotas.iter().enumerate() {
            let slot = index % ENTRIES;
            if slot == 0 {
                leaf = add_block(&mut file);
            }
            let start = leaf * BLOCK_LEN;
            put_u16(&mut file, start + 8, u16::try_from(slot + 1).expect("few"));
            let at = start + LEAF_HEADER_LEN + slot * ENTRY_LEN;
            encode_entry(id, quota, &mut file[at..at + ENTRY_LEN]);
            refer(&mut file, id, to_u32(leaf));
        }
        let has_room = !self.quotas.len().is_multiple_of(ENTRIES);
        put_u32(&mut file, 0, kind.magic());
        put_u32(&mut file, 4, REVISION_1);
        for (at, value) in [0, 4, 8].into_iter().zip(self.info) {
            put_u32(&mut file, INFO_AT + at, value);
        }
        let blocks = to_u32(file.len() / BLOCK_LEN);
        put_u32(&mut file, BLOCKS_AT, blocks);
        put_u32(&mut file, FREE_BLOCK_AT, 0);
        let free_entry = if has_room { to_u32(leaf) } else { 0 };
        put_u32(&mut file, FREE_ENTRY_AT, free_entry);
        file
    }
}

/// Adds a block at the end; gives its number.
fn add_block(file: &mut Vec<u8>) -> usize {
    let number = file.len() / BLOCK_LEN;
    file.resize(file.len() + BLOCK_LEN, 0);
    number
}

/// Makes the tree lead from an id to the block of its entry.
fn refer(file: &mut Vec<u8>, id: u32, leaf: u32) {
    let mut node = super::numbers::to_usize(ROOT_BLOCK);
    for (level, digit) in (1..=DEPTH).zip(id.to_be_bytes()) {
        let at = node * BLOCK_LEN + usize::from(digit) * 4;
        if level == DEPTH {
            put_u32(file, at, leaf);
            return;
        }
        let child = read_u32(file, at);
        node = if child == 0 {
            let new = add_block(file);
            put_u32(file, at, to_u32(new));
            new
        } else {
            super::numbers::to_usize(child)
        };
    }
}

fn decode_entry(entry: &[u8]) -> Quota {
    let field = |index: usize| {
        let at = 8 + index * 8;
        u64::from(read_u32(entry, at)) | u64::from(read_u32(entry, at + 4)) << 32
    };
    Quota {
        inode_limits: [field(0), field(1)],
        inodes: field(2),
        space_limits: [field(3), field(4)],
        space: field(5),
        times: [field(6), field(7)],
    }
}

fn encode_entry(id: u32, quota: &Quota, entry: &mut [u8]) {
    put_u32(entry, 0, id);
    let fields = [
        quota.inode_limits[0],
        quota.inode_limits[1],
        quota.inodes,
        quota.space_limits[0],
        quota.space_limits[1],
        quota.space,
        quota.times[0],
        quota.times[1],
    ];
    for (place, field) in entry[8..].chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    if is_zero(entry) {
        // An entry of zeros would be a free one: the entry of id 0 gets a time instead, as in the
        // kernel.
        entry[64] = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let quota = |n: u32| Quota {
            inodes: u64::from(n) + 1,
            space: u64::from(n) << 40,
            inode_limits: [7, u64::from(n)],
            ..Quota::default()
        };
        let ids = (0..40).map(|n| n * 37).chain([1 << 24, 1 << 31, u32::MAX]);
        let file = QuotaFile {
            info: [604_800, 604_801, 0],
            quotas: ids.map(|id| (id, quota(id))).collect(),
        };
        let bytes = file.encode(QuotaKind::Group);
        assert_eq!(QuotaFile::decode(QuotaKind::Group, &bytes), Ok(file));
        assert!(QuotaFile::decode(QuotaKind::User, &bytes).is_err());
        assert!(QuotaFile::decode(QuotaKind::Group, &bytes[..3000]).is_err());
    }

    #[test]
    fn a_tree_that_bites_its_tail_ends() {
        let empty = QuotaFile {
            info: [0; 3],
            quotas: BTreeMap::new(),
        };
        let mut bytes = empty.encode(QuotaKind::User);
        put_u32(&mut bytes, BLOCK_LEN, ROOT_BLOCK);
        assert!(QuotaFile::decode(QuotaKind::User, &bytes).is_err());
    }
}
