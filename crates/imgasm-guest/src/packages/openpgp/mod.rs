//! OpenPGP, as far as the signatures of packages need it: RFC 9580, and RFC 4880 before it.
//!
//! - [`armor`]: keys as text.
//! - [`packet`]: the packets that keys and signatures consist of.
//! - [`key`]: a public key: its numbers and its fingerprint.
//! - [`signature`]: a signature and what it says.
//! - [`algorithm`]: whether a signature's numbers fit a key and a digest.
//! - [`certificate`]: a key with what its owner says of it: whether it is revoked, expired, or
//!   bound to another key.
//! - [`keyring`]: the certificates of a file, and whether one of them made a signature.
//!
//! Only public values are ever computed with, so nothing here has to take the same time whatever
//! the numbers are.

mod algorithm;
mod armor;
mod certificate;
mod key;
pub mod keyring;
mod packet;
mod signature;

pub use keyring::Keyring;

/// Why a keyring or a signature cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not what they should be.
    #[error("{0}")]
    Malformed(String),
    /// A part is of a kind that is not known here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The digest algorithm is broken, and nobody named it.
    #[error(
        "{what} rests on {algorithm}, which is broken: name it in `weak_digests` to trust it all the same"
    )]
    WeakDigest {
        /// The part that was made with it.
        what: String,
        /// Its name.
        algorithm: &'static str,
    },
    /// No key of the keyring made the signature.
    #[error("it was made by the key {0}, which is not in the keyring")]
    UnknownKey(String),
    /// The key is in the keyring but must not be used.
    #[error("its key {key} {problem}")]
    Refused {
        /// Fingerprint of the key.
        key: String,
        /// Why it must not be used.
        problem: String,
    },
    /// The signature is not one of this key over these bytes.
    #[error("the signature is wrong: the package or the signature was changed")]
    Wrong,
}

/// What the operations here return.
type Result<T, E = Error> = std::result::Result<T, E>;

/// The bytes of a signature that may come as text.
///
/// # Errors
/// If it is neither.
pub fn unarmored(signature: &[u8]) -> Result<Vec<u8>> {
    armor::decode(signature, armor::Block::Signature)
}

fn malformed(problem: &str) -> Error {
    Error::Malformed(problem.to_owned())
}
