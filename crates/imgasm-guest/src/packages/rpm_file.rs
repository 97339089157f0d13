//! A package file, `.rpm`.
//!
//! Its layout is that of the RPM manual, "RPM V4 Package format": a lead of 96 bytes that says
//! nothing any more, a header with signatures, padded to eight bytes, the package's own header, and
//! the packed payload. Version 6 has the same parts with fewer old tags in them.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Error;
use super::header::{COUNTS_LEN, Header, MAGIC, Value};
use super::tags::{self, Tag};
use imgasm_block::{Digest, Hashed, Reader};

/// Bytes of the lead.
const LEAD_LEN: usize = 96;
/// How the lead begins.
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// What the signature header is padded to a multiple of.
const SIGNATURE_ALIGNMENT: usize = 8;
/// Bytes hashed at a time.
const CHUNK: usize = 128 << 10;
/// The digest algorithm SHA-256 (RFC 4880, section 9.4).
const SHA256: u64 = 8;

/// What of the signature header is recorded with an installed package: the tag there, and the tag
/// in the record (RPM's `headerMergeLegacySigs`).
const RECORDED: [(Tag, Tag); 15] = [
    (Tag(1000), tags::SIG_SIZE),
    (Tag(1002), tags::SIG_PGP),
    (Tag(1004), tags::SIG_MD5),
    (Tag(1005), tags::SIG_GPG),
    (Tag(1007), tags::ARCHIVE_SIZE),
    (tags::DSA_HEADER, tags::DSA_HEADER),
    (tags::RSA_HEADER, tags::RSA_HEADER),
    (tags::SHA1_HEADER, tags::SHA1_HEADER),
    (tags::SHA256_HEADER, tags::SHA256_HEADER),
    (tags::LONG_SIG_SIZE, tags::LONG_SIG_SIZE),
    (tags::LONG_ARCHIVE_SIZE, tags::LONG_ARCHIVE_SIZE),
    (tags::FILE_SIGNATURES, tags::FILE_SIGNATURES),
    (tags::FILE_SIGNATURE_LENGTH, tags::FILE_SIGNATURE_LENGTH),
    (tags::VERITY_SIGNATURES, tags::VERITY_SIGNATURES),
    (tags::VERITY_SIGNATURE_ALGO, tags::VERITY_SIGNATURE_ALGO),
];

/// A package file whose headers were read and whose digests are right.
#[derive(Debug)]
pub struct RpmFile {
    path: PathBuf,
    /// The signature header.
    pub signatures: Header,
    /// The package's own header.
    pub header: Header,
    file: Hashed,
    /// Where the payload begins, in bytes.
    payload: u64,
}

impl RpmFile {
    /// Opens a package file and checks that it is the one with this digest, and whole.
    pub fn open(path: &Path, wanted: Digest) -> Result<Self, Error> {
        let host = |source| Error::Host {
            path: path.to_owned(),
            source,
        };
        let unsound = |problem: String| Error::Unsound {
            path: path.to_owned(),
            problem,
        };
        let file = Hashed::open(path).map_err(|error| host(io_error(error)))?;
        let found = file.digest();
        if found != wanted {
            return Err(Error::OtherFile {
                path: path.to_owned(),
                wanted,
                found,
            });
        }
        let mut reader = file.reader(0).map_err(|error| host(io_error(error)))?;
        let parsed = read_headers(&mut reader).map_err(|error| match error {
            ReadError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => host(source),
            ReadError::Io(_) => unsound("it is cut short".to_owned()),
            ReadError::Unsound(problem) => unsound(problem),
        })?;
        let (signatures, header) = parsed;
        let payload = reader.stream_position().map_err(host)?;
        let package = Self {
            path: path.to_owned(),
            signatures,
            header,
            file,
            payload,
        };
        package.check().map_err(unsound)?;
        if let Some(wanted) = package.payload_digest() {
            let found = sha256(&mut package.payload().map_err(host)?).map_err(host)?;
            if found.to_string() != wanted {
                let problem = "its payload is not the one that its header announces: it is cut \
                               short or damaged";
                return Err(unsound(problem.to_owned()));
            }
        }
        Ok(package)
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// The whole file.
    pub fn content(&self) -> io::Result<Reader> {
        self.file.reader(0).map_err(io_error)
    }

    /// The payload as it is packed.
    pub fn payload(&self) -> io::Result<Reader> {
        self.file.reader(self.payload).map_err(io_error)
    }

    /// The bytes that signatures of the header are made over.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [&MAGIC, self.header.bytes()].concat()
    }

    /// What of the signature header is recorded with an installed package.
    pub fn recorded(&self) -> Vec<(Tag, Value)> {
        let mut recorded = Vec::new();
        for (from, to) in RECORDED {
            if self.header.has(to) {
                continue;
            }
            if let Some(value) = self.signatures.copy(from) {
                recorded.push((to, value));
            }
        }
        recorded
    }

    fn check(&self) -> Result<(), String> {
        if let Some(wanted) = self.signatures.text(tags::SHA256_HEADER) {
            let found = Digest::of(&self.signed_bytes()).to_string();
            if found.as_bytes() != wanted {
                return Err("its header is damaged: it has another SHA-256".to_owned());
            }
        }
        if !self.header.has(tags::SOURCE_RPM) {
            return Err("it is a source package, which cannot be installed".to_owned());
        }
        Ok(())
    }

    /// The SHA-256 of the packed payload, where the header gives it.
    fn payload_digest(&self) -> Option<String> {
        let algorithm = self.header.number(tags::PAYLOAD_DIGEST_ALGO);
        let is_known = algorithm.is_none_or(|algorithm| algorithm == SHA256);
        self.header
            .string(tags::PAYLOAD_SHA256)
            .filter(|_| is_known)
    }
}

/// What the host says, without the path, which messages of packages name themselves.
fn io_error(error: imgasm_block::Error) -> io::Error {
    match error {
        imgasm_block::Error::File { source, .. } => source,
        other => io::Error::other(other),
    }
}

enum ReadError {
    Io(io::Error),
    Unsound(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read_headers(file: &mut Reader) -> Result<(Header, Header), ReadError> {
    let mut lead = [0; LEAD_LEN];
    file.read_exact(&mut lead)?;
    if !lead.starts_with(&LEAD_MAGIC) {
        return Err(ReadError::Unsound("it is not an RPM package".to_owned()));
    }
    let signatures = read_header(file, "signature header")?;
    let padding = signatures
        .bytes()
        .len()
        .next_multiple_of(SIGNATURE_ALIGNMENT)
        - signatures.bytes().len();
    file.read_exact(&mut [0; SIGNATURE_ALIGNMENT][..padding])?;
    let header = read_header(file, "header")?;
    Ok((signatures, header))
}

fn read_header(file: &mut Reader, what: &str) -> Result<Header, ReadError> {
    let mut start = [0; MAGIC.len() + COUNTS_LEN];
    file.read_exact(&mut start)?;
    let (magic, counts) = start.split_at(MAGIC.len());
    if magic[..4] != MAGIC[..4] {
        let problem = format!("there is no {what} where one must be");
        return Err(ReadError::Unsound(problem));
    }
    let unsound = |error| ReadError::Unsound(format!("its {what} is unsound: {error}"));
    let counts = counts
        .try_into()
        .expect("the rest is as long as the counts");
    let length = Header::length(counts).map_err(unsound)?;
    let mut bytes = counts.to_vec();
    let rest = u64::try_from(length - COUNTS_LEN).unwrap_or(u64::MAX);
    file.take(rest).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let header = Header::decode(bytes).map_err(unsound)?;
    if !header.is_as_built() {
        let problem = format!("its {what} has values that were added after it was built");
        return Err(ReadError::Unsound(problem));
    }
    Ok(header)
}

fn sha256(reader: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(Digest::finish(hasher)),
            count => hasher.update(&chunk[..count]),
        }
    }
}
