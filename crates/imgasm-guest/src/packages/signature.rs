//! Whether a package was signed by someone who is trusted.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rpm::signature::Verifying;
use rpm::signature::pgp::Verifier;

use super::Error;
use super::rpm_file::RpmFile;
use super::tags::{self, Tag};

/// Signatures over the header.
const OVER_HEADER: [Tag; 2] = [tags::RSA_HEADER, tags::DSA_HEADER];
/// Signatures over header and payload, by their numbers in the signature header: the only ones of
/// old packages.
const OVER_ALL: [Tag; 2] = [Tag(1002), Tag(1005)];

/// Checks that a package is signed by a key of a keyring, a file with armoured public keys.
pub fn check(package: &RpmFile, keyring: &Path) -> Result<(), Error> {
    let keys = fs::read(keyring).map_err(|source| Error::Host {
        path: keyring.to_owned(),
        source,
    })?;
    let verifier = Verifier::from_asc_bytes(&keys).map_err(|error| Error::Keyring {
        path: keyring.to_owned(),
        problem: chain(&error),
    })?;
    let failed = |problem: String| Error::Signature {
        path: package.path().to_owned(),
        keyring: keyring.to_owned(),
        problem,
    };
    let signed = package.signed_bytes();
    let over_header = header_signatures(package);
    let mut problem = "it has no signature".to_owned();
    for signature in &over_header {
        match verifier.verify(Cursor::new(&signed), signature) {
            Ok(()) => return Ok(()),
            Err(error) => problem = chain(&error),
        }
    }
    if !over_header.is_empty() {
        return Err(failed(problem));
    }
    for tag in OVER_ALL {
        let Some(signature) = package.signatures.binary(tag) else {
            continue;
        };
        let payload = package.payload().map_err(|source| Error::Host {
            path: package.path().to_owned(),
            source,
        })?;
        match verifier.verify(Cursor::new(&signed).chain(payload), signature) {
            Ok(()) => return Ok(()),
            Err(error) => problem = chain(&error),
        }
    }
    Err(failed(problem))
}

fn header_signatures(package: &RpmFile) -> Vec<Vec<u8>> {
    let binary = OVER_HEADER
        .iter()
        .filter_map(|tag| package.signatures.binary(*tag));
    let mut signatures: Vec<_> = binary.map(<[u8]>::to_vec).collect();
    let texts = package.signatures.texts(tags::OPENPGP);
    signatures.extend(
        texts
            .iter()
            .filter_map(|text| BASE64_STANDARD.decode(text).ok()),
    );
    signatures
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
