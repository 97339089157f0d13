//! The superblock: its state and its copies; the journal; the list of orphans; the blocks of the
//! filesystem's own structures.

use super::Check;
use crate::format::features::{Compat, Incompat, RoCompat};
use crate::format::numbers::{BlockNumber, GroupNumber, InodeNumber};
use crate::format::superblock::{LEN, STATE_ERROR, STATE_VALID, Superblock};
use crate::format::{checksum, read_u32};
use crate::journal;
use crate::problem::at_inode;
use imgasm_fs::error::{Location, Result};
use imgasm_fs::types::FileType;

impl Check<'_> {
    /// Checks the superblock, its copies, the journal, and the orphans.
    pub(super) fn superblock(&mut self) -> Result<()> {
        let sb = &self.fs.superblock;
        let state = sb.s_state.get();
        let (reserved, blocks) = (sb.reserved_blocks_count(), sb.blocks_count());
        let orphan = sb.s_last_orphan.get();
        let features = sb.features();
        if state & STATE_ERROR != 0 {
            self.warn(Location::Superblock, "errors are flagged in s_state");
        }
        if state & STATE_VALID == 0 {
            self.warn(
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
            self.warn(
                Location::Superblock,
                format!("the list of orphans begins with inode {orphan}, expected an empty list"),
            );
        }
        if let Some(reason) = &self.fs.journal_unread {
            self.warn(
                Location::Superblock,
                format!("the journal cannot be replayed: {reason}"),
            );
        }
        self.orphan_file()?;
        self.in_use_elsewhere()?;
        self.descriptors();
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
                self.warn(
                    Location::Superblock,
                    format!("{name} is {inode}, but the feature that uses it is off"),
                );
            } else if inode > self.fs.geometry.inodes_count {
                self.note(
                    Location::Superblock,
                    format!(
                        "{name} is {inode}, there are only {} inodes",
                        self.fs.geometry.inodes_count
                    ),
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
            // A filesystem works without the copies, and no kernel looks at them.
            if let Some(problem) = problem {
                self.warn(
                    Location::Block(block.0),
                    format!("copy of the superblock: {problem}"),
                );
            }
        }
        Ok(())
    }

    /// What differs in a copy of the superblock.
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
        let inode = self.fs.read_inode_unchecked(number);
        if let Some(inode) = self.note_refused(inode)?
            && (inode.head.i_links_count.get() == 0 || inode.file_type() != Ok(FileType::Regular))
        {
            self.note(at_inode(number), "the journal is not a file in use");
        }
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
        if start != 0 && self.fs.journal_unread.is_none() {
            self.warn(
                Location::Journal(0),
                format!("the log starts in block {start}, expected an empty one"),
            );
        }
        if errno != 0 {
            self.warn(
                Location::Journal(0),
                format!("the kernel gave up the journal after error {errno}"),
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

    /// Checks that the orphan file is sound, and in use if the superblock says so.
    fn orphan_file(&mut self) -> Result<()> {
        // The geometry's features are from before a recovery.
        let features = self.fs.superblock.features();
        let is_present = features.ro_compat.contains(RoCompat::ORPHAN_PRESENT);
        if !features.compat.contains(Compat::ORPHAN_FILE) {
            if is_present {
                self.note(
                    Location::Superblock,
                    "orphan_present is on without the feature orphan_file",
                );
            }
            return self.orphan_file_off();
        }
        if !features.compat.contains(Compat::HAS_JOURNAL) {
            self.note(
                Location::Superblock,
                "it has an orphan file, but no journal",
            );
        }
        let orphans = self.fs.orphans_in_file();
        let Some(orphans) = self.note_refused(orphans)? else {
            return Ok(());
        };
        if is_present && orphans == 0 {
            self.note(
                Location::Superblock,
                "orphan_present is on, but the orphan file is empty",
            );
        } else if orphans > 0 {
            self.warn(
                Location::Superblock,
                format!("{orphans} inodes in the orphan file wait to be freed or truncated"),
            );
        }
        Ok(())
    }

    /// Checks that no inode is named as the orphan file if there is none.
    #[allow(
        clippy::unnecessary_wraps,
        reason = "called in a row with checks that read"
    )]
    fn orphan_file_off(&mut self) -> Result<()> {
        let number = InodeNumber(self.fs.superblock.s_orphan_file_inum.get());
        if self.fs.geometry.locate_inode(number).is_none() {
            return Ok(());
        }
        // What is wrong with the inode itself is found along with all others.
        if let Ok(inode) = self.fs.read_inode_unchecked(number)
            && (inode.head.i_links_count.get() > 0 || inode.head.i_blocks_lo.get() > 0)
        {
            self.note(
                at_inode(number),
                "it is named as the orphan file, a feature that is off, but is not empty",
            );
        }
        Ok(())
    }

    /// Checks the block that keeps two hosts from using one filesystem (`mmp`).
    fn in_use_elsewhere(&mut self) -> Result<()> {
        const MAGIC: u32 = 0x004d_4d50;
        const CLEAN: u32 = 0xff4d_4d50;
        const CHECKSUM_AT: usize = 1020;
        if !self.fs.geometry.features().incompat.contains(Incompat::MMP) {
            return Ok(());
        }
        let block = BlockNumber(self.fs.superblock.s_mmp_block.get());
        let place = Location::Block(block.0);
        if !self.fs.geometry.contains(block, 1) {
            self.note(place, "the block of mmp lies outside the filesystem");
            return Ok(());
        }
        let bytes = self.fs.stage.peek(block)?;
        let (magic, sequence) = (read_u32(&bytes, 0), read_u32(&bytes, 4));
        if magic != MAGIC {
            self.note(
                place,
                format!("magic of mmp is {magic:#010x}, expected {MAGIC:#010x}"),
            );
            return Ok(());
        }
        if self.fs.geometry.features().metadata_csum() {
            let expected = checksum::crc32c(self.fs.seed.0, &bytes[..CHECKSUM_AT]);
            let seen = read_u32(&bytes, CHECKSUM_AT);
            if seen != expected {
                self.note(
                    place.clone(),
                    format!("checksum of mmp is {seen:#010x}, computed {expected:#010x}"),
                );
            }
        }
        if sequence != CLEAN {
            self.warn(place, "mmp says that another host uses the filesystem");
        }
        Ok(())
    }

    /// Checks the places that descriptors name.
    fn descriptors(&mut self) {
        for (group, problem) in self.fs.groups.doubtful().to_vec() {
            self.warn(
                Location::Group(group.0),
                format!("{problem}; a kernel mounts it for reading only"),
            );
        }
        let geometry = self.fs.geometry.clone();
        if geometry.features().incompat.contains(Incompat::FLEX_BG) {
            return;
        }
        for group in (0..geometry.group_count).map(GroupNumber) {
            let descriptor = self.fs.groups.get(group);
            let places = [
                ("block bitmap", descriptor.block_bitmap()),
                ("inode bitmap", descriptor.inode_bitmap()),
                ("inode table", descriptor.inode_table()),
            ];
            for (what, block) in places {
                if geometry.group_of_block(block) != group {
                    self.note(
                        Location::Group(group.0),
                        format!("its {what} lies on {block}, in another group"),
                    );
                }
            }
        }
    }

    /// Takes the blocks of superblocks, descriptors, bitmaps and inode tables.
    pub(super) fn claim_metadata(&mut self) {
        let geometry = &self.fs.geometry;
        let mmp = BlockNumber(self.fs.superblock.s_mmp_block.get());
        if geometry.features().incompat.contains(Incompat::MMP) && geometry.contains(mmp, 1) {
            self.usage.claim(one(mmp.0));
        }
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
                // With clusters, neighbours share one.
                if let Some(block) = self.usage.claim(blocks)
                    && geometry.cluster_blocks == 1
                {
                    self.note(
                        Location::Group(group.0),
                        format!("its {what} lies on {block}, which something else has, too"),
                    );
                }
            }
        }
    }
}

fn one(block: u64) -> std::ops::Range<u64> {
    block..block + 1
}
