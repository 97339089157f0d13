//! Disks with something in them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imgasm_block::BlockDevice;

use crate::rng::Rng;

/// Writes a sparse raw disk of `len` bytes: a boot signature, and stretches of noise, text and
/// explicit zeros between holes. The same seed gives the same disk.
pub fn sparse_disk(path: &Path, len: u64, seed: u64) {
    let mut rng = Rng::new(seed);
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for _ in 0..len / (256 << 10) {
        let start = rng.below(len);
        let most = (1 + rng.below(100_000)).min(len - start);
        let mut bytes = vec![0; usize::try_from(most).unwrap()];
        match rng.below(4) {
            0 => rng.fill(&mut bytes),
            1 => {}
            _ => {
                let words = [&b"alpha "[..], b"beta ", b"gamma ", b"delta ", b"\n"];
                for piece in bytes.chunks_mut(6) {
                    let word = words[usize::try_from(rng.below(5)).unwrap()];
                    let len = word.len().min(piece.len());
                    piece[..len].copy_from_slice(&word[..len]);
                }
            }
        }
        file.write_all_at(&bytes, start).unwrap();
    }
    file.write_all_at(b"\x55\xaa", 510).unwrap();
}

/// All bytes of a device, read in pieces of odd sizes; what is not data stays zero.
pub fn bytes_of(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(device.len()).unwrap()];
    let mut from = 0;
    while let Some(data) = device.next_data(from).unwrap() {
        assert!(data.start >= from && data.end > data.start && data.end <= device.len());
        let mut at = data.start;
        while at < data.end {
            let end = (at + 77_777).min(data.end);
            let piece = usize::try_from(at).unwrap()..usize::try_from(end).unwrap();
            device.read_at(at, &mut bytes[piece]).unwrap();
            at = end;
        }
        from = data.end;
    }
    bytes
}
