//! Blocks of names (`xfs_dir2_data_hdr`, `xfs_dir2_data_entry`, `xfs_dir2_data_unused`).

use super::{Entry, is_valid_name, type_from_code};
use crate::fs::xfs::bytes::{u16_at, u32_at, u64_at};
use crate::fs::xfs::geometry::Geometry;
use crate::fs::xfs::stamp::DIRECTORY;

/// What marks unused space where an inode number could stand.
pub(crate) const UNUSED: u16 = 0xffff;
/// Bytes of the tail of a block that is a whole directory.
pub(crate) const TAIL_LEN: usize = 8;
/// Bytes of an entry of an index.
pub(crate) const INDEX_ENTRY_LEN: usize = 8;

/// The two kinds of data blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// The whole directory, with its index at the end.
    Whole,
    /// One of several, with an index of their own.
    Part,
}

impl BlockKind {
    pub(crate) fn magic(self, geometry: &Geometry) -> u32 {
        match (self, geometry.features.crc) {
            (Self::Whole, false) => 0x5844_3242,
            (Self::Whole, true) => 0x5844_4233,
            (Self::Part, false) => 0x5844_3244,
            (Self::Part, true) => 0x5844_4433,
        }
    }
}

/// Bytes before the first entry.
pub(crate) fn header_len(geometry: &Geometry) -> u32 {
    if geometry.features.crc { 64 } else { 16 }
}

/// Where the first name that is neither `.` nor `..` can lie in the first block.
pub(crate) fn first_offset(geometry: &Geometry) -> u32 {
    header_len(geometry) + entry_len(geometry, 1) + entry_len(geometry, 2)
}

/// Bytes of an entry with a name of this length.
pub(crate) fn entry_len(geometry: &Geometry, name_len: usize) -> u32 {
    let fixed = 8 + 1 + 2 + u32::from(geometry.features.ftype);
    let name = u32::try_from(name_len).expect("names have 255 bytes at most");
    (fixed + name).next_multiple_of(8)
}

/// What kind of data block it is, once its identity is checked.
pub(crate) fn check_identity(
    bytes: &[u8],
    geometry: &Geometry,
    daddr: u64,
    owner: u64,
) -> Result<BlockKind, String> {
    let magic = u32_at(bytes, 0);
    let kind = [BlockKind::Whole, BlockKind::Part]
        .into_iter()
        .find(|kind| kind.magic(geometry) == magic)
        .ok_or_else(|| format!("magic number {magic:#010x}"))?;
    if geometry.features.crc {
        DIRECTORY.verify(bytes, geometry, daddr, owner)?;
    }
    Ok(kind)
}

/// Decodes the names of a data block with their offsets, `.` and `..` included.
pub(crate) fn decode(
    bytes: &[u8],
    geometry: &Geometry,
    kind: BlockKind,
) -> Result<Vec<(u32, Entry)>, String> {
    let end = match kind {
        BlockKind::Part => bytes.len(),
        BlockKind::Whole => {
            let count = u32_at(bytes, bytes.len() - TAIL_LEN) as usize;
            count
                .checked_mul(INDEX_ENTRY_LEN)
                .and_then(|index| (bytes.len() - TAIL_LEN).checked_sub(index))
                .filter(|end| *end >= header_len(geometry) as usize)
                .ok_or_else(|| format!("{count} names in the index"))?
        }
    };
    let type_len = usize::from(geometry.features.ftype);
    let mut entries = Vec::new();
    let mut at = header_len(geometry) as usize;
    while at < end {
        let cut = || format!("the entry at offset {at} is cut off");
        let rest = bytes
            .get(at..end)
            .filter(|rest| rest.len() >= 8)
            .ok_or_else(cut)?;
        let len = if u16_at(rest, 0) == UNUSED {
            let len = usize::from(u16_at(rest, 2));
            // A block of 64 KiB has room for less than 64 KiB after its header.
            if len < 8 || len % 8 != 0 || len > rest.len() {
                return Err(format!("{len} unused bytes at offset {at}"));
            }
            len
        } else {
            let name_len = usize::from(*rest.get(8).ok_or_else(cut)?);
            let len = entry_len(geometry, name_len) as usize;
            let entry = rest.get(..len).ok_or_else(cut)?;
            let name = &entry[9..9 + name_len];
            let dots = name == b"." || name == b"..";
            if !dots && !is_valid_name(name) {
                return Err(format!(
                    "name {:?} at offset {at}",
                    String::from_utf8_lossy(name)
                ));
            }
            if usize::from(u16_at(entry, len - 2)) != at {
                return Err(format!("the entry at offset {at} has another's tag"));
            }
            let file_type = if type_len == 1 {
                type_from_code(entry[9 + name_len])
            } else {
                None
            };
            let offset = u32::try_from(at).expect("inside a block");
            entries.push((
                offset,
                Entry {
                    name: name.to_vec(),
                    inode: u64_at(entry, 0),
                    file_type,
                },
            ));
            len
        };
        at += len;
    }
    Ok(entries)
}
