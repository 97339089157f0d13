//! Buffers of a device's bytes: how long they are, and where they are not zeros.

/// The unit in which zeros are looked for: a block of most filesystems.
const PAGE_LEN: usize = 4096;

/// The length of a buffer as a number of bytes on a device.
///
/// ```
/// assert_eq!(imgasm_block::bytes::byte_len(b"four"), 4_u64);
/// ```
pub fn byte_len(buf: &[u8]) -> u64 {
    u64::try_from(buf.len()).expect("a buffer's length fits 64 bits")
}

/// Whether all bytes are zero. Comparing with zeros is what the C library does fastest.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| *piece == ZEROS[..piece.len()])
}

/// Calls `write` with each run of blocks of `data` that are not zeros, and with its offset on the
/// device, on which `data` begins at `offset`. A copy that writes only these runs is sparse.
///
/// # Errors
/// The first one that `write` returns; nothing is written after it.
pub fn write_non_zero<E>(
    offset: u64,
    data: &[u8],
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < data.len() {
        // Pages are aligned on the device, not in the buffer.
        let page_end = |at: usize| {
            let on_device = offset + byte_len(&data[..at]);
            let past = usize::try_from(on_device % byte_len(&[0; PAGE_LEN])).expect("in a page");
            (at + PAGE_LEN - past).min(data.len())
        };
        let mut end = page_end(at);
        if is_zero(&data[at..end]) {
            at = end;
            continue;
        }
        while end < data.len() && !is_zero(&data[end..page_end(end)]) {
            end = page_end(end);
        }
        write(offset + byte_len(&data[..at]), &data[at..end])?;
        at = end;
    }
    Ok(())
}
