//! Buffers of a device's bytes: how long they are, and where they are not zeros.

/// What is looked at for zeros: a block of most file systems.
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

/// Gives the blocks of `data`, which begins at `offset` on a device, that are not zeros to `write`
/// with their offsets; neighbours go together. So a copy that writes only these is sparse.
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
        // Pages end where they end on the device, whatever the offset.
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
