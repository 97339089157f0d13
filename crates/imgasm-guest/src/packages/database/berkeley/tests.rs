//! Files that are written here, judged by Berkeley DB's own tools: sound, with the same pairs, and fit
//! to be changed by Berkeley DB further on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Pieces;
use super::buckets::Value;
use super::hash::{Item, Table};
use super::meta::{Meta, Method};
use super::{put_pages, refill, whole};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file};
use imgasm_testkit::command::run;
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The tools that judge.
const TOOLS: [&str; 3] = ["db5.3_load", "db5.3_dump", "db5.3_verify"];

/// A file of Berkeley DB on the host.
struct File {
    path: PathBuf,
    method: Method,
    page_size: usize,
    is_big_endian: bool,
}

impl File {
    /// One that Berkeley DB's own tool made, empty.
    fn new(folder: &Path, method: Method, page_size: usize, is_big_endian: bool) -> Self {
        let path = folder.join("file");
        let _ = fs::remove_file(&path);
        let file = Self {
            path,
            method,
            page_size,
            is_big_endian,
        };
        file.load(&Pairs::new());
        file
    }

    /// Adds pairs by Berkeley DB's own tool.
    fn load(&self, pairs: &Pairs) {
        let method = match self.method {
            Method::Hash => "hash",
            Method::Tree => "btree",
        };
        let order = if self.is_big_endian { 4321 } else { 1234 };
        let mut dump = format!("VERSION=3\nformat=bytevalue\ntype={method}\n");
        if !self.path.exists() {
            writeln!(dump, "db_pagesize={}\ndb_lorder={order}", self.page_size).unwrap();
        }
        dump += "HEADER=END\n";
        for (key, value) in pairs {
            write!(dump, " {}\n {}\n", hex::encode(key), hex::encode(value)).unwrap();
        }
        dump += "DATA=END\n";
        let text = self.path.with_extension("dump");
        fs::write(&text, dump).unwrap();
        run(Command::new("db5.3_load")
            .arg("-f")
            .arg(text)
            .arg(&self.path));
    }

    /// Its pairs, as Berkeley DB's own tools find them after they have found it sound.
    fn judged(&self) -> Pairs {
        run(Command::new("db5.3_verify").arg(&self.path));
        let dump = run(Command::new("db5.3_dump").arg(&self.path));
        let data = dump.split_once("HEADER=END\n").unwrap().1;
        let lines: Vec<_> = data
            .lines()
            .filter_map(|line| line.strip_prefix(' '))
            .collect();
        let pairs = lines.chunks_exact(2);
        let pairs =
            pairs.map(|pair| (hex::decode(pair[0]).unwrap(), hex::decode(pair[1]).unwrap()));
        pairs.collect()
    }

    fn in_memory(&self) -> (MemoryFs, ImagePath) {
        let mut memory = MemoryFs::new();
        let path = ImagePath::parse("/file").unwrap();
        let content = fs::read(&self.path).unwrap();
        let plain = Attributes::default();
        let mut editor = Editor::new(&mut memory);
        editor
            .write(&path, LastLink::Keep, &content, plain)
            .unwrap();
        (memory, path)
    }

    /// Makes it hold these pairs, as an index is written.
    fn write(&self, pairs: &Pairs) {
        let (memory, path) = self.in_memory();
        let meta = Meta::read(&Pieces::open(&memory, &path).unwrap()).unwrap();
        meta.check_version().unwrap();
        assert_eq!(meta.layout.is_big_endian, self.is_big_endian);
        fs::write(&self.path, whole(&meta, pairs).unwrap()).unwrap();
    }

    /// Takes pairs out and puts others in, as the table of packages is changed.
    fn change(&self, removed: &BTreeSet<Vec<u8>>, added: &Pairs) {
        let (mut memory, path) = self.in_memory();
        let mut table = Table::open(&memory, &path).unwrap();
        let mut small = Pairs::new();
        let mut pairs = BTreeMap::new();
        for [key, value] in table.pairs().unwrap() {
            let key = table.value(key).unwrap();
            if removed.contains(&key) {
                continue;
            }
            match value {
                Item::Chain(chain) => {
                    table.keep(chain).unwrap();
                    pairs.insert(key, Value::There(chain));
                }
                Item::Bytes(bytes) => drop(small.insert(key, bytes)),
            }
        }
        for (key, value) in small.iter().chain(added) {
            pairs.insert(key.clone(), Value::New(value));
        }
        let layout = table.meta.layout;
        let pages = refill(&table, &pairs).unwrap();
        put_pages(&mut Editor::new(&mut memory), &path, layout, &pages).unwrap();
        fs::write(&self.path, read_file(&memory, &path, 1 << 30).unwrap()).unwrap();
    }
}

/// Pairs with texts as keys, and with lengths that lie around the limits of pages now and then.
fn some(rng: &mut Rng, count: usize, page_size: usize) -> Pairs {
    let room = page_size - 26;
    let limits = [page_size / 4, room / 4 - 10, room, 2 * room];
    let bytes = |rng: &mut Rng, len| -> Vec<u8> {
        let byte = |_| b'a' + u8::try_from(rng.below(26)).unwrap();
        (0..len).map(byte).collect()
    };
    let mut pairs = Pairs::new();
    while pairs.len() < count {
        let mut len = |usual: usize, percent| {
            if rng.chance(percent) {
                rng.pick(&limits) + rng.index(5) - 2
            } else {
                1 + rng.index(usual)
            }
        };
        let (key, value) = (len(40, 2), len(32, 5));
        pairs.insert(bytes(rng, key), bytes(rng, value));
    }
    pairs
}

/// Those whose keys lie in pages, as numbers do.
fn with_small_keys(mut pairs: Pairs, page_size: usize) -> Pairs {
    pairs.retain(|key, _| key.len() <= page_size / 4);
    pairs
}

/// Each kind of file: page size, and whether the most significant byte comes first.
const KINDS: [(usize, bool); 4] = [(512, false), (4096, false), (65536, false), (512, true)];

fn files_of_any_size_are_sound(method: Method) {
    if !need::tools(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(11);
    for (page_size, is_big_endian) in KINDS {
        let file = File::new(folder.path(), method, page_size, is_big_endian);
        for count in [0, 1, 3, 12, 800] {
            let pairs = some(&mut rng, count, page_size);
            file.write(&pairs);
            assert_eq!(file.judged(), pairs, "{count} of {page_size}");
            let first = fs::read(&file.path).unwrap();
            file.write(&pairs);
            assert_eq!(
                fs::read(&file.path).unwrap(),
                first,
                "{count} of {page_size}"
            );
            // Berkeley DB itself goes on with it.
            let more = some(&mut rng, 20 + count / 2, page_size);
            file.load(&more);
            let all: Pairs = pairs.into_iter().chain(more).collect();
            assert_eq!(file.judged(), all, "{count} of {page_size}, and more");
        }
    }
}

#[test]
fn trees_of_any_size_are_sound() {
    files_of_any_size_are_sound(Method::Tree);
}

#[test]
fn tables_of_any_size_are_sound() {
    files_of_any_size_are_sound(Method::Hash);
}

#[test]
fn each_length_of_a_value_around_the_limits_of_pages_comes_back() {
    if !need::tools(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for method in [Method::Hash, Method::Tree] {
        let file = File::new(folder.path(), method, 512, false);
        let pair = |len: usize| (format!("{len:04}").into_bytes(), vec![b'x'; len]);
        let pairs = (1..=1100).map(pair).collect();
        file.write(&pairs);
        assert_eq!(file.judged(), pairs);
        // Keys that agree in more than an inner page of a tree holds.
        let key = |len: usize| (vec![b'k'; len], b"value".to_vec());
        let pairs = (1..=1100).map(key).collect();
        file.write(&pairs);
        assert_eq!(file.judged(), pairs);
    }
}

#[test]
fn a_table_of_nothing_but_unused_pages_is_refused() {
    if !need::tools(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = File::new(folder.path(), Method::Hash, 4096, false);
    let small = fs::read(&file.path).unwrap();
    for (pages, is_taken) in [(1000_u32, true), ((1 << 15) + 9, false)] {
        let mut bytes = small.clone();
        bytes.resize(usize::try_from(pages).unwrap() * 4096, 0);
        bytes[32..36].copy_from_slice(&(pages - 1).to_le_bytes());
        fs::write(&file.path, bytes).unwrap();
        let (memory, path) = file.in_memory();
        let table = Table::open(&memory, &path).unwrap();
        assert_eq!(refill(&table, &BTreeMap::new()).is_ok(), is_taken);
    }
}

#[test]
fn a_table_is_changed_over_and_over() {
    if !need::tools(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(12);
    for (page_size, is_big_endian) in KINDS {
        let file = File::new(folder.path(), Method::Hash, page_size, is_big_endian);
        let mut model = Pairs::new();
        for round in 0..6 {
            let some_keys = model.keys().filter(|_| rng.chance(30)).cloned();
            let removed: BTreeSet<_> = some_keys.collect();
            let count = [0, 1, 7, 150][rng.index(4)];
            let added = with_small_keys(some(&mut rng, count, page_size), page_size);
            model.retain(|key, _| !removed.contains(key));
            model.extend(added.clone());
            file.change(&removed, &added);
            assert_eq!(file.judged(), model, "{page_size}, round {round}");
            if rng.chance(40) {
                // Berkeley DB takes pages of the list of free ones.
                let more = with_small_keys(some(&mut rng, 30, page_size), page_size);
                file.load(&more);
                model.extend(more);
                assert_eq!(file.judged(), model, "{page_size}, round {round}, and more");
            }
        }
    }
}
