//! The certificates of a file, and whether one of them made a signature.

use std::io::{self, Read};

use super::certificate::{SigningKey, signing_keys};
use super::packet::{packets, tag};
use super::signature::{Signature, kind};
use super::{Error, Result, armor, malformed};
use crate::packages::digests::Algorithm;

/// The keys of a file.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SigningKey>,
    weak: Vec<Algorithm>,
}

impl Keyring {
    /// One without keys. `weak` as for [`Keyring::parse`].
    pub fn empty(weak: &[Algorithm]) -> Self {
        Self {
            keys: Vec::new(),
            weak: weak.to_vec(),
        }
    }

    /// Adds the keys of another file.
    pub fn add(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Reads armoured or plain public keys. `weak` names the broken digest algorithms that are
    /// trusted all the same.
    ///
    /// # Errors
    /// If the file is no keyring, or no certificate of it can be used.
    pub fn parse(bytes: &[u8], weak: &[Algorithm]) -> Result<Self> {
        let bytes = armor::decode(bytes, armor::Block::Key)?;
        let packets = packets(&bytes)?;
        let mut keyring = Self::empty(weak);
        let is_start = |at: &usize| packets[*at].tag == tag::PUBLIC_KEY;
        let mut starts: Vec<_> = (0..packets.len()).filter(is_start).collect();
        if starts.first() != Some(&0) {
            return Err(malformed("it does not begin with a public key"));
        }
        starts.push(packets.len());
        let mut problems = Vec::new();
        for bounds in starts.windows(2) {
            match signing_keys(&packets[bounds[0]..bounds[1]], weak) {
                Ok(keys) => keyring.keys.extend(keys),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.first() {
            Some(problem) if keyring.keys.is_empty() => Err(problem.clone()),
            _ => Ok(keyring),
        }
    }

    /// The fingerprints of its keys, in order.
    pub fn fingerprints(&self) -> Vec<String> {
        let names = self.keys.iter().map(|key| key.key.name());
        let names: std::collections::BTreeSet<_> = names.collect();
        names.into_iter().collect()
    }

    /// Whether a key of the keyring made this signature over `data`.
    ///
    /// The key must have been valid when the signature was made: what the clock says now does not
    /// count, so that a build has the same result at any time.
    ///
    /// # Errors
    /// The outer one if `data` cannot be read.
    pub fn verify(&self, signature: &[u8], data: &mut dyn Read) -> io::Result<Result<()>> {
        let (signature, keys) = match self.prepare(signature) {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        let digest = signature.digest(data)?;
        let mut result = Err(Error::UnknownKey(signature.issuer()));
        for key in keys {
            result = signature.verify_digest(&key.key, &digest).and_then(|()| {
                let check =
                    |validity: &super::certificate::Validity| validity.check(signature.created);
                let valid = key.validity.as_ref().map_err(Clone::clone).and_then(check);
                valid.map_err(|problem| Error::Refused {
                    key: key.key.name(),
                    problem,
                })
            });
            if result.is_ok() {
                break;
            }
        }
        Ok(result)
    }

    /// The signature, and the keys that could have made it.
    fn prepare(&self, signature: &[u8]) -> Result<(Signature, Vec<&SigningKey>)> {
        let signature = Signature::first(signature)?;
        if signature.kind != kind::BINARY {
            return Err(malformed("the signature is not one over a file"));
        }
        signature.check_digest("the signature", &self.weak)?;
        let keys = self.keys.iter();
        let keys = keys.filter(|key| signature.may_be_by(&key.key)).collect();
        Ok((signature, keys))
    }
}
