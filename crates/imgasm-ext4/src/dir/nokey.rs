//! What encrypted names look like without the key: a form that the kernel shows, too, and that
//! nobody can mistake for the real name. Linux, `fs/crypto/fname.c`, `struct fscrypt_nokey_name`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Bytes of the encrypted name that are shown; of the rest, the SHA-256 is shown.
const SHOWN: usize = 149;

/// The name that stands for an encrypted one. `hash` and `minor` are its hashes in the directory's
/// index, 0 if there is no index.
pub fn encode((hash, minor): (u32, u32), encrypted: &[u8]) -> Vec<u8> {
    let mut shown = Vec::new();
    shown.extend(hash.to_le_bytes());
    shown.extend(minor.to_le_bytes());
    let (start, rest) = encrypted.split_at(encrypted.len().min(SHOWN));
    shown.extend(start);
    if !rest.is_empty() {
        shown.extend(Sha256::digest(rest));
    }
    URL_SAFE_NO_PAD.encode(shown).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_what_a_name_can_have() {
        assert_eq!(encode((0, 0), &[0; 1]), b"AAAAAAAAAAAA");
        assert_eq!(encode((1, 2), &[0xff; 16]).len(), 32);
        assert_eq!(encode((1, 2), &[0xff; 149]).len(), 210);
        assert_eq!(encode((1, 2), &[0xff; 255]).len(), 252);
    }
}
