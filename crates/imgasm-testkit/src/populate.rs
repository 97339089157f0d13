//! Fills a mounted image with everything that occurs on real ones, and what only an old and busy
//! one has: fragmented files, half-empty directories, shared attribute blocks.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imgasm_fs::{DeviceNumber, FileType};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Timestamps};

use crate::apply::{chmod, create, set_xattr, timespec};
use crate::content::{Content, Style};
use crate::edits::{Bytes, NewKind, random_acl, random_name, random_time, random_xattr};
use crate::image::{Limits, Set};
use crate::model::ACL;
use crate::rng::Rng;
use crate::tree::host_path;

/// How much is made.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Files in directories of a random shape.
    pub files: u64,
    /// Entries of the one large directory.
    pub large_directory: u64,
    /// Pieces of the fragmented file, and four times the gaps in the free space.
    pub pieces: u64,
    /// Whether everything gets an `SELinux` label, as everything has on an installed system.
    pub labels: bool,
}

impl Amount {
    /// Little enough for a test that is run all the time, with two levels of most trees.
    pub const MODERATE: Self = Self {
        files: 600,
        large_directory: 5000,
        pieces: 1500,
        labels: false,
    };
}

/// Fills the filesystem mounted at `root`.
pub fn populate(root: &Path, set: &Set, seed: u64, amount: Amount) {
    let mut filler = Filler {
        root,
        rng: Rng::new(seed),
        limits: set.limits,
    };
    filler.random_tree(amount.files);
    filler.large_directory(amount.large_directory);
    filler.fragmented_file(amount.pieces);
    filler.holes();
    filler.every_kind();
    filler.shared_attributes();
    filler.deep();
    filler.shrunk_directory();
    filler.times();
    if amount.labels {
        label(root);
    }
}

/// Labels a directory and everything below it.
fn label(directory: &Path) {
    done(
        directory,
        set_xattr(directory, LABEL, b"system_u:object_r:root_t:s0\0"),
    );
    for entry in done(directory, std::fs::read_dir(directory)) {
        let path = done(directory, entry).path();
        if done(&path, path.symlink_metadata()).is_dir() {
            label(&path);
        } else {
            done(
                &path,
                set_xattr(&path, LABEL, b"system_u:object_r:usr_t:s0\0"),
            );
        }
    }
}

const LABEL: &[u8] = b"security.selinux";

struct Filler<'a> {
    root: &'a Path,
    rng: Rng,
    limits: Limits,
}

fn done<T, E: std::fmt::Display>(what: &Path, result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("populating {}: {e}", what.display()))
}

fn file(path: &Path, content: Content) {
    let file = done(path, File::create(path));
    done(path, std::io::copy(&mut content.reader(), &mut &file));
}

impl Filler<'_> {
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        done(&path, std::fs::create_dir_all(&path));
        path
    }

    fn noise(&mut self, path: &Path, size: u64) {
        let content = Content::noise(self.rng.next(), size);
        file(path, content);
    }

    /// Directories within directories, with files of all sizes, owners, modes and attributes.
    fn random_tree(&mut self, files: u64) {
        let mut directories = vec![self.directory("tree")];
        for _ in 0..files {
            let inside = self.rng.pick(&directories).clone();
            let name = random_name(&mut self.rng);
            let path = host_path(&inside, &name);
            if path.symlink_metadata().is_ok() || path.as_os_str().len() > 1200 {
                continue;
            }
            let file_type = match self.rng.range(0..10) {
                0..2 => {
                    done(&path, create(&path, &NewKind::Directory));
                    directories.push(path.clone());
                    FileType::Directory
                }
                2 => {
                    let len = 1 + self.rng.magnitude(9);
                    let target = (0..len).map(|_| b'a').collect();
                    done(&path, create(&path, &NewKind::Symlink(Bytes(target))));
                    FileType::Symlink
                }
                _ => {
                    let style = *self.rng.pick(&[Style::Noise, Style::Noise, Style::Gappy]);
                    let size = self.rng.magnitude(17);
                    let seed = self.rng.next();
                    file(&path, Content { seed, size, style });
                    FileType::Regular
                }
            };
            self.dress(&path, file_type);
        }
    }

    /// Gives a node an owner, a mode and attributes.
    fn dress(&mut self, path: &Path, file_type: FileType) {
        let ids = [0, 0, 48, 1000, 65_534, 65_536, 3_000_000_000];
        let (uid, gid) = (*self.rng.pick(&ids), *self.rng.pick(&ids));
        done(path, std::os::unix::fs::lchown(path, Some(uid), Some(gid)));
        if file_type != FileType::Symlink {
            let modes = [0o644, 0o600, 0o755, 0o4755, 0o2775, 0o1777];
            done(path, chmod(path, *self.rng.pick(&modes)));
        }
        for _ in 0..self.rng.range(0..3) {
            let (name, value) = random_xattr(&mut self.rng, file_type, self.limits);
            // Several of these must fit together.
            if value.len() < self.limits.xattr_bytes / 4 {
                done(path, set_xattr(path, &name, &value));
            }
        }
        if file_type != FileType::Symlink && self.rng.chance(8) {
            done(path, set_xattr(path, ACL, &random_acl(&mut self.rng)));
        }
        if file_type == FileType::Directory && self.rng.chance(8) {
            let acl = random_acl(&mut self.rng);
            done(path, set_xattr(path, b"system.posix_acl_default", &acl));
        }
    }

    /// More names than a directory's index holds in one level, some of them removed again.
    fn large_directory(&mut self, entries: u64) {
        let directory = self.directory("large");
        for n in 0..entries {
            let path = directory.join(format!("entry-with-a-name-of-some-length-{n:06}"));
            if n % 50 == 0 {
                self.noise(&path, 100);
            } else if n % 50 == 1 {
                done(
                    &path,
                    create(&path, &NewKind::Symlink(Bytes(b"to".to_vec()))),
                );
            } else {
                done(&path, create(&path, &NewKind::Regular));
            }
        }
        for n in (0..entries).step_by(7) {
            let path = directory.join(format!("entry-with-a-name-of-some-length-{n:06}"));
            done(&path, std::fs::remove_file(&path));
        }
    }

    /// Files of which every other one is removed, and a file that has to fill the gaps.
    fn fragmented_file(&mut self, pieces: u64) {
        let directory = self.directory("fragments");
        let small = |n| directory.join(format!("small-{n}"));
        for n in 0..pieces / 4 {
            let size = self.rng.range(1..6) * 4096;
            self.noise(&small(n), size);
        }
        // Blocks that are still waiting to be allocated would end up side by side.
        rustix::fs::sync();
        for n in (0..pieces / 4).step_by(2) {
            done(&small(n), std::fs::remove_file(small(n)));
        }
        self.noise(&directory.join("fills-the-gaps"), 6 << 20);
        let path = directory.join("every-other-block");
        let file = done(&path, File::create(&path));
        for n in 0..pieces {
            let piece = Content::noise(n, 4096).bytes();
            done(&path, file.write_all_at(&piece, n * 8192));
        }
        let path = directory.join("three-large");
        let file = done(&path, File::create(&path));
        for n in 0..3 {
            let piece = Content::noise(n, 1 << 20).bytes();
            done(&path, file.write_all_at(&piece, n << 21));
        }
    }

    fn holes(&mut self) {
        let directory = self.directory("holes");
        let open = |name: &str| {
            let path = directory.join(name);
            let options = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path);
            (done(&path, options), path)
        };
        let (file, path) = open("only-a-hole");
        done(&path, file.set_len((1 << 32) + 5));
        let (file, path) = open("far-data");
        for offset in [0, 3 << 20, 1 << 30, (1 << 32) + 4096, 9 << 30] {
            let piece = Content::noise(offset, 5000).bytes();
            done(&path, file.write_all_at(&piece, offset));
        }
        let (file, path) = open("unwritten");
        // Formats without extents cannot, which is a case as well.
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20);
        if reserved.is_ok() {
            done(
                &path,
                file.write_all_at(&Content::noise(1, 9000).bytes(), 300_000),
            );
            done(
                &path,
                rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 1 << 20, 1 << 19),
            );
        }
        let (file, path) = open("punched");
        done(
            &path,
            file.write_all_at(&Content::noise(2, 1 << 20).bytes(), 0),
        );
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for start in [8192, 100_000, 700_000] {
            // Block-mapped files cannot on some kernels.
            let _ = rustix::fs::fallocate(&file, punch, start, 65_536);
        }
        let (file, path) = open("cut-off");
        done(
            &path,
            file.write_all_at(&Content::noise(3, 1 << 20).bytes(), 0),
        );
        done(&path, file.set_len(123_457));
    }

    fn every_kind(&mut self) {
        let directory = self.directory("kinds");
        let numbers = [
            (1, 3),
            (5, 1),
            (8, 0),
            (8, 300),
            (255, 255),
            (256, 1),
            self.limits.last_device,
        ];
        for (major, minor) in numbers {
            let number = DeviceNumber { major, minor };
            for kind in [NewKind::CharDevice(number), NewKind::BlockDevice(number)] {
                let path = directory.join(format!("{kind:?}").replace('/', "-"));
                done(&path, create(&path, &kind));
                self.dress(&path, kind.node_kind().file_type());
            }
        }
        for kind in [NewKind::Fifo, NewKind::Socket] {
            let path = directory.join(format!("{kind:?}"));
            done(&path, create(&path, &kind));
            self.dress(&path, kind.node_kind().file_type());
        }
        let limit = self.limits.symlink_len;
        for len in [1, 30, 58, 59, 60, 61, 255, 500, limit - 1, limit] {
            let path = directory.join(format!("symlink-{len}"));
            done(
                &path,
                create(&path, &NewKind::Symlink(Bytes(vec![b'x'; len]))),
            );
            self.dress(&path, FileType::Symlink);
        }
        let original = directory.join("linked");
        self.noise(&original, 70_000);
        for n in 0..12 {
            let path = directory.join(format!("link-{n}"));
            done(&path, std::fs::hard_link(&original, &path));
        }
        let fifo = directory.join("linked-fifo");
        done(&fifo, std::fs::hard_link(directory.join("Fifo"), &fifo));
        for size in [
            0,
            1,
            1023,
            1024,
            4095,
            4096,
            4097,
            12 * 1024,
            48 * 1024 + 1,
            300_000,
            5 << 20,
        ] {
            let path = directory.join(format!("size-{size}"));
            self.noise(&path, size);
        }
        for len in [1, 100, 254, 255] {
            let path = directory.join("n".repeat(len));
            self.noise(&path, 10);
        }
    }

    /// Files with equal attributes too large for an inode, which ext4 keeps in one block for all.
    fn shared_attributes(&mut self) {
        let directory = self.directory("attributes");
        let large = vec![b'v'; self.limits.xattr_bytes / 2];
        for n in 0..40 {
            let path = directory.join(format!("shares-{n}"));
            self.noise(&path, n * 100);
            done(&path, set_xattr(&path, b"user.shared", &large));
        }
        for n in 0..20 {
            let path = directory.join(format!("own-{n}"));
            self.noise(&path, 10);
            let len = usize::try_from(n).expect("small") * self.limits.xattr_bytes / 24;
            let value = self.rng.bytes(len);
            done(&path, set_xattr(&path, b"trusted.own", &value));
            done(
                &path,
                set_xattr(&path, LABEL, b"system_u:object_r:usr_t:s0\0"),
            );
        }
        let path = directory.join("many");
        self.noise(&path, 10);
        for n in 0..self.limits.xattr_bytes / 60 {
            done(
                &path,
                set_xattr(&path, format!("user.n{n}").as_bytes(), &n.to_le_bytes()),
            );
        }
    }

    fn deep(&mut self) {
        let mut path = self.root.join("deep");
        for n in 0..60 {
            done(&path, std::fs::create_dir(&path));
            path = path.join(format!("level-{n}"));
        }
        self.noise(&path, 5000);
    }

    /// A directory that had many names and now has few.
    fn shrunk_directory(&mut self) {
        let directory = self.directory("shrunk");
        let name = |n: u64| directory.join(format!("{n}-{}", "x".repeat(100)));
        for n in 0..600 {
            done(&name(n), create(&name(n), &NewKind::Regular));
        }
        for n in (0..600).filter(|n| n % 37 != 0) {
            done(&name(n), std::fs::remove_file(name(n)));
        }
    }

    fn times(&mut self) {
        let directory = self.directory("times");
        for n in 0..60 {
            let path = directory.join(format!("at-{n}"));
            done(&path, create(&path, &NewKind::Regular));
            let times = Timestamps {
                last_access: timespec(random_time(&mut self.rng, self.limits)),
                last_modification: timespec(random_time(&mut self.rng, self.limits)),
            };
            done(
                &path,
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()),
            );
        }
    }
}

/// Fills a filesystem of a few MiB: each form once, large enough to have inner blocks if blocks are
/// of 1 KiB.
pub fn populate_small(root: &Path, set: &Set, seed: u64) {
    let mut filler = Filler {
        root,
        rng: Rng::new(seed),
        limits: set.limits,
    };
    let names = filler.directory("names");
    for n in 0..120 {
        let path = names.join(format!("{n}-{}", "n".repeat(90)));
        done(&path, create(&path, &NewKind::Regular));
        if n % 10 == 0 {
            filler.noise(&path, n * 50);
        }
    }
    let path = root.join("pieces");
    let file = done(&path, File::create(&path));
    for n in 0..400 {
        done(&path, file.write_all_at(b"piece", n * 8192));
    }
    let number = DeviceNumber { major: 8, minor: 1 };
    let long = NewKind::Symlink(Bytes(vec![b'x'; 200]));
    let short = NewKind::Symlink(Bytes(b"pieces".to_vec()));
    let kinds = [NewKind::BlockDevice(number), NewKind::Fifo, long, short];
    for (n, kind) in kinds.iter().enumerate() {
        let path = root.join(format!("kind-{n}"));
        done(&path, create(&path, kind));
    }
    let shared = vec![b'v'; set.limits.xattr_bytes / 2];
    for n in 0..20 {
        let path = root.join(format!("dressed-{n}"));
        filler.noise(&path, n * 300);
        filler.dress(&path, FileType::Regular);
        if n % 2 == 0 {
            done(&path, set_xattr(&path, b"user.shared", &shared));
        }
    }
    let mut path = root.join("deep");
    for _ in 0..6 {
        done(&path, std::fs::create_dir(&path));
        filler.dress(&path, FileType::Directory);
        path = path.join("deeper");
    }
    done(&path, std::fs::hard_link(root.join("dressed-3"), &path));
}
