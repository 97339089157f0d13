//! Unpacking one compressed cluster of a disk image.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

/// What surrounds deflated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// Nothing.
    None,
    /// The header and checksum of RFC 1950.
    Zlib,
}

/// Inflates `packed`, which must give at least `len` bytes, to exactly `len` bytes. What follows
/// the compressed data is ignored: formats round its length up.
pub(super) fn exactly(packed: &[u8], len: usize, wrapper: Wrapper) -> Result<Vec<u8>, String> {
    let mut decoder = Decompress::new(wrapper == Wrapper::Zlib);
    let mut out = vec![0; len];
    loop {
        let count = |total: u64| usize::try_from(total).expect("inside a buffer");
        let before = (count(decoder.total_in()), count(decoder.total_out()));
        let status = decoder
            .decompress(
                &packed[before.0..],
                &mut out[before.1..],
                FlushDecompress::Finish,
            )
            .map_err(|e| e.to_string())?;
        let after = (count(decoder.total_in()), count(decoder.total_out()));
        if after.1 == len {
            return Ok(out);
        }
        if status == Status::StreamEnd || after == before {
            return Err(format!("{} of {len} bytes", after.1));
        }
    }
}

/// The same for zstd.
pub(super) fn zstd_exactly(packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0; len];
    zstd::Decoder::with_buffer(packed)
        .and_then(|mut decoder| decoder.read_exact(&mut out))
        .map_err(|e| e.to_string())?;
    Ok(out)
}
