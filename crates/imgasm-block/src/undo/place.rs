//! Where the undo file of an image lies, and whether it can be trusted.
//!
//! It lies beside the image, named after the image's real name, whatever name was given. While the
//! image is changed, an extended attribute of it says where the undo file lies, so that the file is
//! also found through another hard link, or after the image was moved. The undo file of a block
//! device lies in `/var/tmp`: the device's own folder does not survive a reboot.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::sidecar::Sidecar;
use crate::{Error, FileDevice, Result};

const SUFFIX: &str = ".imgasm-undo";

/// The attribute of an image that is being changed.
const MARK: &str = "user.imgasm.undo";

/// Where the undo files of block devices lie.
const DEVICES: &str = "/var/tmp";

fn metadata(image: &FileDevice) -> Result<fs::Metadata> {
    image
        .file()
        .metadata()
        .map_err(|e| Error::file(image.path(), "look at", e))
}

/// The name of the undo file of an opened image.
pub(super) fn of(image: &FileDevice) -> Result<PathBuf> {
    let metadata = metadata(image)?;
    if metadata.file_type().is_block_device() {
        let device = metadata.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        return Ok(Path::new(DEVICES).join(format!("block-{major}-{minor}{SUFFIX}")));
    }
    let real = fs::canonicalize(image.path());
    let mut path = real
        .map_err(|e| Error::file(image.path(), "find", e))?
        .into_os_string();
    path.push(SUFFIX);
    Ok(path.into())
}

/// What identifies an image on its host.
pub(super) fn inode(image: &FileDevice) -> Result<u64> {
    let metadata = metadata(image)?;
    Ok(if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else {
        metadata.ino()
    })
}

/// Marks the image with the place of its undo file.
///
/// # Errors
/// [`Error::ManyNames`] if the image has other names, through which the file would not be found, and
/// cannot be marked.
pub(super) fn mark(image: &FileDevice, undo: &Path) -> Result<()> {
    let place = undo.as_os_str().as_bytes();
    if rustix::fs::fsetxattr(image.file(), MARK, place, XattrFlags::empty()).is_ok() {
        return Ok(());
    }
    let metadata = metadata(image)?;
    if metadata.file_type().is_file() && metadata.nlink() > 1 {
        return Err(Error::ManyNames {
            path: image.path().to_owned(),
            names: metadata.nlink(),
        });
    }
    Ok(())
}

/// Where the image says that its undo file lies.
pub(super) fn marked(image: &FileDevice) -> Option<PathBuf> {
    let mut place = vec![0; 4096];
    let len = rustix::fs::fgetxattr(image.file(), MARK, place.as_mut_slice()).ok()?;
    place.truncate(len);
    let place = PathBuf::from(OsString::from_vec(place));
    let is_one = place.is_absolute() && place.as_os_str().as_bytes().ends_with(SUFFIX.as_bytes());
    is_one.then_some(place)
}

/// Opens an undo file; `None` if there is none.
///
/// # Errors
/// [`Error::UndoUntrusted`] unless it is a [`Sidecar`] of the image with only this name: anybody
/// else's could have been put there to be written into the image.
pub(super) fn open(path: &Path, image: &FileDevice) -> Result<Option<File>> {
    let trusted = |file: Sidecar| {
        file.may_speak_of_image_of(metadata(image)?.uid())?;
        file.only_name()
    };
    let found = Sidecar::open(path).and_then(|found| found.map(trusted).transpose());
    found.map_err(|error| match error {
        Error::Untrusted { path, problem } => Error::UndoUntrusted {
            undo: path,
            problem,
        },
        other => other,
    })
}

/// Removes an undo file, and the mark of its image.
pub(super) fn remove(image: &FileDevice, undo: &Path) -> Result<()> {
    fs::remove_file(undo).map_err(|e| Error::file(undo, "remove", e))?;
    // A mark that stays points to no file.
    let _ = rustix::fs::fremovexattr(image.file(), MARK);
    sync_folder_of(undo)
}

/// Syncs the folder that holds `path`.
pub(super) fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::file(folder, "sync", e))
}
