//! Numbers in headers. The headers are arrays of known length, and so are the places in them.

/// The `N` bytes at `at`.
///
/// # Panics
/// If they do not lie inside `header`, which is a mistake of the caller, not of the file.
pub(super) fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    *header[at..]
        .first_chunk()
        .expect("the place of a field lies inside its header")
}

pub(super) fn be_u32(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(header, at))
}

pub(super) fn be_u64(header: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(header, at))
}

pub(super) fn le_u16(header: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(header, at))
}

pub(super) fn le_u32(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(header, at))
}

pub(super) fn le_u64(header: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(header, at))
}
