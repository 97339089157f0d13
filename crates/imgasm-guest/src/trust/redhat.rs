//! What `update-ca-trust` makes with p11-kit's `trust extract`: from the certificates in the folder of
//! anchors, and the distribution's own, files for OpenSSL, Java and EDK II.
//!
//! An anchor stands before the distribution's certificates. What is there of them stays byte by
//! byte, so that it does not matter which version of p11-kit made it.

use super::certificate::Purpose;
use super::java::{self, Place};
use super::{Certificate, Error, contains};
use crate::files::{list, read_optional};
use crate::known_path;
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, resolve};

/// Where the administrator puts certificates.
pub(super) const ANCHORS: &str = "/etc/pki/ca-trust/source/anchors";
/// Certificates that nobody shall trust, under its two names.
const BLOCKED: [&str; 2] = [
    "/etc/pki/ca-trust/source/blocklist",
    "/etc/pki/ca-trust/source/blacklist",
];
/// What programs read; it leads to what is extracted, unless that is turned off.
const BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";
const EXTRACTED: &str = "/etc/pki/ca-trust/extracted";
const TRUSTED: &str = "openssl/ca-bundle.trust.crt";
const BUNDLES: [(&str, Purpose); 3] = [
    ("pem/tls-ca-bundle.pem", Purpose::ServerAuth),
    ("pem/email-ca-bundle.pem", Purpose::EmailProtection),
    ("pem/objsign-ca-bundle.pem", Purpose::CodeSigning),
];
const JAVA: &str = "java/cacerts";
const EDK2: &str = "edk2/cacerts.bin";
const HASHED: &str = "pem/directory-hash";

/// What a certificate without a name is called in a bundle, and by Java.
const UNNAMED: &str = "certificate";
const UNNAMED_JAVA: &str = "unlabeled";

/// `EFI_CERT_X509_GUID`, and the owner that p11-kit writes, as bytes of a signature list.
const EFI_CERTIFICATE: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
const EFI_OWNER: [u8; 16] = [
    0x50, 0x3b, 0xdd, 0xdc, 0x05, 0xf4, 0xfd, 0x43, 0x96, 0xbe, 0xbd, 0x33, 0xb1, 0x73, 0x47, 0x76,
];

/// Adds anchors, and what would be extracted of them.
pub(super) fn add(
    editor: &mut Editor<'_>,
    named: &[(String, &Certificate)],
    now: Timestamp,
) -> Result<(), Error> {
    check_used(editor)?;
    for (name, certificate) in named {
        check_not_blocked(editor, certificate)?;
        let anchor = known_path(ANCHORS).child(format!("{name}.pem").as_bytes());
        write(editor, &anchor, certificate.pem().as_bytes())?;
    }
    // The last to come in stands first.
    for (_, certificate) in named.iter().rev() {
        extract(editor, certificate, now)?;
    }
    Ok(())
}

/// Makes sure that programs read what is extracted.
fn check_used(editor: &Editor<'_>) -> Result<(), Error> {
    let path = known_path(BUNDLE);
    if read_optional(editor.fs(), &path)?.is_none() {
        return Ok(());
    }
    let (_, real) = resolve(editor.fs(), &path, LastLink::Follow)?;
    if real.starts_with(&known_path(EXTRACTED)) {
        return Ok(());
    }
    Err(Error::Unusable {
        path,
        problem:
            "is a file of its own, so that anchors have no effect: as `update-ca-trust check` \
                  says, they are disabled"
                .to_owned(),
    })
}

fn check_not_blocked(editor: &Editor<'_>, certificate: &Certificate) -> Result<(), Error> {
    for folder in BLOCKED.map(known_path) {
        for (name, _) in list(editor.fs(), &folder)? {
            let path = folder.child(&name);
            let content = read_optional(editor.fs(), &path)?.unwrap_or_default();
            let blocked = Certificate::all(&content).unwrap_or_default();
            if blocked.contains(certificate) {
                return Err(Error::Unusable {
                    path,
                    problem: format!("distrusts {:?}", certificate.subject()),
                });
            }
        }
    }
    Ok(())
}

/// Adds a certificate to each extracted file that is there.
fn extract(
    editor: &mut Editor<'_>,
    certificate: &Certificate,
    now: Timestamp,
) -> Result<(), Error> {
    let label = certificate.label();
    let comment = label.as_deref().unwrap_or(UNNAMED);
    edit(editor, TRUSTED, |old, _| {
        Ok(first(old, comment, &certificate.trusted_pem()))
    })?;
    for (bundle, purpose) in BUNDLES {
        if certificate.serves(purpose) {
            edit(editor, bundle, |old, _| {
                Ok(first(old, comment, &certificate.pem()))
            })?;
        }
    }
    if !certificate.serves(Purpose::ServerAuth) {
        return Ok(());
    }
    let alias = java::alias(label.as_deref().unwrap_or(UNNAMED_JAVA));
    edit(editor, JAVA, |old, path| {
        java::with(&old, path, certificate, &alias, Place::First, now)
    })?;
    edit(editor, EDK2, |old, _| {
        if contains(&old, certificate.der()) {
            return Ok(old);
        }
        Ok([signature_list(certificate), old].concat())
    })?;
    add_hashed(editor, certificate, comment)
}

/// Changes an extracted file, if the image has it.
fn edit(
    editor: &mut Editor<'_>,
    name: &str,
    change: impl FnOnce(Vec<u8>, &ImagePath) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    let path = known_path(&format!("{EXTRACTED}/{name}"));
    let Some(old) = read_optional(editor.fs(), &path)? else {
        return Ok(());
    };
    let new = change(old, &path)?;
    write(editor, &path, &new)
}

fn write(editor: &mut Editor<'_>, path: &ImagePath, content: &[u8]) -> Result<(), Error> {
    let written = editor.write(path, LastLink::Follow, content, Attributes::default());
    Ok(written?)
}

/// A bundle with a certificate before the others.
fn first(bundle: Vec<u8>, comment: &str, pem: &str) -> Vec<u8> {
    if contains(&bundle, pem.as_bytes()) {
        return bundle;
    }
    let between: &[u8] = if bundle.is_empty() { b"" } else { b"\n" };
    let entry = format!("# {comment}\n{pem}");
    [entry.as_bytes(), between, &bundle].concat()
}

/// An `EFI_SIGNATURE_LIST` with one certificate: kind, sizes of the list, of its head and of an
/// entry, which is an owner and the certificate.
fn signature_list(certificate: &Certificate) -> Vec<u8> {
    let entry = [&EFI_OWNER, certificate.der()].concat();
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let mut list = EFI_CERTIFICATE.to_vec();
    list.extend_from_slice(&len(EFI_CERTIFICATE.len() + 12 + entry.len()));
    list.extend_from_slice(&len(0));
    list.extend_from_slice(&len(entry.len()));
    list.extend_from_slice(&entry);
    list
}

/// A file of its own, and the links by which both generations of OpenSSL find it.
fn add_hashed(
    editor: &mut Editor<'_>,
    certificate: &Certificate,
    label: &str,
) -> Result<(), Error> {
    let folder = known_path(&format!("{EXTRACTED}/{HASHED}"));
    let names: Vec<_> = list(editor.fs(), &folder)?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let pem = certificate.pem();
    for name in names.iter().filter(|name| name.ends_with(b".pem")) {
        let content = read_optional(editor.fs(), &folder.child(name))?;
        if content.is_some_and(|content| content == pem.as_bytes()) {
            return Ok(());
        }
    }
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let stem = label
        .bytes()
        .map(|byte| if is_kept(byte) { byte as char } else { '_' });
    let stem: String = stem.collect();
    let numbered = (1..=names.len()).map(|number| format!("{stem}.{number}.pem"));
    let mut free = std::iter::once(format!("{stem}.pem")).chain(numbered);
    let is_free = |name: &String| !names.iter().any(|taken| *taken == name.as_bytes());
    // One of more names than there are files is free.
    let name = free.find(is_free).unwrap_or_default();
    let path = folder.child(name.as_bytes());
    let attributes = Attributes::of_root(0o444);
    editor.write(&path, LastLink::Keep, pem.as_bytes(), attributes)?;
    for hash in [certificate.hash(), certificate.old_hash()] {
        let numbered = (0..=names.len()).map(|number| format!("{hash}.{number}"));
        let link = numbered.into_iter().find(is_free).unwrap_or_default();
        editor.symlink(&folder.child(link.as_bytes()), name.as_bytes())?;
    }
    Ok(())
}
