//! Changes through the `fatfs` crate, and what has to be corrected around it.
//!
//! The crate writes the FAT, the entries with their long names, and file contents. It trusts what
//! it reads, so it only gets volumes in which [`check`](super::check) found nothing wrong. Four
//! things are done here, instead of by the crate or after it:
//!
//! - a new directory gets sound `.` and `..` entries (the crate gives them long names),
//! - a directory moved to another parent gets its `..` changed,
//! - the cluster that a directory gains is cleared (the crate leaves the old bytes in the root's),
//! - room is checked before the first byte is written.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use fatfs::{Date, DateTime, FsOptions, Time, TimeProvider};
use zerocopy::IntoBytes;

use super::format::boot::ENTRY_LEN;
use super::format::directory::{DOTS, PART_LEN, REMOVED, RawEntry};
use super::format::time::Civil;
use super::problem::{KIND, corrupt};
use super::volume::{Place, Volume};
use imgasm_block::BlockDevice;
use imgasm_fs::{Error, Location, Result, Timestamp};

/// A volume as the crate sees it.
pub type Engine = fatfs::FileSystem<Host>;

/// Bytes of the device that are read at once when the crate asks for few, as it does in the FAT.
const PAGE: u64 = 4096;

/// The volume's device with a position, in the form that the crate needs.
pub struct Host {
    device: Arc<dyn BlockDevice>,
    len: u64,
    position: u64,
    /// What was read last: where, and what. Forgotten with each write.
    page: Option<(u64, Vec<u8>)>,
}

impl Host {
    /// The whole of `device`.
    pub fn new(device: Arc<dyn BlockDevice>, len: u64) -> Self {
        Self {
            device,
            len,
            position: 0,
            page: None,
        }
    }

    /// How many of `wanted` bytes there are behind the position.
    fn clip(&self, wanted: usize) -> usize {
        let left = self.len.saturating_sub(self.position);
        usize::try_from(left).map_or(wanted, |left| wanted.min(left))
    }

    fn advance(&mut self, count: usize) -> usize {
        self.position += u64::try_from(count).expect("a buffer's length");
        count
    }
}

impl Read for Host {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let start = self.position / PAGE * PAGE;
        let within = usize::try_from(self.position - start).expect("below a page");
        let end = self.len.min(start + PAGE);
        let buf = match usize::try_from(end.saturating_sub(self.position)) {
            // What fits into a page comes from there; anything larger is read directly.
            Ok(left) if buf.len() <= left => buf,
            _ => {
                let count = self.clip(buf.len());
                let read = self.device.read_at(self.position, &mut buf[..count]);
                read.map_err(io::Error::other)?;
                return Ok(self.advance(count));
            }
        };
        if self.page.as_ref().is_none_or(|page| page.0 != start) {
            let mut bytes = vec![0; usize::try_from(end - start).expect("at most a page")];
            self.device
                .read_at(start, &mut bytes)
                .map_err(io::Error::other)?;
            self.page = Some((start, bytes));
        }
        if let Some((_, bytes)) = &self.page {
            buf.copy_from_slice(&bytes[within..within + buf.len()]);
        }
        let count = buf.len();
        Ok(self.advance(count))
    }
}

impl Write for Host {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.page = None;
        let count = self.clip(buf.len());
        self.device
            .write_at(self.position, &buf[..count])
            .map_err(io::Error::other)?;
        Ok(self.advance(count))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Host {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

thread_local! {
    /// The time for the crate, which takes its clock only as a `&'static`.
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp { seconds: 0, nanoseconds: 0 }) };
}

#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        let civil = Civil::new(NOW.get());
        Date {
            year: civil.year,
            month: civil.month,
            day: civil.day,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let civil = Civil::new(NOW.get());
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: civil.hour,
                min: civil.minute,
                sec: civil.second,
                millis: 0,
            },
        }
    }
}

/// Makes a change with the crate.
pub fn with_engine(
    volume: &mut Volume,
    now: Timestamp,
    change: impl FnOnce(&Engine) -> Result<()>,
) -> Result<()> {
    NOW.set(now);
    volume.table.forget();
    let host = Host::new(Arc::clone(&volume.device), volume.geometry.total_len);
    let engine = Engine::new(host, FsOptions::new().time_provider(&Clock)).map_err(failed)?;
    let outcome = change(&engine);
    let closed = engine.unmount().map_err(failed);
    outcome.and(closed)
}

/// The crate's errors as ours.
pub fn failed(error: io::Error) -> Error {
    let words = error.to_string();
    let inner = error.into_inner();
    match inner.and_then(|inner| inner.downcast::<imgasm_block::Error>().ok()) {
        Some(error) => Error::Block(*error),
        None => corrupt(Location::Superblock, words),
    }
}

/// The name as FAT can store it.
///
/// # Errors
/// [`Error::Unstorable`].
pub fn storable(name: &[u8]) -> Result<&str> {
    let refuse = |problem: &str| {
        Err(Error::Unstorable {
            what: format!("the name {:?}", String::from_utf8_lossy(name)),
            problem: format!("{KIND}: {problem}"),
        })
    };
    let Ok(text) = std::str::from_utf8(name) else {
        return refuse("names are Unicode");
    };
    let reserved = |c: char| {
        c.is_control()
            || c > '\u{ffff}'
            || c == char::REPLACEMENT_CHARACTER
            || matches!(c, '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|')
    };
    if text.is_empty() || text.contains(reserved) {
        return refuse("the name is empty or has a character that the format reserves");
    }
    if text.ends_with(['.', ' ']) {
        return refuse("a name does not end with a dot or a space");
    }
    if text.encode_utf16().count() > 255 {
        return refuse("a name has at most 255 UTF-16 units");
    }
    Ok(text)
}

/// Checks that there is room for an entry called `name` in a directory, and for `more` clusters on
/// the volume besides.
///
/// # Errors
/// [`Error::NoSpace`].
pub fn require_room(volume: &Volume, place: Place, name: &str, more: u64) -> Result<()> {
    let entry_len = usize::try_from(ENTRY_LEN).expect("32");
    let wanted = name.encode_utf16().count().div_ceil(PART_LEN) + 1;
    let bytes = volume.directory_bytes(place)?;
    let total = bytes.len() / entry_len;
    let mut run = 0;
    let mut end = total;
    for (slot, entry) in bytes.chunks_exact(entry_len).enumerate() {
        match entry[0] {
            0 => {
                end = slot;
                break;
            }
            REMOVED => run += 1,
            _ => run = 0,
        }
        if run == wanted {
            return volume.require(more);
        }
    }
    let missing = wanted.saturating_sub(run + total - end);
    if missing > 0 && volume.directory_chain(place)?.is_empty() {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        return Err(Error::NoSpace {
            unit: "entries of the root directory",
            needed: count(wanted),
            free: count(wanted - missing),
        });
    }
    let bytes = u64::try_from(missing * entry_len).unwrap_or(u64::MAX);
    volume.require(volume.clusters_for(bytes) + more)
}

/// Clears what follows the last entry of a directory that had `before` clusters and has grown.
pub fn clear_growth(volume: &Volume, place: Place, before: usize, last_slot: usize) -> Result<()> {
    let chain = volume.directory_chain(place)?;
    let size = u64::from(volume.geometry.cluster_size);
    let used = (u64::try_from(last_slot).unwrap_or(u64::MAX) + 1) * u64::from(ENTRY_LEN);
    for (index, cluster) in (0..).zip(&chain).skip(before) {
        let used_here = used.saturating_sub(index * size).min(size);
        volume.device.write_zeros(
            volume.geometry.offset(*cluster) + used_here,
            size - used_here,
        )?;
    }
    Ok(())
}

/// Writes the `.` and `..` of a new directory, in place of what the crate wrote.
pub fn write_dots(volume: &Volume, cluster: u32, parent: Place, now: Timestamp) -> Result<()> {
    let clusters = [cluster, parent.parent_cluster()];
    // The crate's entries take four slots.
    let mut bytes = Vec::with_capacity(128);
    for (name, cluster) in DOTS.into_iter().zip(clusters) {
        bytes.extend(RawEntry::directory(name, cluster, now).as_bytes());
    }
    bytes.resize(128, 0);
    let offset = volume.geometry.offset(cluster);
    volume.device.write_at(offset, &bytes)?;
    Ok(())
}
