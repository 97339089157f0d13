//! The moments at which a structure changes its form on the disk: two below and two above each,
//! reached from below, from above and at once. Every case ends with `xfs_repair`, a kernel that sees
//! what it should and removes everything, and `xfs_repair` once more.
//!
//! - [`directories`]: names in the inode, in a block, below a leaf, below nodes.
//! - [`attributes`]: in the inode, in a leaf, below nodes, in blocks of their own.
//! - [`trees`]: extents of files, free space, inodes, owners and shares.
//!
//! `IMGASM_FORMS_ROUNDS` is how many further geometries are drawn (default 0), from the seed
//! `IMGASM_FORMS_SEED` (1) on; with it the large directories are tried, too.

mod attributes;
mod directories;
mod trees;

use imgasm_testkit::rng::Rng;

/// The sizes that decide where the forms change.
#[derive(Debug, Clone)]
struct Geometry {
    /// `mkfs.xfs -b size=`.
    block: usize,
    /// `mkfs.xfs -n size=`.
    directory_block: usize,
    /// `mkfs.xfs -i size=`.
    inode: usize,
}

impl Geometry {
    const fn new(block: usize, directory_block: usize, inode: usize) -> Self {
        Self {
            block,
            directory_block,
            inode,
        }
    }

    fn mkfs(&self, features: &str) -> Vec<String> {
        vec![
            "-b".to_owned(),
            format!("size={}", self.block),
            "-n".to_owned(),
            format!("size={}", self.directory_block),
            "-i".to_owned(),
            format!("size={}", self.inode),
            "-m".to_owned(),
            features.to_owned(),
        ]
    }

    /// Any geometry that `mkfs.xfs` makes.
    fn random(rng: &mut Rng) -> Self {
        let block = *rng.pick(&[1024, 2048, 4096]);
        let directory_block = *rng.pick(&[4096, 8192, 16384, 32768, 65536]);
        let inodes: Vec<usize> = [512, 1024, 2048]
            .into_iter()
            .filter(|size| *size <= block / 2)
            .collect();
        Self::new(block, directory_block, *rng.pick(&inodes))
    }

    /// Bytes of an inode behind its core.
    fn literal(&self) -> usize {
        self.inode - 176
    }
}

/// The generators of the further rounds that are asked for.
fn rounds() -> impl Iterator<Item = Rng> {
    imgasm_testkit::rng::rounds("IMGASM_FORMS_SEED", "IMGASM_FORMS_ROUNDS")
}

/// The counts around the last one that a form holds.
fn around(last: usize) -> std::ops::RangeInclusive<usize> {
    last.saturating_sub(2)..=last + 2
}
