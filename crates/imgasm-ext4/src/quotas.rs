//! The hidden quota files (`quota`, `project`): counted anew when changes are flushed. Limits and
//! grace times in the files stay.

use std::collections::BTreeMap;

use super::bitmap;
use super::format::features::RoCompat;
use super::format::inode::{Inode, flags};
use super::format::numbers::{GroupNumber, InodeNumber, to_u64};
use super::format::quota::{LONGEST_FILE, Quota, QuotaFile, QuotaKind};
use crate::problem::{at_inode, corrupt, incompatible};
use crate::volume::Ext4;
use imgasm_fs::error::Result;

/// Bytes of a sector, the unit in which an inode counts what it uses.
const SECTOR_BYTES: u64 = 512;

/// What is used, by id: inodes and bytes.
type Usage = BTreeMap<u32, (u64, u64)>;

impl Ext4 {
    /// The quota files that there are.
    fn quota_files(&self) -> Vec<(QuotaKind, InodeNumber)> {
        let sb = &self.superblock;
        if !self.has_ro(RoCompat::QUOTA) {
            return Vec::new();
        }
        let mut files = vec![
            (QuotaKind::User, sb.s_usr_quota_inum),
            (QuotaKind::Group, sb.s_grp_quota_inum),
        ];
        if self.has_ro(RoCompat::PROJECT) {
            files.push((QuotaKind::Project, sb.s_prj_quota_inum));
        }
        files
            .into_iter()
            .map(|(kind, number)| (kind, InodeNumber(number.get())))
            .filter(|(_, number)| number.0 != 0)
            .collect()
    }

    /// Makes the quota files say what is used. A file that is right already is not touched.
    pub(super) fn recount_quotas(&mut self) -> Result<()> {
        let files = self.quota_files();
        if files.is_empty() {
            return Ok(());
        }
        let usages = self.usages()?;
        for (kind, number) in files {
            let inode = self.read_inode_unchecked(number)?;
            let size = inode.size();
            if size > LONGEST_FILE {
                return Err(corrupt(
                    at_inode(number),
                    format!("the quota file has {size} bytes"),
                ));
            }
            let mut content = vec![0; usize::try_from(size).expect("limited just now")];
            self.read_content(number, &inode, 0, &mut content)?;
            let mut file = QuotaFile::decode(kind, &content).map_err(|p| p.at(at_inode(number)))?;
            let before = file.quotas.clone();
            let usage = match kind {
                QuotaKind::User => &usages[0],
                QuotaKind::Group => &usages[1],
                QuotaKind::Project => &usages[2],
            };
            for quota in file.quotas.values_mut() {
                (quota.inodes, quota.space) = (0, 0);
            }
            for (&id, &used) in usage {
                let quota = file.quotas.entry(id).or_default();
                (quota.inodes, quota.space) = used;
            }
            // An id that uses nothing and has no limits is not kept, except the first one.
            file.quotas
                .retain(|&id, quota| id == 0 || *quota != Quota::default());
            if file.quotas != before {
                let bytes = file.encode(kind);
                self.replace_quota_file(number, inode, &bytes)?;
            }
        }
        Ok(())
    }

    fn replace_quota_file(
        &mut self,
        number: InodeNumber,
        mut inode: Inode,
        bytes: &[u8],
    ) -> Result<()> {
        self.replace_content(number, &mut inode, to_u64(bytes.len()), &mut { bytes })?;
        self.write_inode(number, &mut inode)
    }

    /// What owners, groups and projects use.
    fn usages(&self) -> Result<[Usage; 3]> {
        let hidden = [
            self.superblock.s_prj_quota_inum.get(),
            self.superblock.s_orphan_file_inum.get(),
        ];
        let mut usages = [Usage::new(), Usage::new(), Usage::new()];
        for group in (0..self.geometry.group_count).map(GroupNumber) {
            let unused = self.groups.get(group).free_inodes_count();
            if unused == self.geometry.inodes_per_group {
                continue;
            }
            let bits = self.inode_bitmap(group)?;
            let mut from = 0;
            while let Some(index) = bitmap::first_set(&bits, from, self.geometry.inodes_per_group) {
                from = index + 1;
                let number = self.geometry.inode_at(group, index);
                if !self.is_file_inode(number) || hidden.contains(&number.0) {
                    continue;
                }
                let inode = self.read_inode_unchecked(number)?;
                if inode.has_flag(flags::EA_INODE) {
                    return Err(incompatible(
                        "writing with quotas while attributes have inodes of their own (ea_inode)",
                    ));
                }
                let space = inode.sectors(self.geometry.block_size) * SECTOR_BYTES;
                let ids = [inode.uid(), inode.gid(), inode.project()];
                for (usage, id) in usages.iter_mut().zip(ids) {
                    let used = usage.entry(id).or_default();
                    used.0 += 1;
                    used.1 = used.1.saturating_add(space);
                }
            }
        }
        Ok(usages)
    }
}
