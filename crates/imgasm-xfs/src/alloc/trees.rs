//! A tree of a group for the disk.

use crate::format::btree::build::{Shape, build};
use crate::format::btree::{Kind, Record};
use crate::format::bytes::as_u32;
use crate::format::geometry::Geometry;
use crate::format::numbers::{DiskAddress, GroupBlock, GroupNumber};
use crate::writes::Writes;

/// Level and root of a tree that has been laid out.
pub(super) struct Root {
    pub(super) block: GroupBlock,
    pub(super) levels: u32,
}

/// Builds a tree into its blocks, of which it has as many as its shape needs.
pub(super) fn write_tree<R: Record>(
    geometry: &Geometry,
    group: GroupNumber,
    kind: Kind,
    records: &[R],
    blocks: &[GroupBlock],
    writes: &mut Writes,
) -> Root {
    let shape = Shape::new::<R>(kind, geometry, records.len(), 1);
    let pointers: Vec<u64> = blocks.iter().map(|block| u64::from(block.0)).collect();
    let built = build(kind, geometry, records, &shape, &pointers);
    for ((_, mut bytes), block) in built.blocks.into_iter().zip(blocks) {
        let offset = geometry.byte_offset(group, *block);
        kind.seal(
            &mut bytes,
            geometry,
            DiskAddress::of_byte(offset),
            u64::from(group.0),
        );
        writes.put(offset, bytes);
    }
    Root {
        block: *blocks.last().expect("every tree has a root"),
        levels: as_u32(shape.levels()),
    }
}
