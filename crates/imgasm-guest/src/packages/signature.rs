//! Whether a package was signed by someone who is trusted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Error;
use super::digests::Algorithm;
use super::openpgp::{self, Keyring};
use super::rpm_file::RpmFile;
use super::tags::{self, Tag};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

/// Signatures over the header.
const OVER_HEADER: [Tag; 2] = [tags::RSA_HEADER, tags::DSA_HEADER];
/// Signatures over header and payload, by their numbers in the signature header: the only ones of
/// old packages.
const OVER_ALL: [Tag; 2] = [Tag(1002), Tag(1005)];
/// The largest keyring that is read, in bytes: a distribution's has some ten thousand.
const MAX_KEYRING: u64 = 4 << 20;

/// A file with public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// On the host.
    Host(PathBuf),
    /// In an image.
    Image {
        /// Where.
        path: ImagePath,
        /// What it holds.
        content: Vec<u8>,
    },
}

impl KeyFile {
    /// Reads one in an image.
    pub fn in_image(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<Self> {
        Ok(Self::Image {
            path: path.clone(),
            content: tree::read_file(fs, path, MAX_KEYRING)?,
        })
    }

    /// Where it is.
    fn path(&self) -> PathBuf {
        match self {
            Self::Host(path) => path.clone(),
            Self::Image { path, .. } => PathBuf::from(path.to_string()),
        }
    }

    /// What it holds; `None` if it is too large to be a keyring.
    fn read(&self) -> io::Result<Option<Cow<'_, [u8]>>> {
        match self {
            Self::Host(path) => Ok(read(path)?.map(Cow::Owned)),
            Self::Image { content, .. } => Ok(Some(Cow::Borrowed(content))),
        }
    }
}

/// The keys of all these files. `weak` names the broken digest algorithms that may be used.
pub fn keyring(files: &[KeyFile], weak: &[Algorithm]) -> Result<Keyring, Error> {
    let mut all = Keyring::empty(weak);
    for file in files {
        let not_a_keyring = |problem: String| Error::Keyring {
            path: file.path(),
            problem,
        };
        let bytes = file.read().map_err(|source| Error::Host {
            path: file.path(),
            source,
        })?;
        let bytes =
            bytes.ok_or_else(|| not_a_keyring(format!("it has more than {MAX_KEYRING} bytes")))?;
        let keys = Keyring::parse(&bytes, weak);
        let added = keys.and_then(|keys| all.add(keys));
        added.map_err(|error| not_a_keyring(error.to_string()))?;
    }
    Ok(all)
}

/// Checks that a key of one of these files with public keys made the detached signature in the file
/// `signature` over `content`, which is that of the file at `path`. `weak` names the broken digest
/// algorithms that may be used.
pub fn check_detached(
    path: &Path,
    content: &mut dyn Read,
    signature: &Path,
    keyrings: &[KeyFile],
    weak: &[Algorithm],
) -> Result<(), Error> {
    let signers = Signers::read(path, keyrings, weak)?;
    let bytes = read(signature).map_err(|source| Error::Host {
        path: signature.to_owned(),
        source,
    })?;
    let too_large = || signers.refuse(format!("{} is too large", signature.display()));
    let bytes = openpgp::unarmored(&bytes.ok_or_else(too_large)?);
    let bytes = bytes.map_err(|error| signers.refuse(error.to_string()))?;
    let verdict = signers.verify(&bytes, content)?;
    verdict.map_err(|problem| signers.refuse(problem))
}

/// Checks that a package is signed by a key of one of these files with public keys. `weak` names the
/// broken digest algorithms that may be used.
pub fn check(package: &RpmFile, keyrings: &[KeyFile], weak: &[Algorithm]) -> Result<(), Error> {
    let signers = Signers::read(package.path(), keyrings, weak)?;
    let signed = package.signed_bytes();
    let mut problem = None;
    for signature in header_signatures(package) {
        match signers.verify(&signature, &mut signed.as_slice())? {
            Ok(()) => return Ok(()),
            Err(error) => problem = Some(error),
        }
    }
    if let Some(problem) = problem {
        return Err(signers.refuse(problem));
    }
    for tag in OVER_ALL {
        let Some(signature) = package.signatures.binary(tag) else {
            continue;
        };
        let payload = package.payload().map_err(|source| signers.unread(source))?;
        match signers.verify(signature, &mut signed.as_slice().chain(payload))? {
            Ok(()) => return Ok(()),
            Err(error) => problem = Some(error),
        }
    }
    Err(signers.refuse(problem.unwrap_or_else(|| "it has no signature".to_owned())))
}

/// Those who may have signed a file.
struct Signers<'a> {
    path: &'a Path,
    files: &'a [KeyFile],
    keys: Keyring,
}

impl<'a> Signers<'a> {
    fn read(path: &'a Path, files: &'a [KeyFile], weak: &[Algorithm]) -> Result<Self, Error> {
        let keys = keyring(files, weak)?;
        Ok(Self { path, files, keys })
    }

    /// Whether one of them made this signature over this data of the file.
    fn verify(&self, signature: &[u8], data: &mut dyn Read) -> Result<Result<(), String>, Error> {
        let verdict = self.keys.verify(signature, data);
        let verdict = verdict.map_err(|source| self.unread(source))?;
        Ok(verdict.map_err(|error| error.to_string()))
    }

    /// The file cannot be read.
    fn unread(&self, source: io::Error) -> Error {
        Error::Host {
            path: self.path.to_owned(),
            source,
        }
    }

    /// None of them has signed it.
    fn refuse(&self, problem: String) -> Error {
        Error::Signature {
            path: self.path.to_owned(),
            keyrings: self.files.iter().map(KeyFile::path).collect(),
            problem,
        }
    }
}

/// The content of a file; `None` if it is too large to be a keyring or a signature.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_KEYRING + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_KEYRING).then_some(bytes))
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
