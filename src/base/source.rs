//! Where the content of a file of the tree lies.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, Result};
use crate::config::boundary::open_regular;
use imgasm_block::BlockDevice;

/// Where the content of a file lies.
#[derive(Clone)]
pub enum Source {
    /// In a file on the host.
    Host(PathBuf),
    /// In what was unpacked from an archive.
    Unpacked {
        /// What was unpacked.
        store: Arc<dyn BlockDevice>,
        /// Where the content begins there.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => path.fmt(f),
            Self::Unpacked { offset, .. } => write!(f, "unpacked at {offset}"),
        }
    }
}

impl Source {
    /// Opens it for reading.
    ///
    /// # Errors
    /// [`Error::Host`].
    pub fn open(&self) -> Result<Box<dyn Content>> {
        Ok(match self {
            Self::Host(path) => Box::new(open_regular(path).map_err(self.failed("read"))?),
            Self::Unpacked { store, offset, len } => Box::new(Unpacked {
                store: Arc::clone(store),
                start: *offset,
                at: *offset,
                end: offset + len,
            }),
        })
    }

    /// A failure to do something with it.
    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = match self {
            Self::Host(path) => path.clone(),
            Self::Unpacked { .. } => "what was unpacked".into(),
        };
        move |source| Error::Host {
            action,
            path,
            source,
        }
    }
}

/// The content of a file, from its beginning.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// A part of what was unpacked.
struct Unpacked {
    store: Arc<dyn BlockDevice>,
    start: u64,
    at: u64,
    end: u64,
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.end - self.at;
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..len];
        self.store.read_at(self.at, buf).map_err(io::Error::other)?;
        self.at += imgasm_block::bytes::byte_len(buf);
        Ok(len)
    }
}

impl Seek for Unpacked {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => (self.end - self.start).checked_add_signed(by),
            SeekFrom::Current(by) => (self.at - self.start).checked_add_signed(by),
        };
        let position = position.filter(|position| *position <= self.end - self.start);
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.at = self.start + position;
        Ok(position)
    }
}
