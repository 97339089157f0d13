//! What a disk image is wrapped in.
//!
//! - `look`: the disk in an image file that can be read where it is: raw, qcow2, VMDK, VHD, VHDX,
//!   VDI.
//! - [`cache`]: the same, and compressed files and tars as well, which are unpacked once and kept.
//! - `folder`: the cache is ours alone.
//! - [`known`]: what the cache remembers about raw images; `stamp` shows whether they have changed.
//! - [`mod@detect`]: what a file is, judged by its content; `bytes`: numbers in its headers.
//! - [`error`]: why a container could not be read or written.
//! - [`tar`]: the members of an archive; `tar_file`: one that lies on the host.
//! - `unpack`, `peel`, `decode`: from a compressed file or a tar to a sparse file, of no
//!   more than `budget` allows; `frames`,
//!   `bzip2_blocks`, `inflate`: on all cores if the format allows it.
//! - `clusters`: a disk that lies in scattered clusters of a file, which is what `qcow2`, `vmdk`,
//!   `vhd`, `vhdx` (after its log, `vhdx_log`) and `vdi` read.
//! - `family`: the other files of a disk that lies in several; `vmdk_descriptor` names them, and
//!   `joined` makes one device of them.
//! - [`write`](mod@write): a disk in the formats that others read.

mod budget;
mod bytes;
mod bzip2_blocks;
pub mod cache;
mod clusters;
mod decode;
pub mod detect;
pub mod error;
mod family;
mod folder;
mod frames;
mod inflate;
mod joined;
pub mod known;
mod peel;
mod qcow2;
mod stamp;
pub mod tar;
mod tar_file;
mod unpack;
mod vdi;
mod vhd;
mod vhdx;
mod vhdx_log;
mod vmdk;
mod vmdk_descriptor;
pub mod write;

use std::path::Path;
use std::sync::Arc;

pub use budget::usual_limit;
pub use cache::{Base, Binding, Cache};
pub use detect::{Codec, DiskFormat};
pub use error::{Error, Result};
pub use stamp::Written;
pub use tar_file::TarFile;
pub use write::{OutputFormat, write_file, write_stream};

use family::Family;

use detect::{Content, HEAD_LEN, detect};
pub use imgasm_block::Progress;
use imgasm_block::{BlockDevice, FileDevice, InPlace, Recovery};

/// An opened disk image.
#[derive(Clone)]
pub struct Image {
    /// The disk. Only a raw image can be written.
    pub device: Arc<dyn BlockDevice>,
    /// What the disk was wrapped in, outermost first: `["gzip", "tar (disk.raw)"]`, `["qcow2"]`;
    /// empty for a raw image.
    pub wrapping: Vec<String>,
    /// What an interrupted change of a raw image has left, if the image can be read all the same.
    pub recovery: Option<Recovery>,
}

/// What a file turns out to be.
enum Found {
    /// A disk that can be read where it is.
    Disk(Image),
    /// Something that has to be unpacked first.
    Packed,
}

/// What to do about a disk in a form that we do not read. No command is named: the tools that know
/// more forms follow the names of other files in an image, wherever they lead.
const WHOLE_DISK: &str = "export it as one whole disk, raw or as a qcow2, where it comes from";

/// What to do about a part of a disk.
const DESCRIPTOR: &str = "name the file that describes the disk, which lies beside its extents";

/// How a file is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// The file is a raw disk, whatever it looks like: nothing is unwrapped.
    pub is_raw: bool,
    /// The most bytes that may come out of a compressed file or a tar; by default 16 GiB plus about
    /// a thousand times the file's length.
    pub max_bytes: Option<u64>,
    /// Whether a qcow2 or VHD may be based on other files of its folder.
    pub allows_backing: bool,
}

/// What an opened file is wrapped in; `None` if it is a raw disk, or may be one.
pub fn wrapping(device: &dyn BlockDevice, path: &Path) -> Result<Option<String>> {
    Ok(match content(device, path)? {
        Content::Packed(codec) => Some(codec.to_string()),
        Content::Tar => Some("tar".to_owned()),
        Content::Disk(DiskFormat::Raw) | Content::Foreign(..) | Content::Unknown => None,
        Content::Disk(format) => Some(format.to_string()),
        Content::Descriptor => Some(DiskFormat::Vmdk.to_string()),
    })
}

/// Whether a file describes a disk whose bytes lie in other files of its folder.
pub fn has_extents(path: &Path) -> bool {
    let Ok(file) = FileDevice::open(path) else {
        return false;
    };
    let mut magic = [0; vmdk_descriptor::MAGIC.len()];
    file.read_at(0, &mut magic).is_ok() && magic == vmdk_descriptor::MAGIC.as_bytes()
}

/// Opens a file, once for everything that is done with it.
fn open(path: &Path) -> Result<Arc<FileDevice>> {
    let file = FileDevice::open(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Arc::new(file))
}

/// Finds out what an opened file is.
///
/// # Errors
/// [`imgasm_block::Error::Interrupted`] for a raw image that was left half-changed;
/// [`Error::Unknown`] for what is neither a container nor a disk.
fn look(file: &Arc<FileDevice>, path: &Path, reading: Reading, family: Family) -> Result<Found> {
    let recovery = InPlace::check(file)?;
    if reading.is_raw {
        return Ok(Found::Disk(Image {
            device: file.clone(),
            wrapping: Vec::new(),
            recovery,
        }));
    }
    match content(file, path)? {
        Content::Packed(_) | Content::Tar => Ok(Found::Packed),
        _ if file.is_empty() => Err(Error::Empty {
            path: path.to_owned(),
        }),
        _ => {
            let (format, device) = open_disk(file.clone(), path, family)?;
            let wrapping = match format {
                DiskFormat::Raw => Vec::new(),
                other => vec![other.to_string()],
            };
            Ok(Found::Disk(Image {
                device,
                wrapping,
                recovery,
            }))
        }
    }
}

fn content(device: &dyn BlockDevice, path: &Path) -> Result<Content> {
    let most = u64::try_from(HEAD_LEN).expect("a small constant");
    let len = usize::try_from(device.len().min(most)).expect("a small constant");
    let mut head = vec![0; len];
    // A raw disk usually begins with a hole behind its table.
    let mut end = 0;
    while let Some(data) = device.next_data(end)? {
        let place = |at: u64| usize::try_from(at).map_or(len, |at| at.min(len));
        let piece = &mut head[place(data.start)..place(data.end)];
        if piece.is_empty() {
            break;
        }
        device.read_at(data.start, piece)?;
        end = data.end;
    }
    match detect(&head) {
        Content::Foreign(name, advice) => Err(Error::Unsupported {
            path: path.to_owned(),
            what: name.to_owned(),
            advice: advice.to_owned(),
        }),
        content => Ok(content),
    }
}

/// The disk in the image on `device`, and the image's format.
fn open_disk(
    device: Arc<dyn BlockDevice>,
    path: &Path,
    family: Family,
) -> Result<(DiskFormat, Arc<dyn BlockDevice>)> {
    let format = match content(&device, path)? {
        Content::Descriptor => {
            let disk = vmdk_descriptor::open(&device, path, family)?;
            return Ok((DiskFormat::Vmdk, disk));
        }
        Content::Disk(format) if format != DiskFormat::Raw => format,
        // A fixed VHD is recognised by its end only.
        content => match vhd::open_fixed(&device)? {
            Some(disk) => return Ok((DiskFormat::Vhd, disk)),
            None if is_extent(path) => {
                return Err(Error::Unsupported {
                    path: path.to_owned(),
                    what: "one extent of a VMDK of several files".to_owned(),
                    advice: DESCRIPTOR.to_owned(),
                });
            }
            None if content == Content::Unknown => {
                return Err(Error::Unknown {
                    path: path.to_owned(),
                });
            }
            None => DiskFormat::Raw,
        },
    };
    let device = match format {
        DiskFormat::Qcow2 => qcow2::open(device, path, family)?,
        DiskFormat::Vmdk => vmdk::open(device, path)?,
        DiskFormat::Vhdx => vhdx::open(&device, path)?,
        DiskFormat::Vdi => vdi::open(device, path)?,
        DiskFormat::Vhd => vhd::open_dynamic(device, path, family)?,
        DiskFormat::Raw => device,
    };
    Ok((format, device))
}

/// Whether the name of a file is that of a raw extent of a split VMDK: `NAME-f001.vmdk`. The first
/// one begins as the disk does.
fn is_extent(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let number = name.as_deref().and_then(|name| {
        let (_, number) = name.strip_suffix(".vmdk")?.rsplit_once("-f")?;
        Some(number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    number == Some(true)
}
