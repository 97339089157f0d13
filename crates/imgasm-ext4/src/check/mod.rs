//! Checking all metadata against itself, reading only.
//!
//! What the engine's readers refuse is a finding. What readers need not look at is compared here:
//! who uses which block and inode, how often, and what the filesystem says about that.
//!
//! An error is what makes `e2fsck -fn` exit with a status other than 0, or what keeps us from reading
//! on; a warning is what it accepts.
//!
//! - `superblock`: the state, the copies, the journal, the list of orphans.
//! - `usage`: which blocks are in use.
//! - `nodes`: what is known about each inode in use.
//! - `inodes`, `fields`: the pass over the inode tables, and the fields of one inode.
//! - `xattrs`: attributes, blocks of them that inodes share, and inodes that hold values.
//! - `encryption`: policies of encrypted files.
//! - `directories`, `directory`, `index`: the pass over the names.
//! - `links`: connectivity and link counts.
//! - `summary`: bitmaps and counts.

mod directories;
mod directory;
mod encryption;
mod fields;
mod index;
mod inodes;
mod links;
mod nodes;
mod summary;
mod superblock;
mod usage;
mod xattrs;

use super::format::numbers::InodeNumber;
use crate::volume::Ext4;
use encryption::Policies;
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::Finding;
use nodes::Nodes;
use std::collections::BTreeMap;
use usage::Usage;
use xattrs::SharedBlocks;

/// A check in progress.
struct Check<'a> {
    fs: &'a Ext4,
    report: &'a mut dyn FnMut(Finding),
    usage: Usage,
    nodes: Nodes,
    shared: SharedBlocks,
    policies: Policies,
    /// How many attributes refer to each inode that holds a value.
    value_references: BTreeMap<InodeNumber, u64>,
    /// Inodes that are named by the superblock and by no directory.
    hidden: Vec<InodeNumber>,
}

impl Ext4 {
    /// Checks all metadata. Memory grows with the blocks and inodes that are in use.
    pub(super) fn check_all(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let mut check = Check {
            fs: self,
            report,
            usage: Usage::new(&self.geometry),
            nodes: Nodes::new(&self.geometry),
            shared: SharedBlocks::default(),
            policies: Policies::default(),
            value_references: BTreeMap::new(),
            hidden: Vec::new(),
        };
        check.superblock()?;
        check.claim_metadata();
        check.inodes()?;
        check.shared_blocks();
        check.directories()?;
        check.links()?;
        check.summary()
    }
}

impl Check<'_> {
    /// Reports a fault.
    fn note(&mut self, at: Location, problem: impl Into<String>) {
        (self.report)(Finding::error(at, problem));
    }

    /// Reports what the format's own checker accepts, too.
    fn warn(&mut self, at: Location, problem: impl Into<String>) {
        (self.report)(Finding::warning(at, problem));
    }

    /// Reports what a reader refused. What it could not read at all ends the check.
    fn note_refused<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupt { at, problem, .. }) => {
                self.note(at, problem);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
