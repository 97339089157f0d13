//! What an image is made from.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{self, Boundary, ByteSize};
use imgasm_block::Digest;

/// Bytes of a disk that is assembled from a folder where the recipe does not say.
const DEFAULT_ROOTFS_SIZE: ByteSize = ByteSize(2 << 30);

/// What the image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A disk image.
    File {
        /// Where it is on the host.
        path: PathBuf,
        /// The digest that the file must have.
        sha256: Option<Digest>,
        /// The number of the root partition, where it is not to be found by looking.
        partition: Option<u32>,
    },
    /// A folder with the tree of a root filesystem, from which a disk is assembled.
    Rootfs {
        /// Where it is on the host.
        path: PathBuf,
        /// The size of the disk.
        size: ByteSize,
    },
}

impl Base {
    /// Makes sure that it lies inside, if that matters: a disk whose digest is given may lie anywhere.
    pub(super) fn check_place(&self, boundary: &Boundary) -> config::Result<()> {
        match self {
            Self::File {
                sha256: Some(_), ..
            } => Ok(()),
            Self::File { path, .. } | Self::Rootfs { path, .. } => boundary.check(path),
        }
    }

    /// The number of the root partition, where the recipe says it.
    pub fn partition(&self) -> Option<u32> {
        match self {
            Self::File { partition, .. } => *partition,
            Self::Rootfs { .. } => None,
        }
    }
}

/// The key `base` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBase {
    file: Option<PathBuf>,
    sha256: Option<Digest>,
    partition: Option<u32>,
    rootfs: Option<PathBuf>,
    size: Option<ByteSize>,
}

impl RawBase {
    /// The base, or what is wrong with it.
    pub(super) fn check(self, folder: &std::path::Path) -> Result<Base, &'static str> {
        match (self.file, self.rootfs) {
            (Some(_), Some(_)) => Err("a base is either a `file` or a `rootfs`"),
            (None, None) => Err("a base needs a `file` (a disk image) or a `rootfs` (a folder)"),
            (Some(_), None) if self.size.is_some() => {
                Err("`size` is for a `rootfs`; `disk_size` grows a disk image")
            }
            (Some(file), None) => Ok(Base::File {
                path: folder.join(file),
                sha256: self.sha256,
                partition: self.partition,
            }),
            (None, Some(_)) if self.sha256.is_some() || self.partition.is_some() => {
                Err("`sha256` and `partition` are for a `file`")
            }
            (None, Some(rootfs)) => Ok(Base::Rootfs {
                path: folder.join(rootfs),
                size: self.size.unwrap_or(DEFAULT_ROOTFS_SIZE),
            }),
        }
    }
}
