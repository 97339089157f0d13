//! From records to transactions.
//!
//! A record holds operations of any number of transactions, which begin and end in other records.
//! An operation holds a region of an item, or a part of one that is continued.
//! (`xlog_op_header`, `xfs_trans_header`.)

use std::collections::BTreeMap;

use imgasm_fs::Result;

use crate::format::bytes::u32_at;
use crate::log::record::{Header, LITTLE_ENDIAN};
use crate::log::ring::{Records, Ring, UNMOUNT};
use crate::problem::{bad_log, unknown_in_log};

/// Bytes before an operation's own.
const HEADER_LEN: usize = 12;
/// The clients of the log: transactions, and the log itself.
const CLIENTS: [u8; 2] = [0x69, 0xaa];
/// Bytes of the header of a transaction, and the first four of them (`TRAN`).
const TRANSACTION_LEN: usize = 16;
const TRANSACTION_MAGIC: u32 = 0x5452_414e;
/// The most regions of an item (`XLOG_MAX_REGIONS_IN_ITEM`).
const MAX_REGIONS: u16 = 257;

/// Bits that say what an operation is.
mod flags {
    pub(super) const START: u8 = 0x01;
    pub(super) const COMMIT: u8 = 0x02;
    /// Its region continues in another record.
    pub(super) const CONTINUED: u8 = 0x04;
    /// It continues a region of another record.
    pub(super) const CONTINUES: u8 = 0x08;
    pub(super) const END: u8 = 0x10;
}

/// A transaction that was committed.
pub(super) struct Transaction {
    /// Where its first record lies.
    pub(super) lsn: u64,
    pub(super) items: Vec<RawItem>,
}

/// An item as its regions.
pub(super) struct RawItem {
    /// What the item is (`XFS_LI_*`).
    pub(super) kind: u16,
    count: usize,
    pub(super) regions: Vec<Vec<u8>>,
}

/// A transaction that has not been seen to its end.
struct Pending {
    lsn: u64,
    header: Vec<u8>,
    items: Vec<RawItem>,
}

/// A little-endian 16-bit number of a region that is long enough.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Gives all committed transactions of the records to `visit`, in the order of their commits.
pub(super) fn for_each(
    ring: &Ring<'_>,
    records: &Records,
    visit: &mut dyn FnMut(Transaction) -> Result<()>,
) -> Result<()> {
    let mut pending = BTreeMap::new();
    for header in &records.headers {
        let block = header.lsn & 0xffff_ffff;
        if header.format != LITTLE_ENDIAN {
            return Err(unknown_in_log(format!(
                "numbers of a form other than little-endian ({})",
                header.format
            )));
        }
        let raw = ring.read_run(block, header.all_blocks())?;
        let bytes = header.unpack(&raw);
        let bad = |problem: String| bad_log(block, problem);
        read_record(header, &bytes, &mut pending, &bad, visit)?;
    }
    Ok(())
}

/// Makes an error for the record that is being read.
type Bad<'a> = &'a dyn Fn(String) -> imgasm_fs::Error;

fn read_record(
    header: &Header,
    bytes: &[u8],
    pending: &mut BTreeMap<u32, Pending>,
    bad: Bad<'_>,
    visit: &mut dyn FnMut(Transaction) -> Result<()>,
) -> Result<()> {
    let mut rest = bytes;
    for _ in 0..header.operations {
        if rest.is_empty() {
            break;
        }
        let (operation, body) = rest
            .split_at_checked(HEADER_LEN)
            .ok_or_else(|| bad("an operation is cut off".to_owned()))?;
        let (number, len) = (u32_at(operation, 0), u32_at(operation, 4));
        let (client, flags) = (operation[8], operation[9]);
        let (region, after) = body
            .split_at_checked(len as usize)
            .ok_or_else(|| bad(format!("an operation of {len} bytes")))?;
        rest = after;
        if !CLIENTS.contains(&client) {
            return Err(bad(format!("an operation of client {client:#x}")));
        }
        let Some(transaction) = pending.get_mut(&number) else {
            if flags & flags::START != 0 {
                let lsn = header.lsn;
                pending.insert(number, Pending::new(lsn));
            }
            // Anything else began before the valid part of the log.
            continue;
        };
        if flags & flags::COMMIT != 0 {
            if let Some(transaction) = pending.remove(&number) {
                visit(transaction.finish(bad)?)?;
            }
        } else if flags & UNMOUNT != 0 {
            pending.remove(&number);
        } else if flags & flags::START != 0 {
            return Err(bad(format!("transaction {number:#x} begins twice")));
        } else if flags & !(flags::CONTINUED | flags::CONTINUES | flags::END) != 0 {
            return Err(bad(format!("an operation with flags {flags:#x}")));
        } else if flags & flags::CONTINUES != 0 {
            transaction.go_on(region, bad)?;
        } else {
            transaction.add(region, bad)?;
        }
    }
    Ok(())
}

impl Pending {
    fn new(lsn: u64) -> Self {
        Self {
            lsn,
            header: Vec::new(),
            items: Vec::new(),
        }
    }

    fn add_to_header(&mut self, bytes: &[u8], bad: Bad<'_>) -> Result<()> {
        self.header.extend_from_slice(bytes);
        if self.header.len() > TRANSACTION_LEN {
            return Err(bad(format!(
                "a transaction begins with {} bytes, expected {TRANSACTION_LEN}",
                self.header.len()
            )));
        }
        Ok(())
    }

    /// Adds a region, or the first part of one.
    fn add(&mut self, region: &[u8], bad: Bad<'_>) -> Result<()> {
        if region.is_empty() {
            return Ok(());
        }
        if self.header.len() < TRANSACTION_LEN {
            return self.add_to_header(region, bad);
        }
        if let Some(item) = self.items.last_mut()
            && item.regions.len() < item.count
        {
            item.regions.push(region.to_vec());
            return Ok(());
        }
        if region.len() < 4 {
            return Err(bad(format!("an item begins with {} bytes", region.len())));
        }
        let (kind, count) = (le16(region, 0), le16(region, 2));
        if count == 0 || count > MAX_REGIONS {
            return Err(bad(format!("an item of kind {kind:#x} in {count} regions")));
        }
        self.items.push(RawItem {
            kind,
            count: usize::from(count),
            regions: vec![region.to_vec()],
        });
        Ok(())
    }

    /// Adds to the last region.
    fn go_on(&mut self, part: &[u8], bad: Bad<'_>) -> Result<()> {
        if self.header.len() < TRANSACTION_LEN {
            return self.add_to_header(part, bad);
        }
        let region = self
            .items
            .last_mut()
            .and_then(|item| item.regions.last_mut());
        region
            .ok_or_else(|| bad("a region continues that never began".to_owned()))?
            .extend_from_slice(part);
        Ok(())
    }

    fn finish(self, bad: Bad<'_>) -> Result<Transaction> {
        let header = self.header.get(..4);
        if header.is_some_and(|magic| magic != TRANSACTION_MAGIC.to_le_bytes()) {
            return Err(bad("a transaction begins with something else".to_owned()));
        }
        for item in &self.items {
            if item.regions.len() < item.count {
                return Err(bad(format!(
                    "an item of kind {:#x} has {} regions of {}",
                    item.kind,
                    item.regions.len(),
                    item.count
                )));
            }
        }
        Ok(Transaction {
            lsn: self.lsn,
            items: self.items,
        })
    }
}
