//! The files of RPM's own database, read as RPM's source says: `rpmpkg.c`, `rpmxdb.c`, `rpmidx.c`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file};
use imgasm_guest::packages::Error;
use imgasm_guest::packages::database::Database;
use imgasm_guest::packages::header::Header;
use imgasm_testkit::memory_fs::MemoryFs;

pub(super) const FOLDER: &str = "/usr/lib/sysimage/rpm";
pub(super) const FILES: [&str; 2] = ["Packages.db", "Index.db"];

/// The rows of an index: which packages have a key, and where.
pub(super) type Rows = BTreeMap<Vec<u8>, BTreeSet<(u32, u32)>>;

/// A database in memory.
pub(super) struct Ndb(MemoryFs);

impl Ndb {
    /// One that RPM wrote.
    pub(super) fn of_rpm(state: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ndb");
        let file = |name: &str| {
            let packed = std::fs::File::open(folder.join(format!("{state}-{name}.zst"))).unwrap();
            zstd::decode_all(packed).unwrap()
        };
        Self::new(FILES.map(file))
    }

    pub(super) fn new(files: [Vec<u8>; 2]) -> Self {
        let mut fs = MemoryFs::new();
        let mut editor = Editor::new(&mut fs);
        let plain = Attributes::default();
        editor
            .mkdir_all(&ImagePath::parse(FOLDER).unwrap(), plain)
            .unwrap();
        for (name, content) in FILES.into_iter().zip(files) {
            editor
                .write(&path(name), LastLink::Keep, &content, plain)
                .unwrap();
        }
        Self(fs)
    }

    pub(super) fn file(&self, name: &str) -> Vec<u8> {
        read_file(&self.0, &path(name), 1 << 30).unwrap()
    }

    pub(super) fn database(&self) -> Result<Database, Error> {
        Ok(Database::read(&self.0)?.unwrap())
    }

    /// Takes the records with these numbers out, and puts these headers in.
    pub(super) fn update(&mut self, removed: &[i64], added: &[&Header]) -> Result<(), Error> {
        let database = self.database()?;
        let gone = database.records.iter();
        let gone: Vec<_> = gone
            .filter(|record| removed.contains(&record.number.unwrap()))
            .collect();
        database.update(&mut Editor::new(&mut self.0), &gone, added)
    }

    /// The headers by the numbers of the packages, after a look at every slot and mark.
    pub(super) fn headers(&self) -> BTreeMap<u32, Vec<u8>> {
        let bytes = self.file(FILES[0]);
        assert_eq!(&bytes[..8], b"RpmP\0\0\0\0");
        assert!(bytes.len().is_multiple_of(16));
        let slots_end = word(&bytes, 12) as usize * 4096;
        let (mut headers, mut used) = (BTreeMap::new(), BTreeMap::new());
        for slot in bytes[32..slots_end].chunks_exact(16) {
            assert_eq!(&slot[..4], b"Slot");
            let [number, block, count] = [4, 8, 12].map(|at| word(slot, at));
            if block == 0 {
                assert_eq!((number, count), (0, 0));
                continue;
            }
            assert!(number != 0 && number < word(&bytes, 16));
            let (start, end) = (block as usize * 16, (block + count) as usize * 16);
            assert!(used.insert(start, end).is_none());
            let blob = &bytes[start..end];
            let len = word(blob, 12) as usize;
            assert_eq!(&blob[..4], b"BlbS");
            assert_eq!(word(blob, 4), number);
            assert_eq!((len + 28).next_multiple_of(16), blob.len());
            let tail = &blob[blob.len() - 12..];
            let sum = adler(&blob[..blob.len() - 12]);
            assert_eq!((word(tail, 0), word(tail, 4) as usize), (sum, len));
            assert_eq!(&tail[8..], b"BlbE");
            headers.insert(number, blob[16..16 + len].to_vec());
        }
        let mut end = slots_end;
        for (from, to) in used {
            assert!(end <= from && bytes[end..from].iter().all(|byte| *byte == 0));
            end = to;
        }
        assert!(bytes[end..].iter().all(|byte| *byte == 0));
        headers
    }

    /// The rows of all indexes by their tags; each key is found where RPM looks for it.
    pub(super) fn rows(&self) -> BTreeMap<u32, Rows> {
        let bytes = self.file(FILES[1]);
        assert_eq!(&bytes[..8], b"RpmX\0\0\0\0");
        // It belongs to these packages.
        assert_eq!(word(&bytes, 20), word(&self.file(FILES[0]), 8));
        let page_len = word(&bytes, 16) as usize;
        let slots_end = word(&bytes, 12) as usize * page_len;
        let mut tables = BTreeMap::new();
        let (mut end, mut places) = (slots_end, Vec::new());
        for slot in bytes[32..slots_end].chunks_exact(16) {
            assert_eq!(&slot[..4], b"Slo\0");
            let [tag, page, count] = [4, 8, 12].map(|at| word(slot, at));
            if page != 0 {
                places.push((page as usize * page_len, count as usize * page_len, tag));
            }
        }
        places.sort_unstable();
        for (start, len, tag) in places {
            assert!(start >= end && len > 0);
            end = start + len;
            assert!(tables.insert(tag, rows(&bytes[start..end])).is_none());
        }
        assert!(end <= bytes.len() && bytes.len().is_multiple_of(page_len));
        tables
    }
}

fn path(name: &str) -> ImagePath {
    ImagePath::parse(format!("{FOLDER}/{name}")).unwrap()
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn adler(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u64, 0_u64);
    for byte in bytes {
        low = (low + u64::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    u32::try_from(high << 16 | low).unwrap()
}

/// The hash of keys.
fn hash(key: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = u32::try_from(key.len()).unwrap().wrapping_mul(FACTOR);
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        hash = hash
            .wrapping_add(u32::from_le_bytes(*word))
            .wrapping_mul(FACTOR);
        hash ^= hash >> 16;
    }
    if !rest.is_empty() {
        for (shift, byte) in [0, 8, 16].into_iter().zip(rest) {
            hash = hash.wrapping_add(u32::from(*byte) << shift);
        }
        hash = hash.wrapping_mul(FACTOR);
        hash ^= hash >> 16;
    }
    hash = hash.wrapping_mul(FACTOR);
    hash ^= hash >> 10;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> 17
}

/// The rows of one index, in the table that these bytes are.
fn rows(table: &[u8]) -> Rows {
    assert_eq!(&table[..8], b"RpmI\0\0\0\0");
    let [slots, used, dummies, mask, key_end, excess] =
        [12, 16, 20, 24, 28, 32].map(|at| word(table, at));
    assert!(slots.is_power_of_two() && used <= slots / 2 && (dummies > 0 || excess == 0));
    assert!(key_end < !mask);
    let keys = &table[64 + slots as usize * 12..][..key_end as usize];
    let slot = |index: u32| {
        let at = 64 + index as usize * 8;
        let rest = 64 + slots as usize * 8 + index as usize * 4;
        [word(table, at), word(table, at + 4), word(table, rest)]
    };
    let (mut found, mut count) = (Rows::new(), 0);
    let mut at = 1;
    while at < keys.len() {
        let start = at;
        let len = match keys[at] {
            // What is not used any more is zeros.
            0 => {
                at += 1;
                continue;
            }
            255 => {
                at += 3;
                usize::from(keys[at - 2]) | usize::from(keys[at - 1]) << 8
            }
            len => {
                at += 1;
                usize::from(len)
            }
        };
        let key = &keys[at..at + len];
        at += len;
        let sum = hash(key);
        let wanted = u32::try_from(start).unwrap() | sum & mask;
        let (mut index, mut step) = (sum & (slots - 1), 7);
        while slot(index)[0] != 0 {
            let [place, value, rest] = slot(index);
            if place == wanted {
                let (package, position) = if value >> 31 == 1 {
                    (rest, value & 0x7fff_ffff)
                } else if value >> 30 == 1 {
                    (value & 0xff_ffff, (value >> 24) & 0x3f)
                } else {
                    (value & 0xf_ffff, value >> 20)
                };
                let packages = found.entry(key.to_vec()).or_default();
                assert!(packages.insert((package, position)));
                count += 1;
            }
            index = (index + step) & (slots - 1);
            step += 1;
        }
        assert!(found.contains_key(key), "{key:?}");
    }
    assert_eq!(
        count,
        used - dummies.min(used),
        "every slot belongs to a key"
    );
    found
}
