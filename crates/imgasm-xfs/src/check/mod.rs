//! The checker: checks all metadata against itself.
//!
//! - here: the order of things.
//! - [`report`]: where findings go; [`group`]: a group to be checked.
//! - [`blocks`]: every block has one owner, or as many files as are counted.
//! - [`derive`](mod@derive): which blocks are free and shared, derived from the files.
//! - [`owners`]: the tree of owners agrees with that.
//! - [`superblocks`]: the superblock, its copies and its counters.
//! - [`hash_trees`]: the trees by hash above names and attributes.
//! - [`directories`], [`attributes`]: every name and every attribute can be found.
//! - [`inodes`]: every inode is sound, and has as many names as it says.

mod attributes;
mod blocks;
pub(crate) mod derive;
mod directories;
mod group;
mod hash_trees;
mod inodes;
mod owners;
mod report;
mod superblocks;

use imgasm_fs::{Location, Result};

use crate::check::group::{Group, read_group};
use crate::check::inodes::Held;
use crate::check::report::{Report, finding, found};
use crate::format::superblock::Superblock;
use crate::volume::Volume;

/// Checks all of a filesystem.
pub(crate) fn run(volume: &Volume, superblock: &Superblock, report: Report<'_>) -> Result<()> {
    superblocks::check(volume, superblock, report)?;
    let mut groups = Vec::new();
    for number in volume.geometry.group_numbers() {
        if let Some(group) = found(report, read_group(volume, number))? {
            check_counts(volume, &group, report);
            groups.push(group);
        }
    }
    let mut held = Held::default();
    inodes::check(volume, superblock, &groups, &mut held, report)?;
    if groups.len() < volume.geometry.groups as usize {
        // Whole groups are missing from the totals.
        return Ok(());
    }
    blocks::check(volume, &groups, held.claims, report);
    owners::check(volume, &groups, held.owners, report);
    superblocks::check_counters(volume, superblock, &groups, report);
    Ok(())
}

/// Compares the sizes of a group's trees with what its heads say.
fn check_counts(volume: &Volume, group: &Group, report: Report<'_>) {
    let features = volume.geometry.features;
    let agf = &group.free.agf;
    let agi = &group.inodes.agi;
    let mut expect = |what: &str, seen: u32, expected: usize| {
        if seen as usize != expected {
            finding(
                report,
                Location::Group(group.number.0),
                format!("{what} is {seen}, expected {expected}"),
            );
        }
    };
    let owners = group.owners.as_ref().map_or(0, |(_, blocks)| blocks.len());
    let trees = group.free.by_block_blocks.len() + group.free.by_size_blocks.len() + owners;
    let roots = if features.rmapbt { 3 } else { 2 };
    expect("agf_btreeblks", agf.agf_btreeblks.get(), trees - roots);
    if features.rmapbt {
        expect("agf_rmap_blocks", agf.agf_rmap_blocks.get(), owners);
    }
    if let Some((_, blocks)) = &group.refcounts {
        expect(
            "agf_refcount_blocks",
            agf.agf_refcount_blocks.get(),
            blocks.len(),
        );
    }
    if features.inobtcount {
        let inodes = &group.inodes;
        expect(
            "agi_iblocks",
            agi.agi_iblocks.get(),
            inodes.tree_blocks.len(),
        );
        expect(
            "agi_fblocks",
            agi.agi_fblocks.get(),
            inodes.free_tree_blocks.len(),
        );
    }
}
