//! Keys as text (RFC 9580, section 6.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Result, malformed};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The bytes of all blocks of a text, one after the other. What is no text is taken as it is.
///
/// The checksum behind a block is not looked at, which RFC 9580 allows: keys are signed.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
    // The first bit of a packet is set, and no text begins so.
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is neither text nor a key"))?;
    let mut decoded = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|line| line == BEGIN) {
        let mut block = String::new();
        let mut is_header = true;
        let mut is_whole = false;
        for line in lines.by_ref() {
            match line {
                END => {
                    is_whole = true;
                    break;
                }
                "" => is_header = false,
                _ if is_header && line.contains(": ") => {}
                _ if line.starts_with('=') => {}
                _ => {
                    is_header = false;
                    block.push_str(line);
                }
            }
        }
        if !is_whole {
            return Err(malformed("a block of a public key has no end"));
        }
        let bytes = BASE64_STANDARD.decode(block);
        decoded.extend(bytes.map_err(|_| malformed("a block of a public key is not base64"))?);
    }
    if decoded.is_empty() {
        return Err(malformed("it holds no block of a public key"));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other() {
        let block = |data: &str| format!("x\n{BEGIN}\nComment: y\n\n{data}\n=abcd\n{END}\n");
        let text = block("AQID") + &block("BA\nUG");
        assert_eq!(decode(text.as_bytes()).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(decode(&[0x99, 1]).unwrap(), [0x99, 1]);
        for bad in ["", "x", BEGIN, &block("A*")] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
