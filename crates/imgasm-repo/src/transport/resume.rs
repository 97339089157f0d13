//! A large file of which at most the digest is known: what is interrupted goes on where it stopped, also
//! in another process.
//!
//! What has come so far is called `NAME.part`. Whether it and what follows belong together is told by
//! the digest alone: if they do not, the file is asked for once more, from its beginning. So is always
//! one whose digest is not known.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{ATTEMPTS, CHUNK, Failure, PAUSE, failed, interrupted};
use crate::{Error, Result};
use imgasm_block::Digest;
use imgasm_block::lock::lock;
use imgasm_block::sidecar::Sidecar;

/// The most connections for one file, however little each of them brings.
const CONNECTIONS: u32 = 1000;

/// What a server sends of a file.
pub struct Stream {
    /// The bytes.
    pub reader: Box<dyn Read>,
    /// Where the first of them lies in the file: where it was asked for, or 0.
    pub start: u64,
    /// The length of the file, if the server says it.
    pub len: Option<u64>,
}

/// Why a server did not give a file.
#[derive(Debug)]
pub struct Refusal {
    /// In words.
    pub problem: String,
    /// Whether the same request may succeed later.
    pub may_pass: bool,
}

/// A file on a server.
pub trait Remote {
    /// Where it is, for messages.
    fn url(&self) -> &str;

    /// Asks for it, from this byte on.
    ///
    /// # Errors
    /// A [`Refusal`].
    fn open(&self, from: u64) -> Result<Stream, Refusal>;
}

/// What is to come, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The digest of the file, if it is known.
    pub sha256: Option<Digest>,
    /// The most bytes that it may have.
    pub limit: u64,
    /// Where it is to lie. It appears there when it is whole.
    pub target: &'a Path,
}

/// Gets a file, and says as it comes how many bytes there are of how many. Gives its digest.
///
/// # Errors
/// [`Error::Fetch`] if it cannot be had or is too long, [`Error::OtherFile`], and [`Error::Host`].
pub fn fetch(
    remote: &dyn Remote,
    wanted: Wanted<'_>,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<Digest> {
    let mut part = Part::open(wanted.target)?;
    if wanted.sha256.is_none() {
        part.clear()?;
    }
    let mut is_patched = part.len > 0;
    let (mut failures, mut connections) = (0, 0);
    loop {
        let before = part.len;
        connections += 1;
        if let Err(failure) = part.extend(remote, wanted.limit, progress) {
            let has_advanced = part.len > before && wanted.sha256.is_some();
            failures = if has_advanced { 1 } else { failures + 1 };
            if wanted.sha256.is_none() {
                part.clear()?;
            }
            if !failure.may_pass || failures == ATTEMPTS || connections == CONNECTIONS {
                if part.len == 0 {
                    let _ = part.remove();
                }
                return Err(failure.error);
            }
            std::thread::sleep(PAUSE * failures);
            is_patched = part.len > 0;
            continue;
        }
        let found = Digest::finish(part.hasher.clone());
        let other = wanted.sha256.filter(|wanted| *wanted != found);
        let Some(other) = other else {
            part.finish(wanted.target)?;
            return Ok(found);
        };
        part.clear()?;
        if !is_patched {
            part.remove()?;
            return Err(Error::OtherFile {
                url: remote.url().to_owned(),
                wanted: other,
                found,
            });
        }
        is_patched = false;
    }
}

/// What there is of a file.
struct Part {
    file: File,
    path: PathBuf,
    len: u64,
    hasher: Sha256,
}

impl Part {
    /// What an earlier process has left, or nothing; locked.
    fn open(target: &Path) -> Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let host = |source| Error::Host {
            path: path.clone(),
            source,
        };
        let file = Sidecar::open_own(&path).map_err(|error| host(io::Error::other(error)))?;
        lock(&file, &path).map_err(|error| host(io::Error::other(error)))?;
        let mut part = Self {
            file,
            path: path.clone(),
            len: 0,
            hasher: Sha256::new(),
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = part.file.read(&mut chunk).map_err(host)?;
            if count == 0 {
                return Ok(part);
            }
            part.hasher.update(&chunk[..count]);
            part.len += count as u64;
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Host {
            path: self.path.clone(),
            source,
        }
    }

    fn clear(&mut self) -> Result<()> {
        let cleared = self.file.set_len(0);
        cleared.map_err(|error| self.failed(error))?;
        self.len = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    /// Takes it away.
    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| self.failed(error))
    }

    /// Adds all that is missing.
    fn extend(
        &mut self,
        remote: &dyn Remote,
        limit: u64,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let url = remote.url();
        let stream = remote.open(self.len).map_err(|refusal| Failure {
            error: failed(url, refusal.problem),
            may_pass: refusal.may_pass,
        })?;
        if stream.start != self.len {
            self.clear()?;
            if stream.start != 0 {
                let problem = format!("the server sends it from byte {}", stream.start);
                return Err(failed(url, problem).into());
            }
        }
        let too_long = |part: &Self| match part.remove() {
            Ok(()) => failed(url, format!("it has more than {limit} bytes")).into(),
            Err(error) => Failure::from(error),
        };
        if stream.len.is_some_and(|len| len > limit) {
            return Err(too_long(self));
        }
        let moved = self.file.seek(SeekFrom::Start(self.len));
        moved.map_err(|error| self.failed(error))?;
        let mut reader = stream.reader;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk);
            let count = count.map_err(|error| interrupted(url, error))?;
            if count == 0 {
                break;
            }
            if self.len + count as u64 > limit {
                return Err(too_long(self));
            }
            let written = self.file.write_all(&chunk[..count]);
            written.map_err(|error| self.failed(error))?;
            self.hasher.update(&chunk[..count]);
            self.len += count as u64;
            progress(self.len, stream.len);
        }
        match stream.len {
            Some(len) if self.len < len => {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                Err(interrupted(url, cut))
            }
            _ => Ok(()),
        }
    }

    /// Gives the file its name.
    fn finish(self, target: &Path) -> Result<()> {
        let named = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, target));
        named.map_err(|error| self.failed(error))
    }
}
