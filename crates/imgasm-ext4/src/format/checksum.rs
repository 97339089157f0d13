//! Checksums: CRC-32C over the structures (`metadata_csum`), CRC-16 over group descriptors
//! (`uninit_bg`). Kernel documentation, ext4, "Checksums".

use super::numbers::{BlockNumber, GroupNumber, InodeNumber};

/// The initial value of a CRC-32C without another seed.
pub const INITIAL: u32 = !0;

/// Continues a CRC-32C over `bytes`, without the inversions at the start and the end, which ext4
/// leaves out.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}

/// The ANSI CRC-16 over pieces of bytes, starting from all ones.
pub fn crc16(pieces: &[&[u8]]) -> u16 {
    const ANSI: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);
    let mut digest = ANSI.digest();
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize()
}

/// The seed of all checksums of one filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsSeed(pub u32);

/// The seed for the checksums of an inode, its directory blocks and its extent blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeSeed(pub u32);

impl FsSeed {
    /// The seed made from the filesystem's UUID, for a superblock that does not store one.
    pub fn from_uuid(uuid: &[u8; 16]) -> Self {
        Self(crc32c(INITIAL, uuid))
    }

    /// The seed of an inode's structures.
    pub fn inode(self, inode: InodeNumber, generation: u32) -> InodeSeed {
        let crc = crc32c(self.0, &inode.0.to_le_bytes());
        InodeSeed(crc32c(crc, &generation.to_le_bytes()))
    }

    /// Over a bitmap: as many bytes as hold the group's bits.
    pub fn bitmap(self, bitmap: &[u8]) -> u32 {
        crc32c(self.0, bitmap)
    }

    /// Over a group descriptor whose checksum field lies at `at..at + 2`.
    pub fn group(self, group: GroupNumber, descriptor: &[u8], at: usize) -> u16 {
        let crc = crc32c(self.0, &group.0.to_le_bytes());
        let crc = crc32c(crc, &descriptor[..at]);
        let crc = crc32c(crc, &[0; 2]);
        low_half(crc32c(crc, &descriptor[at + 2..]))
    }

    /// Over a block of extended attributes, whose checksum field lies at 16..20.
    pub fn xattr_block(self, block: BlockNumber, bytes: &[u8]) -> u32 {
        let crc = crc32c(self.0, &block.0.to_le_bytes());
        let crc = crc32c(crc, &bytes[..16]);
        let crc = crc32c(crc, &[0; 4]);
        crc32c(crc, &bytes[20..])
    }
}

impl InodeSeed {
    /// Over pieces of a structure.
    pub fn over(self, pieces: &[&[u8]]) -> u32 {
        pieces.iter().fold(self.0, |crc, piece| crc32c(crc, piece))
    }
}

/// The low 16 bits.
pub fn low_half(crc: u32) -> u16 {
    let [a, b, ..] = crc.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The high 16 bits.
pub fn high_half(crc: u32) -> u16 {
    let [.., c, d] = crc.to_le_bytes();
    u16::from_le_bytes([c, d])
}

/// A number from its two halves.
pub fn join_halves(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_the_published_one_without_its_inversions() {
        assert_eq!(!crc32c(INITIAL, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn crc16_is_the_published_modbus_one() {
        assert_eq!(crc16(&[b"1234", b"56789"]), 0x4b37);
    }
}
