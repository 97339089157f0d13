//! Big-endian numbers in blocks.
//!
//! As with slice indexing, the caller has made sure that the offset lies inside the block.

/// The 16-bit number at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The 64-bit number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Stores a 16-bit number at `at`.
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Stores a 32-bit number at `at`.
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Stores a 64-bit number at `at`.
pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// A length or count that is bounded by a block's size, as the 16-bit number that is stored.
pub(crate) fn as_u16(value: usize) -> u16 {
    u16::try_from(value).expect("bounded by the size of a block")
}

/// A count that is bounded by memory, as the 32-bit number that is stored.
pub(crate) fn as_u32(value: usize) -> u32 {
    u32::try_from(value).expect("bounded by what fits a group or directory")
}

/// A count or byte length that is bounded by memory.
pub(crate) fn as_u64(value: usize) -> u64 {
    u64::try_from(value).expect("memory sizes fit 64 bits")
}

/// A number of bytes that is bounded by a buffer in memory.
pub(crate) fn as_usize(value: u64) -> usize {
    usize::try_from(value).expect("bounded by a buffer in memory")
}
