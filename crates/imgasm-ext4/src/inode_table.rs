//! Reading and writing inodes in their tables.

use super::format::checksum::InodeSeed;
use super::format::inode::{Inode, flags};
use super::format::numbers::{BlockNumber, InodeNumber, to_usize};
use super::stage::Kind;
use crate::problem::{at_inode, corrupt, incompatible};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};
use imgasm_fs::types::NodeId;

impl Ext4 {
    /// The inode of a node: the root, or one that is not reserved.
    pub(super) fn inode_number(&self, node: NodeId) -> Result<InodeNumber> {
        u32::try_from(node.0)
            .ok()
            .map(InodeNumber)
            .filter(|&number| self.is_file_inode(number))
            .ok_or_else(|| {
                corrupt(
                    imgasm_fs::error::Location::Inode(node.0),
                    format!(
                        "no file has this number: expected 2 or {} to {}",
                        self.geometry.first_inode, self.geometry.inodes_count
                    ),
                )
            })
    }

    /// Whether an inode may belong to a file with a name.
    pub(super) fn is_file_inode(&self, number: InodeNumber) -> bool {
        number == InodeNumber::ROOT
            || (self.geometry.first_inode..=self.geometry.inodes_count).contains(&number.0)
    }

    /// Where an inode lies: a block and a byte in it.
    pub(super) fn inode_place(&self, number: InodeNumber) -> Result<(BlockNumber, usize)> {
        let (group, index) = self.geometry.locate_inode(number).ok_or_else(|| {
            corrupt(
                at_inode(number),
                format!("there are only {} inodes", self.geometry.inodes_count),
            )
        })?;
        let byte = u64::from(index) * u64::from(self.geometry.inode_size);
        let block_size = self.geometry.block_size.bytes64();
        let table = self.groups.get(group).inode_table();
        let within = usize::try_from(byte % block_size).expect("below the block size");
        Ok((table.plus(byte / block_size), within))
    }

    /// Reads an inode that is in use, and checks what can be checked from it alone.
    pub(super) fn read_inode(&self, number: InodeNumber) -> Result<Inode> {
        let inode = self.read_inode_unchecked(number)?;
        if inode.head.i_links_count.get() == 0 {
            return Err(corrupt(
                at_inode(number),
                "it has no links: it is not in use",
            ));
        }
        inode.file_type().map_err(|p| p.at(at_inode(number)))?;
        Ok(inode)
    }

    /// Reads an inode, whether it is in use or not; its checksum must be right.
    pub(super) fn read_inode_unchecked(&self, number: InodeNumber) -> Result<Inode> {
        let (block, at) = self.inode_place(number)?;
        let bytes = self.stage.get(block, Kind::Plain)?;
        let len = usize::from(self.geometry.inode_size);
        let inode = Inode::decode(&bytes[at..at + len]).map_err(|p| p.at(at_inode(number)))?;
        if self.geometry.features().metadata_csum() {
            inode
                .verify_checksum(inode.seed(self.seed, number))
                .map_err(|p| p.at(at_inode(number)))?;
        }
        Ok(inode)
    }

    /// Stages an inode with its checksum.
    pub(super) fn write_inode(&mut self, number: InodeNumber, inode: &mut Inode) -> Result<()> {
        if self.geometry.features().metadata_csum() {
            let seed = self.inode_seed(number, inode);
            inode.set_checksum(seed);
        }
        let (block, at) = self.inode_place(number)?;
        let bytes = inode.encode();
        self.stage.change(block, Kind::Plain)?[at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    /// The seed of the checksums of an inode's blocks.
    pub(super) fn inode_seed(&self, number: InodeNumber, inode: &Inode) -> InodeSeed {
        inode.seed(self.seed, number)
    }

    /// Accounts for `blocks` more or fewer blocks of an inode.
    pub(super) fn add_blocks(
        &self,
        number: InodeNumber,
        inode: &mut Inode,
        blocks: i64,
    ) -> Result<()> {
        let block_size = self.geometry.block_size;
        let sectors = blocks
            .unsigned_abs()
            .checked_mul(block_size.sectors())
            .and_then(|change| {
                let now = inode.sectors(block_size);
                if blocks < 0 {
                    now.checked_sub(change)
                } else {
                    now.checked_add(change)
                }
            })
            .ok_or_else(|| {
                corrupt(
                    at_inode(number),
                    format!(
                        "i_blocks says {} sectors, its blocks changed by {blocks}",
                        inode.sectors(block_size)
                    ),
                )
            })?;
        let huge = self.has_ro(super::format::features::RoCompat::HUGE_FILE);
        inode
            .set_sectors(sectors, block_size, huge)
            .ok_or_else(|| Error::Unstorable {
                what: number.to_string(),
                problem: format!("{sectors} sectors need the feature huge_file"),
            })
    }

    /// Whether a read-only compatible feature is on.
    pub(super) fn has_ro(&self, feature: super::format::features::RoCompat) -> bool {
        self.geometry.features().ro_compat.contains(feature)
    }

    /// The number of a file's blocks that its size covers.
    pub(super) fn size_in_blocks(&self, inode: &Inode) -> u64 {
        self.geometry.block_size.blocks_for(inode.size())
    }

    /// Byte `offset` of a block, as an index.
    pub(super) fn within_block(&self, offset: u64) -> usize {
        let within = offset % self.geometry.block_size.bytes64();
        to_usize(u32::try_from(within).expect("below the block size"))
    }
}

/// Refuses to read encrypted content.
pub fn refuse_encrypted(number: InodeNumber, inode: &Inode) -> Result<()> {
    if inode.has_flag(flags::ENCRYPT) {
        return Err(incompatible(format!("reading the encrypted {number}")));
    }
    Ok(())
}

/// Refuses to change what an inode holds, names or content, if its form is one that we only read.
pub fn refuse_to_change(number: InodeNumber, inode: &Inode) -> Result<()> {
    let forms = [
        (flags::ENCRYPT, "is encrypted (encrypt)"),
        (flags::VERITY, "is sealed by fs-verity (verity)"),
        (flags::CASEFOLD, "ignores the case of names (casefold)"),
        (
            flags::EA_INODE,
            "holds the value of an attribute (ea_inode)",
        ),
    ];
    match forms.iter().find(|(flag, _)| inode.has_flag(*flag)) {
        Some((_, form)) => Err(incompatible(format!("writing to {number}, which {form},"))),
        None => Ok(()),
    }
}
