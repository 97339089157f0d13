//! The kinds of items: their first regions, decoded. Numbers have the byte order of the machine
//! that wrote the log. (`xfs_buf_log_format`, `xfs_inode_log_format`, `xfs_icreate_log`, and the
//! log formats of the intents.)

use imgasm_fs::Result;

use crate::format::bytes::u32_at;
use crate::format::numbers::{
    DiskAddress, FileBlock, FsBlock, GroupBlock, GroupNumber, InodeNumber,
};
use crate::log::intents::{Intent, IntentKind, Mapping};
use crate::log::transactions::{RawItem, le16};
use crate::problem::unknown_in_log;

/// What each item is (`XFS_LI_*`).
mod kind {
    pub(super) const INODE: u16 = 0x123b;
    pub(super) const BUFFER: u16 = 0x123c;
    pub(super) const QUOTA: u16 = 0x123d;
    pub(super) const QUOTA_OFF: u16 = 0x123e;
    pub(super) const CHUNK: u16 = 0x123f;
}

/// Bits of the item of a buffer.
mod buffer_flags {
    pub(super) const INODES: u16 = 0x0001;
    pub(super) const CANCEL: u16 = 0x0002;
    /// Where the number of what the buffer holds begins.
    pub(super) const CONTENT_SHIFT: u32 = 11;
}

/// Bytes for which a bit of a buffer's map stands.
const CHUNK_LEN: usize = 128;

/// An item of a transaction.
pub(super) enum Item {
    Buffer(BufferItem),
    Inode(InodeItem),
    Chunk(ChunkItem),
    Begun(Intent),
    /// The intent with this number has ended.
    Ended(IntentKind, u64),
    /// A change of a quota, which matters only if the filesystem has quotas.
    Quota,
}

/// Some of the device's blocks of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blocks {
    pub(super) first: DiskAddress,
    pub(super) count: u32,
}

/// A change of a buffer.
pub(super) struct BufferItem {
    pub(super) blocks: Blocks,
    /// Whether the buffer is cancelled, so that its earlier changes in the log are void.
    pub(super) cancels: bool,
    /// Whether it holds inodes: then only their lists of unlinked inodes change.
    pub(super) of_inodes: bool,
    /// What it holds (`XFS_BLFT_*`).
    pub(super) content: u16,
    /// What is new in it, by the place in the buffer.
    pub(super) changes: Vec<(usize, Vec<u8>)>,
}

/// A change of an inode.
pub(super) struct InodeItem {
    pub(super) number: InodeNumber,
    /// The buffer that holds it.
    pub(super) blocks: Blocks,
    /// Where it is in the buffer, in bytes.
    pub(super) offset: u32,
    /// What has changed (`XFS_ILOG_*`).
    pub(super) fields: u32,
    /// The number of a device in its form on the disk.
    pub(super) device: u32,
    pub(super) core: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
    pub(super) attributes: Option<Vec<u8>>,
}

/// Bits of [`InodeItem::fields`].
pub(super) mod fields {
    pub(crate) const DATA_TREE: u32 = 0x008;
    /// Bytes, extents or the root of a tree of the data fork.
    pub(crate) const DATA: u32 = 0x002 | 0x004 | DATA_TREE;
    pub(crate) const DEVICE: u32 = 0x010;
    pub(crate) const ATTRIBUTE_TREE: u32 = 0x100;
    /// The same for the attribute fork.
    pub(crate) const ATTRIBUTES: u32 = 0x040 | 0x080 | ATTRIBUTE_TREE;
    /// The blocks of the forks' trees have a new owner.
    pub(crate) const OWNERS: u32 = 0x200 | 0x400;
}

/// New inodes.
pub(super) struct ChunkItem {
    pub(super) group: GroupNumber,
    /// The first block.
    pub(super) block: GroupBlock,
    /// Inodes.
    pub(super) count: u32,
    /// Bytes of an inode.
    pub(super) inode_size: u32,
    /// Blocks.
    pub(super) blocks: u32,
    pub(super) generation: u32,
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Makes an error for the record of an item.
type Bad<'a> = &'a dyn Fn(String) -> imgasm_fs::Error;

impl Item {
    /// Decodes an item.
    pub(super) fn decode(raw: RawItem, bad: Bad<'_>) -> Result<Self> {
        if let Some((kind, begins)) = IntentKind::from_item(raw.kind) {
            return decode_intent(&raw, kind, begins, bad);
        }
        match raw.kind {
            kind::BUFFER => decode_buffer(raw, bad).map(Self::Buffer),
            kind::INODE => decode_inode(raw, bad).map(Self::Inode),
            kind::CHUNK => {
                let format = first_region(&raw, 28, bad)?;
                Ok(Self::Chunk(ChunkItem {
                    group: GroupNumber(u32_at(format, 4)),
                    block: GroupBlock(u32_at(format, 8)),
                    count: u32_at(format, 12),
                    inode_size: u32_at(format, 16),
                    blocks: u32_at(format, 20),
                    generation: u32_at(format, 24),
                }))
            }
            kind::QUOTA | kind::QUOTA_OFF => Ok(Self::Quota),
            other => Err(unknown_in_log(format!("items of kind {other:#x}"))),
        }
    }
}

/// The first region of an item, which must have so many bytes.
fn first_region<'a>(raw: &'a RawItem, len: usize, bad: Bad<'_>) -> Result<&'a [u8]> {
    let region = raw.regions.first().filter(|region| region.len() >= len);
    region.map(Vec::as_slice).ok_or_else(|| {
        bad(format!(
            "an item of kind {:#x} of fewer than {len} bytes",
            raw.kind
        ))
    })
}

fn decode_intent(raw: &RawItem, kind: IntentKind, begins: bool, bad: Bad<'_>) -> Result<Item> {
    const HEADER_LEN: usize = 16;
    const MAPPING_LEN: usize = 32;
    let format = first_region(raw, HEADER_LEN, bad)?;
    let id = le64(format, 8);
    if !begins {
        return Ok(Item::Ended(kind, id));
    }
    let mut mappings = Vec::new();
    if kind == IntentKind::Mapping {
        let count = le32(format, 4) as usize;
        let all = format[HEADER_LEN..].chunks_exact(MAPPING_LEN);
        if all.len() < count {
            return Err(bad(format!("{count} mappings in {} bytes", format.len())));
        }
        mappings = all
            .take(count)
            .map(|bytes| Mapping {
                inode: InodeNumber(le64(bytes, 0)),
                start: FsBlock(le64(bytes, 8)),
                file_block: FileBlock(le64(bytes, 16)),
                blocks: le32(bytes, 24),
                flags: le32(bytes, 28),
            })
            .collect();
    }
    Ok(Item::Begun(Intent { kind, id, mappings }))
}

fn decode_buffer(mut raw: RawItem, bad: Bad<'_>) -> Result<BufferItem> {
    const MAP: usize = 20;
    let format = first_region(&raw, MAP, bad)?;
    let flags = le16(format, 4);
    let blocks = Blocks {
        first: DiskAddress(le64(format, 8)),
        count: u32::from(le16(format, 6)),
    };
    let len = blocks.count as usize * 512;
    let words = le32(format, 16) as usize;
    let map = format[MAP..]
        .chunks_exact(4)
        .map(|word| le32(word, 0))
        .collect::<Vec<_>>();
    if words > map.len() {
        return Err(bad(format!("a map of {words} words of a buffer")));
    }
    let is_set = |bit: usize| map[bit / 32] >> (bit % 32) & 1 == 1;
    let mut changes = Vec::new();
    let mut regions = std::mem::take(&mut raw.regions).into_iter().skip(1);
    let mut bit = 0;
    let bits = words * 32;
    let cancels = flags & buffer_flags::CANCEL != 0;
    while !cancels && bit < bits {
        if !is_set(bit) {
            bit += 1;
            continue;
        }
        let run = (bit..bits).take_while(|bit| is_set(*bit)).count();
        let Some(mut region) = regions.next() else {
            return Err(bad(
                "a buffer has fewer regions than its map says".to_owned()
            ));
        };
        let run = run.min(region.len() / CHUNK_LEN);
        region.truncate(run * CHUNK_LEN);
        let at = bit * CHUNK_LEN;
        if run == 0 || at + region.len() > len {
            return Err(bad(format!(
                "{} bytes at byte {at} of a buffer of {len}",
                region.len()
            )));
        }
        changes.push((at, region));
        bit += run;
    }
    Ok(BufferItem {
        blocks,
        cancels,
        of_inodes: flags & buffer_flags::INODES != 0,
        content: flags >> buffer_flags::CONTENT_SHIFT,
        changes,
    })
}

fn decode_inode(mut raw: RawItem, bad: Bad<'_>) -> Result<InodeItem> {
    /// Items written by 32-bit machines are shorter.
    const LEN: usize = 56;
    let first = first_region(&raw, 4, bad)?;
    if first.len() < LEN {
        return Err(unknown_in_log("inodes as 32-bit machines log them"));
    }
    let fields = le32(first, 4);
    let mut item = InodeItem {
        number: InodeNumber(le64(first, 16)),
        blocks: Blocks {
            first: DiskAddress(le64(first, 40)),
            count: le32(first, 48),
        },
        offset: le32(first, 52),
        fields,
        device: le32(first, 24),
        core: Vec::new(),
        data: None,
        attributes: None,
    };
    let number = item.number;
    let mut regions = std::mem::take(&mut raw.regions).into_iter().skip(1);
    let mut next = || {
        regions
            .next()
            .ok_or_else(|| bad(format!("inode {number} has too few regions")))
    };
    item.core = next()?;
    if fields & fields::DATA != 0 {
        item.data = Some(next()?);
    }
    if fields & fields::ATTRIBUTES != 0 {
        item.attributes = Some(next()?);
    }
    Ok(item)
}
