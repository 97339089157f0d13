//! From a directory in memory to its form on the disk: the smallest that holds it.

use crate::dir::{DataBlock, Directory, Form, shortform};
use crate::format::bytes::{as_u16, as_u32, put_u32};
use crate::format::dir::data::{BlockKind, Dots, INDEX_ENTRY_LEN, TAIL_LEN, entry_len};
use crate::format::dir::hash::name_hash;
use crate::format::dir::index::{IndexEntry, NO_BLOCK};
use crate::format::dir::{data, index};
use crate::format::geometry::Geometry;
use crate::format::numbers::{DirectoryBlock, FileBlock, InodeNumber};
use crate::format::stamp::{DIRECTORY, Stamp};

/// The form that a directory gets on the disk.
pub(crate) enum Layout {
    /// In the inode: its bytes.
    Inode(Vec<u8>),
    /// In blocks.
    Blocks {
        /// All blocks that the fork must have.
        blocks: Vec<LaidBlock>,
        /// Bytes up to the end of the last data block.
        size: u64,
    },
}

/// A block of a directory.
pub(crate) struct LaidBlock {
    /// The first of its blocks in the fork.
    pub(crate) file_block: FileBlock,
    /// How it is sealed, and its bytes; `None` if the disk has it already.
    pub(crate) content: Option<(Stamp, Vec<u8>)>,
}

/// Bytes that a whole directory in one block fills with names and index.
fn whole_len(names_end: u32, names: usize) -> usize {
    names_end as usize + (names + 2) * INDEX_ENTRY_LEN + TAIL_LEN
}

impl Directory {
    /// Bytes that the directory would fill in the inode, if it can be there at all.
    pub(crate) fn inode_len(&self, geometry: &Geometry) -> Option<usize> {
        let len = shortform::encoded_len(self, geometry);
        (self.packed_len(geometry) <= geometry.directory_block_len()).then_some(len)
    }

    /// Bytes of a block that would hold all of the directory.
    fn packed_len(&self, geometry: &Geometry) -> usize {
        let names: u32 = self
            .entries()
            .map(|entry| entry_len(geometry, entry.name.len()))
            .fold(0, u32::saturating_add);
        let end = data::first_offset(geometry).saturating_add(names);
        whole_len(end, self.len())
    }

    /// Whether the names lie so that the first block holds them and their index.
    fn is_packed(&self, geometry: &Geometry) -> bool {
        let first = self.blocks.get(&DirectoryBlock::FIRST);
        let last = first.and_then(|block| block.entries.last_key_value());
        let end = last.map_or(0, |(offset, entry)| {
            offset + entry_len(geometry, entry.name.len())
        });
        self.blocks.keys().eq([&DirectoryBlock::FIRST])
            && whole_len(end, self.len()) <= geometry.directory_block_len()
    }

    /// Lays the directory out for the disk, with `room` bytes in the inode.
    pub(crate) fn layout(
        &mut self,
        geometry: &Geometry,
        itself: InodeNumber,
        room: usize,
    ) -> Layout {
        if self.packed_len(geometry) > geometry.directory_block_len() {
            return self.layout_parts(geometry, itself);
        }
        if !self.is_packed(geometry) {
            self.pack(geometry);
        }
        if shortform::encoded_len(self, geometry) <= room {
            return Layout::Inode(shortform::encode(self, geometry));
        }
        self.layout_whole(geometry, itself)
    }

    /// The sorted index; that of a directory in one block includes `.` and `..`.
    pub(crate) fn index_entries(&self, geometry: &Geometry) -> Vec<IndexEntry> {
        let header = data::header_len(geometry);
        let dots = [
            (name_hash(b"."), header / 8),
            (name_hash(b".."), (header + entry_len(geometry, 1)) / 8),
        ];
        let units = geometry.directory_block_size / 8;
        let names = self.blocks.iter().flat_map(|(number, block)| {
            block
                .entries
                .iter()
                .map(move |(offset, entry)| (name_hash(&entry.name), number.0 * units + offset / 8))
        });
        let mut entries: Vec<_> = dots.into_iter().chain(names).collect();
        entries.sort_unstable();
        entries
    }

    /// The longest unused run of each data block.
    pub(crate) fn rooms(&self, geometry: &Geometry) -> Vec<u16> {
        let mut rooms = Vec::new();
        for (&number, block) in &self.blocks {
            rooms.resize(number.0 as usize, NO_BLOCK);
            rooms.push(longest_room(block, geometry, number));
        }
        rooms
    }

    fn layout_whole(&self, geometry: &Geometry, itself: InodeNumber) -> Layout {
        let entries = self.index_entries(geometry);
        let tail = geometry.directory_block_len() - TAIL_LEN;
        let end = tail - entries.len() * INDEX_ENTRY_LEN;
        let dots = Dots {
            itself,
            parent: self.parent,
        };
        let names = &self.blocks[&DirectoryBlock::FIRST].entries;
        let mut bytes = data::encode(names, geometry, BlockKind::Whole, Some(dots), as_u32(end));
        index::put_entries(&mut bytes, end, &entries);
        put_u32(&mut bytes, tail, as_u32(entries.len()));
        Layout::Blocks {
            blocks: vec![LaidBlock {
                file_block: FileBlock::FIRST,
                content: Some((DIRECTORY, bytes)),
            }],
            size: u64::from(geometry.directory_block_size),
        }
    }

    fn layout_parts(&self, geometry: &Geometry, itself: InodeNumber) -> Layout {
        let end = geometry.directory_block_size;
        let mut blocks = Vec::new();
        for (&number, block) in &self.blocks {
            let unchanged = self.form == Form::Parts && !self.changed.contains(&number);
            let content = (!unchanged).then(|| {
                let dots = (number == DirectoryBlock::FIRST).then_some(Dots {
                    itself,
                    parent: self.parent,
                });
                let bytes = data::encode(&block.entries, geometry, BlockKind::Part, dots, end);
                (DIRECTORY, bytes)
            });
            blocks.push(LaidBlock {
                file_block: geometry.directory_file_block(number),
                content,
            });
        }
        let room = self.rooms(geometry);
        let entries = self.index_entries(geometry);
        let index = index::build(geometry, &entries, &room);
        blocks.extend(index.into_iter().map(|block| LaidBlock {
            file_block: block.file_block,
            content: Some((block.stamp, block.bytes)),
        }));
        Layout::Blocks {
            blocks,
            size: room.len() as u64 * u64::from(geometry.directory_block_size),
        }
    }
}

/// The longest unused run of a data block.
fn longest_room(block: &DataBlock, geometry: &Geometry, number: DirectoryBlock) -> u16 {
    let first = Directory::first_in(geometry, number);
    let runs = data::unused_runs(
        &block.entries,
        geometry,
        first,
        geometry.directory_block_size,
    );
    as_u16(runs.iter().map(|(_, len)| *len).max().unwrap_or(0) as usize)
}
