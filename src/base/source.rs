//! Where the content of a file of the tree lies.

use std::fmt;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Error, Result};
use crate::config::boundary::open_regular;
use crate::config::readings::Readings;
use imgasm_block::{BlockDevice, Reader};

/// Where the content of a file lies.
#[derive(Clone)]
pub enum Source {
    /// In a file on the host, and where it is noted what is read of it.
    Host(PathBuf, Arc<Readings>),
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
            Self::Host(path, _) => path.fmt(f),
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
            Self::Host(path, readings) => {
                let file = open_regular(path).map_err(self.failed("read"))?;
                Box::new(readings.reader(path, file))
            }
            Self::Unpacked { store, offset, len } => {
                Box::new(Reader::new(Arc::clone(store), *offset..offset + len))
            }
        })
    }

    /// A failure to do something with it.
    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = match self {
            Self::Host(path, _) => path.clone(),
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
