//! Whether a signature's numbers fit a key and a digest.

use num_bigint::BigUint;

use super::key::{Material, algorithm};
use super::packet::Fields;
use super::{Error, Result, malformed};
use crate::packages::digests::Algorithm;

/// What stands before a digest in RSA's padding: the DER of its algorithm (RFC 8017, section 9.2,
/// note 1), by the algorithm's number.
const DIGEST_INFO: [(u64, &[u8]); 6] = [
    (
        1,
        b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10",
    ),
    (
        2,
        b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
    ),
    (
        8,
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
    ),
    (
        9,
        b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
    ),
    (
        10,
        b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
    ),
    (
        11,
        b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
    ),
];
/// The fewest bytes that RSA's padding adds (RFC 8017, section 9.2).
const PADDING: usize = 11;

/// Whether `values`, the end of a signature packet, are a signature of this digest.
pub(super) fn verify(
    key: &Material,
    signed_with: u8,
    values: &[u8],
    digest_by: Algorithm,
    digest: &[u8],
) -> Result<()> {
    let mut values = Fields { rest: values };
    let fits = match (key, signed_with) {
        (Material::Rsa { modulus, exponent }, algorithm::RSA | algorithm::RSA_SIGN) => {
            let signature = values.integer()?;
            rsa(modulus, exponent, &signature, digest_by, digest)
        }
        (
            Material::Dsa {
                prime,
                order,
                generator,
                public,
            },
            algorithm::DSA,
        ) => {
            let (r, s) = (values.integer()?, values.integer()?);
            dsa([prime, order, generator, public], &r, &s, digest)
        }
        (Material::Ed25519(point), algorithm::EDDSA_LEGACY) => {
            let mut signature = [0; 64];
            for half in signature.chunks_exact_mut(32) {
                let number = values.mpi()?;
                let at = half.len().checked_sub(number.len());
                let at = at.ok_or_else(|| malformed("a number of the signature is too large"))?;
                half[at..].copy_from_slice(number);
            }
            ed25519(point, &signature, digest)
        }
        (Material::Ed25519(point), algorithm::ED25519) => {
            let signature = values.take(64_usize)?.try_into();
            let signature = signature.map_err(|_| malformed("a signature is cut short"))?;
            ed25519(point, &signature, digest)
        }
        (Material::Other(number), _) => {
            return Err(Error::Unsupported(format!(
                "the signature algorithm {}",
                name(*number)
            )));
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(Error::Wrong) }
}

/// What people call an algorithm that is not supported (RFC 9580, section 9.1).
fn name(number: u8) -> String {
    let name = match number {
        19 => "ECDSA",
        algorithm::EDDSA_LEGACY => "EdDSA with another curve than Ed25519",
        28 => "Ed448",
        _ => return number.to_string(),
    };
    format!("{name} ({number})")
}

/// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2): the padded digest is made and compared as a whole,
/// so that nothing in the padding is left to be misread.
fn rsa(
    modulus: &BigUint,
    exponent: &BigUint,
    signature: &BigUint,
    digest_by: Algorithm,
    digest: &[u8],
) -> bool {
    let known = DIGEST_INFO
        .iter()
        .find(|(number, _)| *number == digest_by.number());
    let Some((_, info)) = known else {
        return false;
    };
    let len = usize::try_from(modulus.bits().div_ceil(8)).unwrap_or(usize::MAX);
    let filled = len.checked_sub(info.len() + digest.len() + 3);
    let Some(filled) = filled.filter(|filled| *filled >= PADDING - 3) else {
        return false;
    };
    let padded = [&[0, 1][..], &vec![0xff; filled], &[0], info, digest].concat();
    signature < modulus && signature.modpow(exponent, modulus) == BigUint::from_bytes_be(&padded)
}

/// DSA (FIPS 186-4, section 4.7).
fn dsa(
    [prime, order, generator, public]: [&BigUint; 4],
    r: &BigUint,
    s: &BigUint,
    digest: &[u8],
) -> bool {
    let zero = BigUint::ZERO;
    if *r == zero || *s == zero || r >= order || s >= order {
        return false;
    }
    let Some(inverse) = s.modinv(order) else {
        return false;
    };
    let order_len = usize::try_from(order.bits() / 8).unwrap_or(usize::MAX);
    let digest = BigUint::from_bytes_be(&digest[..digest.len().min(order_len)]);
    let of_generator = generator.modpow(&(digest * &inverse % order), prime);
    let of_public = public.modpow(&(r * &inverse % order), prime);
    of_generator * of_public % prime % order == *r
}

fn ed25519(point: &[u8; 32], signature: &[u8; 64], digest: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(point);
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.is_ok_and(|key| key.verify_strict(digest, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named() {
        for (number, name) in [(19, "ECDSA (19)"), (28, "Ed448 (28)"), (99, "algorithm 99")] {
            let key = Material::Other(number);
            let refused =
                verify(&key, number, &[], Algorithm::new(Some(8)).unwrap(), &[]).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
}
