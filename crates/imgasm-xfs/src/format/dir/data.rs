//! Blocks of names (`xfs_dir2_data_hdr`, `xfs_dir2_data_entry`, `xfs_dir2_data_unused`).

use std::collections::BTreeMap;

use imgasm_fs::FileType;

use crate::format::bytes::{as_u16, as_u32, put_u16, put_u32, put_u64, u16_at, u32_at, u64_at};
use crate::format::dir::entry::{Entry, code_of_type, type_from_code};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, InodeNumber};
use crate::format::stamp::DIRECTORY;

/// The mark of unused space, in the place of an inode number.
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
    /// One of several data blocks; the index has blocks of its own.
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

/// The kind of a data block, after a check of its identity.
pub(crate) fn check_identity(
    bytes: &[u8],
    geometry: &Geometry,
    daddr: DiskAddress,
    owner: InodeNumber,
) -> Result<BlockKind, String> {
    let magic = u32_at(bytes, 0);
    let kind = [BlockKind::Whole, BlockKind::Part]
        .into_iter()
        .find(|kind| kind.magic(geometry) == magic)
        .ok_or_else(|| format!("magic number {magic:#010x}"))?;
    if geometry.features.crc {
        DIRECTORY.verify(bytes, geometry, daddr, owner.0)?;
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
            if !dots && !imgasm_fs::is_name(name) {
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
                    inode: InodeNumber(u64_at(entry, 0)),
                    file_type,
                },
            ));
            len
        };
        at += len;
    }
    Ok(entries)
}

/// Where the index of a decoded block that is a whole directory begins.
pub(crate) fn whole_end(bytes: &[u8]) -> u32 {
    let tail = bytes.len() - TAIL_LEN;
    let count = u32_at(bytes, tail) as usize;
    as_u32(tail - count * INDEX_ENTRY_LEN)
}

/// Where the list of the longest unused runs stands in the header.
fn best_free_at(geometry: &Geometry) -> usize {
    if geometry.features.crc { 48 } else { 4 }
}

/// The unused runs of a block between its first and last possible byte: offset and length.
pub(crate) fn unused_runs(
    entries: &BTreeMap<u32, Entry>,
    geometry: &Geometry,
    first: u32,
    end: u32,
) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    let mut at = first;
    for (&offset, entry) in entries {
        if offset > at {
            runs.push((at, offset - at));
        }
        at = offset + entry_len(geometry, entry.name.len());
    }
    if at < end {
        runs.push((at, end - at));
    }
    runs
}

/// The three longest unused runs, longest first; of equal ones the earlier first.
fn best_three(runs: &[(u32, u32)]) -> [(u32, u32); 3] {
    let mut best = [(0, 0); 3];
    for &run in runs {
        if let Some(rank) = best.iter().position(|(_, len)| run.1 > *len) {
            best[rank..].rotate_right(1);
            best[rank] = run;
        }
    }
    best
}

/// Checks what the header of a decoded block says about its longest unused runs, and the tags of
/// all unused runs; `runs` are the gaps between the names.
pub(crate) fn check_unused(
    bytes: &[u8],
    geometry: &Geometry,
    runs: &[(u32, u32)],
) -> Result<(), String> {
    for &(offset, len) in runs {
        let at = offset as usize;
        let end = at + len as usize;
        let whole = u16_at(bytes, at) == UNUSED && u32::from(u16_at(bytes, at + 2)) == len;
        if !whole || usize::from(u16_at(bytes, end - 2)) != at {
            return Err(format!(
                "{len} unused bytes at offset {at} are not marked as one run"
            ));
        }
    }
    let expected = best_three(runs).map(|(_, len)| len);
    let at = best_free_at(geometry);
    let seen: [(u32, u32); 3] = std::array::from_fn(|rank| {
        let at = at + rank * 4;
        (
            u32::from(u16_at(bytes, at)),
            u32::from(u16_at(bytes, at + 2)),
        )
    });
    let known = |run: &(u32, u32)| *run == (0, 0) || runs.contains(run);
    let distinct = seen[0].0 != seen[1].0 && (seen[1].0 != seen[2].0 || seen[2].0 == 0)
        || seen[0] == (0, 0)
        || (seen[1] == (0, 0) && seen[2] == (0, 0));
    if seen.map(|(_, len)| len) != expected || !seen.iter().all(known) || !distinct {
        return Err(format!("the longest unused runs are said to be {seen:?}"));
    }
    Ok(())
}

/// The directory to which a data block belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dots {
    pub(crate) itself: InodeNumber,
    pub(crate) parent: InodeNumber,
}

/// Encodes a data block up to `end`, behind which the index of a whole directory follows. The first
/// block has `.` and `..`. The identity is still to be sealed.
pub(crate) fn encode(
    entries: &BTreeMap<u32, Entry>,
    geometry: &Geometry,
    kind: BlockKind,
    dots: Option<Dots>,
    end: u32,
) -> Vec<u8> {
    let mut block = vec![0; geometry.directory_block_len()];
    put_u32(&mut block, 0, kind.magic(geometry));
    let mut first = header_len(geometry);
    if let Some(dots) = dots {
        for (name, inode) in [(&b"."[..], dots.itself), (b"..", dots.parent)] {
            let entry = Entry {
                name: name.to_vec(),
                inode,
                file_type: Some(FileType::Directory),
            };
            put_entry(&mut block, geometry, first, &entry);
            first += entry_len(geometry, name.len());
        }
    }
    for (&offset, entry) in entries {
        put_entry(&mut block, geometry, offset, entry);
    }
    let runs = unused_runs(entries, geometry, first, end);
    for &(offset, len) in &runs {
        let at = offset as usize;
        put_u16(&mut block, at, UNUSED);
        put_u16(&mut block, at + 2, as_u16(len as usize));
        put_u16(&mut block, at + len as usize - 2, as_u16(at));
    }
    for (rank, (offset, len)) in best_three(&runs).into_iter().enumerate() {
        let at = best_free_at(geometry) + rank * 4;
        put_u16(&mut block, at, as_u16(offset as usize));
        put_u16(&mut block, at + 2, as_u16(len as usize));
    }
    block
}

fn put_entry(block: &mut [u8], geometry: &Geometry, offset: u32, entry: &Entry) {
    let at = offset as usize;
    let name_end = at + 9 + entry.name.len();
    put_u64(block, at, entry.inode.0);
    block[at + 8] = u8::try_from(entry.name.len()).expect("names have 255 bytes at most");
    block[at + 9..name_end].copy_from_slice(&entry.name);
    if geometry.features.ftype {
        block[name_end] = entry.file_type.map_or(0, code_of_type);
    }
    let end = at + entry_len(geometry, entry.name.len()) as usize;
    put_u16(block, end - 2, as_u16(at));
}
