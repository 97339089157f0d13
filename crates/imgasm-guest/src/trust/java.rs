//! A keystore of Java with certificates (`JavaKeyStore.java`): a head, entries one after the other, and
//! a digest with a password that everybody knows.

use sha1::{Digest as _, Sha1};

use super::{Certificate, Error};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;

const MAGIC: &[u8] = &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// Behind the magic number and the version: the number of entries.
const HEAD_LEN: usize = 12;
const DIGEST_LEN: usize = 20;
/// An entry that is a certificate, and not a key.
const CERTIFICATE: u32 = 2;
const KIND: &[u8] = b"X.509";
/// "changeit" in UTF-16, and what Java adds to every password.
const PASSWORD: &[u8] = b"\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";

/// Where new entries go: `trust extract` names the image's own authorities first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Last,
}

/// The keystore at `path` with another certificate, called `alias`; as it is if it has it already.
///
/// # Errors
/// [`Error::Unusable`] for another kind of keystore, or one with keys or another password.
pub(super) fn with(
    store: &[u8],
    path: &ImagePath,
    certificate: &Certificate,
    alias: &str,
    place: Place,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let problem = "is no keystore of Java (JKS) with certificates and the password \"changeit\"";
    let unusable = || Error::Unusable {
        path: path.clone(),
        problem: problem.to_owned(),
    };
    let end = store.len().checked_sub(DIGEST_LEN).ok_or_else(unusable)?;
    let (body, digest) = store.split_at(end);
    if !body.starts_with(MAGIC) || sum(body).as_slice() != digest {
        return Err(unusable());
    }
    let Entries { aliases, all } = entries(body).ok_or_else(unusable)?;
    if all.contains(&certificate.der()) {
        return Ok(store.to_vec());
    }
    let taken = |alias: &str| aliases.contains(&alias.as_bytes());
    let numbered = (1..).map(|number: u32| format!("{alias}-{number}"));
    let mut free = std::iter::once(alias.to_owned()).chain(numbered);
    let alias = free.find(|alias| !taken(alias)).ok_or_else(unusable)?;

    let mut entry = CERTIFICATE.to_be_bytes().to_vec();
    let text = |entry: &mut Vec<u8>, text: &[u8]| {
        let len = u16::try_from(text.len()).map_err(|_| unusable())?;
        entry.extend_from_slice(&len.to_be_bytes());
        entry.extend_from_slice(text);
        Ok::<_, Error>(())
    };
    text(&mut entry, alias.as_bytes())?;
    entry.extend_from_slice(&now.seconds.saturating_mul(1000).to_be_bytes());
    text(&mut entry, KIND)?;
    let len = u32::try_from(certificate.der().len()).map_err(|_| unusable())?;
    entry.extend_from_slice(&len.to_be_bytes());
    entry.extend_from_slice(certificate.der());

    let (mut head, old) = (MAGIC.to_vec(), &body[HEAD_LEN..]);
    let count = u32::try_from(aliases.len() + 1).map_err(|_| unusable())?;
    head.extend_from_slice(&count.to_be_bytes());
    let mut store = match place {
        Place::First => [&head, &entry, old].concat(),
        Place::Last => [&head, old, &entry].concat(),
    };
    let digest = sum(&store);
    store.extend_from_slice(&digest);
    Ok(store)
}

/// `alias` as p11-kit makes it of a label: without blanks and all that is not ASCII.
pub(super) fn alias(label: &str) -> String {
    let kept = label
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_whitespace());
    kept.collect::<String>().to_ascii_lowercase()
}

fn sum(body: &[u8]) -> Vec<u8> {
    let digest = Sha1::new().chain_update(PASSWORD).chain_update(body);
    digest.finalize().to_vec()
}

struct Entries<'s> {
    aliases: Vec<&'s [u8]>,
    all: Vec<&'s [u8]>,
}

/// The entries of a keystore, if they are certificates and fill it.
fn entries(body: &[u8]) -> Option<Entries<'_>> {
    let (count, mut rest) = number(body.get(MAGIC.len()..)?)?;
    let (mut aliases, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (kind, after) = number(rest)?;
        let (alias, after) = short(after)?;
        // The time at which it was added.
        let (_, after) = after.split_at_checked(8)?;
        let (format, after) = short(after)?;
        let (len, after) = number(after)?;
        let (certificate, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
        if kind != CERTIFICATE || format != KIND {
            return None;
        }
        aliases.push(alias);
        all.push(certificate);
        rest = after;
    }
    rest.is_empty().then_some(Entries { aliases, all })
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
