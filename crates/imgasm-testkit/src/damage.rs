//! Damage to files of any kind, texts and others.

use crate::rng::Rng;

/// Changes bytes in one to four places.
pub fn damaged(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    const NUMBERS: [u64; 8] = [
        0,
        1,
        0x7f,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x7fff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
    ];
    const ODD: [&[u8]; 14] = [
        b"\"",
        b"<",
        b">",
        b"</",
        b"&#x0;",
        b"(((((((((",
        b"[[[[[[[[[",
        b"{{{{{{{{{",
        b"{% for a in range(99999) %}",
        b"99999999999999999999",
        b"-1",
        b"\n",
        b"\xff\xfe",
        b"../../",
    ];
    for _ in 0..rng.range(1..5) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = rng.index(bytes.len());
        let end = (at + 1 + rng.index(40)).min(bytes.len());
        match rng.range(0..7) {
            0 => bytes[at] = rng.next().to_le_bytes()[0],
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => {
                let number = *rng.pick(&NUMBERS);
                let number = if rng.chance(50) {
                    number.to_le_bytes()
                } else {
                    number.to_be_bytes()
                };
                let len = 8.min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&number[..len]);
            }
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let many = 1 + rng.index(2000);
                let again = piece.iter().copied().cycle().take(piece.len() * many);
                let again: Vec<u8> = again.collect();
                bytes.splice(at..at, again);
            }
            5 => {
                bytes.splice(at..at, rng.pick(&ODD).iter().copied());
            }
            _ if rng.chance(20) => bytes.truncate(at),
            _ => bytes[at] = b'0' + rng.next().to_le_bytes()[0] % 10,
        }
    }
    bytes
}
