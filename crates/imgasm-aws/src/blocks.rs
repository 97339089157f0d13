//! Which blocks make a snapshot what a disk is.

use sha2::{Digest as _, Sha256};

use imgasm_block::{CHUNK_BYTES, ChunkChange, ChunkMap, Digest};

/// A block that a snapshot gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Its offset over 512 KiB.
    pub index: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// The digest of a block of zeros.
pub fn zero_digest() -> Digest {
    let len = usize::try_from(CHUNK_BYTES).expect("a small constant");
    Digest::of(&vec![0; len])
}

/// The blocks that make an empty snapshot one with this content: those that hold data.
pub fn full(map: &ChunkMap) -> Vec<Block> {
    let chunks = map.chunks().iter();
    chunks
        .map(|chunk| Block {
            index: chunk.index,
            digest: chunk.digest,
        })
        .collect()
}

/// All blocks of a disk, zeros too: blocks that were never written read back as anything in an
/// encrypted snapshot.
pub fn every(map: &ChunkMap) -> Vec<Block> {
    let zero = zero_digest();
    (0..map.device_len().div_ceil(CHUNK_BYTES))
        .map(|index| Block {
            index,
            digest: map.get(index).unwrap_or(zero),
        })
        .collect()
}

/// The blocks that make a snapshot with the content `base` one with this.
pub fn delta(map: &ChunkMap, base: &ChunkMap) -> Vec<Block> {
    let zero = zero_digest();
    let changes = map.changes_since(base).into_iter();
    changes
        .map(|change| match change {
            ChunkChange::Data(chunk) => Block {
                index: chunk.index,
                digest: chunk.digest,
            },
            ChunkChange::Zero(index) => Block {
                index,
                digest: zero,
            },
        })
        .collect()
}

/// EBS's checksum over the blocks that were sent: SHA-256 over their SHA-256s in order
/// (`CompleteSnapshot`, `LINEAR`).
pub fn linear_checksum(blocks: &[Block]) -> Digest {
    let mut hasher = Sha256::new();
    for block in blocks {
        hasher.update(block.digest.as_bytes());
    }
    Digest::finish(hasher)
}
