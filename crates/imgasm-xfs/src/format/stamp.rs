//! The identity that every metadata block of a version 5 filesystem carries.
//!
//! Checksum, block number, filesystem UUID and owner stand at different offsets in the different
//! kinds of blocks; a [`Stamp`] names those offsets once, for reading and for writing. (Kernel
//! documentation, "XFS Self Describing Metadata".)

use crate::format::bytes::{put_u32, put_u64, u32_at, u64_at};
use crate::format::checksum::{seal_checksum, verify_checksum};
use crate::format::geometry::Geometry;
use crate::format::numbers::DiskAddress;

/// Where the identity stands in one kind of block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    crc: usize,
    /// The block's own address in 512-byte units.
    daddr: usize,
    uuid: usize,
    lsn: usize,
    owner: Owner,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    /// An allocation group's number.
    Group(usize),
    /// An inode's number.
    Inode(usize),
}

/// B+tree blocks whose pointers have 32 bits (`xfs_btree_block_shdr`).
pub(crate) const SHORT_TREE: Stamp = Stamp {
    crc: 52,
    daddr: 16,
    lsn: 24,
    uuid: 32,
    owner: Owner::Group(48),
};
/// B+tree blocks whose pointers have 64 bits (`xfs_btree_block_lhdr`).
pub(crate) const LONG_TREE: Stamp = Stamp {
    crc: 64,
    daddr: 24,
    lsn: 32,
    uuid: 40,
    owner: Owner::Inode(56),
};
/// Directory data and free-index blocks (`xfs_dir3_blk_hdr`).
pub(crate) const DIRECTORY: Stamp = Stamp {
    crc: 4,
    daddr: 8,
    lsn: 16,
    uuid: 24,
    owner: Owner::Inode(40),
};
/// Nodes and leaves of the hash-ordered trees (`xfs_da3_blkinfo`).
pub(crate) const HASH_TREE: Stamp = Stamp {
    crc: 12,
    daddr: 16,
    lsn: 24,
    uuid: 32,
    owner: Owner::Inode(48),
};
/// Remote attribute values and symbolic links (`xfs_attr3_rmt_hdr`, `xfs_dsymlink_hdr`).
pub(crate) const REMOTE: Stamp = Stamp {
    crc: 12,
    uuid: 16,
    owner: Owner::Inode(32),
    daddr: 40,
    lsn: 48,
};

impl Stamp {
    /// Checks the identity of the block at `daddr` that should belong to `owner`, and says what is
    /// wrong with it.
    pub(crate) fn verify(
        self,
        block: &[u8],
        geometry: &Geometry,
        daddr: DiskAddress,
        owner: u64,
    ) -> Result<(), String> {
        verify_checksum(block, self.crc)?;
        if block[self.uuid..self.uuid + 16] != geometry.metadata_uuid {
            return Err("the block has the UUID of another filesystem".to_owned());
        }
        let seen = u64_at(block, self.daddr);
        if seen != daddr.0 {
            return Err(format!(
                "the block says it lies at {seen:#x}, not {:#x}",
                daddr.0
            ));
        }
        let seen = match self.owner {
            Owner::Group(at) => u64::from(u32_at(block, at)),
            Owner::Inode(at) => u64_at(block, at),
        };
        if seen != owner {
            return Err(format!("the block belongs to {seen}, not {owner}"));
        }
        Ok(())
    }

    /// Writes the identity into a finished block. The log sequence number is 0: the block was not
    /// written through the log.
    pub(crate) fn seal(
        self,
        block: &mut [u8],
        geometry: &Geometry,
        daddr: DiskAddress,
        owner: u64,
    ) {
        put_u64(block, self.daddr, daddr.0);
        put_u64(block, self.lsn, 0);
        block[self.uuid..self.uuid + 16].copy_from_slice(&geometry.metadata_uuid);
        match self.owner {
            Owner::Group(at) => put_u32(
                block,
                at,
                u32::try_from(owner).expect("group numbers have 32 bits"),
            ),
            Owner::Inode(at) => put_u64(block, at, owner),
        }
        seal_checksum(block, self.crc);
    }
}

/// Where the log finds what it needs in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) crc: usize,
    pub(crate) lsn: usize,
    pub(crate) uuid: usize,
}

impl Stamp {
    /// The parts of the identity that the log needs.
    pub(crate) const fn marks(self) -> Marks {
        Marks {
            crc: self.crc,
            lsn: self.lsn,
            uuid: self.uuid,
        }
    }
}
