//! The superblock: its state and its copies; the journal; the list of orphans; what the
//! filesystem's own structures take.

use super::Check;
use crate::format::features::{Compat, Incompat, RoCompat};
use crate::format::numbers::{GroupNumber, InodeNumber, to_usize};
use crate::format::superblock::{LEN, STATE_ERROR, STATE_VALID, Superblock};
use crate::journal;
use imgasm_fs::error::{Location, Result};

impl Check<'_> {
    /// Checks the superblock, its copies, and what it says of journal and orphans.
    pub(super) fn superblock(&mut self) -> Result<()> {
        let sb = &self.fs.superblock;
        let state = sb.s_state.get();
        let (reserved, blocks) = (sb.reserved_blocks_count(), sb.blocks_count());
        let orphan = sb.s_last_orphan.get();
        let features = sb.features();
        if state & STATE_ERROR != 0 {
            self.note(Location::Superblock, "errors are flagged in s_state");
        }
        if state & STATE_VALID == 0 {
            self.note(
                Location::Superblock,
                "s_state says that it was not unmounted",
            );
        }
        if reserved > blocks / 2 {
            self.note(
                Location::Superblock,
                format!("{reserved} of {blocks} blocks are reserved, at most half can be"),
            );
        }
        if orphan != 0 {
            self.note(
                Location::Superblock,
                format!("the list of orphans begins with inode {orphan}, expected an empty list"),
            );
        }
        if features.ro_compat.contains(RoCompat::ORPHAN_PRESENT) {
            self.note(
                Location::Superblock,
                "the orphan file is in use (orphan_present)",
            );
        }
        self.hidden_inodes();
        self.copies()?;
        if features.compat.contains(Compat::HAS_JOURNAL) {
            self.journal()?;
        } else if features.incompat.contains(Incompat::NEEDS_RECOVERY) {
            self.note(
                Location::Superblock,
                "needs_recovery is on, but there is no journal",
            );
        }
        Ok(())
    }

    /// Checks that the superblock names no inodes for features that are off.
    fn hidden_inodes(&mut self) {
        let sb = &self.fs.superblock;
        let features = sb.features();
        let quota = features.ro_compat.contains(RoCompat::QUOTA);
        let fields = [
            ("s_usr_quota_inum", sb.s_usr_quota_inum.get(), quota),
            ("s_grp_quota_inum", sb.s_grp_quota_inum.get(), quota),
            (
                "s_prj_quota_inum",
                sb.s_prj_quota_inum.get(),
                features.ro_compat.contains(RoCompat::PROJECT),
            ),
            (
                "s_orphan_file_inum",
                sb.s_orphan_file_inum.get(),
                features.compat.contains(Compat::ORPHAN_FILE),
            ),
        ];
        for (name, inode, is_on) in fields {
            if inode != 0 && !is_on {
                self.note(
                    Location::Superblock,
                    format!("{name} is {inode}, but the feature that uses it is off"),
                );
            } else if inode != 0 {
                self.hidden.push(InodeNumber(inode));
            }
        }
    }

    /// Compares the copies with the superblock in what never changes while a filesystem is in use.
    fn copies(&mut self) -> Result<()> {
        let geometry = &self.fs.geometry;
        for group in (1..geometry.group_count).map(GroupNumber) {
            if !geometry.has_superblock(group) {
                continue;
            }
            let block = geometry.group_first_block(group);
            let bytes = self.fs.stage.peek(block)?;
            let mut raw = [0; LEN];
            raw.copy_from_slice(&bytes[..LEN]);
            let problem = match Superblock::decode(&raw) {
                Err(problem) => Some(problem.to_string()),
                Ok(copy) => self.difference(&copy),
            };
            if let Some(problem) = problem {
                self.note(
                    Location::Block(block.0),
                    format!("copy of the superblock: {problem}"),
                );
            }
        }
        Ok(())
    }

    /// What a copy of the superblock says otherwise.
    fn difference(&self, copy: &Superblock) -> Option<String> {
        let sb = &self.fs.superblock;
        let fields = [
            ("blocks", sb.blocks_count(), copy.blocks_count()),
            (
                "s_log_block_size",
                sb.s_log_block_size.get().into(),
                copy.s_log_block_size.get().into(),
            ),
            (
                "s_blocks_per_group",
                sb.s_blocks_per_group.get().into(),
                copy.s_blocks_per_group.get().into(),
            ),
            (
                "s_inodes_per_group",
                sb.s_inodes_per_group.get().into(),
                copy.s_inodes_per_group.get().into(),
            ),
            (
                "s_inode_size",
                sb.s_inode_size.get().into(),
                copy.s_inode_size.get().into(),
            ),
        ];
        fields
            .into_iter()
            .find(|(_, primary, copy)| primary != copy)
            .map(|(name, primary, copy)| format!("{name} is {copy}, the superblock has {primary}"))
    }

    /// Checks that the journal is readable and empty.
    fn journal(&mut self) -> Result<()> {
        let number = InodeNumber(self.fs.superblock.s_journal_inum.get());
        if number.0 == 0 {
            if self.fs.superblock.s_journal_uuid == [0; 16] {
                self.note(
                    Location::Superblock,
                    "it has a journal, but neither an inode nor a device is named for it",
                );
            }
            return Ok(());
        }
        self.hidden.push(number);
        let extents = self.fs.journal_extents(number);
        let Some(extents) = self.note_refused(extents)? else {
            return Ok(());
        };
        let place = self.fs.journal_place(&extents);
        let journal = journal::read_superblock(&*self.fs.device, &place);
        let Some(journal) = self.note_refused(journal)? else {
            return Ok(());
        };
        let (start, errno) = (journal.s_start.get(), journal.s_errno.get());
        if start != 0 {
            self.note(
                Location::Journal(0),
                format!("the log starts in block {start}, expected an empty one"),
            );
        }
        if errno != 0 {
            self.note(
                Location::Journal(0),
                format!("the kernel gave the journal up after error {errno}"),
            );
        }
        let blocks: u64 = extents.iter().map(|extent| extent.len).sum::<u64>()
            / self.fs.geometry.block_size.bytes64();
        if u64::from(journal.s_maxlen.get()) > blocks {
            self.note(
                Location::Journal(0),
                format!(
                    "it has {} blocks, the file {blocks}",
                    journal.s_maxlen.get()
                ),
            );
        }
        Ok(())
    }

    /// Takes the blocks of superblocks, descriptors, bitmaps and inode tables.
    pub(super) fn claim_metadata(&mut self) {
        let geometry = &self.fs.geometry;
        for group in (0..geometry.group_count).map(GroupNumber) {
            let first = geometry.group_first_block(group).0;
            let base = u64::from(geometry.base_metadata_blocks(group));
            let descriptor = self.fs.groups.get(group);
            let table = descriptor.inode_table().0;
            let parts = [
                ("superblock and descriptors", first..first + base),
                ("block bitmap", one(descriptor.block_bitmap().0)),
                ("inode bitmap", one(descriptor.inode_bitmap().0)),
                (
                    "inode table",
                    table..table + u64::from(geometry.inode_table_blocks),
                ),
            ];
            for (what, blocks) in parts {
                let len = to_usize(geometry.cluster_blocks);
                if let Some(block) = self.usage.claim(blocks)
                    && len == 1
                {
                    self.note(
                        Location::Group(group.0),
                        format!("its {what} lies on {block}, which is something else's too"),
                    );
                }
            }
        }
    }
}

fn one(block: u64) -> std::ops::Range<u64> {
    block..block + 1
}
