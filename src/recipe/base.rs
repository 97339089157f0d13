//! What an image is made from.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::disk::RawDisk;
use super::download::Download;
use crate::base::Layout;
use crate::config::{self, Boundary, ByteSize};
use crate::filesystem::FilesystemKind;
use crate::filesystem::xfs::XfsOptions;
use imgasm_block::Digest;

/// The default size of a disk that is assembled from a folder.
const DEFAULT_ROOTFS_SIZE: ByteSize = ByteSize(2 << 30);

/// What the image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A disk image.
    File {
        /// Where it is on the host.
        path: PathBuf,
        /// The server that it is fetched from, if it is.
        download: Option<Download>,
        /// The digest that the file must have.
        sha256: Option<Digest>,
        /// The number of the root partition; `None` looks for the root.
        partition: Option<u32>,
    },
    /// A folder or a tar file with the tree of a root filesystem, from which a disk is assembled.
    Rootfs {
        /// Where it is on the host.
        path: PathBuf,
        /// The server that it is fetched from, if it is.
        download: Option<Download>,
        /// The digest that the tar file must have.
        sha256: Option<Digest>,
        /// The size of the disk.
        size: ByteSize,
        /// How the disk is divided.
        layout: Layout,
    },
}

impl Base {
    /// Makes sure that it lies inside the boundary, if that matters: a disk whose digest is given may
    /// lie anywhere.
    pub(super) fn check_place(&self, boundary: &Boundary) -> config::Result<()> {
        match self {
            Self::File {
                sha256: Some(_), ..
            }
            | Self::Rootfs {
                sha256: Some(_), ..
            } => {
                // Anything else may wait, or be as long as a disk.
                match fs::metadata(self.path()) {
                    Ok(found) if !found.is_file() && !found.is_dir() => {
                        Err(config::Error::Unusable {
                            path: self.path().to_owned(),
                            problem: "is not a regular file".to_owned(),
                        })
                    }
                    _ => Ok(()),
                }
            }
            Self::File { path, .. } | Self::Rootfs { path, .. } => boundary.check_tree(path),
        }
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Rootfs { path, .. } => path,
        }
    }

    /// The server that it is fetched from, if it is.
    pub fn download(&self) -> Option<&Download> {
        match self {
            Self::File { download, .. } | Self::Rootfs { download, .. } => download.as_ref(),
        }
    }

    /// The name that its file has, on the server if it is fetched from there.
    pub fn name(&self) -> String {
        let on_host = || Some(self.path().file_name()?.to_string_lossy().into_owned());
        match self.download() {
            Some(download) => download.name().to_owned(),
            None => on_host().unwrap_or_default(),
        }
    }

    /// The number of the root partition, if the recipe says it.
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
    filesystem: Option<FilesystemKind>,
    xfs: Option<XfsOptions>,
}

impl RawBase {
    /// The base, with the disk that `[disk]` describes if it is assembled, or what is wrong with it.
    /// Paths are relative to `folder`, and what is fetched lies in `downloads` or beside the recipe.
    pub(super) fn check(
        self,
        folder: &Path,
        downloads: Option<&Path>,
        disk: Option<RawDisk>,
    ) -> Result<Base, String> {
        let place = |named: &Path| {
            let download = Download::at(named, self.sha256)?;
            let path = match &download {
                Some(download) => download.place(folder, downloads),
                None => folder.join(named),
            };
            Ok::<_, String>((path, download))
        };
        let wrong = |problem: &str| Err(problem.to_owned());
        match (self.file, self.rootfs) {
            (Some(_), Some(_)) => wrong("a base is either a `file` or a `rootfs`"),
            (None, None) => {
                wrong("a base needs a `file` (a disk image) or a `rootfs` (a folder or a tar file)")
            }
            (Some(_), None) if self.size.is_some() => {
                wrong("`size` is for a `rootfs`; `disk_size` grows a disk image")
            }
            (Some(_), None)
                if self.filesystem.is_some() || self.xfs.is_some() || disk.is_some() =>
            {
                wrong(
                    "`filesystem`, `xfs` and `[disk]` are for a `rootfs`; a disk image has its own",
                )
            }
            (Some(file), None) => {
                let (path, download) = place(&file)?;
                Ok(Base::File {
                    path,
                    download,
                    sha256: self.sha256,
                    partition: self.partition,
                })
            }
            (None, Some(_)) if self.partition.is_some() => wrong("`partition` is for a `file`"),
            (None, Some(_))
                if (self.filesystem.is_some() || self.xfs.is_some()) && disk.is_some() =>
            {
                wrong("`[disk]` says which filesystems there are, so `filesystem` and `xfs` cannot")
            }
            (None, Some(rootfs)) => {
                let (path, download) = place(&rootfs)?;
                let layout = match (disk, self.filesystem.unwrap_or(FilesystemKind::Ext4)) {
                    (Some(disk), _) => disk.check()?,
                    (None, kind @ (FilesystemKind::Ext4 | FilesystemKind::Xfs)) => {
                        Layout::amazon(kind, kind.xfs(self.xfs)?)
                    }
                    (None, _) => return wrong("the `filesystem` of a base is `ext4` or `xfs`"),
                };
                Ok(Base::Rootfs {
                    path,
                    download,
                    sha256: self.sha256,
                    size: self.size.unwrap_or(DEFAULT_ROOTFS_SIZE),
                    layout,
                })
            }
        }
    }
}
