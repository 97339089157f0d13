//! Random edits that are valid on a tree.

use std::fmt;

use imgasm_fs::{DeviceNumber, FileType, NodeKind, Timestamp};

use crate::content::{Content, Style};
use crate::image::Limits;
use crate::model::{ACL, DEFAULT_ACL, Model, Node, name, parent};
use crate::rng::Rng;
use crate::tree::join;

/// Bytes that messages show as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// What is made, apart from its owner and mode.
#[derive(Debug, Clone)]
pub enum NewKind {
    Regular,
    Directory,
    Symlink(Bytes),
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Fifo,
    Socket,
}

impl NewKind {
    pub fn node_kind(&self) -> NodeKind<'_> {
        match self {
            Self::Regular => NodeKind::Regular,
            Self::Directory => NodeKind::Directory,
            Self::Symlink(target) => NodeKind::Symlink(&target.0),
            Self::CharDevice(number) => NodeKind::CharDevice(*number),
            Self::BlockDevice(number) => NodeKind::BlockDevice(*number),
            Self::Fifo => NodeKind::Fifo,
            Self::Socket => NodeKind::Socket,
        }
    }
}

/// Pieces written at equal distances, the last one first: as many extents as there are pieces.
#[derive(Debug, Clone, Copy)]
pub struct Stripes {
    pub seed: u64,
    pub offset: u64,
    pub stride: u64,
    pub len: u64,
    pub count: u64,
}

impl Stripes {
    /// Offset and content of each piece.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, Content)> + use<> {
        let stripes = *self;
        let piece = move |n| {
            let content = Content::noise(stripes.seed.wrapping_add(n), stripes.len);
            (stripes.offset + n * stripes.stride, content)
        };
        (0..self.count).rev().map(piece)
    }

    /// One past the last byte of the last piece.
    pub fn end(&self) -> u64 {
        self.offset + (self.count - 1) * self.stride + self.len
    }
}

/// One change of a tree.
#[derive(Debug, Clone)]
pub enum Edit {
    Create {
        path: Bytes,
        kind: NewKind,
        permissions: Option<u16>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    WriteContent {
        path: Bytes,
        content: Content,
    },
    WriteAt {
        path: Bytes,
        offset: u64,
        content: Content,
    },
    Stripes {
        path: Bytes,
        stripes: Stripes,
    },
    SetSize {
        path: Bytes,
        size: u64,
    },
    Link {
        path: Bytes,
        new: Bytes,
    },
    Rename {
        from: Bytes,
        to: Bytes,
    },
    Remove {
        path: Bytes,
    },
    RemoveTree {
        path: Bytes,
    },
    Chmod {
        path: Bytes,
        permissions: u16,
    },
    Chown {
        path: Bytes,
        uid: u32,
        gid: u32,
    },
    SetTimes {
        path: Bytes,
        accessed: Timestamp,
        modified: Timestamp,
    },
    SetXattr {
        path: Bytes,
        name: Bytes,
        value: Option<Bytes>,
    },
}

/// How much the edits may add.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub bytes: u64,
    pub nodes: u64,
}

/// Makes `count` edits, each valid after those before it.
pub fn generate(
    model: Model,
    seed: u64,
    count: usize,
    limits: Limits,
    budget: Budget,
) -> Vec<Edit> {
    let mut generator = Generator {
        rng: Rng::new(seed),
        model,
        limits,
        budget,
        edits: Vec::new(),
        names: 0,
    };
    while generator.edits.len() < count {
        generator.step();
    }
    generator.edits.truncate(count);
    generator.edits
}

struct Generator {
    rng: Rng,
    model: Model,
    limits: Limits,
    budget: Budget,
    edits: Vec<Edit>,
    names: u64,
}

/// Longest path that edits make; the kernel takes 4095 bytes, the mount point's included.
const PATH_LEN: usize = 3500;

impl Generator {
    /// Tries one random kind of edit, which may be several in a row.
    fn step(&mut self) {
        match self.rng.range(0..120) {
            0..20 => self.new_file(),
            20..27 => self.new_directory(),
            27 => self.deep_directories(),
            28..30 => self.many_files(),
            30..36 => self.new_symlink(),
            36..41 => self.new_special(),
            41..51 => self.replace_content(),
            51..65 => self.write_at(),
            65..67 => self.stripes(),
            67..73 => self.set_size(),
            73..79 => self.link(),
            79..91 => self.rename(),
            91..101 => self.remove(),
            101..102 => self.remove_tree(),
            102..106 => self.chmod(),
            106..110 => self.chown(),
            110..116 => self.set_xattr(),
            116..119 => self.set_acl(),
            _ => self.set_times(),
        }
    }

    /// Notes an edit if it is valid, and gives whether it was.
    fn push(&mut self, edit: Edit) -> bool {
        let valid = self.model.apply(&edit);
        if valid {
            self.edits.push(edit);
        }
        valid
    }

    /// Takes from the budget, if enough is left.
    fn afford(&mut self, bytes: u64, nodes: u64) -> bool {
        let left = (
            self.budget.bytes.checked_sub(bytes + nodes * 4096),
            self.budget.nodes.checked_sub(nodes),
        );
        let (Some(bytes), Some(nodes)) = left else {
            return false;
        };
        self.budget = Budget { bytes, nodes };
        true
    }

    fn regular(&mut self) -> Option<Vec<u8>> {
        self.model.pick(&mut self.rng, Node::is_regular)
    }

    fn owner(&mut self) -> u32 {
        *self
            .rng
            .pick(&[0, 0, 0, 1, 1000, 65_534, 65_536, 0x1234_5678])
    }

    fn permissions(&mut self) -> u16 {
        let usual = [0o644, 0o755, 0o600, 0o400, 0o4755, 0o2755, 0o1777, 0];
        if self.rng.chance(70) {
            *self.rng.pick(&usual)
        } else {
            u16::try_from(self.rng.range(0..0o10000)).expect("twelve bits")
        }
    }

    fn create(&mut self, path: Vec<u8>, kind: NewKind) -> bool {
        // What is not given follows from the directory and the umask, as in the kernel.
        let uid = self.rng.chance(50).then(|| self.owner());
        let gid = self.rng.chance(50).then(|| self.owner());
        let permissions = match kind {
            NewKind::Symlink(_) => None,
            NewKind::Directory if self.rng.chance(20) => Some(0o2775),
            _ => self.rng.chance(60).then(|| self.permissions()),
        };
        let path = Bytes(path);
        path.0.len() <= PATH_LEN
            && self.afford(0, 1)
            && self.push(Edit::Create {
                path,
                kind,
                permissions,
                uid,
                gid,
            })
    }

    fn content(&mut self, size: u64) -> Content {
        let style = *self
            .rng
            .pick(&[Style::Noise, Style::Noise, Style::Gappy, Style::Zeros]);
        let seed = self.rng.next();
        Content { seed, size, style }
    }

    fn write_content(&mut self, path: Vec<u8>, size: u64) {
        if self.afford(size, 0) {
            let content = self.content(size);
            let path = Bytes(path);
            self.push(Edit::WriteContent { path, content });
        }
    }

    /// Mostly small sizes, now and then up to 8 MiB.
    fn file_size(&mut self) -> u64 {
        let bits = if self.rng.chance(5) { 23 } else { 16 };
        self.rng.magnitude(bits)
    }

    fn new_path(&mut self) -> Vec<u8> {
        let directory = self.model.pick_directory(&mut self.rng);
        join(&directory, &random_name(&mut self.rng))
    }

    fn new_file(&mut self) {
        let path = self.new_path();
        let size = self.file_size();
        if self.create(path.clone(), NewKind::Regular) && size > 0 {
            self.write_content(path, size);
        }
    }

    fn new_directory(&mut self) {
        let path = self.new_path();
        self.create(path, NewKind::Directory);
    }

    fn deep_directories(&mut self) {
        let mut path = self.new_path();
        for _ in 0..self.rng.range(5..40) {
            if !self.create(path.clone(), NewKind::Directory) {
                break;
            }
            path = join(&path, &random_name(&mut self.rng));
        }
    }

    /// Files enough in one directory to split its blocks.
    fn many_files(&mut self) {
        let directory = self.model.pick_directory(&mut self.rng);
        let long = self.rng.chance(30);
        for _ in 0..self.rng.range(10..250) {
            self.names += 1;
            let tail = "-".repeat(if long { 180 } else { 0 });
            let path = join(&directory, format!("many-{}{tail}", self.names).as_bytes());
            if !self.create(path.clone(), NewKind::Regular) {
                break;
            }
            if self.rng.chance(20) {
                let size = self.rng.magnitude(13);
                self.write_content(path, size);
            }
        }
    }

    fn new_symlink(&mut self) {
        let len = if self.rng.chance(60) {
            self.rng.range(1..64)
        } else {
            self.rng.range(1..self.limits.symlink_len as u64 + 1)
        };
        // Around the sizes at which an inode holds a target itself.
        let len = if self.rng.chance(10) {
            self.rng.range(58..62)
        } else {
            len
        };
        let target = (0..len).map(|_| *self.rng.pick(b"abc/.-\xe9")).collect();
        let path = self.new_path();
        self.create(path, NewKind::Symlink(Bytes(target)));
    }

    fn new_special(&mut self) {
        let numbers = [
            (1, 3),
            (8, 255),
            (8, 256),
            (255, 255),
            (256, 0),
            (259, 70_000),
            self.limits.last_device,
        ];
        let (major, minor) = *self.rng.pick(&numbers);
        let number = DeviceNumber { major, minor };
        let kinds = [
            NewKind::CharDevice(number),
            NewKind::BlockDevice(number),
            NewKind::Fifo,
            NewKind::Socket,
        ];
        let kind = self.rng.pick(&kinds).clone();
        let path = self.new_path();
        self.create(path, kind);
    }

    fn replace_content(&mut self) {
        if let Some(path) = self.regular() {
            let size = self.file_size();
            self.write_content(path, size);
        }
    }

    fn write_at(&mut self) {
        let Some(path) = self.regular() else { return };
        let size = self.model.get(&path).map_or(0, |node| node.size);
        let offset = match self.rng.range(0..10) {
            0..4 => self.rng.range(0..size + 1),
            4..7 => size,
            7..9 => size + self.rng.magnitude(20),
            // Far beyond, where only large maps reach, but within what 1 KiB blocks without extents
            // can hold.
            _ => size.max(self.rng.magnitude(33)),
        };
        let len = 1 + self.rng.magnitude(17);
        if self.afford(len, 0) {
            let content = self.content(len);
            let path = Bytes(path);
            self.push(Edit::WriteAt {
                path,
                offset,
                content,
            });
        }
    }

    fn stripes(&mut self) {
        let Some(path) = self.regular() else { return };
        let stripes = Stripes {
            seed: self.rng.next(),
            offset: self.rng.magnitude(24),
            stride: 4096 * self.rng.range(2..6),
            len: self.rng.range(1..4097),
            count: self.rng.range(2..400),
        };
        if self.afford(stripes.count * 8192, 0) {
            let path = Bytes(path);
            self.push(Edit::Stripes { path, stripes });
        }
    }

    fn set_size(&mut self) {
        let Some(path) = self.regular() else { return };
        let size = self.model.get(&path).map_or(0, |node| node.size);
        let size = match self.rng.range(0..4) {
            0 => 0,
            1 | 2 => self.rng.range(0..size + 1),
            _ => size + self.rng.magnitude(26),
        };
        let path = Bytes(path);
        self.push(Edit::SetSize { path, size });
    }

    fn link(&mut self) {
        let file = self.model.pick(&mut self.rng, |node| !node.is_directory());
        let new = Bytes(self.new_path());
        if let Some(path) = file.map(Bytes)
            && new.0.len() <= PATH_LEN
            && self.afford(0, 1)
        {
            self.push(Edit::Link { path, new });
        }
    }

    fn rename(&mut self) {
        let Some(from) = self.model.pick(&mut self.rng, |_| true) else {
            return;
        };
        let to = match self.rng.range(0..10) {
            // A new name in the same directory.
            0..3 => join(parent(&from), &random_name(&mut self.rng)),
            // The same name elsewhere.
            3..5 => join(&self.model.pick_directory(&mut self.rng), name(&from)),
            5..7 => self.new_path(),
            // Onto something else of the same type.
            _ => {
                let directory = self.model.get(&from).is_some_and(Node::is_directory);
                let fits = |node: &Node| node.is_directory() == directory;
                match self.model.pick(&mut self.rng, fits) {
                    Some(to) => to,
                    None => return,
                }
            }
        };
        let deepest = self.model.below(&from).map(Vec::len).max();
        let longest = deepest.unwrap_or(from.len()) - from.len() + to.len();
        if longest <= PATH_LEN && self.afford(0, 1) {
            let (from, to) = (Bytes(from), Bytes(to));
            self.push(Edit::Rename { from, to });
        }
    }

    fn remove(&mut self) {
        if let Some(path) = self.model.pick(&mut self.rng, |_| true).map(Bytes) {
            self.push(Edit::Remove { path });
        }
    }

    fn remove_tree(&mut self) {
        if let Some(path) = self.model.pick(&mut self.rng, Node::is_directory) {
            // Not everything: something must be left to edit.
            if self.model.below(&path).count() < self.model.len() / 3 {
                let path = Bytes(path);
                self.push(Edit::RemoveTree { path });
            }
        }
    }

    fn chmod(&mut self) {
        let permissions = self.permissions();
        if let Some(path) = self.model.pick(&mut self.rng, |_| true).map(Bytes) {
            self.push(Edit::Chmod { path, permissions });
        }
    }

    fn chown(&mut self) {
        let (uid, gid) = (self.owner(), self.owner());
        if let Some(path) = self.model.pick(&mut self.rng, |_| true).map(Bytes) {
            self.push(Edit::Chown { path, uid, gid });
        }
    }

    fn set_xattr(&mut self) {
        let Some(path) = self.model.pick(&mut self.rng, |_| true) else {
            return;
        };
        let node = self.model.get(&path).expect("just picked");
        if !node.xattrs.is_empty() && self.rng.chance(25) {
            let names: Vec<_> = node.xattrs.keys().cloned().collect();
            let name = Bytes(self.rng.pick(&names).clone());
            let path = Bytes(path);
            self.push(Edit::SetXattr {
                path,
                name,
                value: None,
            });
            return;
        }
        let (name, value) = random_xattr(&mut self.rng, node.file_type, self.limits);
        let total = node.xattr_bytes_beside(&name) + name.len() + value.len() + 20;
        if total <= self.limits.xattr_bytes && self.afford(value.len() as u64 + 4096, 0) {
            let (path, name, value) = (Bytes(path), Bytes(name), Some(Bytes(value)));
            self.push(Edit::SetXattr { path, name, value });
        }
    }

    fn set_acl(&mut self) {
        let storable = |node: &Node| node.is_regular() || node.is_directory();
        let Some(path) = self.model.pick(&mut self.rng, storable) else {
            return;
        };
        let node = self.model.get(&path).expect("just picked");
        let name = if node.is_directory() && self.rng.chance(60) {
            DEFAULT_ACL
        } else {
            ACL
        };
        let value = random_acl(&mut self.rng);
        let total = node.xattr_bytes_beside(name) + name.len() + value.len() + 20;
        if total <= self.limits.xattr_bytes && self.afford(4096, 0) {
            self.push(Edit::SetXattr {
                path: Bytes(path),
                name: Bytes(name.to_vec()),
                value: Some(Bytes(value)),
            });
        }
    }

    fn set_times(&mut self) {
        let accessed = random_time(&mut self.rng, self.limits);
        let modified = random_time(&mut self.rng, self.limits);
        if let Some(path) = self.model.pick(&mut self.rng, |_| true).map(Bytes) {
            self.push(Edit::SetTimes {
                path,
                accessed,
                modified,
            });
        }
    }
}

/// A name of 1 to 255 bytes, mostly short, some of it not UTF-8.
pub fn random_name(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.range(0..20) {
        0 => 255,
        1..3 => rng.range(60..255),
        _ => rng.range(3..24),
    };
    let plain = b"abcdefghijklmnopqrstuvwxyz0123456789._- ";
    let odd = b"\x01\n\"'\\*\xc3\xa9\xff\x80";
    let letters: &[u8] = if rng.chance(85) { plain } else { odd };
    let name: Vec<u8> = (0..len).map(|_| *rng.pick(letters)).collect();
    if name == b".." || name == b"." {
        b"dots".to_vec()
    } else {
        name
    }
}

/// An attribute that a file of this type can have, with a value that the kernel accepts.
pub fn random_xattr(rng: &mut Rng, file_type: FileType, limits: Limits) -> (Vec<u8>, Vec<u8>) {
    let user = matches!(file_type, FileType::Regular | FileType::Directory);
    let len = match rng.range(0..10) {
        0 => 0,
        1..7 => rng.range(1..60),
        _ => 1 + rng.magnitude(17),
    };
    let len = usize::try_from(len)
        .expect("small")
        .min(limits.xattr_bytes / 2);
    match rng.range(0..10) {
        0..3 => {
            let label = *rng.pick(&["etc_t", "bin_t", "usr_t", "var_log_t:s0:c1,c2"]);
            let value = format!("system_u:object_r:{label}:s0\0");
            (b"security.selinux".to_vec(), value.into_bytes())
        }
        3 if file_type == FileType::Regular => {
            // Version 2, the effective bit, and two pairs of capability words.
            let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
            value.extend(0x2400_u32.to_le_bytes());
            value.extend([0; 12]);
            (b"security.capability".to_vec(), value)
        }
        4..8 if user => {
            let name = format!(
                "user.{}",
                rng.pick(&["a", "comment", "a.rather.long.attribute.name"])
            );
            (name.into_bytes(), rng.bytes(len))
        }
        _ => {
            let name = format!("trusted.{}", rng.pick(&["x", "overlay.opaque", "md5sum"]));
            (name.into_bytes(), rng.bytes(len))
        }
    }
}

/// An access control list in the form of its attribute; sometimes one that says no more than
/// permission bits do.
pub fn random_acl(rng: &mut Rng) -> Vec<u8> {
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 16;
    const OTHER: u16 = 32;
    let plain = rng.chance(15);
    let mut bits = || u16::try_from(rng.range(0..8)).expect("three bits");
    let (owner, mask, other) = (bits(), bits(), bits());
    let none = u32::MAX;
    let mut entries = vec![(USER_OBJ, owner, none)];
    if plain {
        entries.push((GROUP_OBJ, bits(), none));
    } else {
        entries.extend([1000, 70_000].map(|id| (USER, bits(), id)));
        entries.push((GROUP_OBJ, bits(), none));
        if bits() > 3 {
            entries.push((GROUP, bits(), 100));
        }
        entries.push((MASK, mask, none));
    }
    entries.push((OTHER, other, none));
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(bits.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// From 2310 to 2378: e2fsck takes such a time for one before 1970 that an old kernel has written
/// with wrong upper bits, and reports it.
const DOUBTED: std::ops::Range<i64> = (3 << 32) - (1 << 31)..3 << 32;

/// A time that no clock shows while a test runs: before 2017 or after 2033.
pub fn random_time(rng: &mut Rng, limits: Limits) -> Timestamp {
    let first = i64::from(i32::MIN);
    let seconds = match rng.range(0..6) {
        0 => first,
        1 => limits.last_second,
        2 => -1 - rng.magnitude(30).cast_signed(),
        3 => (2_000_000_000 + rng.magnitude(34).cast_signed()).min(limits.last_second),
        _ => rng.range(0..1_500_000_000).cast_signed(),
    };
    let seconds = if DOUBTED.contains(&seconds) {
        seconds - (1 << 32)
    } else {
        seconds
    };
    let nanoseconds = if limits.nanoseconds && seconds != limits.last_second {
        u32::try_from(rng.range(0..1_000_000_000)).expect("below a second")
    } else {
        0
    };
    Timestamp {
        seconds,
        nanoseconds,
    }
}
