//! Inodes with their two forks. (Kernel documentation of XFS, "On-disk Inode"; `xfs_dinode`.)

use imgasm_fs::{Error, FileType, Location, Result};

use crate::bmap;
use crate::extent_map::ExtentMap;
use crate::format::bytes::u32_at;
use crate::format::inode::{Core, core_len, decode_core, flags, format};
use crate::format::numbers::InodeNumber;
use crate::problem::{corrupt, incompatible};
use crate::volume::Volume;

/// The most bytes of a file.
pub(crate) const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

/// A fork in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The number of a device, in its form on the disk.
    Device(u32),
    /// The content itself.
    Local(Vec<u8>),
    /// Where the content lies.
    Extents(ExtentMap),
}

impl Fork {
    /// The extents; `None` if the fork is in the inode.
    pub(crate) fn map(&self) -> Option<&ExtentMap> {
        match self {
            Self::Extents(map) => Some(map),
            Self::Device(_) | Self::Local(_) => None,
        }
    }
}

/// An inode in use, with both its forks.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    /// Its number in the filesystem.
    pub(crate) number: InodeNumber,
    pub(crate) core: Core,
    pub(crate) file_type: FileType,
    pub(crate) data: Fork,
    /// The fork of the extended attributes, if there is one.
    pub(crate) attributes: Option<Fork>,
}

impl Inode {
    /// Reads an inode that is in use.
    pub(crate) fn read(volume: &Volume, number: InodeNumber) -> Result<Self> {
        let bytes = read_bytes(volume, number)?;
        Self::decode(volume, number, &bytes)
    }

    /// Decodes the bytes of an inode that should be in use, reading the trees of its extents.
    pub(crate) fn decode(volume: &Volume, number: InodeNumber, bytes: &[u8]) -> Result<Self> {
        let geometry = &volume.geometry;
        let bad = |problem: String| corrupt(Location::Inode(number.0), problem);
        let core = decode_core(geometry, number, bytes).map_err(bad)?;
        let Some(file_type) = core.file_type() else {
            return Err(bad(format!(
                "mode {:o}, which no file has",
                core.di_mode.get()
            )));
        };
        if core.di_size.get() > MAX_SIZE {
            return Err(bad(format!("a size of {} bytes", core.di_size)));
        }
        if core.di_flags.get() & flags::REALTIME != 0 {
            return Err(incompatible(format!(
                "inode {number} in a realtime section"
            )));
        }
        let literal = &bytes[core_len(&core)..];
        let offset = usize::from(core.di_forkoff) * 8;
        let (data, attributes) = literal
            .split_at_checked(if offset == 0 { literal.len() } else { offset })
            .filter(|(_, attributes)| offset == 0 || !attributes.is_empty())
            .ok_or_else(|| bad(format!("attribute fork at byte {offset}")))?;
        let (data_count, attribute_count) = core.extent_counts();
        let data = match (core.di_format, file_type) {
            (
                format::DEVICE,
                FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket,
            ) if data.len() >= 4 => Fork::Device(u32_at(data, 0)),
            (format::LOCAL, FileType::Directory | FileType::Symlink) => {
                let size = usize::try_from(core.di_size.get())
                    .ok()
                    .filter(|size| *size <= data.len())
                    .ok_or_else(|| {
                        bad(format!(
                            "{} bytes in {} of the inode",
                            core.di_size,
                            data.len()
                        ))
                    })?;
                Fork::Local(data[..size].to_vec())
            }
            (format::EXTENTS, FileType::Regular | FileType::Directory | FileType::Symlink) => {
                Fork::Extents(bmap::read_list(volume, number, data, data_count)?)
            }
            (format::TREE, FileType::Regular | FileType::Directory) => {
                Fork::Extents(bmap::read_tree(volume, number, data, data_count)?)
            }
            (other, file_type) => {
                return Err(bad(format!(
                    "data fork of form {other} in a {}",
                    file_type.name()
                )));
            }
        };
        let attributes = if offset == 0 {
            None
        } else {
            Some(match core.di_aformat {
                format::LOCAL => Fork::Local(attributes.to_vec()),
                format::EXTENTS => Fork::Extents(bmap::read_list(
                    volume,
                    number,
                    attributes,
                    attribute_count,
                )?),
                format::TREE => Fork::Extents(bmap::read_tree(
                    volume,
                    number,
                    attributes,
                    attribute_count,
                )?),
                other => return Err(bad(format!("attribute fork of form {other}"))),
            })
        };
        Ok(Self {
            number,
            core,
            file_type,
            data,
            attributes,
        })
    }

    /// The extents of the data fork, which must have them.
    pub(crate) fn data_map(&self) -> Result<&ExtentMap> {
        self.data.map().ok_or_else(|| {
            corrupt(
                Location::Inode(self.number.0),
                "content in the inode where extents are expected",
            )
        })
    }

    /// Checks that the inode is a directory.
    pub(crate) fn expect_directory(&self) -> Result<()> {
        self.expect_type(FileType::Directory, "a directory")
    }

    /// Checks that the inode is a regular file.
    pub(crate) fn expect_regular(&self) -> Result<()> {
        self.expect_type(FileType::Regular, "a regular file")
    }

    /// Checks that the inode is of the given type, of which `expected` is the name.
    pub(crate) fn expect_type(&self, file_type: FileType, expected: &'static str) -> Result<()> {
        if self.file_type == file_type {
            Ok(())
        } else {
            Err(Error::WrongType {
                node: self.number.into(),
                expected,
            })
        }
    }
}

/// Reads the bytes of an inode.
pub(crate) fn read_bytes(volume: &Volume, number: InodeNumber) -> Result<Vec<u8>> {
    let offset = byte_offset(volume, number)?;
    let mut bytes = vec![0; volume.geometry.inode_size as usize];
    volume.device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// The first byte of an inode, if there can be such an inode.
pub(crate) fn byte_offset(volume: &Volume, number: InodeNumber) -> Result<u64> {
    let geometry = &volume.geometry;
    let (group, inode) = geometry
        .split_inode(number)
        .ok_or_else(|| corrupt(Location::Inode(number.0), "there is no such inode"))?;
    Ok(geometry.inode_offset(group, inode))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgasm_block::{Delta, Hole};
    use imgasm_fs::{FileSystem, Timestamp};

    use super::*;
    use crate::format::inode::seal;
    use crate::{FormatOptions, Xfs};

    #[test]
    fn a_size_that_no_file_can_have_is_refused() {
        let now = Timestamp {
            seconds: 0,
            nanoseconds: 0,
        };
        let device = Arc::new(Delta::new(Arc::new(Hole::new(320 << 20))));
        crate::format(&*device, &FormatOptions::new([1; 16], now)).unwrap();
        let fs = Xfs::open(device).unwrap();
        // The bitmap of the realtime section is an empty file.
        let number = InodeNumber(fs.root().0 + 1);
        let mut bytes = read_bytes(&fs.volume, number).unwrap();
        assert!(Inode::decode(&fs.volume, number, &bytes).is_ok());
        bytes[std::mem::offset_of!(Core, di_size)] = 0x80;
        seal(&mut bytes);
        let result = Inode::decode(&fs.volume, number, &bytes);
        assert!(matches!(result, Err(Error::Corrupt { .. })));
    }
}
