//! Reading the blocks of a fork that holds metadata.

use imgasm_fs::Result;

use crate::extent_map::ExtentMap;
use crate::format::numbers::{DiskAddress, FileBlock, InodeNumber};
use crate::problem::{corrupt, in_file};
use crate::volume::Volume;

/// A run of a fork's blocks with where it was found.
pub(crate) struct ForkBlocks {
    pub(crate) bytes: Vec<u8>,
    /// Where the first block lies.
    pub(crate) daddr: DiskAddress,
}

/// Reads `count` blocks of a fork from `file_block`, all of which must be there. They need not lie
/// together.
pub(crate) fn read_blocks(
    volume: &Volume,
    inode: InodeNumber,
    map: &ExtentMap,
    file_block: FileBlock,
    count: u32,
) -> Result<ForkBlocks> {
    let bad = |block: FileBlock, problem: &str| corrupt(in_file(inode, block), problem.to_owned());
    let block_len = volume.geometry.block_len();
    let mut bytes = vec![0; block_len * count as usize];
    let end = file_block.plus(u64::from(count));
    let mut next = file_block;
    let mut daddr = None;
    for extent in map.range(file_block, end) {
        if extent.file_block != next || extent.unwritten {
            return Err(bad(next, "the block is missing"));
        }
        let offset = volume.byte_offset(extent.start)?;
        daddr.get_or_insert(DiskAddress::of_byte(offset));
        let from = usize::try_from(next.since(file_block)).expect("below `count`") * block_len;
        let len = usize::try_from(extent.blocks).expect("at most `count`") * block_len;
        volume
            .device
            .read_at(offset, &mut bytes[from..from + len])?;
        next = extent.end();
    }
    match daddr {
        Some(daddr) if next == end => Ok(ForkBlocks { bytes, daddr }),
        _ => Err(bad(next, "the block is missing")),
    }
}
