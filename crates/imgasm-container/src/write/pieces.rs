//! The pieces of a device from which a format is written.

use crate::Result;
use imgasm_block::BlockDevice;

/// The offsets, multiples of `piece_bytes`, of the pieces of a device that are not a hole.
pub(super) fn data_pieces(
    device: &dyn BlockDevice,
    piece_bytes: u64,
) -> impl Iterator<Item = Result<u64>> {
    let mut position = 0;
    std::iter::from_fn(move || match device.next_data(position) {
        Ok(Some(data)) => {
            let offset = data.start / piece_bytes * piece_bytes;
            position = offset + piece_bytes;
            Some(Ok(offset))
        }
        Ok(None) => None,
        Err(e) => {
            position = u64::MAX;
            Some(Err(e.into()))
        }
    })
}

/// Reads a piece of a device; what lies past its end is zeros.
pub(super) fn read_piece(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut piece = vec![0; len];
    device.read_padded(offset, &mut piece)?;
    Ok(piece)
}
