//! A tree of an image as a tar archive, with all that a filesystem knows of it.
//!
//! The archive is that of POSIX ("pax Interchange Format"): names of any length and numbers of any size
//! are in records before a member, and so are extended attributes, under the names that GNU tar, bsdtar
//! and star have for them. Files with holes have the form of GNU tar's version 1.0. The same tree gives
//! the same bytes.

use std::io::Write as _;

use tar::{EntryType, Header};

use imgasm_fs::digest::ContentBudget;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, At as _, Entry, walk};
use imgasm_fs::{FileSystem, FileType, Metadata};

/// Bytes in a block of an archive.
const BLOCK: usize = 512;
/// The longest name and link that a header has room for, and the largest numbers.
const NAME_LEN: usize = 100;
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
/// How much is read of a file in one step.
const STEP: usize = 1 << 20;
/// Holes that are shorter than this are written as zeros.
const LEAST_HOLE: u64 = 64 << 10;

/// Writes what lies at `start`, under names that begin with `./`: a directory with everything in it, or a
/// single file. Gives the number of sockets, which an archive cannot hold and which are left out.
///
/// # Errors
/// What reading the tree gives, and what `write` fails with.
pub fn tar<E: From<tree::Error>>(
    fs: &dyn FileSystem,
    start: &ImagePath,
    write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut archive = Archive {
        fs,
        write,
        buffer: vec![0; STEP],
        budget: ContentBudget::default(),
    };
    let root = ImagePath::root();
    archive.budget.allow(fs).at("read", &root)?;
    let (mut sockets, mut above) = (0, 0);
    for entry in walk(fs, start)? {
        let entry = entry?;
        if entry.path == *start && entry.metadata.file_type == FileType::Directory {
            above = start.names().count();
        } else if entry.path == *start {
            above = start.names().count().saturating_sub(1);
        }
        if entry.metadata.file_type == FileType::Socket {
            sockets += 1;
            continue;
        }
        let name = name_below(above, &entry.path);
        let first = entry.first_link.as_ref();
        let target = first.map(|first| name_below(above, first));
        archive.member(&entry, name, target)?;
    }
    (archive.write)(&[0; 2 * BLOCK])?;
    Ok(sockets)
}

/// What a member is called, without the names of so many directories above it.
fn name_below(above: usize, path: &ImagePath) -> Vec<u8> {
    let names: Vec<&[u8]> = path.names().skip(above).collect();
    [b"./", names.join(&b'/').as_slice()].concat()
}

struct Archive<'a, W> {
    fs: &'a dyn FileSystem,
    write: W,
    buffer: Vec<u8>,
    budget: ContentBudget,
}

impl<E: From<tree::Error>, W: FnMut(&[u8]) -> Result<(), E>> Archive<'_, W> {
    /// Writes a member; `first` is the name of an earlier one that is the same file.
    fn member(
        &mut self,
        entry: &Entry,
        mut name: Vec<u8>,
        first: Option<Vec<u8>>,
    ) -> Result<(), E> {
        let metadata = &entry.metadata;
        let failed = |action, source| {
            E::from(tree::Error::FileSystem {
                action,
                path: entry.path.clone(),
                source,
            })
        };
        let mut records = Records::default();
        let mut header = head(&entry.metadata, &mut records);
        let mut link = Vec::new();
        let mut pieces = None;
        let kind = match (first, metadata.file_type) {
            (Some(first), kind) if kind != FileType::Directory => {
                link = first;
                EntryType::Link
            }
            (_, FileType::Regular) => {
                pieces = Some(self.pieces(entry).map_err(|e| failed("read", e))?);
                EntryType::Regular
            }
            (_, FileType::Directory) => {
                name.push(b'/');
                if name == b".//" {
                    name.pop();
                }
                EntryType::Directory
            }
            (_, FileType::Symlink) => {
                link = self
                    .fs
                    .read_link(entry.node)
                    .map_err(|e| failed("read", e))?;
                EntryType::Symlink
            }
            (_, FileType::CharDevice) => EntryType::Char,
            (_, FileType::BlockDevice) => EntryType::Block,
            (_, FileType::Fifo | FileType::Socket) => EntryType::Fifo,
        };
        header.set_entry_type(kind);
        if let Some(device) = metadata.device {
            let fits = header.set_device_major(device.major).is_ok()
                && header.set_device_minor(device.minor).is_ok();
            if !fits {
                let problem = imgasm_fs::Error::Unstorable {
                    what: format!("device {}:{}", device.major, device.minor),
                    problem: "a tar archive has no room for the number".to_owned(),
                };
                return Err(failed("pack", problem));
            }
        }
        if kind != EntryType::Link {
            let xattrs = self.fs.xattrs(entry.node).map_err(|e| failed("read", e))?;
            for (name, value) in xattrs {
                records.add_bytes(&xattr_key(&name), &value);
            }
        }
        let sparse = pieces
            .as_ref()
            .filter(|pieces| !is_whole(pieces, metadata.size));
        let map = sparse.map(|pieces| sparse_map(pieces, metadata.size));
        let stored: u64 = pieces
            .iter()
            .flatten()
            .map(|(start, end)| end - start)
            .sum();
        let size = stored + map.as_ref().map_or(0, |map| map.len() as u64);
        if map.is_some() {
            records.add("GNU.sparse.major", b"1");
            records.add("GNU.sparse.minor", b"0");
            records.add("GNU.sparse.name", &name);
            records.add("GNU.sparse.realsize", metadata.size.to_string().as_bytes());
            name = b"./GNUSparseFile.0/file".to_vec();
        }
        if size > MAX_SIZE {
            records.add("size", size.to_string().as_bytes());
        } else {
            header.set_size(size);
        }
        put_name(&mut header, &mut records, "path", &name, 0);
        put_name(&mut header, &mut records, "linkpath", &link, 157);
        self.records(&records)?;
        header.set_cksum();
        (self.write)(header.as_bytes())?;
        if let Some(map) = map {
            (self.write)(&map)?;
        }
        self.content(entry, pieces.as_deref().unwrap_or_default())
    }

    /// Which bytes of a file are stored: ranges in order, with no short hole between them. What the file
    /// holds, which is less by those holes, is taken from the budget.
    fn pieces(&mut self, entry: &Entry) -> imgasm_fs::Result<Vec<(u64, u64)>> {
        let size = entry.metadata.size;
        let (mut pieces, mut held) = (Vec::<(u64, u64)>::new(), 0_u64);
        for extent in self.fs.extents(entry.node)? {
            let start = extent.file_offset.min(size);
            let end = extent.file_offset.saturating_add(extent.len).min(size);
            held = held.saturating_add(end.saturating_sub(start));
            match pieces.last_mut() {
                Some(last) if start.saturating_sub(last.1) < LEAST_HOLE => last.1 = last.1.max(end),
                _ if start < LEAST_HOLE => pieces.push((0, end)),
                _ => pieces.push((start, end)),
            }
        }
        match pieces.last_mut() {
            Some(last) if size - last.1 < LEAST_HOLE => last.1 = size,
            None if size < LEAST_HOLE => pieces.push((0, size)),
            _ => {}
        }
        self.budget.take_held(self.fs, entry.node, held)?;
        Ok(pieces)
    }

    fn records(&mut self, records: &Records) -> Result<(), E> {
        if records.0.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.0.len() as u64);
        let name = b"./PaxHeaders/member";
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_cksum();
        (self.write)(header.as_bytes())?;
        (self.write)(&records.0)?;
        self.pad(records.0.len() as u64)
    }

    fn content(&mut self, entry: &Entry, pieces: &[(u64, u64)]) -> Result<(), E> {
        let mut stored = 0;
        for (start, end) in pieces {
            let write = &mut self.write;
            tree::read_range(self.fs, entry, *start..*end, &mut self.buffer, |bytes| {
                write(bytes)
            })?;
            stored += end - start;
        }
        self.pad(stored)
    }

    fn pad(&mut self, written: u64) -> Result<(), E> {
        let missing = written.wrapping_neg() % BLOCK as u64;
        let missing = usize::try_from(missing).expect("less than a block");
        (self.write)(&[0; BLOCK][..missing])
    }
}

/// A header with mode, owner, group and time; what it has no room for is recorded.
fn head(metadata: &Metadata, records: &mut Records) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(u32::from(metadata.permissions));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(u64::try_from(metadata.modified.seconds).unwrap_or(0));
    for (key, id) in [("uid", metadata.uid), ("gid", metadata.gid)] {
        match (id <= MAX_ID, key) {
            (true, "uid") => header.set_uid(id.into()),
            (true, _) => header.set_gid(id.into()),
            (false, _) => records.add(key, id.to_string().as_bytes()),
        }
    }
    if metadata.modified.seconds < 0 {
        records.add("mtime", metadata.modified.seconds.to_string().as_bytes());
    }
    header
}

/// The key of an extended attribute's record. A key ends at `=`, so GNU tar writes that and `%` by their
/// numbers.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}

fn is_whole(pieces: &[(u64, u64)], size: u64) -> bool {
    size == 0 || *pieces == [(0, size)]
}

/// The map that comes before the content of a sparse file: the number of pieces, and offset and length
/// of each, a line for each number, in whole blocks. A hole at the end is followed by an empty piece, or
/// GNU tar would leave it out.
fn sparse_map(pieces: &[(u64, u64)], size: u64) -> Vec<u8> {
    let is_open = pieces.last().is_none_or(|(_, end)| *end < size);
    let end = is_open.then_some((size, size));
    let mut map = Vec::new();
    // Writing to a vector does not fail.
    let _ = writeln!(map, "{}", pieces.len() + usize::from(is_open));
    for (start, end) in pieces.iter().copied().chain(end) {
        let _ = writeln!(map, "{start}\n{}", end - start);
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// Puts a name into its place in the header if it fits, or else into a record.
fn put_name(header: &mut Header, records: &mut Records, key: &str, name: &[u8], at: usize) {
    let is_plain = name.len() <= NAME_LEN && name.is_ascii();
    if !is_plain {
        records.add(key, name);
    }
    let shown = &name[..name.len().min(NAME_LEN)];
    header.as_mut_bytes()[at..at + shown.len()].copy_from_slice(shown);
}

/// Records of the pax format: each its length, a space, key, `=`, value and a line end.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.add_bytes(key.as_bytes(), value);
    }

    fn add_bytes(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let mut len = rest + 1;
        while rest + len.to_string().len() != len {
            len = rest + len.to_string().len();
        }
        self.0.extend(len.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend(key);
        self.0.push(b'=');
        self.0.extend(value);
        self.0.push(b'\n');
    }
}
