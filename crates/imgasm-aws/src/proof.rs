//! Which blocks of a snapshot are read back before it is taken for a disk.
//!
//! A tag says what somebody meant a snapshot to be; its blocks say what it is. The import service,
//! too, has been seen to mount what it imports and to write into it.

use std::collections::BTreeSet;

use crate::blocks::{delta, full};
use imgasm_block::{ChunkMap, Digest};

/// How much is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// What differs from the base, the first blocks, and some of the rest.
    Auto,
    /// Everything.
    Full,
    /// Nothing.
    Off,
}

/// The blocks that are read in any case: partition tables and boot code lie here, and the superblock
/// of the first filesystem, which whoever mounts it to write into it changes.
const FIRST_BLOCKS: u64 = 32;

/// How many of the rest are read.
const SAMPLE: usize = 128;

/// What is known of a snapshot and of the disk that it is to be.
pub struct Question<'a> {
    /// The disk.
    pub disk: &'a ChunkMap,
    /// What the disk was made from, if that is known.
    pub base: Option<&'a ChunkMap>,
    /// Blocks that EBS has taken from this run or one before it, by their checksums.
    pub proven: &'a BTreeSet<u64>,
}

impl Question<'_> {
    /// The blocks that must be in a snapshot and are not: such a block would not read as the disk.
    pub fn missing(&self, listed: &BTreeSet<u64>) -> Option<u64> {
        let mut chunks = self.disk.chunks().iter();
        let missing = chunks.find(|chunk| !listed.contains(&chunk.index));
        missing.map(|chunk| chunk.index)
    }

    /// The blocks to read of those that a snapshot lists. `seed` decides on the sample.
    pub fn to_read(&self, proof: Proof, listed: &BTreeSet<u64>, seed: &[u8]) -> BTreeSet<u64> {
        let candidates = listed.difference(self.proven).copied();
        match proof {
            Proof::Off => BTreeSet::new(),
            Proof::Full => candidates.collect(),
            Proof::Auto => {
                let changed = match self.base {
                    Some(base) => delta(self.disk, base),
                    None => full(self.disk),
                };
                let changed: BTreeSet<u64> = changed.iter().map(|block| block.index).collect();
                let is_certain = |index: &u64| *index < FIRST_BLOCKS || changed.contains(index);
                let (mut chosen, rest): (BTreeSet<u64>, Vec<u64>) = (
                    candidates.clone().filter(is_certain).collect(),
                    candidates.filter(|index| !is_certain(index)).collect(),
                );
                chosen.extend(sample(rest, seed));
                chosen
            }
        }
    }

    /// What a block must read as; `None` stands for zeros.
    pub fn expected(&self, index: u64) -> Option<Digest> {
        self.disk.get(index)
    }
}

/// Some of these, of which nobody knows which without the seed.
fn sample(mut all: Vec<u64>, seed: &[u8]) -> Vec<u64> {
    let rank = |index: &u64| Digest::of(&[seed, &index.to_le_bytes()].concat());
    all.sort_by_cached_key(|index| *rank(index).as_bytes());
    all.truncate(SAMPLE);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgasm_block::{CHUNK_BYTES, Chunk};

    fn map(chunks: &[(u64, &[u8])]) -> ChunkMap {
        let mut builder = imgasm_block::ChunkMapBuilder::new();
        let mut at = 0;
        for (index, bytes) in chunks {
            builder.push_zeros((index - at) * CHUNK_BYTES);
            let mut chunk = bytes.to_vec();
            chunk.resize(usize::try_from(CHUNK_BYTES).unwrap(), 0);
            builder.push(&chunk);
            at = index + 1;
        }
        builder.push_zeros((4000 - at) * CHUNK_BYTES);
        builder.finish()
    }

    #[test]
    fn what_differs_from_the_base_is_read_and_some_of_the_rest() {
        let rest: Vec<(u64, &[u8])> = (100..1100).map(|index| (index, &b"base"[..])).collect();
        let base = map(&rest);
        let mut changed = rest.clone();
        changed[500].1 = b"changed";
        changed.push((3000, b"new"));
        let disk = map(&changed);
        let listed: BTreeSet<u64> = disk
            .chunks()
            .iter()
            .map(|chunk: &Chunk| chunk.index)
            .collect();
        let mut listed = listed;
        // What the disk has as zeros, and one of the first.
        listed.extend([7, 3500]);
        let proven = BTreeSet::from([3000]);
        let question = Question {
            disk: &disk,
            base: Some(&base),
            proven: &proven,
        };
        assert_eq!(question.missing(&listed), None);
        let auto = question.to_read(Proof::Auto, &listed, b"seed");
        assert!(auto.contains(&600) && auto.contains(&7) && !auto.contains(&3000));
        assert_eq!(auto.len(), SAMPLE + 2);
        assert_ne!(auto, question.to_read(Proof::Auto, &listed, b"other"));
        assert_eq!(
            question.to_read(Proof::Full, &listed, b"").len(),
            listed.len() - 1
        );
        assert!(question.to_read(Proof::Off, &listed, b"").is_empty());
        listed.remove(&600);
        assert_eq!(question.missing(&listed), Some(600));
        // Without a base, all that holds data is its difference.
        let alone = Question {
            base: None,
            ..question
        };
        assert!(alone.to_read(Proof::Auto, &listed, b"").len() >= 1000);
    }
}
