//! The vocabulary of the [`FileSystem`](super::FileSystem) trait.
//!
//! None of it is `non_exhaustive`: engines in other crates make these values and match all of them.

use std::fmt;

/// A file in one filesystem: an inode number, or whatever the format has in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.0)
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

/// The bits of `st_mode` that hold the file type (`S_IFMT`).
const S_IFMT: u16 = 0o170_000;

impl FileType {
    /// The type bits of `st_mode`, as `stat(2)` defines them.
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The type that the bits of `st_mode` name, if they name one.
    pub const fn from_mode(mode: u16) -> Option<Self> {
        match mode & S_IFMT {
            0o010_000 => Some(Self::Fifo),
            0o020_000 => Some(Self::CharDevice),
            0o040_000 => Some(Self::Directory),
            0o060_000 => Some(Self::BlockDevice),
            0o100_000 => Some(Self::Regular),
            0o120_000 => Some(Self::Symlink),
            0o140_000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// The word for it in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharDevice => "char",
            Self::BlockDevice => "block",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }

    /// What it is, with its article, for a sentence.
    pub const fn article_and_name(self) -> &'static str {
        match self {
            Self::Regular => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
        }
    }
}

/// The number of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DeviceNumber {
    /// Which driver: 12 bits in the kernel's own form.
    pub major: u32,
    /// Which of its devices: 20 bits in the kernel's own form.
    pub minor: u32,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What `stat` reports of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What the file is.
    pub file_type: FileType,
    /// The low twelve bits of `st_mode`: permissions, set-ID and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes in a regular file or in a link's target; for a directory whatever the format stores.
    pub size: u64,
    /// Number of names, as `st_nlink` counts them.
    pub links: u32,
    /// The number of a device node.
    pub device: Option<DeviceNumber>,
    /// When it was last read.
    pub accessed: Timestamp,
    /// When its content last changed.
    pub modified: Timestamp,
    /// When its inode last changed.
    pub changed: Timestamp,
    /// When it was made, if the format stores that.
    pub created: Option<Timestamp>,
}

/// The flags of a node that bind everybody, root too, and its project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeFlags {
    /// Nothing of it may change, and it gets no other names (`chattr +i`).
    pub immutable: bool,
    /// The same, but that something may be added to it (`chattr +a`).
    pub append_only: bool,
    /// The project that it belongs to, for quotas; 0 for none.
    pub project: u32,
    /// Whether a directory takes only nodes of its project (`chattr +P`).
    pub inherits_project: bool,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name's bytes.
    pub name: Vec<u8>,
    /// The node that has it.
    pub node: NodeId,
    /// What the node is.
    pub file_type: FileType,
}

/// A run of a file's bytes that lie together on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileExtent {
    /// First byte in the file.
    pub file_offset: u64,
    /// First byte on the filesystem's device; for content kept in the inode, where that lies.
    pub device_offset: u64,
    /// Number of bytes; the last extent may reach past the end of the file to the end of a block.
    pub len: u64,
}

/// A node to be made.
#[derive(Debug, Clone)]
pub struct NewNode<'a> {
    /// What it is, with what only that kind has.
    pub kind: NodeKind<'a>,
    /// The low twelve bits of `st_mode`.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a new node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind<'a> {
    /// An empty regular file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

impl NodeKind<'_> {
    /// The file type of a node of this kind.
    pub const fn file_type(&self) -> FileType {
        match self {
            Self::Regular => FileType::Regular,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::CharDevice(_) => FileType::CharDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// Changes to a node's metadata; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetadataChange {
    /// The low twelve bits of `st_mode`.
    pub permissions: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// When it was last read.
    pub accessed: Option<Timestamp>,
    /// When its content last changed.
    pub modified: Option<Timestamp>,
}

/// A name to be moved, after the rules of [`FileSystem::rename`](super::FileSystem::rename) have
/// been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rename<'a> {
    /// The node that has the name.
    pub node: NodeId,
    /// Whether that is a directory.
    pub is_directory: bool,
    /// The directory that it leaves.
    pub from: NodeId,
    /// Its name there.
    pub from_name: &'a [u8],
    /// The directory that it comes to: `from` or another one, but never below the node itself.
    pub to: NodeId,
    /// Its name there, which may be another spelling of the same name.
    pub to_name: &'a [u8],
    /// The node that has that name and loses it: of the same kind, and empty if it is a directory.
    pub replaced: Option<NodeId>,
}

/// What a filesystem is, for people and for comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystemInfo {
    /// The kind, as `blkid` names it: `ext4`, `xfs`, `vfat`, …
    pub kind: &'static str,
    /// The label, empty if there is none.
    pub label: Vec<u8>,
    /// The UUID or serial number, as `blkid` prints it; empty if there is none.
    pub uuid: String,
    /// Features that are on, by the names of the format's own tools, in the order of their bits.
    pub features: Vec<&'static str>,
    /// Bytes in a block: the unit of allocation.
    pub block_size: u32,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free, reserved ones included.
    pub free_bytes: u64,
    /// Inodes in all and free ones, if their number is fixed or counted.
    pub inodes: Option<(u64, u64)>,
    /// Whether the filesystem was left in a state that needs recovery before it can be written.
    pub needs_recovery: bool,
    /// Other parameters worth comparing, by the names of the format's own tools.
    pub parameters: Vec<(&'static str, String)>,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Unusual, but nothing that the format's own checker would repair.
    Warning,
    /// The filesystem contradicts its format or itself.
    Error,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Where.
    pub at: super::Location,
    /// What is wrong, with what was seen and what was expected.
    pub problem: String,
}

impl Finding {
    /// A contradiction.
    pub fn error(at: super::Location, problem: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            at,
            problem: problem.into(),
        }
    }

    /// Something that a reader should know about a sound filesystem.
    pub fn warning(at: super::Location, problem: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            at,
            problem: problem.into(),
        }
    }

    /// Whether this is a contradiction.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// What a writer needs to know but must not ask the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// The time given to everything that is made or changed.
    pub now: Timestamp,
    /// The source of inode generations, hash seeds and the like.
    pub seed: [u8; 16],
}
