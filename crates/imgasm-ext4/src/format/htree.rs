//! The hash index of a directory: a root in its first block behind `.` and `..`, nodes below it in
//! further blocks, disguised as blocks with one unused entry, and leaves that are ordinary blocks
//! of entries. Kernel documentation, ext4, "Hash Tree Directories".

use super::checksum::InodeSeed;
use super::numbers::{FileBlock, InodeNumber};
use super::{dirent, put_u16, put_u32, read_u16, read_u32};
use crate::problem::{Decoded, Problem};

/// Where `dx_root_info` lies in the root.
const ROOT_INFO_AT: usize = 0x18;
/// Bytes of `dx_root_info`.
const ROOT_INFO_LEN: u8 = 8;
/// Bytes of an entry, and of the checksum behind the room for entries.
const ENTRY_LEN: usize = 8;
/// The bit of an entry's hash that says that the block before ends with the same hash.
pub const CONTINUED: u32 = 1;

/// Where the entries of an index block begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the root, behind `dx_root_info`.
    Root,
    /// In a node, behind its unused entry.
    Node,
}

impl Place {
    const fn entries_at(self) -> usize {
        match self {
            Self::Root => 0x20,
            Self::Node => 8,
        }
    }

    /// How many entries there is room for in a block.
    pub fn limit(self, block_len: usize, has_checksum: bool) -> usize {
        let tail = if has_checksum { ENTRY_LEN } else { 0 };
        (block_len - self.entries_at() - tail) / ENTRY_LEN
    }
}

/// What `dx_root_info` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootInfo {
    /// Which hash; whether bytes are signed is not part of it.
    pub hash_version: u8,
    /// Levels of nodes between the root and the leaves.
    pub indirect_levels: u8,
}

/// A child of an index block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The smallest hash below it, perhaps with [`CONTINUED`]; 0 for the first.
    pub hash: u32,
    /// Its block in the directory.
    pub block: FileBlock,
}

/// Reads `dx_root_info`.
pub fn root_info(block: &[u8]) -> Decoded<RootInfo> {
    let info = &block[ROOT_INFO_AT..ROOT_INFO_AT + 8];
    if read_u32(info, 0) != 0 || info[5] != ROOT_INFO_LEN || info[7] != 0 {
        return Err(Problem::new(format!(
            "dx_root_info is {info:02x?}, expected reserved 0, length 8 and flags 0"
        )));
    }
    Ok(RootInfo {
        hash_version: info[4],
        indirect_levels: info[6],
    })
}

/// Sets the number of levels between the root and the leaves.
pub fn set_indirect_levels(block: &mut [u8], levels: u8) {
    block[ROOT_INFO_AT + 6] = levels;
}

/// Reads the entries of an index block: at least one, at most as many as there is room for, in
/// the order of their hashes.
pub fn entries(block: &[u8], place: Place, has_checksum: bool) -> Decoded<Vec<IndexEntry>> {
    let at = place.entries_at();
    let (limit, count) = (read_u16(block, at), read_u16(block, at + 2));
    let expected = place.limit(block.len(), has_checksum);
    if usize::from(limit) != expected || count == 0 || count > limit {
        return Err(Problem::new(format!(
            "index block has {count} entries of {limit}, expected 1 to {expected}"
        )));
    }
    let mut entries = Vec::with_capacity(usize::from(count));
    for raw in block[at..].chunks_exact(ENTRY_LEN).take(usize::from(count)) {
        let hash = if entries.is_empty() {
            0
        } else {
            read_u32(raw, 0)
        };
        // The upper bits of the block number are reserved.
        let block = FileBlock(read_u32(raw, 4) & 0x0fff_ffff);
        entries.push(IndexEntry { hash, block });
    }
    if !entries.is_sorted_by_key(|entry| entry.hash) {
        return Err(Problem::new(
            "index entries are not in the order of their hashes",
        ));
    }
    Ok(entries)
}

/// Writes the entries of an index block with their count and limit. Callers have made sure that
/// they fit.
pub fn put_entries(block: &mut [u8], place: Place, has_checksum: bool, entries: &[IndexEntry]) {
    let at = place.entries_at();
    let limit = place.limit(block.len(), has_checksum);
    for (entry, raw) in entries.iter().zip(block[at..].chunks_exact_mut(ENTRY_LEN)) {
        put_u32(raw, 0, entry.hash);
        put_u32(raw, 4, entry.block.0);
    }
    let number = |n: usize| u16::try_from(n).expect("an index block has below 8192 entries");
    put_u16(block, at, number(limit));
    put_u16(block, at + 2, number(entries.len()));
}

/// Makes a block the root of an index, behind `.` and `..`, without entries yet.
pub fn init_root(
    block: &mut [u8],
    itself: InodeNumber,
    parent: InodeNumber,
    file_type: u8,
    hash_version: u8,
) {
    block.fill(0);
    dirent::put_dots(block, false, itself, parent, file_type);
    block[ROOT_INFO_AT + 4] = hash_version;
    block[ROOT_INFO_AT + 5] = ROOT_INFO_LEN;
}

/// Makes a block a node of an index, without entries yet.
pub fn init_node(block: &mut [u8]) {
    block.fill(0);
    let len = block.len();
    dirent::put_unused(block, 0, len);
}

/// Whether a block looks like a node of an index: one unused entry that takes all of it. An empty
/// block of entries without a checksum looks the same; neither holds a name.
pub fn looks_like_node(block: &[u8]) -> bool {
    read_u32(block, 0) == 0
        && matches!(dirent::entries(block).next(), Some(Ok(entry)) if entry.rec_len == block.len())
}

/// Where the checksum lies: behind the room for entries.
fn checksum_at(block: &[u8], place: Place) -> Option<usize> {
    let at = place.entries_at();
    let tail = at + usize::from(read_u16(block, at)) * ENTRY_LEN;
    (tail + ENTRY_LEN <= block.len()).then_some(tail)
}

fn checksum(block: &[u8], place: Place, tail: usize, seed: InodeSeed) -> u32 {
    let at = place.entries_at();
    let used = at + usize::from(read_u16(block, at + 2)) * ENTRY_LEN;
    seed.over(&[&block[..used.min(tail)], &block[tail..tail + 4], &[0; 4]])
}

/// Stores the checksum of an index block.
pub fn set_checksum(block: &mut [u8], place: Place, seed: InodeSeed) {
    if let Some(tail) = checksum_at(block, place) {
        let crc = checksum(block, place, tail, seed);
        put_u32(block, tail + 4, crc);
    }
}

/// Checks the checksum of an index block.
pub fn verify_checksum(block: &[u8], place: Place, seed: InodeSeed) -> Decoded<()> {
    let Some(tail) = checksum_at(block, place) else {
        return Err(Problem::new("index block has no room for its checksum"));
    };
    let (seen, expected) = (
        read_u32(block, tail + 4),
        checksum(block, place, tail, seed),
    );
    if seen == expected {
        Ok(())
    } else {
        Err(Problem::new(format!(
            "index block checksum is {seen:#010x}, computed {expected:#010x}"
        )))
    }
}

/// The index of the child that a hash lies below: the last one whose hash is not greater.
pub fn child_for(entries: &[IndexEntry], hash: u32) -> usize {
    entries.partition_point(|entry| entry.hash <= hash).max(1) - 1
}

/// Whether an index can hold this block number.
pub fn storable(block: FileBlock) -> bool {
    block.0 <= 0x0fff_ffff
}
