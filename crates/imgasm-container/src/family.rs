//! The other files of a disk that lies in several: the extents of a VMDK, and what a qcow2 or a
//! differencing VHD is based on.
//!
//! A file names them, and may come from a stranger: so they are looked for in its own folder and
//! nowhere else, and never behind a link. What is based on another file is read only if the user says
//! so ([`Reading::allows_backing`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgasm_block::sidecar::Sidecar;
use imgasm_block::{BlockDevice, FileDevice, InPlace};

use super::{DiskFormat, Error, Reading, Result, open_disk};

/// How many files may be based on each other.
const DEPTH_LIMIT: u32 = 16;

/// What to do about a disk in several files where only one can be used.
pub(super) const ONE_DISK: &str =
    "`imgasm convert` makes one disk of the files, if they lie in one folder";

/// What to do about a file that is based on another.
const ONE_DISK_OF_BOTH: &str =
    "`imgasm convert --allow-backing` makes one disk of both, if the other lies in the same folder";

/// Which other files may be opened for a disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    extents: bool,
    backing: bool,
    depth: u32,
}

impl Family {
    /// None: the file speaks for itself, as by its digest.
    pub(super) const ALONE: Self = Self {
        extents: false,
        backing: false,
        depth: 0,
    };

    /// Those that a user allows.
    pub(super) fn of(reading: Reading) -> Self {
        Self {
            extents: true,
            backing: reading.allows_backing,
            depth: 0,
        }
    }

    /// Makes sure that extents may be opened for the disk in the file at `path`.
    pub(super) fn check_extents(self, path: &Path) -> Result<()> {
        if self.extents {
            return Ok(());
        }
        Err(Error::Unsupported {
            path: path.to_owned(),
            what: "a VMDK of several files".to_owned(),
            advice: ONE_DISK.to_owned(),
        })
    }

    /// The disk that the one in the file at `path` is based on, and its file. `format` is what the file
    /// says that it is, [`DiskFormat::Raw`] included.
    pub(super) fn backing(
        self,
        path: &Path,
        name: &str,
        format: DiskFormat,
    ) -> Result<(Arc<FileDevice>, Arc<dyn BlockDevice>)> {
        let unsupported = |what: String, advice: &str| Error::Unsupported {
            path: path.to_owned(),
            what,
            advice: advice.to_owned(),
        };
        if !self.backing {
            let what = format!("the backing file {name:?}");
            return Err(unsupported(what, ONE_DISK_OF_BOTH));
        }
        if self.depth >= DEPTH_LIMIT {
            let what = format!("a chain of more than {DEPTH_LIMIT} files");
            return Err(unsupported(what, super::WHOLE_DISK));
        }
        let (found, file) = beside(path, name)?;
        InPlace::check(&file)?;
        if format == DiskFormat::Raw {
            return Ok((file.clone(), file));
        }
        let deeper = Self {
            depth: self.depth + 1,
            ..self
        };
        let (is, disk) = open_disk(file.clone(), &found, deeper)?;
        if is == format {
            return Ok((file, disk));
        }
        Err(Error::Corrupt {
            path: path.to_owned(),
            format: "backing file",
            problem: format!("{} is {is}, and is called {format}", found.display()),
        })
    }
}

/// Opens a file that the one at `path` names.
pub(super) fn beside(path: &Path, name: &str) -> Result<(PathBuf, Arc<FileDevice>)> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    let is_plain =
        !plain.is_empty() && !plain.contains(['/', '\\', '\0']) && plain != "." && plain != "..";
    if !is_plain {
        return Err(Error::Unsupported {
            path: path.to_owned(),
            what: format!("the file {name:?} in another folder"),
            advice: "only files in its own folder are read".to_owned(),
        });
    }
    let found = path.with_file_name(plain);
    let failed = |source| Error::Read {
        path: found.clone(),
        source,
    };
    let file = Sidecar::open(&found)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let device = FileDevice::with(file.into_file(), &found, false).map_err(failed)?;
    Ok((found, Arc::new(device)))
}
