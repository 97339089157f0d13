//! Building a whole tree from its sorted records.
//!
//! An offline writer has all records of a tree in memory, so it lays the tree out anew: evenly
//! filled, every block but the root at least half full, as the kernel and `xfs_repair` expect.

use crate::format::btree::{Kind, Record, node_key_len};
use crate::format::bytes::{as_u16, put_u16, put_u32, put_u64};
use crate::format::geometry::Geometry;
use crate::format::numbers::DiskAddress;

/// The number of blocks on each level, leaves first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) Vec<usize>);

impl Shape {
    /// The shape of a tree with `records` records whose top level has at most `top` blocks: one if
    /// the root is a block; if the root is in the inode, as many as fit there.
    pub(crate) fn new<R: Record>(
        kind: Kind,
        geometry: &Geometry,
        records: usize,
        top: usize,
    ) -> Self {
        let mut levels = vec![spread(records, kind.leaf_capacity::<R>(geometry))];
        let mut blocks = levels[0];
        while blocks > top {
            blocks = spread(blocks, kind.node_capacity::<R>(geometry));
            levels.push(blocks);
        }
        Self(levels)
    }

    /// Blocks in all.
    pub(crate) fn blocks(&self) -> usize {
        self.0.iter().sum()
    }

    /// Levels of blocks.
    pub(crate) fn levels(&self) -> usize {
        self.0.len()
    }
}

/// How many blocks of the given capacity `items` fill: each to about three quarters, and at least
/// to one half.
fn spread(items: usize, capacity: usize) -> usize {
    if items <= capacity {
        return 1;
    }
    let least = capacity.div_ceil(2);
    items
        .div_ceil(capacity * 3 / 4)
        .min(items / least)
        .max(items.div_ceil(capacity))
}

/// A tree that has been laid out.
pub(crate) struct Built<K> {
    /// Blocks with their pointers, the top level last.
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
    /// Lowest key and pointer of each block of the top level.
    pub(crate) top: Vec<(K, u64)>,
}

/// A finished block as its parent sees it.
struct Child<K> {
    low: K,
    high: K,
    pointer: u64,
}

/// Lays out `records` in blocks at `pointers`, of which there are as many as `shape` says. The
/// blocks are complete except for their identity, which [`Kind::seal`] adds.
pub(crate) fn build<R: Record>(
    kind: Kind,
    geometry: &Geometry,
    records: &[R],
    shape: &Shape,
    pointers: &[u64],
) -> Built<R::Key> {
    assert_eq!(shape.blocks(), pointers.len(), "one pointer per block");
    let mut blocks = Vec::with_capacity(pointers.len());
    let (leaves, mut rest) = pointers.split_at(shape.0[0]);
    let mut children = build_leaves(kind, geometry, records, leaves, &mut blocks);
    for (level, count) in shape.0.iter().enumerate().skip(1) {
        let (nodes, above) = rest.split_at(*count);
        rest = above;
        children = build_nodes::<R>(kind, geometry, &children, level, nodes, &mut blocks);
    }
    Built {
        blocks,
        top: children
            .into_iter()
            .map(|child| (child.low, child.pointer))
            .collect(),
    }
}

impl Kind {
    /// Gives a built block its identity.
    pub(crate) fn seal(
        self,
        block: &mut [u8],
        geometry: &Geometry,
        daddr: DiskAddress,
        owner: u64,
    ) {
        self.stamp().seal(block, geometry, daddr, owner);
    }

    /// An empty block of a tree, with its place among its siblings.
    fn new_block(
        self,
        geometry: &Geometry,
        level: usize,
        items: usize,
        siblings: &[u64],
        index: usize,
    ) -> Vec<u8> {
        let mut block = vec![0; geometry.block_len()];
        put_u32(&mut block, 0, self.magic(geometry));
        put_u16(&mut block, 4, as_u16(level));
        put_u16(&mut block, 6, as_u16(items));
        let left = index.checked_sub(1).and_then(|index| siblings.get(index));
        let right = siblings.get(index + 1);
        self.put_pointer(&mut block, 8, left.copied());
        self.put_pointer(&mut block, 8 + self.pointer_len(), right.copied());
        block
    }

    /// Stores a pointer; all ones stand for none.
    fn put_pointer(self, block: &mut [u8], at: usize, pointer: Option<u64>) {
        if self.long {
            put_u64(block, at, pointer.unwrap_or(u64::MAX));
        } else {
            let short = pointer.map_or(u32::MAX, |pointer| {
                u32::try_from(pointer).expect("blocks of a group have 32-bit numbers")
            });
            put_u32(block, at, short);
        }
    }
}

/// Splits `items` into `parts` runs whose lengths differ by one at most.
fn even_runs<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    (0..parts).map(move |part| {
        let (run, after) = rest.split_at(rest.len().div_ceil(parts - part));
        rest = after;
        run
    })
}

fn build_leaves<R: Record>(
    kind: Kind,
    geometry: &Geometry,
    records: &[R],
    pointers: &[u64],
    blocks: &mut Vec<(u64, Vec<u8>)>,
) -> Vec<Child<R::Key>> {
    let mut children = Vec::with_capacity(pointers.len());
    for (index, run) in even_runs(records, pointers.len()).enumerate() {
        let mut block = kind.new_block(geometry, 0, run.len(), pointers, index);
        let mut at = kind.header_len(geometry);
        for record in run {
            record.encode(&mut block[at..at + R::LEN], geometry);
            at += R::LEN;
        }
        if let (Some(first), Some(high)) = (run.first(), run.iter().map(Record::high).max()) {
            children.push(Child {
                low: first.low(),
                high,
                pointer: pointers[index],
            });
        }
        blocks.push((pointers[index], block));
    }
    children
}

fn build_nodes<R: Record>(
    kind: Kind,
    geometry: &Geometry,
    below: &[Child<R::Key>],
    level: usize,
    pointers: &[u64],
    blocks: &mut Vec<(u64, Vec<u8>)>,
) -> Vec<Child<R::Key>> {
    let capacity = kind.node_capacity::<R>(geometry);
    let mut children = Vec::with_capacity(pointers.len());
    for (index, run) in even_runs(below, pointers.len()).enumerate() {
        let mut block = kind.new_block(geometry, level, run.len(), pointers, index);
        let keys = kind.header_len(geometry);
        let slots = keys + capacity * node_key_len::<R>();
        for (slot, child) in run.iter().enumerate() {
            let key = keys + slot * node_key_len::<R>();
            R::encode_key(child.low, &mut block[key..key + R::KEY_LEN]);
            if R::OVERLAPPING {
                let key = key + R::KEY_LEN;
                R::encode_key(child.high, &mut block[key..key + R::KEY_LEN]);
            }
            kind.put_pointer(
                &mut block,
                slots + slot * kind.pointer_len(),
                Some(child.pointer),
            );
        }
        children.push(Child {
            low: run[0].low,
            high: run
                .iter()
                .map(|child| child.high)
                .max()
                .unwrap_or(run[0].high),
            pointer: pointers[index],
        });
        blocks.push((pointers[index], block));
    }
    children
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn blocks_are_half_full_at_least_and_never_overfull() {
        for capacity in [4, 5, 10, 62, 125, 505] {
            for items in 0..20 * capacity {
                let blocks = spread(items, capacity);
                assert!(items.div_ceil(blocks) <= capacity, "{items} in {blocks}");
                if blocks > 1 {
                    assert!(items / blocks >= capacity / 2, "{items} in {blocks}");
                }
            }
        }
    }
}
