//! The checker: all metadata against itself.
//!
//! - here: the order of things, and the counters of the superblock.
//! - [`blocks`]: every block belongs to one thing, or to as many files as is counted.
//! - [`mod@derive`]: which blocks are free and shared, by what the files have.
//! - [`owners`]: and so says the tree of owners.
//! - [`directories`]: every name can be found.
//! - [`inodes`]: every inode is sound, and has as many names as it says.

mod blocks;
mod derive;
mod directories;
mod inodes;
mod owners;

use super::ag::contents::{
    FreeSpace, InodeChunks, read_free_space, read_inode_chunks, read_owners, read_refcounts,
};
use super::btree::records::{OwnerRecord, RefcountRecord};
use super::owners::GroupRecords;
use super::superblock::Superblock;
use super::volume::Volume;
use blocks::Claims;
pub(crate) use derive::{DerivedSpace, derive};
use imgasm_fs::{Error, Finding, Location, Result};

/// Where findings go.
type Report<'a> = &'a mut dyn FnMut(Finding);

/// Reports something that contradicts something else.
fn finding(report: Report<'_>, at: Location, problem: impl Into<String>) {
    report(Finding {
        at,
        problem: problem.into(),
    });
}

/// Takes a value, or reports why there is none. What is no contradiction of the image stays an
/// error.
fn found<T>(report: Report<'_>, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corrupt { at, problem, .. }) => {
            report(Finding { at, problem });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The blocks that inodes have, for the two ways of comparing them.
#[derive(Default)]
struct Held {
    claims: Claims,
    owners: GroupRecords,
}

/// A group whose heads and trees could be read.
struct Group {
    number: u32,
    free: FreeSpace,
    inodes: InodeChunks,
    refcounts: Option<(Vec<RefcountRecord>, Vec<u32>)>,
    owners: Option<(Vec<OwnerRecord>, Vec<u32>)>,
}

fn read_group(volume: &Volume, number: u32) -> Result<Group> {
    let free = read_free_space(volume, number)?;
    let inodes = read_inode_chunks(volume, number)?;
    let features = volume.geometry.features;
    let refcounts = features
        .reflink
        .then(|| read_refcounts(volume, number, &free.agf))
        .transpose()?;
    let owners = features
        .rmapbt
        .then(|| read_owners(volume, number, &free.agf))
        .transpose()?;
    Ok(Group {
        number,
        free,
        inodes,
        refcounts,
        owners,
    })
}

/// Checks all of a filesystem.
pub(crate) fn run(volume: &Volume, superblock: &Superblock, report: Report<'_>) -> Result<()> {
    let mut groups = Vec::new();
    for number in 0..volume.geometry.groups {
        if let Some(group) = found(report, read_group(volume, number))? {
            check_counts(volume, &group, report);
            groups.push(group);
        }
    }
    let mut held = Held::default();
    inodes::check(volume, superblock, &groups, &mut held, report)?;
    if groups.len() < volume.geometry.groups as usize {
        // Whole groups are missing from the sums.
        return Ok(());
    }
    blocks::check(volume, &groups, held.claims, report);
    owners::check(volume, &groups, held.owners, report);
    check_superblock(volume, superblock, &groups, report);
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
                Location::Group(group.number),
                format!("{what} is {seen}, expected {expected}"),
            );
        }
    };
    let owners = group.owners.as_ref().map_or(0, |(_, blocks)| blocks.len());
    let trees = group.free.by_block_blocks.len() + group.free.by_size_blocks.len() + owners;
    let roots = if features.rmapbt { 3 } else { 2 };
    expect("agf_btreeblks", agf.tree_blocks.get(), trees - roots);
    if features.rmapbt {
        expect("agf_rmap_blocks", agf.owners_blocks.get(), owners);
    }
    if let Some((_, blocks)) = &group.refcounts {
        expect(
            "agf_refcount_blocks",
            agf.refcount_blocks.get(),
            blocks.len(),
        );
    }
    if features.inobtcount {
        let inodes = &group.inodes;
        expect(
            "agi_iblocks",
            agi.tree_blocks.get(),
            inodes.tree_blocks.len(),
        );
        expect(
            "agi_fblocks",
            agi.free_tree_blocks.get(),
            inodes.free_tree_blocks.len(),
        );
    }
}

/// Compares the counters of the superblock with the groups' sums.
fn check_superblock(
    volume: &Volume,
    superblock: &Superblock,
    groups: &[Group],
    report: Report<'_>,
) {
    let sum = |count: &dyn Fn(&Group) -> u32| -> u64 {
        groups.iter().map(|group| u64::from(count(group))).sum()
    };
    let free = sum(&|group| group.free.agf.free_blocks.get())
        + sum(&|group| group.free.agf.list_count.get())
        + if volume.geometry.features.lazy_count {
            sum(&|group| group.free.agf.tree_blocks.get())
        } else {
            0
        };
    let counters = [
        ("sb_fdblocks", superblock.raw.fdblocks.get(), free),
        (
            "sb_icount",
            superblock.raw.icount.get(),
            sum(&|group| group.inodes.agi.count.get()),
        ),
        (
            "sb_ifree",
            superblock.raw.ifree.get(),
            sum(&|group| group.inodes.agi.free_count.get()),
        ),
    ];
    for (what, seen, expected) in counters {
        if seen != expected {
            finding(
                report,
                Location::Superblock,
                format!("{what} is {seen}, expected {expected}"),
            );
        }
    }
}
