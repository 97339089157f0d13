//! A signature and what it says (RFC 9580, section 5.2).

use std::io::{self, Read};

use super::key::Key;
use super::packet::{Fields, packets, tag};
use super::{Error, Result, algorithm, malformed};
use crate::packages::digests::Algorithm;

/// What a signature is made over (RFC 9580, section 5.2.1).
pub(super) mod kind {
    pub const BINARY: u8 = 0x00;
    pub const USER_ID: std::ops::RangeInclusive<u8> = 0x10..=0x13;
    pub const SUBKEY_BINDING: u8 = 0x18;
    pub const PRIMARY_BINDING: u8 = 0x19;
    pub const DIRECT_KEY: u8 = 0x1f;
    pub const KEY_REVOCATION: u8 = 0x20;
    pub const SUBKEY_REVOCATION: u8 = 0x28;
    pub const USER_ID_REVOCATION: u8 = 0x30;
}

/// Types of subpackets (RFC 9580, section 5.2.3.7).
mod subpacket {
    pub const CREATED: u8 = 2;
    pub const KEY_EXPIRES: u8 = 9;
    pub const ISSUER: u8 = 16;
    pub const NOTATION: u8 = 20;
    pub const KEY_FLAGS: u8 = 27;
    pub const EMBEDDED: u8 = 32;
    pub const ISSUER_FINGERPRINT: u8 = 33;
    /// Those that may be critical without a meaning for what is done here.
    pub const HARMLESS: [u8; 14] = [3, 4, 5, 7, 11, 21, 22, 23, 24, 25, 26, 29, 30, 34];
}

/// The bit of a subpacket's type that forbids passing over it.
const CRITICAL: u8 = 0x80;
/// The flag of keys that may sign data (RFC 9580, section 5.2.3.29).
const MAY_SIGN: u8 = 0x02;

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// What it is made over; see [`kind`].
    pub kind: u8,
    /// When it was made, in seconds since 1970.
    pub created: u32,
    /// How many seconds after its own making the key expires, if it does.
    pub key_expires: Option<u32>,
    /// Whether the key may sign data, if the signature says so or not.
    pub may_sign: Option<bool>,
    /// Fingerprints and short names of the key that made it.
    issuers: Vec<Vec<u8>>,
    /// A signature of the subkey over the primary key, as a packet's content.
    pub embedded: Option<Vec<u8>>,
    digest_by: Algorithm,
    signed_with: u8,
    /// What is hashed before the data.
    salt: Vec<u8>,
    /// What is hashed behind the data.
    trailer: Vec<u8>,
    values: Vec<u8>,
}

impl Signature {
    /// The first signature in a sequence of packets.
    pub fn first(bytes: &[u8]) -> Result<Self> {
        let packets = packets(bytes)?;
        let packet = packets.iter().find(|packet| packet.tag == tag::SIGNATURE);
        Self::parse(
            packet
                .ok_or_else(|| malformed("it is not a signature"))?
                .body,
        )
    }

    /// Reads the packet of a signature.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let mut fields = Fields { rest: body };
        match fields.u8()? {
            3 => Self::third(fields),
            version @ (4 | 6) => Self::fourth(version, body, fields),
            version => Err(Error::Unsupported(format!(
                "a signature of version {version}"
            ))),
        }
    }

    /// Version 3, which old packages are signed in (RFC 4880, section 5.2.2).
    fn third(mut fields: Fields<'_>) -> Result<Self> {
        if fields.u8()? != 5 {
            return Err(malformed("a signature of version 3 has a wrong length"));
        }
        let trailer = fields.take(5_usize)?;
        let kind = trailer[0];
        let created = Fields {
            rest: &trailer[1..],
        }
        .u32()?;
        let issuer = fields.take(8_usize)?.to_vec();
        let signed_with = fields.u8()?;
        let digest_by = digest_algorithm(fields.u8()?)?;
        fields.u16()?;
        Ok(Self {
            kind,
            created,
            key_expires: None,
            may_sign: None,
            issuers: vec![issuer],
            embedded: None,
            digest_by,
            signed_with,
            salt: Vec::new(),
            trailer: trailer.to_vec(),
            values: fields.rest.to_vec(),
        })
    }

    /// Versions 4 and 6 (RFC 9580, section 5.2.3).
    fn fourth(version: u8, body: &[u8], mut fields: Fields<'_>) -> Result<Self> {
        let kind = fields.u8()?;
        let signed_with = fields.u8()?;
        let digest_by = digest_algorithm(fields.u8()?)?;
        let area_len = |fields: &mut Fields<'_>| match version {
            4 => fields.u16().map(u32::from),
            _ => fields.u32(),
        };
        let len = area_len(&mut fields)?;
        let hashed = fields.take(len)?;
        let hashed_len = body.len() - fields.rest.len();
        let len = area_len(&mut fields)?;
        let unhashed = fields.take(len)?;
        fields.u16()?;
        let salt = if version == 4 {
            &[]
        } else {
            let len = fields.u8()?;
            fields.take(len)?
        };
        let mut trailer = body[..hashed_len].to_vec();
        let len = u32::try_from(hashed_len).map_err(|_| malformed("a signature is too long"))?;
        trailer.extend([version, 0xff]);
        trailer.extend(len.to_be_bytes());
        let mut signature = Self {
            kind,
            created: 0,
            key_expires: None,
            may_sign: None,
            issuers: Vec::new(),
            embedded: None,
            digest_by,
            signed_with,
            salt: salt.to_vec(),
            trailer,
            values: fields.rest.to_vec(),
        };
        let has_time = signature.subpackets(hashed, true)?;
        signature.subpackets(unhashed, false)?;
        if !has_time {
            return Err(malformed("a signature does not say when it was made"));
        }
        Ok(signature)
    }

    /// Takes what subpackets say; gives whether the time of making is among them. Of those that are
    /// not hashed, which anybody could have added, only what proves itself counts.
    fn subpackets(&mut self, area: &[u8], is_hashed: bool) -> Result<bool> {
        let mut fields = Fields { rest: area };
        let mut has_time = false;
        while !fields.rest.is_empty() {
            let len = fields.length()?;
            let mut fields = Fields {
                rest: fields.take(len)?,
            };
            let first = fields.u8()?;
            match (first & !CRITICAL, is_hashed) {
                (subpacket::ISSUER, _) => self.issuers.push(fields.rest.to_vec()),
                (subpacket::ISSUER_FINGERPRINT, _) => {
                    fields.u8()?;
                    self.issuers.push(fields.rest.to_vec());
                }
                (subpacket::EMBEDDED, _) => self.embedded = Some(fields.rest.to_vec()),
                (_, false) => {}
                (subpacket::CREATED, true) => {
                    self.created = fields.u32()?;
                    has_time = true;
                }
                (subpacket::KEY_EXPIRES, true) => {
                    self.key_expires = Some(fields.u32()?).filter(|seconds| *seconds > 0);
                }
                (subpacket::KEY_FLAGS, true) => {
                    let flags = fields.rest.first().copied().unwrap_or_default();
                    self.may_sign = Some(flags & MAY_SIGN != 0);
                }
                (subpacket::NOTATION, true) if first & CRITICAL == 0 => {}
                (number, true) => {
                    if first & CRITICAL != 0 && !subpacket::HARMLESS.contains(&number) {
                        let what = format!("the critical part {number} of a signature");
                        return Err(Error::Unsupported(what));
                    }
                }
            }
        }
        Ok(has_time)
    }

    /// Whether this key could have made it, by the names in the signature.
    pub fn may_be_by(&self, key: &Key) -> bool {
        self.issuers.is_empty()
            || self
                .issuers
                .iter()
                .any(|issuer| *issuer == key.fingerprint || *issuer == key.id())
    }

    /// The key that made it, as the signature names it.
    pub fn issuer(&self) -> String {
        let longest = self.issuers.iter().max_by_key(|issuer| issuer.len());
        longest.map_or_else(|| "that it does not name".to_owned(), hex::encode_upper)
    }

    /// Refuses broken digest algorithms that nobody named.
    pub fn check_digest(&self, what: &str, allowed: &[Algorithm]) -> Result<()> {
        match self.digest_by.weakness() {
            Some(algorithm) if !allowed.contains(&self.digest_by) => Err(Error::WeakDigest {
                what: what.to_owned(),
                algorithm,
            }),
            _ => Ok(()),
        }
    }

    /// Whether it is this key's over these parts.
    pub fn verify_parts(&self, key: &Key, parts: &[&[u8]]) -> Result<()> {
        let digest = self.digest(&mut parts.concat().as_slice());
        let digest = digest.map_err(|error| Error::Malformed(error.to_string()))?;
        self.verify_digest(key, &digest)
    }

    /// The digest that it is a signature of, over this data.
    pub fn digest(&self, data: &mut dyn Read) -> io::Result<Vec<u8>> {
        let mut all = self
            .salt
            .as_slice()
            .chain(data)
            .chain(self.trailer.as_slice());
        self.digest_by.digest_bytes(&mut all)
    }

    /// Whether it is this key's, where this is what [`Signature::digest`] gave.
    pub fn verify_digest(&self, key: &Key, digest: &[u8]) -> Result<()> {
        let (signed_with, by) = (self.signed_with, self.digest_by);
        algorithm::verify(&key.material, signed_with, &self.values, by, digest)
    }
}

fn digest_algorithm(number: u8) -> Result<Algorithm> {
    let algorithm = Algorithm::new(Some(u64::from(number)));
    algorithm.ok_or_else(|| Error::Unsupported(format!("the digest algorithm {number}")))
}
