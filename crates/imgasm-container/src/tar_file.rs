//! A tar file as it lies on the host, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::budget::{Budget, Limited, Meter};
use super::decode::Decoder;
use super::detect::{Content, HEAD_LEN, detect};
use super::{Codec, Error, Result, tar};
use imgasm_block::Digest;
use imgasm_block::bytes::byte_len;

/// How much of the file is read in one step.
const READ_LEN: usize = 256 << 10;

/// A tar file that is opened once, hashed as it is read, and read as the archive in it.
pub struct TarFile {
    path: PathBuf,
    codec: Option<Codec>,
    file: Arc<Mutex<Hashed>>,
    archive: Box<dyn Read>,
    budget: Budget,
    /// Bytes of the archive that were read.
    read: u64,
}

impl TarFile {
    /// Looks what the file is. At most as much comes out of it as [`super::Reading::max_bytes`] allows
    /// if nothing is said.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it is no tar file.
    pub fn open(path: &Path, file: File) -> Result<Self> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let budget = Budget::usual(file.metadata().map_err(failed)?.len());
        let hashed = Hashed {
            file,
            at: 0,
            hasher: Sha256::new(),
        };
        let file = Arc::new(Mutex::new(hashed));
        let mut input: Box<dyn Read> = Box::new(Shared(Arc::clone(&file)));
        let mut this = Self {
            path: path.to_owned(),
            codec: None,
            file,
            archive: Box::new(io::empty()),
            budget,
            read: 0,
        };
        let mut content = head(&mut input).map_err(|error| this.failed(error))?;
        if let Content::Packed(codec) = content.0 {
            this.codec = Some(codec);
            let decoder = Decoder::new(codec, BufReader::with_capacity(READ_LEN, content.1));
            let decoder = decoder.map_err(|error| this.failed(error))?;
            input = Box::new(Limited::new(decoder, codec, Meter::new(budget)));
            content = head(&mut input).map_err(|error| this.failed(error))?;
        }
        match content {
            (Content::Tar, archive) => {
                this.archive = archive;
                Ok(this)
            }
            _ => Err(Error::Corrupt {
                path: path.to_owned(),
                format: "tar",
                problem: "this is no tar file".to_owned(),
            }),
        }
    }

    /// How many bytes the members may come to, holes and all.
    pub fn limit(&self) -> u64 {
        self.budget.bytes()
    }

    /// The SHA-256 of the file, the rest of which is read.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn finish(self) -> Result<Digest> {
        let mut rest = Shared(Arc::clone(&self.file));
        let read = io::copy(&mut rest, &mut io::sink());
        read.map_err(|source| Error::Read {
            path: self.path,
            source,
        })?;
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Digest::finish(file.hasher.clone()))
    }

    /// A failure to read the archive.
    pub fn failed(&self, source: io::Error) -> Error {
        if tar::is_damage(&source) {
            return Error::Corrupt {
                path: self.path.clone(),
                format: "tar",
                problem: source.to_string(),
            };
        }
        Error::reading(&self.path, self.codec, self.read, source)
    }
}

impl Read for TarFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.archive.read(buf)?;
        self.read += byte_len(&buf[..len]);
        Ok(len)
    }
}

/// What the input begins as, and the whole of it.
fn head(input: &mut Box<dyn Read>) -> io::Result<(Content, Box<dyn Read>)> {
    let mut input = std::mem::replace(input, Box::new(io::empty()));
    let mut head = Vec::new();
    let limit = u64::try_from(HEAD_LEN).expect("a small constant");
    input.by_ref().take(limit).read_to_end(&mut head)?;
    let content = detect(&head);
    Ok((content, Box::new(io::Cursor::new(head).chain(input))))
}

/// A file that is hashed as far as it was read.
struct Hashed {
    file: File,
    at: u64,
    hasher: Sha256,
}

/// The file, for the archive's reader and for what is left of it.
struct Shared(Arc<Mutex<Hashed>>);

impl Read for Shared {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut this = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let len = this.file.read_at(buf, this.at)?;
        this.hasher.update(&buf[..len]);
        this.at += byte_len(&buf[..len]);
        Ok(len)
    }
}
