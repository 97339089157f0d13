//! The checksums of metadata: CRC-32C, stored little-endian, unlike all other numbers.

/// CRC-32C over `block` as if the four bytes at `crc_at` were zero.
fn checksum(block: &[u8], crc_at: usize) -> u32 {
    let before = crc32c::crc32c(&block[..crc_at]);
    let zeros = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeros, &block[crc_at + 4..])
}

/// Checks the checksum of a whole structure.
pub(crate) fn verify_checksum(block: &[u8], crc_at: usize) -> Result<(), String> {
    let expected = checksum(block, crc_at);
    let stored = block[crc_at..crc_at + 4].try_into().expect("four bytes");
    let seen = u32::from_le_bytes(stored);
    if seen == expected {
        Ok(())
    } else {
        Err(format!("checksum {seen:#010x}, expected {expected:#010x}"))
    }
}

/// Stores the checksum of a finished structure.
pub(crate) fn seal_checksum(block: &mut [u8], crc_at: usize) {
    let sum = checksum(block, crc_at);
    block[crc_at..crc_at + 4].copy_from_slice(&sum.to_le_bytes());
}
