//! Keys as text (RFC 9580, section 6.2).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Result, malformed};

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Key,
    Signature,
}

impl Block {
    /// What stands in the lines before and behind it.
    const fn label(self) -> &'static str {
        match self {
            Self::Key => "PGP PUBLIC KEY BLOCK",
            Self::Signature => "PGP SIGNATURE",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Key => "public key",
            Self::Signature => "signature",
        }
    }
}

/// The bytes of all blocks of a text, one after the other. What is no text is taken as it is.
///
/// The checksum behind a block is not looked at, which RFC 9580 allows: keys are signed.
pub(super) fn decode(bytes: &[u8], kind: Block) -> Result<Vec<u8>> {
    let (begin, end) = (
        format!("-----BEGIN {}-----", kind.label()),
        format!("-----END {}-----", kind.label()),
    );
    let name = kind.name();
    // The first bit of a packet is set, and no text begins so.
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is neither text nor a key"))?;
    let mut decoded = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|line| line == begin) {
        let mut block = String::new();
        let mut is_header = true;
        let mut is_whole = false;
        for line in lines.by_ref() {
            match line {
                _ if line == end => {
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
            return Err(malformed(&format!("a block of a {name} has no end")));
        }
        let bytes = BASE64_STANDARD.decode(block);
        let bytes = bytes.map_err(|_| malformed(&format!("a block of a {name} is not base64")));
        decoded.extend(bytes?);
    }
    if decoded.is_empty() {
        return Err(malformed(&format!("it holds no block of a {name}")));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other() {
        let begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        let end = "-----END PGP PUBLIC KEY BLOCK-----";
        let block = |data: &str| format!("x\n{begin}\nComment: y\n\n{data}\n=abcd\n{end}\n");
        let text = block("AQID") + &block("BA\nUG");
        assert_eq!(
            decode(text.as_bytes(), Block::Key).unwrap(),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(decode(&[0x99, 1], Block::Key).unwrap(), [0x99, 1]);
        for bad in ["", "x", begin, &block("A*")] {
            assert!(decode(bad.as_bytes(), Block::Key).is_err(), "{bad}");
        }
        assert!(decode(block("AQID").as_bytes(), Block::Signature).is_err());
    }
}
