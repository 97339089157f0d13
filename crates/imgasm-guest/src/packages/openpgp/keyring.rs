//! The certificates of a file, and whether one of them made a signature.

use std::collections::HashMap;
use std::io::{self, Read};

use super::certificate::{SigningKey, signing_keys};
use super::packet::{Packet, packets, tag};
use super::signature::{Signature, kind};
use super::{Error, Result, armor, malformed};
use crate::packages::digests::Algorithm;

/// The keys of some files. What all of them say of one key counts: its revocation may be in another file
/// than the key, or in another copy of it.
#[derive(Debug)]
pub struct Keyring {
    /// What the files hold.
    files: Vec<Vec<u8>>,
    keys: Vec<SigningKey>,
    weak: Vec<Algorithm>,
}

impl Keyring {
    /// One without keys. `weak` as for [`Keyring::parse`].
    pub fn empty(weak: &[Algorithm]) -> Self {
        Self {
            files: Vec::new(),
            keys: Vec::new(),
            weak: weak.to_vec(),
        }
    }

    /// Adds the keys of another file.
    ///
    /// # Errors
    /// As [`Keyring::parse`].
    pub fn add(&mut self, other: Self) -> Result<()> {
        self.files.extend(other.files);
        self.keys = keys(&self.files, &self.weak)?;
        Ok(())
    }

    /// Reads armoured or plain public keys. `weak` names the broken digest algorithms that are
    /// trusted all the same.
    ///
    /// # Errors
    /// If the file is no keyring, or no certificate of it can be used.
    pub fn parse(bytes: &[u8], weak: &[Algorithm]) -> Result<Self> {
        let files = vec![armor::decode(bytes, armor::Block::Key)?];
        Ok(Self {
            keys: keys(&files, weak)?,
            files,
            weak: weak.to_vec(),
        })
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

/// The keys that files hold, in order, each with all that is said of it.
fn keys(files: &[Vec<u8>], weak: &[Algorithm]) -> Result<Vec<SigningKey>> {
    // The packets of each certificate, in the order of the certificates.
    let mut certificates: Vec<Vec<Packet<'_>>> = Vec::new();
    let mut places = HashMap::new();
    for file in files {
        let mut present = None;
        for packet in packets(file)? {
            if packet.tag == tag::PUBLIC_KEY {
                let place = *places.entry(packet.body).or_insert(certificates.len());
                if place == certificates.len() {
                    certificates.push(Vec::new());
                }
                present = Some(place);
            }
            let present =
                present.ok_or_else(|| malformed("it does not begin with a public key"))?;
            certificates[present].push(packet);
        }
        present.ok_or_else(|| malformed("it does not begin with a public key"))?;
    }
    let (mut keys, mut problem) = (Vec::new(), None);
    for certificate in certificates {
        match signing_keys(&certificate, weak) {
            Ok(found) => keys.extend(found),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        Some(problem) if keys.is_empty() => Err(problem),
        _ => Ok(keys),
    }
}
