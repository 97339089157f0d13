//! Targets of symbolic links: in the inode if they are short, else in a block.

use super::dir::nokey;
use super::format::inode::{I_BLOCK_LEN, Inode, flags};
use super::format::numbers::{FileBlock, InodeNumber, to_u64, to_usize};
use super::inline;
use crate::problem::{at_inode, corrupt};
use crate::volume::Ext4;
use imgasm_fs::error::{Error, Result};

/// The longest target that lies in the inode: a zero byte must fit behind it.
const LONGEST_IN_INODE: usize = I_BLOCK_LEN - 1;

impl Ext4 {
    /// The target of a symbolic link.
    pub(super) fn symlink_target(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<u8>> {
        let target = self.stored_target(number, inode)?;
        if !inode.has_flag(flags::ENCRYPT) {
            return Ok(target);
        }
        // The length of the encrypted target, then the target; shown as a kernel shows it without
        // the key.
        let encrypted = target.split_first_chunk::<2>().and_then(|(len, rest)| {
            let len = usize::from(u16::from_le_bytes(*len));
            rest.get(..len)
        });
        let encrypted = encrypted
            .ok_or_else(|| corrupt(at_inode(number), "the link's encrypted target is cut off"))?;
        Ok(nokey::encode((0, 0), encrypted))
    }

    /// The target as it is stored.
    fn stored_target(&self, number: InodeNumber, inode: &Inode) -> Result<Vec<u8>> {
        if inode.has_flag(flags::INLINE_DATA) {
            return inline::content(number, inode);
        }
        let size = inode.size();
        let limit = self.geometry.block_size.bytes64();
        if size == 0 || size > limit {
            return Err(corrupt(
                at_inode(number),
                format!("the link's target has {size} bytes, expected 1 to {limit}"),
            ));
        }
        let len = to_usize(u32::try_from(size).expect("at most a block"));
        if self.is_target_in_inode(inode) {
            let target = inode.head.i_block.get(..len).ok_or_else(|| {
                corrupt(
                    at_inode(number),
                    format!("the link's target has {len} bytes and no block"),
                )
            })?;
            return Ok(target.to_vec());
        }
        let block = self
            .file_block(number, inode, FileBlock(0))?
            .ok_or_else(|| corrupt(at_inode(number), "the link's block is a hole"))?;
        let mut target = vec![0; len];
        self.device
            .read_at(self.geometry.block_size.offset_of(block), &mut target)?;
        Ok(target)
    }

    /// Whether a link's target lies in its inode, in place of block numbers: it has no blocks but
    /// perhaps one of attributes.
    pub(super) fn is_target_in_inode(&self, inode: &Inode) -> bool {
        let block_size = self.geometry.block_size;
        // The block of attributes takes a whole cluster.
        let cluster = block_size.sectors() * u64::from(self.geometry.cluster_blocks);
        let for_xattrs = inode.xattr_block().map_or(0, |_| cluster);
        inode.sectors(block_size) == for_xattrs
    }

    /// Checks that a target fits one block, the most that it may have.
    pub(super) fn check_target(&self, target: &[u8]) -> Result<()> {
        let limit = self.geometry.block_size.len() - 1;
        if target.len() <= limit {
            return Ok(());
        }
        Err(Error::Unstorable {
            what: "the target of a symbolic link".to_owned(),
            problem: format!(
                "it has {} bytes, at most {limit} are possible",
                target.len()
            ),
        })
    }

    /// Stores the target of a new link.
    pub(super) fn store_target(
        &mut self,
        number: InodeNumber,
        inode: &mut Inode,
        target: &[u8],
    ) -> Result<()> {
        if target.len() <= LONGEST_IN_INODE {
            inode.clear_flag(flags::EXTENTS);
            inode.head.i_block = [0; I_BLOCK_LEN];
            inode.head.i_block[..target.len()].copy_from_slice(target);
            inode.set_size(to_u64(target.len()));
            return Ok(());
        }
        self.replace_content(number, inode, to_u64(target.len()), &mut { target })
    }
}
