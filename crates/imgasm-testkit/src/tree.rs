//! A whole file tree as a value, taken from a mount or from an engine, and compared.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imgasm_fs::{DeviceNumber, FileSystem, FileType, NodeId, Timestamp};
use rustix::fs::{AtFlags, CWD, SeekFrom, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Everything a user can see of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub file_type: FileType,
    pub permissions: u16,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub size: u64,
    /// Digest of a regular file's content; see [`ContentDigest`].
    pub content: Option<[u8; 32]>,
    pub target: Option<Vec<u8>>,
    pub device: Option<DeviceNumber>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in byte order, of a file that has more than one.
    pub first_name: Option<Vec<u8>>,
    pub accessed: Timestamp,
    pub modified: Timestamp,
    pub changed: Timestamp,
    pub created: Option<Timestamp>,
}

/// All paths below a root, which is itself the path `/`.
#[derive(Debug, Clone, Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Record>);

/// In which times two trees must agree.
#[derive(Debug, Clone)]
pub enum Times {
    /// All of them: two views of one image.
    All,
    /// The same edits made twice, here by the kernel within `window`, there by an engine whose
    /// clock stands at `now`: what the kernel stamped with its clock, the engine stamps with its
    /// own, and everything else is equal.
    Stamped {
        window: Range<Timestamp>,
        now: Timestamp,
    },
}

/// How two trees are compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Whether directories must have the same size: true for two views of one image; two images may
    /// hold the same names in different blocks.
    pub directory_sizes: bool,
    pub times: Times,
}

impl Comparison {
    /// Two views of one image.
    pub const SAME_IMAGE: Self = Self {
        directory_sizes: true,
        times: Times::All,
    };
}

impl Tree {
    /// What a mounted filesystem shows below `root`.
    pub fn of_mount(root: &Path) -> Self {
        let mut tree = Self::default();
        let mut names = Names::default();
        let mut pending = vec![b"/".to_vec()];
        while let Some(path) = pending.pop() {
            let host = host_path(root, &path);
            let (record, inode) = mounted_record(&host);
            if record.file_type == FileType::Directory {
                for entry in std::fs::read_dir(&host).unwrap_or_else(fail(&host)) {
                    let name = entry.unwrap_or_else(fail(&host)).file_name();
                    pending.push(join(&path, name.as_bytes()));
                }
            } else if record.links > 1 {
                names.add(inode, &path);
            }
            tree.0.insert(path, record);
        }
        names.enter(&mut tree);
        tree
    }

    /// What an engine shows. It must agree with itself: each listed name must be found by lookup,
    /// with the type that the entry says.
    pub fn of_engine(fs: &dyn FileSystem) -> Result<Self, String> {
        let mut tree = Self::default();
        let mut names = Names::default();
        let mut directories = BTreeSet::new();
        let mut pending = vec![(b"/".to_vec(), fs.root())];
        while let Some((path, node)) = pending.pop() {
            let said = |e| format!("{}: {e}", path.escape_ascii());
            let record = engine_record(fs, node).map_err(said)?;
            if record.file_type == FileType::Directory {
                if !directories.insert(node) {
                    return Err(format!("{}: directory seen before", path.escape_ascii()));
                }
                let entries = fs.read_dir(node).map_err(said)?;
                for entry in entries {
                    let child = join(&path, &entry.name);
                    let found = fs.lookup(node, &entry.name).map_err(said)?;
                    let file_type = fs.metadata(entry.node).map_err(said)?.file_type;
                    if found != Some(entry.node) || file_type != entry.file_type {
                        return Err(format!(
                            "{}: listed as {entry:?}, found {found:?}, which is {file_type:?}",
                            child.escape_ascii()
                        ));
                    }
                    pending.push((child, entry.node));
                }
                let absent = b"no such name \xff";
                if let Some(found) = fs.lookup(node, absent).map_err(said)? {
                    return Err(format!(
                        "{}: found {found} by a wrong name",
                        path.escape_ascii()
                    ));
                }
            } else if record.links > 1 {
                names.add(node.0, &path);
            }
            if tree.0.insert(path.clone(), record).is_some() {
                return Err(format!("{}: listed twice", path.escape_ascii()));
            }
        }
        names.enter(&mut tree);
        Ok(tree)
    }

    /// Fails with the first differences between what is `expected` and this tree.
    pub fn compare(&self, expected: &Self, by: &Comparison) -> Result<(), String> {
        let paths: BTreeSet<_> = expected.0.keys().chain(self.0.keys()).collect();
        let mut differences = Vec::new();
        for path in paths {
            let difference = match (expected.0.get(path), self.0.get(path)) {
                (Some(expected), Some(seen)) => match seen.differences(expected, by) {
                    fields if fields.is_empty() => continue,
                    fields => fields.join("; "),
                },
                (Some(_), None) => "missing".to_owned(),
                (None, _) => "should not be there".to_owned(),
            };
            differences.push(format!("{}: {difference}", path.escape_ascii()));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let total = differences.len();
        differences.truncate(12);
        Err(format!("{total} paths differ:\n{}", differences.join("\n")))
    }
}

impl Record {
    fn differences(&self, expected: &Self, by: &Comparison) -> Vec<String> {
        let mut found = Vec::new();
        let mut field = |name: &str, seen: &dyn fmt::Debug, expected: &dyn fmt::Debug| {
            let (seen, expected) = (format!("{seen:?}"), format!("{expected:?}"));
            if seen != expected {
                found.push(format!("{name} is {seen}, expected {expected}"));
            }
        };
        field("type", &self.file_type, &expected.file_type);
        field("permissions", &self.permissions, &expected.permissions);
        field("uid", &self.uid, &expected.uid);
        field("gid", &self.gid, &expected.gid);
        field("links", &self.links, &expected.links);
        if by.directory_sizes || expected.file_type != FileType::Directory {
            field("size", &self.size, &expected.size);
        }
        field(
            "content",
            &self.content.map(hex::encode),
            &expected.content.map(hex::encode),
        );
        field(
            "target",
            &show(self.target.as_ref()),
            &show(expected.target.as_ref()),
        );
        field("device", &self.device, &expected.device);
        field(
            "first name",
            &show(self.first_name.as_ref()),
            &show(expected.first_name.as_ref()),
        );
        field(
            "xattrs",
            &show_xattrs(&self.xattrs),
            &show_xattrs(&expected.xattrs),
        );
        let times = [
            ("accessed", Some(self.accessed), Some(expected.accessed)),
            ("modified", Some(self.modified), Some(expected.modified)),
            ("changed", Some(self.changed), Some(expected.changed)),
            ("created", self.created, expected.created),
        ];
        for (name, seen, expected) in times {
            let expected = match &by.times {
                Times::Stamped { window, now } if expected.is_some_and(|t| window.contains(&t)) => {
                    Some(*now)
                }
                _ => expected,
            };
            field(name, &seen, &expected);
        }
        found
    }
}

fn show(bytes: Option<&Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| bytes.escape_ascii().to_string())
}

fn show_xattrs(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let show = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        // A digest after the first bytes keeps long values apart and the message short.
        let shown = value.get(..24).unwrap_or(value).escape_ascii();
        let digest = hex::encode(&Sha256::digest(value)[..4]);
        format!(
            "{}={shown} ({} bytes, {digest})",
            name.escape_ascii(),
            value.len()
        )
    };
    xattrs.iter().map(show).collect()
}

/// The paths of files that have several.
#[derive(Default)]
struct Names(BTreeMap<u64, Vec<Vec<u8>>>);

impl Names {
    fn add(&mut self, inode: u64, path: &[u8]) {
        self.0.entry(inode).or_default().push(path.to_vec());
    }

    fn enter(self, tree: &mut Tree) {
        for mut paths in self.0.into_values() {
            paths.sort();
            let first = paths[0].clone();
            for path in paths {
                if let Entry::Occupied(mut entry) = tree.0.entry(path) {
                    entry.get_mut().first_name = Some(first.clone());
                }
            }
        }
    }
}

/// `directory` and a name in it.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Where a path of a tree is on the host, with the tree's root mounted at `root`.
pub fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    let below = path.strip_prefix(b"/").unwrap_or(path);
    root.join(OsStr::from_bytes(below))
}

fn fail<T>(path: &Path) -> impl FnOnce(std::io::Error) -> T {
    move |e| panic!("{}: {e}", path.display())
}

/// Digest of a file's content by 4 KiB blocks, of which those of zeros are left out, so that files
/// of terabytes of holes can be compared. The size is compared beside it.
struct ContentDigest(Sha256);

const BLOCK: usize = 4096;
const CHUNK: usize = 1 << 20;

impl ContentDigest {
    /// Takes in bytes that lie at `offset`, a multiple of the block, in ascending order.
    fn add(&mut self, offset: u64, bytes: &[u8]) {
        for (number, block) in (offset / BLOCK as u64..).zip(bytes.chunks(BLOCK)) {
            if block.iter().any(|&byte| byte != 0) {
                self.0.update(number.to_le_bytes());
                self.0.update(block);
                // The last block of a file ends with it.
                self.0.update(&[0; BLOCK][block.len()..]);
            }
        }
    }

    /// Reads `ranges` of a file through `read`, each widened to whole blocks.
    fn of<E>(
        size: u64,
        ranges: impl IntoIterator<Item = Range<u64>>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<[u8; 32], E> {
        let block = BLOCK as u64;
        let mut digest = Self(Sha256::new());
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        for range in ranges {
            at = at.max(range.start / block * block);
            let end = range.end.next_multiple_of(block).min(size);
            while at < end {
                let len = usize::try_from((end - at).min(CHUNK as u64)).expect("at most a chunk");
                read(at, &mut buffer[..len])?;
                digest.add(at, &buffer[..len]);
                at = (at + len as u64).next_multiple_of(block);
            }
        }
        Ok(digest.0.finalize().into())
    }
}

fn mounted_record(path: &Path) -> (Record, u64) {
    let failed = |e: Errno| -> ! { panic!("{}: {e}", path.display()) };
    let stat = rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
    .unwrap_or_else(|e| failed(e));
    let file_type = FileType::from_mode(stat.stx_mode)
        .unwrap_or_else(|| panic!("{}: mode {:o}", path.display(), stat.stx_mode));
    let is = |wanted| file_type == wanted;
    let time = |t: StatxTimestamp| Timestamp {
        seconds: t.tv_sec,
        nanoseconds: t.tv_nsec,
    };
    let record = Record {
        file_type,
        permissions: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        links: stat.stx_nlink,
        size: stat.stx_size,
        content: is(FileType::Regular).then(|| mounted_content(path, stat.stx_size)),
        target: is(FileType::Symlink).then(|| {
            let target = std::fs::read_link(path).unwrap_or_else(fail(path));
            target.into_os_string().as_bytes().to_vec()
        }),
        device: (is(FileType::CharDevice) || is(FileType::BlockDevice)).then_some(DeviceNumber {
            major: stat.stx_rdev_major,
            minor: stat.stx_rdev_minor,
        }),
        xattrs: mounted_xattrs(path),
        first_name: None,
        accessed: time(stat.stx_atime),
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
        created: (stat.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(stat.stx_btime)),
    };
    (record, stat.stx_ino)
}

fn mounted_content(path: &Path, size: u64) -> [u8; 32] {
    let file = File::open(path).unwrap_or_else(fail(path));
    let mut data = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap_or(size);
        data.push(start..end);
        at = end;
    }
    ContentDigest::of(size, data, |at, buf| file.read_exact_at(buf, at)).unwrap_or_else(fail(path))
}

/// XFS shows each access control list a second time under this prefix, in its own form.
const SECOND_FORM: &[u8] = b"trusted.SGI_ACL_";

/// The extended attributes of a path on the host.
pub fn mounted_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let failed = |e: Errno| -> usize { panic!("{}: {e}", path.display()) };
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or_else(failed);
    let mut value = vec![0; 1 << 16];
    let mut xattrs = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0) {
        if !name.is_empty() && !name.starts_with(SECOND_FORM) {
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or_else(failed);
            xattrs.insert(name.to_vec(), value[..len].to_vec());
        }
    }
    xattrs
}

/// Files up to this size are read with their holes.
const READ_WHOLE: u64 = 64 << 20;

fn engine_record(fs: &dyn FileSystem, node: NodeId) -> imgasm_fs::Result<Record> {
    let stat = fs.metadata(node)?;
    let is = |wanted| stat.file_type == wanted;
    let content = if is(FileType::Regular) {
        Some(engine_content(fs, node, stat.size)?)
    } else {
        None
    };
    Ok(Record {
        file_type: stat.file_type,
        permissions: stat.permissions,
        uid: stat.uid,
        gid: stat.gid,
        links: stat.links,
        size: stat.size,
        content,
        target: is(FileType::Symlink)
            .then(|| fs.read_link(node))
            .transpose()?,
        device: stat.device,
        xattrs: fs.xattrs(node)?,
        first_name: None,
        accessed: stat.accessed,
        modified: stat.modified,
        changed: stat.changed,
        created: stat.created,
    })
}

fn engine_content(fs: &dyn FileSystem, node: NodeId, size: u64) -> imgasm_fs::Result<[u8; 32]> {
    let extents = fs.extents(node)?;
    let ranges = if size <= READ_WHOLE {
        std::iter::once(0..size).collect()
    } else {
        extents
            .iter()
            .map(|e| e.file_offset..e.file_offset.saturating_add(e.len))
            .collect::<Vec<_>>()
    };
    ContentDigest::of(size, ranges, |at, buf| {
        let read = fs.read_at(node, at, buf)?;
        assert_eq!(
            read,
            buf.len(),
            "{node}: a short read at {at} of {size} bytes"
        );
        Ok(())
    })
}
