//! Inodes: an inode's core and forks in the log. There, the numbers of the core have the byte order
//! of the machine that wrote the log. (`xfs_log_dinode`.)

use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Result};

use crate::format;
use crate::format::bytes::{as_u64, put_u16, put_u32, put_u64, u16_at, u64_at};
use crate::format::geometry::Geometry;
use crate::format::inode::flags2;
use crate::log::buffers::read;
use crate::log::items::{InodeItem, fields};
use crate::problem::unknown_in_log;

/// Bytes of a core.
const CORE_LEN: usize = format::inode::V3_LEN;
/// The lengths of the numbers of a core, and where they stand. What is not listed are single bytes
/// and identities, which are the same in any order, and numbers that depend on the inode's form.
const NUMBERS: [(usize, usize); 21] = [
    (0, 2),
    (2, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
    (96, 4),
    (104, 8),
    (112, 8),
    (120, 8),
    (128, 4),
    (152, 8),
    (24, 8),
];
/// Where the times stand.
const TIMES: [usize; 4] = [32, 40, 48, 144];
/// Where the numbers of extents stand; the one of eight bytes is in [`NUMBERS`].
const COUNTS: usize = 76;
const LSN: usize = 112;
const FLAGS2: usize = 120;

/// The core as the disk has it.
fn to_disk(core: &[u8], lsn: u64) -> [u8; CORE_LEN] {
    let mut disk: [u8; CORE_LEN] = core.try_into().expect("the length has been looked at");
    for (at, len) in NUMBERS {
        disk[at..at + len].reverse();
    }
    let flags = u64_at(&disk, FLAGS2);
    for at in TIMES {
        if flags & flags2::BIGTIME != 0 {
            disk[at..at + 8].reverse();
        } else {
            disk[at..at + 4].reverse();
            disk[at + 4..at + 8].reverse();
        }
    }
    disk[COUNTS..COUNTS + 4].reverse();
    if flags & flags2::NREXT64 == 0 {
        disk[COUNTS + 4..COUNTS + 6].reverse();
    }
    // Neither field is stored, although the log has it.
    put_u16(&mut disk, 6, 0);
    put_u64(&mut disk, LSN, lsn);
    disk
}

/// Applies the change to an inode that was logged at `lsn`.
pub(super) fn apply(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    item: &InodeItem,
    lsn: u64,
    bad: &dyn Fn(String) -> Error,
) -> Result<()> {
    let number = item.number;
    let bad = |problem: String| bad(format!("inode {number}: {problem}"));
    if item.fields & fields::OWNERS != 0 {
        return Err(unknown_in_log("an exchange of the trees of two files"));
    }
    let size = geometry.inode_size as usize;
    let (offset, mut bytes) = read(device, item.blocks, &bad)?;
    let at = item.offset as usize;
    let inode = at
        .checked_add(size)
        .and_then(|end| bytes.get_mut(at..end))
        .ok_or_else(|| bad(format!("at byte {at} of its buffer")))?;
    if u16_at(inode, 0) != format::inode::MAGIC {
        return Err(bad("there is none on the disk".to_owned()));
    }
    let written = u64_at(inode, LSN);
    if written != 0 && written != u64::MAX && written > lsn {
        return Ok(());
    }
    if item.core.len() != CORE_LEN {
        return Err(bad(format!("a core of {} bytes", item.core.len())));
    }
    let next_unlinked =
        inode[format::inode::NEXT_UNLINKED..format::inode::NEXT_UNLINKED + 4].to_vec();
    inode[..CORE_LEN].copy_from_slice(&to_disk(&item.core, lsn));
    inode[format::inode::NEXT_UNLINKED..format::inode::NEXT_UNLINKED + 4]
        .copy_from_slice(&next_unlinked);

    let literal = &mut inode[CORE_LEN..];
    if item.fields & fields::DEVICE != 0 {
        put_u32(literal, 0, item.device);
    }
    let core = &item.core;
    let fork_offset = usize::from(core[format::inode::FORK_OFFSET]) * 8;
    let room = if fork_offset == 0 {
        literal.len()
    } else {
        fork_offset
    };
    let (data, attributes) = literal
        .split_at_mut_checked(room)
        .ok_or_else(|| bad(format!("an attribute fork at byte {fork_offset}")))?;
    for (fork, new, is_tree) in [
        (data, &item.data, fields::DATA_TREE),
        (attributes, &item.attributes, fields::ATTRIBUTE_TREE),
    ] {
        let Some(new) = new else {
            continue;
        };
        let put = if item.fields & is_tree == 0 {
            put_bytes(fork, new)
        } else {
            put_root(fork, new)
        };
        put.ok_or_else(|| bad(format!("{} bytes in a fork of {}", new.len(), fork.len())))?;
    }
    format::inode::seal(inode);
    format::inode::decode_core(geometry, number, inode).map_err(bad)?;
    Ok(device.write_at(offset + as_u64(at), inode)?)
}

/// Stores a fork's bytes or list; padding to four bytes may exceed its end.
fn put_bytes(fork: &mut [u8], new: &[u8]) -> Option<()> {
    if new.len() > fork.len().next_multiple_of(4) {
        return None;
    }
    let len = new.len().min(fork.len());
    fork[..len].copy_from_slice(&new[..len]);
    Some(())
}

/// Stores the root of a tree of extents. The log has it in the form of a block: with a long header,
/// and with the pointers behind the room for all the keys that would fit.
fn put_root(fork: &mut [u8], block: &[u8]) -> Option<()> {
    const BLOCK_HEADER: usize = 72;
    const ROOT_HEADER: usize = format::extent::ROOT_HEADER_LEN;
    let capacity = block.len().checked_sub(BLOCK_HEADER)? / 16;
    let room = format::extent::root_capacity(fork.len());
    let children = usize::from(u16_at(block, 6));
    if children > capacity || children > room {
        return None;
    }
    fork[..ROOT_HEADER].copy_from_slice(&block[4..8]);
    for (from, to) in [
        (BLOCK_HEADER, ROOT_HEADER),
        (BLOCK_HEADER + capacity * 8, ROOT_HEADER + room * 8),
    ] {
        let len = children * 8;
        fork[to..to + len].copy_from_slice(&block[from..from + len]);
    }
    Some(())
}
