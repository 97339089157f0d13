//! The extents of a fork for the disk: as a list in the inode, or as a tree below it.

use imgasm_fs::Result;

use crate::alloc::{Purpose, Wish};
use crate::extent_map::ExtentMap;
use crate::format::btree::build::{Shape, build};
use crate::format::btree::{EXTENTS, Record};
use crate::format::bytes::{as_u16, put_u16, put_u64};
use crate::format::extent::{Extent, ROOT_HEADER_LEN, root_capacity};
use crate::format::inode::format;
use crate::format::numbers::{DiskAddress, FileBlock, FsBlock, InodeNumber};
use crate::volume::Volume;
use crate::write::{Want, Writer};
use crate::writes::Writes;

/// A fork as the inode has it: its form and bytes.
pub(super) struct EncodedFork {
    pub(super) format: u8,
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// Encodes the extents of a fork that has `room` bytes in the inode; the blocks of the tree,
    /// if one is needed, go to `writes`.
    pub(super) fn encode_extents(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        room: usize,
        writes: &mut Writes,
    ) -> Result<EncodedFork> {
        let geometry = &volume.geometry;
        let extents = map.extents();
        if extents.len() * Extent::LEN <= room {
            let mut bytes = vec![0; extents.len() * Extent::LEN];
            for (slot, extent) in bytes.chunks_exact_mut(Extent::LEN).zip(extents) {
                extent.encode(slot, geometry);
            }
            self.resize_tree(volume, number, map, 0)?;
            return Ok(EncodedFork {
                format: format::EXTENTS,
                bytes,
            });
        }
        let capacity = root_capacity(room);
        let shape = Shape::new::<Extent>(EXTENTS, geometry, extents.len(), capacity);
        self.resize_tree(volume, number, map, shape.blocks())?;
        let pointers: Vec<u64> = map.tree_blocks.iter().map(|block| block.0).collect();
        let built = build(EXTENTS, geometry, map.extents(), &shape, &pointers);
        for (pointer, mut block) in built.blocks {
            let offset = volume.byte_offset(FsBlock(pointer))?;
            EXTENTS.seal(&mut block, geometry, DiskAddress::of_byte(offset), number.0);
            writes.put(offset, block);
        }
        let pointers = ROOT_HEADER_LEN + capacity * 8;
        let mut bytes = vec![0; pointers + capacity * 8];
        put_u16(&mut bytes, 0, as_u16(shape.levels()));
        put_u16(&mut bytes, 2, as_u16(built.top.len()));
        for (slot, (key, pointer)) in built.top.into_iter().enumerate() {
            Extent::encode_key(key, &mut bytes[ROOT_HEADER_LEN + slot * 8..][..8]);
            put_u64(&mut bytes, pointers + slot * 8, pointer);
        }
        Ok(EncodedFork {
            format: format::TREE,
            bytes,
        })
    }

    /// Gives the tree of a fork as many blocks as it needs.
    fn resize_tree(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        needed: usize,
    ) -> Result<()> {
        while map.tree_blocks.len() > needed {
            let block = map.tree_blocks.pop().expect("there are more than needed");
            self.allocator.free(volume, block, 1)?;
        }
        while map.tree_blocks.len() < needed {
            let missing = (needed - map.tree_blocks.len()) as u64;
            let wish = Wish {
                near: Self::home(volume, number),
                blocks: missing,
                room: missing,
                purpose: Purpose::Metadata,
            };
            let (start, blocks) = self.allocator.allocate(volume, &wish)?;
            map.tree_blocks
                .extend((0..blocks).map(|index| start.plus(index)));
        }
        Ok(())
    }

    /// Gives a fork the missing blocks of a range, near each other if possible.
    pub(super) fn fill_range(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        map: &mut ExtentMap,
        from: FileBlock,
        to: FileBlock,
        room: u64,
    ) -> Result<()> {
        let mut at = from;
        while at < to {
            let next = map.range(at, to).next();
            match next {
                Some(extent) if extent.file_block == at => at = extent.end(),
                next => {
                    let end = next.map_or(to, |extent| extent.file_block);
                    let want = Want {
                        file_block: at,
                        blocks: end.since(at),
                        room: room.max(end.since(at)),
                        purpose: Purpose::Metadata,
                    };
                    let extent = self.allocate_for(volume, number, map, &want)?;
                    map.insert(extent);
                    at = extent.end();
                }
            }
        }
        Ok(())
    }

    /// Frees the blocks of a range in a fork of metadata.
    pub(super) fn free_range(
        &mut self,
        volume: &Volume,
        map: &mut ExtentMap,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<()> {
        for extent in map.remove(from, to) {
            self.allocator.free(volume, extent.start, extent.blocks)?;
        }
        Ok(())
    }
}
