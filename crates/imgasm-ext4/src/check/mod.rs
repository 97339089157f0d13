//! Checking all metadata against itself, reading only.
//!
//! What the readers of the engine refuse is a finding; what a reader does not need to look at is
//! compared here: who uses which block and inode, how often, and what the filesystem says of it.
//!
//! - `superblock`: the state, the copies, the journal, the list of orphans.
//! - `usage`: which blocks are in use.
//! - `nodes`: what is known of each inode in use.
//! - `inodes`: the pass over the inode tables.
//! - `xattrs`: attributes, and blocks of them that inodes share.
//! - `directories`, `index`: the pass over the names.
//! - `links`: connectivity and link counts.
//! - `summary`: bitmaps and counts.

mod directories;
mod index;
mod inodes;
mod links;
mod nodes;
mod summary;
mod superblock;
mod usage;
mod xattrs;

use super::Ext4;
use super::format::numbers::InodeNumber;
use imgasm_fs::error::{Error, Location, Result};
use imgasm_fs::types::Finding;
use nodes::Nodes;
use usage::Usage;
use xattrs::SharedBlocks;

/// A check as it goes on.
struct Check<'a> {
    fs: &'a Ext4,
    report: &'a mut dyn FnMut(Finding),
    usage: Usage,
    nodes: Nodes,
    shared: SharedBlocks,
    /// Inodes that the superblock names and no directory does.
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
            hidden: Vec::new(),
        };
        check.superblock()?;
        check.claim_metadata();
        check.inodes()?;
        check.shared_blocks();
        check.directories()?;
        check.links();
        check.summary()
    }
}

impl Check<'_> {
    /// Reports a fault.
    fn note(&mut self, at: Location, problem: impl Into<String>) {
        (self.report)(Finding {
            at,
            problem: problem.into(),
        });
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
