//! The log of a VHDX: what was to be written when the file was last used, and may or may not be in
//! its place ("\[MS-VHDX\]", 2.3 "Log" and 2.3.3 "Log Replay"). It is replayed in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::bytes::{array, le_u32, le_u64};
use imgasm_block::{BlockDevice, Delta};

/// Entries begin at multiples of this, and have as many bytes; so have the sectors that they hold.
const SECTOR: usize = 4096;
const SECTOR_BYTES: u64 = 4096;
const ENTRY_HEADER: usize = 64;
const DESCRIPTOR: usize = 32;
/// The longest log that is read. QEMU and Hyper-V make one of 1 MiB.
const LONGEST_LOG: u64 = 64 << 20;
/// The most by which a log may make the file longer.
const MOST_GROWTH: u64 = 1 << 30;

/// An entry whose checksum is right.
struct Entry {
    /// Where it begins in the log.
    at: usize,
    /// Its bytes, joined if they wrap around the log's end.
    bytes: Vec<u8>,
    sequence: u64,
}

impl Entry {
    /// Where the oldest entry that was needed when this one was written begins.
    fn tail(&self) -> usize {
        usize::try_from(le_u32(&self.bytes, 12)).unwrap_or(usize::MAX)
    }
}

/// The file with its log replayed: the differences are in memory. `header` is the valid one.
///
/// # Errors
/// In words, if the log is damaged: then the file's content is unknown.
pub(super) fn replay(
    device: &Arc<dyn BlockDevice>,
    header: &[u8],
) -> Result<Arc<dyn BlockDevice>, String> {
    let guid: [u8; 16] = array(header, 48);
    let (len, offset) = (u64::from(le_u32(header, 68)), le_u64(header, 72));
    let in_file = offset
        .checked_add(len)
        .is_some_and(|end| end <= device.len());
    if len == 0 || len > LONGEST_LOG || !len.is_multiple_of(SECTOR_BYTES) || !in_file {
        return Err(format!(
            "its log of {len} bytes at offset {offset} is not in it"
        ));
    }
    let mut log = vec![0; usize::try_from(len).expect("limited just now")];
    let failed = |error: imgasm_block::Error| error.to_string();
    device.read_at(offset, &mut log).map_err(failed)?;
    let sequence = newest_sequence(&log, &guid)?;
    let Some(last) = sequence.back() else {
        return Err("its log has no whole entry".to_owned());
    };
    let (flushed, needed) = (le_u64(&last.bytes, 48), le_u64(&last.bytes, 56));
    if flushed > device.len() || needed > device.len().saturating_add(MOST_GROWTH) {
        return Err(format!(
            "its log is for a file of {flushed} to {needed} bytes, it has {}",
            device.len()
        ));
    }
    let replayed: Arc<dyn BlockDevice> =
        Arc::new(Delta::grown(Arc::clone(device), needed.max(device.len())));
    for entry in &sequence {
        apply(entry, &*replayed)?;
    }
    Ok(replayed)
}

/// The entries to be replayed: among all runs of consecutive entries that are as long as their last
/// entry says, the one that ends with the highest number.
fn newest_sequence(log: &[u8], guid: &[u8; 16]) -> Result<VecDeque<Entry>, String> {
    let mut newest: VecDeque<Entry> = VecDeque::new();
    // Whatever a forged log says, it is read only a few times.
    let mut budget = log.len().saturating_mul(4);
    let mut start = 0;
    while start < log.len() {
        let mut run: VecDeque<Entry> = VecDeque::new();
        let (mut at, mut covered) = (start, 0);
        while let Some(entry) = entry_at(log, guid, at, &mut budget)? {
            let follows = run
                .back()
                .is_none_or(|last| last.sequence + 1 == entry.sequence);
            covered += entry.bytes.len();
            if !follows || covered > log.len() {
                break;
            }
            at = (at + entry.bytes.len()) % log.len();
            run.push_back(entry);
        }
        let Some(last) = run.back() else {
            start += SECTOR;
            continue;
        };
        let (tail, sequence) = (last.tail(), last.sequence);
        let is_newer = newest.back().is_none_or(|last| sequence > last.sequence);
        // A run wraps around the end at most once, and then nothing follows it.
        start = if at > start { at } else { log.len() };
        if run.iter().any(|entry| entry.at == tail) && is_newer {
            while run.front().is_some_and(|entry| entry.at != tail) {
                run.pop_front();
            }
            newest = run;
        }
    }
    Ok(newest)
}

/// The entry that begins at `at`, if one does.
fn entry_at(
    log: &[u8],
    guid: &[u8; 16],
    at: usize,
    budget: &mut usize,
) -> Result<Option<Entry>, String> {
    let header = &log[at..at + ENTRY_HEADER];
    let len = usize::try_from(le_u32(header, 8)).unwrap_or(usize::MAX);
    let sequence = le_u64(header, 16);
    if !header.starts_with(b"loge")
        || header[32..48] != guid[..]
        || len == 0
        || len > log.len()
        || !len.is_multiple_of(SECTOR)
        || sequence == 0
        || sequence == u64::MAX
    {
        return Ok(None);
    }
    *budget = budget
        .checked_sub(len)
        .ok_or_else(|| "the entries of its log overlap".to_owned())?;
    let until_end = len.min(log.len() - at);
    let mut bytes = log[at..at + until_end].to_vec();
    bytes.extend_from_slice(&log[..len - until_end]);
    let before = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &[0; 4]);
    let crc = crc32c::crc32c_append(before, &bytes[8..]);
    Ok((crc == le_u32(&bytes, 4)).then_some(Entry {
        at,
        bytes,
        sequence,
    }))
}

/// Applies an entry.
fn apply(entry: &Entry, device: &dyn BlockDevice) -> Result<(), String> {
    let bytes = &entry.bytes;
    let count = usize::try_from(le_u32(bytes, 24)).unwrap_or(usize::MAX);
    let described = count
        .checked_mul(DESCRIPTOR)
        .and_then(|len| len.checked_add(ENTRY_HEADER))
        .filter(|&end| end <= bytes.len())
        .ok_or_else(|| format!("an entry of its log has {count} descriptors"))?;
    let mut sectors =
        bytes[described.next_multiple_of(SECTOR).min(bytes.len())..].chunks_exact(SECTOR);
    for descriptor in bytes[ENTRY_HEADER..described].chunks_exact(DESCRIPTOR) {
        let (offset, sequence) = (le_u64(descriptor, 16), le_u64(descriptor, 24));
        let damaged = || format!("an entry of its log is damaged, for offset {offset}");
        if sequence != entry.sequence || !offset.is_multiple_of(SECTOR_BYTES) {
            return Err(damaged());
        }
        let written = if descriptor.starts_with(b"zero") {
            device.write_zeros(offset, le_u64(descriptor, 8))
        } else if descriptor.starts_with(b"desc") {
            let sector = sectors.next().ok_or_else(damaged)?;
            let [high, low] = [le_u32(sector, 4), le_u32(sector, SECTOR - 4)].map(u64::from);
            if !sector.starts_with(b"data") || high << 32 | low != sequence {
                return Err(damaged());
            }
            // The first eight and the last four bytes are in the descriptor.
            let mut content = sector.to_vec();
            content[..8].copy_from_slice(&descriptor[8..16]);
            content[SECTOR - 4..].copy_from_slice(&descriptor[4..8]);
            device.write_at(offset, &content)
        } else {
            return Err(damaged());
        };
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}
