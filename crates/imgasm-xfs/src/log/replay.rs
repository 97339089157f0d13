//! The replay: applies what the log holds, and empties the log.
//!
//! The log is read twice, because a buffer that was cancelled must not get the changes that were
//! logged before: its blocks may hold the data of a file by now, which is not logged. Within a
//! transaction buffers come before inodes, and lists of unlinked inodes after them.

use std::collections::BTreeMap;

use imgasm_fs::{Error, Result};

use crate::format::numbers::DiskAddress;
use crate::log::buffers::MAX_BLOCKS;
use crate::log::close::close;
use crate::log::intents::{Intents, Mapping};
use crate::log::items::{Blocks, BufferItem, Item};
use crate::log::ring::Ring;
use crate::log::transactions::{Transaction, for_each};
use crate::log::{buffers, chunks, inodes};
use crate::problem::{bad_log, incompatible};
use crate::volume::Volume;

/// What a replay leaves to be done.
pub(crate) struct Replayed {
    /// Changes of files' mappings that were begun, if anything was begun and not ended: then the
    /// trees of free, shared and owned blocks do not match the files yet.
    pub(crate) unfinished: Option<Vec<Mapping>>,
}

/// Replays the log of a version 5 filesystem onto its device, and empties it.
///
/// # Errors
/// [`Error::Corrupt`] if the log contradicts itself or the filesystem, [`Error::Incompatible`] if
/// it holds something unknown. A part of it may have reached the device by then.
pub(crate) fn replay(volume: &Volume) -> Result<Replayed> {
    let ring = Ring::new(volume)?.ok_or_else(|| incompatible("a log on another device"))?;
    let records = ring.records()?;
    let mut replay = Replay {
        ring: &ring,
        cancelled: BTreeMap::new(),
        intents: Intents::default(),
    };
    for_each(&ring, &records, &mut |transaction| {
        replay.note_cancelled(transaction)
    })?;
    for_each(&ring, &records, &mut |transaction| {
        replay.carry_out(transaction)
    })?;
    close(&ring, &records)?;
    Ok(Replayed {
        unfinished: replay.intents.left()?,
    })
}

struct Replay<'a> {
    ring: &'a Ring<'a>,
    /// Buffers that the rest of the log cancels, and how often.
    cancelled: BTreeMap<Blocks, u32>,
    intents: Intents,
}

/// The place of an item in the order of its transaction.
fn order(item: &Item) -> u8 {
    match item {
        Item::Buffer(buffer) if buffer.cancels => 3,
        Item::Buffer(buffer) if buffer.of_inodes => 2,
        Item::Buffer(_) | Item::Chunk(_) => 0,
        Item::Inode(_) | Item::Begun(_) | Item::Ended(..) | Item::Quota => 1,
    }
}

impl Replay<'_> {
    fn decode(transaction: Transaction) -> Result<(u64, Vec<Item>)> {
        let lsn = transaction.lsn;
        let items = transaction.items.into_iter();
        let items = items.map(|item| Item::decode(item, &at(lsn)));
        Ok((lsn, items.collect::<Result<_>>()?))
    }

    fn note_cancelled(&mut self, transaction: Transaction) -> Result<()> {
        let (_, items) = Self::decode(transaction)?;
        for item in items {
            if let Item::Buffer(BufferItem {
                blocks,
                cancels: true,
                ..
            }) = item
            {
                *self.cancelled.entry(blocks).or_default() += 1;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, transaction: Transaction) -> Result<()> {
        let (lsn, mut items) = Self::decode(transaction)?;
        items.sort_by_key(order);
        for item in items {
            self.carry_out_item(item, lsn)?;
        }
        Ok(())
    }

    fn carry_out_item(&mut self, item: Item, lsn: u64) -> Result<()> {
        let volume = self.ring.volume;
        let (device, geometry) = (&volume.device, &volume.geometry);
        let bad = at(lsn);
        match item {
            Item::Buffer(item) if item.cancels => {
                if let Some(count) = self.cancelled.get_mut(&item.blocks) {
                    *count -= 1;
                    if *count == 0 {
                        self.cancelled.remove(&item.blocks);
                    }
                }
            }
            Item::Buffer(item) => {
                if !self.cancelled.contains_key(&item.blocks) {
                    self.refuse_log(item.blocks, &bad)?;
                    buffers::apply(device, geometry, &item, lsn, &bad)?;
                }
            }
            Item::Chunk(item) => {
                let range = chunks::range(device, geometry, &item, &bad)?;
                if !self.gives_up(&range) {
                    chunks::apply(device, geometry, &item, &range)?;
                }
            }
            Item::Inode(item) => {
                if !self.cancelled.contains_key(&item.blocks) {
                    self.refuse_log(item.blocks, &bad)?;
                    inodes::apply(device, geometry, &item, lsn, &bad)?;
                }
            }
            Item::Begun(intent) => self.intents.begin(intent),
            Item::Ended(kind, id) => self.intents.end(kind, id),
            Item::Quota => {}
        }
        Ok(())
    }

    /// Whether the rest of the log cancels a buffer in a range of bytes.
    fn gives_up(&self, range: &std::ops::Range<u64>) -> bool {
        let start = DiskAddress::of_byte(range.start).0;
        let from = Blocks {
            first: DiskAddress(start.saturating_sub(u64::from(MAX_BLOCKS))),
            count: 0,
        };
        let nearby = self.cancelled.range(from..).map(|(blocks, _)| *blocks);
        nearby
            .take_while(|blocks| blocks.first < DiskAddress::of_byte(range.end))
            .any(|blocks| buffers::overlap(blocks, range))
    }

    /// Refuses to change the log itself.
    fn refuse_log(&self, blocks: Blocks, bad: &dyn Fn(String) -> Error) -> Result<()> {
        if buffers::overlap(blocks, &self.ring.range()) {
            return Err(bad(format!(
                "a change of the log's own blocks at {:#x}",
                blocks.first.0
            )));
        }
        Ok(())
    }
}

/// Makes errors for a transaction that begins at `lsn`.
fn at(lsn: u64) -> impl Fn(String) -> Error {
    move |problem| bad_log(lsn & 0xffff_ffff, problem)
}
