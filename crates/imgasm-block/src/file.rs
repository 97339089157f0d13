//! A sparse file on the host.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::bytes::byte_len;
use super::device::check_range;
use super::{BlockDevice, Error, Result};

/// A regular file or a block device, read and written in place. Its holes are the host's.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    path: PathBuf,
    len: u64,
    writable: bool,
}

impl FileDevice {
    /// Opens a file for reading only.
    ///
    /// # Errors
    /// What the host says; [`io::ErrorKind::InvalidInput`] for what is neither a regular file nor a block
    /// device.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with(opened(OpenOptions::new().read(true), path)?, path, false)
    }

    /// Opens an existing file for reading and writing in place; a block device is opened
    /// exclusively.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] for a block device that is in use, such as a mounted one.
    pub fn open_writable(path: &Path) -> io::Result<Self> {
        let file = opened(OpenOptions::new().read(true).write(true), path)?;
        Self::with(file, path, true)
    }

    /// Makes a device of an open file; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`FileDevice::open`].
    pub fn with(file: File, path: &Path, writable: bool) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        let len = if kind.is_block_device() {
            rustix::fs::seek(&file, SeekFrom::End(0))?
        } else if kind.is_file() {
            metadata.len()
        } else {
            let problem = "it is neither a regular file nor a block device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        };
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            writable,
        })
    }

    /// Gives the file another length; this device keeps the one that it was opened with.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a block device, whose length is fixed.
    pub fn set_len(&self, len: u64) -> Result<()> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|e| Error::file(&self.path, "look at", e))?;
        if metadata.file_type().is_block_device() {
            return check_range(0, len, self.len);
        }
        self.file
            .set_len(len)
            .map_err(|e| Error::file(&self.path, "set the length of", e))
    }

    /// What messages call the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file on the host.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, operation: &'static str, offset: u64, len: u64, source: io::Error) -> Error {
        Error::io(&self.path, operation, offset, len, source)
    }

    fn check_writable(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.len)?;
        if self.writable {
            Ok(())
        } else {
            Err(Error::ReadOnly)
        }
    }

    /// Where data or a hole begins at or after `from`; `None` if there is no more.
    fn seek(&self, to: SeekFrom, from: u64) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.file, to) {
            Ok(offset) => Ok(Some(offset.min(self.len))),
            Err(Errno::NXIO) => Ok(None),
            // The holes of block devices cannot be found.
            Err(Errno::INVAL) if matches!(to, SeekFrom::Data(_)) => Ok(Some(from)),
            Err(Errno::INVAL) => Ok(None),
            Err(errno) => Err(self.failed("find data in", from, 0, errno.into())),
        }
    }
}

/// Opens a file without blocking, as opening a FIFO would.
fn opened(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK;
    let is_device = |metadata: Metadata| metadata.file_type().is_block_device();
    let options = options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    if !is_device(file.metadata()?) || !rustix::fs::fcntl_getfl(&file)?.contains(OFlags::RDWR) {
        return Ok(file);
    }
    // Without O_CREAT this opens a block device only if nobody else has it open exclusively.
    flags |= OFlags::EXCL;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

impl BlockDevice for FileDevice {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = byte_len(buf);
        check_range(offset, len, self.len)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| self.failed("read", offset, len, e))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let len = byte_len(buf);
        self.check_writable(offset, len)?;
        self.file
            .write_all_at(buf, offset)
            .map_err(|e| self.failed("write", offset, len, e))
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writable(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, punch, offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
                let mut done = 0;
                while done < len {
                    let step = (len - done).min(byte_len(&ZEROS));
                    let piece = &ZEROS[..usize::try_from(step).expect("at most 64 KiB")];
                    self.write_at(offset + done, piece)?;
                    done += step;
                }
                Ok(())
            }
            Err(errno) => Err(self.failed("make a hole of", offset, len, errno.into())),
        }
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        if from >= self.len {
            return Ok(None);
        }
        let Some(start) = self.seek(SeekFrom::Data(from), from)? else {
            return Ok(None);
        };
        if start >= self.len {
            return Ok(None);
        }
        let end = self.seek(SeekFrom::Hole(start), start)?.unwrap_or(self.len);
        Ok(Some(start..end))
    }

    fn host_file(&self) -> Option<&FileDevice> {
        Some(self)
    }
}
