//! A key with what its owner says of it: names, subkeys, when it expires, and that it is revoked.
//!
//! The policy is that of RPM since it checks certificates: a key counts only with a sound signature
//! of its own, a subkey only if the primary key bound it, and for signing only if it agreed to that
//! itself; a revocation counts whatever its reason.

use std::collections::HashMap;

use super::key::Key;
use super::packet::{Packet, tag};
use super::signature::{Signature, kind};
use super::{Error, Result};
use crate::packages::digests::Algorithm;

/// A key that a signature could be made by.
#[derive(Debug)]
pub(super) struct SigningKey {
    /// The key.
    pub key: Key,
    /// When it may be used, in seconds since 1970, or why not at all.
    pub validity: Result<Validity, String>,
}

/// The time in which a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// The first second.
    from: u64,
    /// The first second in which it no longer may; none if it does not expire.
    until: Option<u64>,
}

impl Validity {
    fn of(key: &Key, expires: Option<u32>) -> Self {
        let from = u64::from(key.created);
        Self {
            from,
            until: expires.map(|seconds| from + u64::from(seconds)),
        }
    }

    /// The time in which both are valid.
    fn and(self, other: Self) -> Self {
        let ends = [self.until, other.until];
        Self {
            from: self.from.max(other.from),
            until: ends.into_iter().flatten().min(),
        }
    }

    /// Why a signature of this time is none of a valid key.
    pub fn check(&self, time: u32) -> Result<(), String> {
        let time = u64::from(time);
        if time < self.from {
            Err("was made after the signature".to_owned())
        } else if self.until.is_some_and(|until| time >= until) {
            Err("was expired when the signature was made".to_owned())
        } else {
            Ok(())
        }
    }
}

/// A part of a certificate with the signatures that follow it.
struct Part<'a> {
    packet: Packet<'a>,
    signatures: Vec<Result<Signature>>,
}

/// Takes a certificate apart into the keys that may sign or are refused. `packets` begins with the
/// primary key; if it and other parts come again, what follows them there is said of them, too.
pub(super) fn signing_keys(packets: &[Packet<'_>], weak: &[Algorithm]) -> Result<Vec<SigningKey>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut places = HashMap::new();
    let mut present = 0;
    for packet in packets {
        match packet.tag {
            tag::SIGNATURE => {
                if let Some(part) = parts.get_mut(present) {
                    part.signatures.push(Signature::parse(packet.body));
                }
            }
            tag::PUBLIC_KEY | tag::PUBLIC_SUBKEY | tag::USER_ID | tag::USER_ATTRIBUTE => {
                let next = parts.len();
                present = *places.entry((packet.tag, packet.body)).or_insert(next);
                if present == next {
                    parts.push(Part {
                        packet: *packet,
                        signatures: Vec::new(),
                    });
                }
            }
            // Trust and padding mean nothing here.
            _ => {}
        }
    }
    let Some((first, rest)) = parts.split_first() else {
        return Ok(Vec::new());
    };
    let primary = Key::parse(first.packet.body)?;
    let owner = Owner {
        primary: &primary,
        weak,
    };
    let of_primary = owner.primary(first, rest);
    let mut keys = Vec::new();
    for part in rest
        .iter()
        .filter(|part| part.packet.tag == tag::PUBLIC_SUBKEY)
    {
        // A subkey of an unknown kind says nothing of the others.
        let Ok(key) = Key::parse(part.packet.body) else {
            continue;
        };
        let validity = match &of_primary {
            Ok((of_primary, _)) => owner.subkey(&key, part).map(|own| own.and(*of_primary)),
            Err(problem) => Err(format!("belongs to a key that {problem}")),
        };
        keys.push(SigningKey { key, validity });
    }
    let validity = match of_primary {
        Ok((validity, true)) => Ok(validity),
        Ok((_, false)) => Err("may not sign data".to_owned()),
        Err(problem) => Err(problem),
    };
    keys.insert(
        0,
        SigningKey {
            key: primary,
            validity,
        },
    );
    Ok(keys)
}

/// The primary key, which speaks for all parts.
struct Owner<'a> {
    primary: &'a Key,
    weak: &'a [Algorithm],
}

impl Owner<'_> {
    /// When the primary key may be used, and whether to sign data.
    fn primary(&self, first: &Part<'_>, rest: &[Part<'_>]) -> Result<(Validity, bool), String> {
        let own = [self.primary.hashed.as_slice()];
        let is_revoked = |kind: u8| kind == kind::KEY_REVOCATION;
        if self.sound(&first.signatures, is_revoked, &own).0.is_some() {
            return Err("is revoked".to_owned());
        }
        let is_direct = |kind: u8| kind == kind::DIRECT_KEY;
        let (mut newest, mut problem) = self.sound(&first.signatures, is_direct, &own);
        for part in rest {
            let prefix: u8 = match part.packet.tag {
                tag::USER_ID => 0xb4,
                tag::USER_ATTRIBUTE => 0xd1,
                _ => continue,
            };
            let len = u32::try_from(part.packet.body.len()).unwrap_or(u32::MAX);
            let head = [&[prefix][..], &len.to_be_bytes()].concat();
            let parts = [own[0], &head, part.packet.body];
            let is_name = |kind: u8| kind::USER_ID.contains(&kind);
            let (name, because) = self.sound(&part.signatures, is_name, &parts);
            problem = problem.or(because);
            let is_revoked = |kind: u8| kind == kind::USER_ID_REVOCATION;
            let (revoked, _) = self.sound(&part.signatures, is_revoked, &parts);
            let name =
                name.filter(|name| revoked.is_none_or(|revoked| revoked.created < name.created));
            newest = match (newest, name) {
                (Some(one), Some(other)) if other.created > one.created => Some(other),
                (one, other) => one.or(other),
            };
        }
        let newest = newest.ok_or_else(|| match problem {
            Some(problem) => format!("has no sound signature of its own: {problem}"),
            None => "has no sound signature of its own".to_owned(),
        })?;
        let validity = Validity::of(self.primary, newest.key_expires);
        Ok((validity, newest.may_sign.unwrap_or(true)))
    }

    /// When a subkey may be used to sign data.
    fn subkey(&self, key: &Key, part: &Part<'_>) -> Result<Validity, String> {
        let parts = [self.primary.hashed.as_slice(), &key.hashed];
        let is_revoked = |kind: u8| kind == kind::SUBKEY_REVOCATION;
        if self.sound(&part.signatures, is_revoked, &parts).0.is_some() {
            return Err("is revoked".to_owned());
        }
        let is_binding = |kind: u8| kind == kind::SUBKEY_BINDING;
        let (binding, problem) = self.sound(&part.signatures, is_binding, &parts);
        let binding = binding.ok_or_else(|| match problem {
            Some(problem) => format!("is not bound to its primary key: {problem}"),
            None => "is not bound to its primary key".to_owned(),
        })?;
        if binding.may_sign == Some(false) {
            return Err("may not sign data".to_owned());
        }
        // Else anybody could claim the subkey of another as theirs.
        let back = binding.embedded.as_deref().map(Signature::parse);
        let is_agreed = match back {
            Some(Ok(back)) => {
                back.kind == kind::PRIMARY_BINDING
                    && back.check_digest("a binding", self.weak).is_ok()
                    && back.verify_parts(key, &parts).is_ok()
            }
            _ => false,
        };
        if !is_agreed {
            return Err("did not agree to its primary key by a back signature".to_owned());
        }
        Ok(Validity::of(key, binding.key_expires))
    }

    /// The newest sound signature of this kind by the primary key over these parts, or why there is
    /// none, if something is known of that.
    fn sound<'s>(
        &self,
        signatures: &'s [Result<Signature>],
        is_wanted: impl Fn(u8) -> bool,
        parts: &[&[u8]],
    ) -> (Option<&'s Signature>, Option<Error>) {
        let mut newest: Option<&Signature> = None;
        let mut problem = None;
        for signature in signatures.iter().flatten() {
            if !is_wanted(signature.kind) || !signature.may_be_by(self.primary) {
                continue;
            }
            let is_sound = signature
                .verify_parts(self.primary, parts)
                // A revocation counts whatever digest it was made with.
                .and_then(|()| match signature.kind {
                    kind::KEY_REVOCATION | kind::SUBKEY_REVOCATION => Ok(()),
                    _ => signature.check_digest("the key's own signature", self.weak),
                });
            match is_sound {
                Ok(()) if newest.is_none_or(|one| one.created <= signature.created) => {
                    newest = Some(signature);
                }
                Ok(()) => {}
                Err(error) => problem = Some(error),
            }
        }
        (newest, problem)
    }
}
