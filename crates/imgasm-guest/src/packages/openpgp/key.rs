//! A public key: its numbers and its fingerprint (RFC 9580, sections 5.5.2 and 5.5.4).

use num_bigint::BigUint;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::packet::Fields;
use super::{Error, Result, malformed};

/// Numbers of algorithms (RFC 9580, section 9.1).
pub(super) mod algorithm {
    pub const RSA: u8 = 1;
    pub const RSA_SIGN: u8 = 3;
    pub const DSA: u8 = 17;
    pub const EDDSA_LEGACY: u8 = 22;
    pub const ED25519: u8 = 27;
}

/// The curve Ed25519 by its object identifier (RFC 9580, section 9.2).
const ED25519_OID: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
/// What comes before a point in its native form.
const NATIVE_POINT: u8 = 0x40;
/// How large moduli may be, in bits. Smaller ones are broken; a larger one only costs time.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 1024..=16384;
/// The largest exponent of RSA and order of DSA, in bits.
const EXPONENT_BITS: u64 = 512;

/// The numbers of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    Rsa {
        modulus: BigUint,
        exponent: BigUint,
    },
    Dsa {
        prime: BigUint,
        order: BigUint,
        generator: BigUint,
        public: BigUint,
    },
    Ed25519([u8; 32]),
    /// A key of an algorithm that is not known here, or that cannot sign.
    Other(u8),
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// When it was made, in seconds since 1970.
    pub created: u32,
    /// Its numbers.
    pub material: Material,
    /// What names it: 20 bytes in version 4, 32 in version 6.
    pub fingerprint: Vec<u8>,
    /// What is hashed of it where it is signed.
    pub hashed: Vec<u8>,
}

impl Key {
    /// Reads the packet of a public key.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let mut fields = Fields { rest: body };
        let version = fields.u8()?;
        let created = fields.u32()?;
        let algorithm = fields.u8()?;
        let too_long = |_| malformed("a key is too long");
        let mut hashed = match version {
            4 => {
                let len = u16::try_from(body.len()).map_err(too_long)?;
                [&[0x99][..], &len.to_be_bytes()].concat()
            }
            6 => {
                fields.u32()?;
                let len = u32::try_from(body.len()).map_err(too_long)?;
                [&[0x9b][..], &len.to_be_bytes()].concat()
            }
            _ => return Err(Error::Unsupported(format!("a key of version {version}"))),
        };
        hashed.extend_from_slice(body);
        let fingerprint = match version {
            4 => Sha1::digest(&hashed).to_vec(),
            _ => Sha256::digest(&hashed).to_vec(),
        };
        Ok(Self {
            created,
            material: Material::parse(algorithm, fields)?,
            fingerprint,
            hashed,
        })
    }

    /// The short name: the end of the fingerprint, in version 6 its beginning.
    pub fn id(&self) -> &[u8] {
        match self.fingerprint.len() {
            20 => &self.fingerprint[12..],
            _ => &self.fingerprint[..8],
        }
    }

    /// The fingerprint as people write it.
    pub fn name(&self) -> String {
        hex::encode_upper(&self.fingerprint)
    }
}

impl Material {
    fn parse(algorithm: u8, mut fields: Fields<'_>) -> Result<Self> {
        match algorithm {
            algorithm::RSA | algorithm::RSA_SIGN => {
                let (modulus, exponent) = (fields.integer()?, fields.integer()?);
                let is_exponent = exponent.bit(0) && (2..=EXPONENT_BITS).contains(&exponent.bits());
                check(is_modulus(&modulus) && is_exponent)?;
                Ok(Self::Rsa { modulus, exponent })
            }
            algorithm::DSA => {
                let (prime, order) = (fields.integer()?, fields.integer()?);
                let (generator, public) = (fields.integer()?, fields.integer()?);
                let is_order = order.bit(0)
                    && (160..=EXPONENT_BITS).contains(&order.bits())
                    && order.bits().is_multiple_of(8);
                let one = BigUint::from(1_u8);
                let in_range = |number: &BigUint| *number > one && *number < prime;
                check(is_modulus(&prime) && is_order && in_range(&generator) && in_range(&public))?;
                Ok(Self::Dsa {
                    prime,
                    order,
                    generator,
                    public,
                })
            }
            algorithm::EDDSA_LEGACY => {
                let len = fields.u8()?;
                if fields.take(len)? != ED25519_OID {
                    return Ok(Self::Other(algorithm));
                }
                let point = fields.mpi()?.strip_prefix(&[NATIVE_POINT]);
                let point = point.and_then(|point| point.try_into().ok());
                point
                    .map(Self::Ed25519)
                    .ok_or_else(|| malformed("a point is not one of Ed25519"))
            }
            algorithm::ED25519 => {
                let point = fields.take(32_usize)?.try_into();
                Ok(Self::Ed25519(
                    point.map_err(|_| malformed("a key is cut short"))?,
                ))
            }
            _ => Ok(Self::Other(algorithm)),
        }
    }
}

fn is_modulus(number: &BigUint) -> bool {
    number.bit(0) && MODULUS_BITS.contains(&number.bits())
}

fn check(is_sound: bool) -> Result<()> {
    if is_sound {
        Ok(())
    } else {
        Err(malformed("a key has numbers that no key may have"))
    }
}
