//! A statement in a signed envelope: DSSE, version 1.0.2
//! (<https://github.com/secure-systems-lab/dsse>), as cosign and in-toto's tools take it.
//!
//! Signatures are Ed25519 (RFC 8032) or ECDSA over P-256 with SHA-256 and the nonce of RFC 6979, so
//! that the same statement and key give the same bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey};
use serde::Serialize;

use imgasm_block::Digest;

/// What an envelope says of an in-toto statement
/// (<https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md>).
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The longest file with a key, in bytes.
const LONGEST_KEY: u64 = 64 << 10;

/// Why a key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the key {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// It holds no key that can be used.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
}

/// A private key.
pub struct Key(Kind);

enum Kind {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: &'static str,
    payload: String,
    signatures: [Signature; 1],
}

#[derive(Serialize)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Key {
    /// Reads the key in a file: PEM, as `openssl genpkey` writes it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut pem = String::new();
        let file = File::open(path);
        let read = file.and_then(|file| file.take(LONGEST_KEY + 1).read_to_string(&mut pem));
        read.map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&pem).map_err(|problem| Error::Unusable {
            path: path.to_owned(),
            problem,
        })
    }

    fn parse(pem: &str) -> Result<Self, &'static str> {
        if pem.contains("-----BEGIN ENCRYPTED") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err("is encrypted: `openssl pkey` writes the key without its password");
        }
        // What openssl writes before an EC key.
        let start = pem
            .find("-----BEGIN EC PRIVATE KEY")
            .or_else(|| pem.find("-----BEGIN"));
        let pem = &pem[start.unwrap_or(0)..];
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Kind::Ed25519(key)));
        }
        let key = p256::SecretKey::from_pkcs8_pem(pem);
        match key.or_else(|_| p256::SecretKey::from_sec1_pem(pem)) {
            Ok(key) => Ok(Self(Kind::P256(key.into()))),
            Err(_) => Err("holds no private key of Ed25519 or P-256 in PEM"),
        }
    }

    /// The SHA-256 of the public key in DER, by which others tell keys apart.
    fn id(&self) -> Result<String, p256::pkcs8::spki::Error> {
        let public = match &self.0 {
            Kind::Ed25519(key) => key.verifying_key().to_public_key_der()?,
            Kind::P256(key) => key.verifying_key().to_public_key_der()?,
        };
        Ok(Digest::of(public.as_bytes()).to_string())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Kind::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Kind::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}

/// A statement in an envelope that a key has signed: one line of JSON.
pub fn seal(statement: &[u8], key: &Key) -> String {
    let envelope = Envelope {
        payload_type: STATEMENT,
        payload: STANDARD.encode(statement),
        signatures: [Signature {
            keyid: key.id().unwrap_or_default(),
            sig: STANDARD.encode(key.sign(&signed_bytes(statement))),
        }],
    };
    let mut json = serde_json::to_string(&envelope).expect("plain values are always JSON");
    json.push('\n');
    json
}

/// What is signed: the "pre-authentication encoding" of type and statement.
fn signed_bytes(statement: &[u8]) -> Vec<u8> {
    let (kind, len) = (STATEMENT, statement.len());
    let head = format!("DSSEv1 {} {kind} {len} ", kind.len());
    [head.as_bytes(), statement].concat()
}
