//! Digests of files, by the algorithms that packages name.

use std::io::{self, Read};

use sha2::digest::DynDigest;

/// Bytes hashed at a time.
const CHUNK: usize = 128 << 10;

/// A digest algorithm, by its number in OpenPGP (RFC 4880, section 9.4), which RPM uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm(u64);

impl Algorithm {
    /// MD5, by name.
    pub const MD5: Self = Self(1);
    /// SHA-1, by name.
    pub const SHA1: Self = Self(2);

    /// The one with this number; packages that name none mean MD5.
    pub fn new(number: Option<u64>) -> Option<Self> {
        let algorithm = Self(number.unwrap_or(1));
        algorithm.hasher().map(|_| algorithm)
    }

    /// The algorithm under which a header lists the digests of its files.
    pub fn of(header: &super::header::Header) -> Option<Self> {
        Self::new(header.number(super::tags::FILE_DIGEST_ALGO))
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Its name, if it is so broken that signatures must not rest on it.
    pub fn weakness(self) -> Option<&'static str> {
        match self.0 {
            1 => Some("MD5"),
            2 => Some("SHA-1"),
            _ => None,
        }
    }

    fn hasher(self) -> Option<Box<dyn DynDigest>> {
        Some(match self.0 {
            1 => Box::new(md5::Md5::default()),
            2 => Box::new(sha1::Sha1::default()),
            8 => Box::new(sha2::Sha256::default()),
            9 => Box::new(sha2::Sha384::default()),
            10 => Box::new(sha2::Sha512::default()),
            11 => Box::new(sha2::Sha224::default()),
            _ => return None,
        })
    }

    /// The digest of everything that `reader` gives, in hexadecimal.
    pub fn digest(self, reader: &mut dyn Read) -> io::Result<String> {
        self.digest_bytes(reader).map(hex::encode)
    }

    /// The digest of everything that `reader` gives.
    pub fn digest_bytes(self, reader: &mut dyn Read) -> io::Result<Vec<u8>> {
        let hasher = self.hasher();
        let mut hasher = hasher.expect("only known algorithms can be constructed");
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk)? {
                0 => return Ok(hasher.finalize().into_vec()),
                count => hasher.update(&chunk[..count]),
            }
        }
    }
}
