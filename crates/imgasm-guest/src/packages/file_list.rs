//! The files of a package, as its header lists them.

use super::header::Header;
use super::tags;
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, FileType, Timestamp};

/// Flags of a file (RPM's `rpmfileAttrs_e`).
pub mod flags {
    /// A configuration file.
    pub const CONFIG: u64 = 1 << 0;
    /// Documentation.
    pub const DOCUMENTATION: u64 = 1 << 1;
    /// A file that may be missing.
    pub const MISSING_OK: u64 = 1 << 3;
    /// A configuration file that is not replaced where it was changed.
    pub const NO_REPLACE: u64 = 1 << 4;
    /// A file that belongs to the package, but does not come with it.
    pub const GHOST: u64 = 1 << 6;
}

/// States of a file that a record has (RPM's `rpmfileState_e`).
pub mod states {
    /// It is there.
    pub const NORMAL: u64 = 0;
    /// It was left out by wish.
    pub const NOT_INSTALLED: u64 = 2;
    /// It lies where other machines have it from, and was left to them.
    pub const NET_SHARED: u64 = 3;
    /// It was left to the program for 64 bit at the same place.
    pub const WRONG_COLOR: u64 = 4;
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedFile {
    /// Where it belongs.
    pub path: ImagePath,
    /// What it is.
    pub file_type: FileType,
    /// The low twelve bits of `st_mode`.
    pub permissions: u16,
    /// Bytes of a regular file.
    pub size: u64,
    /// When it was last changed.
    pub modified: Timestamp,
    /// The digest of a regular file in hexadecimal; empty where there is none.
    pub digest: String,
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// See [`flags`].
    pub flags: u64,
    /// The name of its owner.
    pub user: String,
    /// The name of its group.
    pub group: String,
    /// The number of a device.
    pub device: DeviceNumber,
    /// What the regular files with the same number are: names of one file.
    pub inode: u64,
    /// Capabilities, as `cap_from_text(3)` reads them; empty for none.
    pub capabilities: String,
}

impl PackagedFile {
    /// Whether it has this flag.
    pub fn is(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Whether both can be at one path: they are the same, or one of them is not really there.
    /// (RPM's `rpmfilesCompare`.)
    pub fn agrees_with(&self, other: &Self) -> bool {
        if self.is(flags::GHOST) || other.is(flags::GHOST) {
            return true;
        }
        let is_link = self.file_type == FileType::Symlink;
        self.file_type == other.file_type
            && (is_link || self.permissions == other.permissions)
            && (&self.user, &self.group) == (&other.user, &other.group)
            && match self.file_type {
                FileType::Regular => (self.size, &self.digest) == (other.size, &other.digest),
                FileType::Symlink => self.target == other.target,
                FileType::CharDevice | FileType::BlockDevice => self.device == other.device,
                _ => true,
            }
    }
}

/// The paths that a header lists, in its order, whatever their form.
pub fn raw_paths(header: &Header) -> Result<Vec<Vec<u8>>, String> {
    let names = header.texts(tags::BASE_NAMES);
    if names.is_empty() {
        let old = header.texts(tags::OLD_FILE_NAMES);
        return Ok(old.into_iter().map(<[u8]>::to_vec).collect());
    }
    let directories = header.texts(tags::DIR_NAMES);
    let indexes = header.numbers(tags::DIR_INDEXES);
    if indexes.len() != names.len() {
        return Err("its lists of files do not have the same length".to_owned());
    }
    let path = |(name, index): (&[u8], u64)| {
        let index = usize::try_from(index).ok();
        let directory = index.and_then(|index| directories.get(index));
        let directory = directory.ok_or("a file lies in a directory that is not listed")?;
        Ok([directory, name].concat())
    };
    names.into_iter().zip(indexes).map(path).collect()
}

/// The files that a header lists, in its order.
///
/// # Errors
/// What is wrong with the list: a path that is not absolute or has `..`, lists of different
/// lengths, a file of no type.
pub fn files(header: &Header) -> Result<Vec<PackagedFile>, String> {
    let paths = raw_paths(header)?;
    let lists = Lists::of(header, paths.len())?;
    let numbered = paths.iter().enumerate();
    numbered
        .map(|(index, path)| lists.file(index, path))
        .collect()
}

/// The parallel lists of a header.
struct Lists<'h> {
    modes: Vec<u64>,
    sizes: Vec<u64>,
    times: Vec<u64>,
    file_flags: Vec<u64>,
    devices: Vec<u64>,
    inodes: Vec<u64>,
    digests: Vec<&'h [u8]>,
    targets: Vec<&'h [u8]>,
    users: Vec<&'h [u8]>,
    groups: Vec<&'h [u8]>,
    capabilities: Vec<&'h [u8]>,
}

impl<'h> Lists<'h> {
    fn of(header: &'h Header, count: usize) -> Result<Self, String> {
        let long = header.has(tags::LONG_FILE_SIZES);
        let sizes = if long {
            tags::LONG_FILE_SIZES
        } else {
            tags::FILE_SIZES
        };
        let lists = Self {
            modes: header.numbers(tags::FILE_MODES),
            sizes: header.numbers(sizes),
            times: header.numbers(tags::FILE_MTIMES),
            file_flags: header.numbers(tags::FILE_FLAGS),
            devices: header.numbers(tags::FILE_RDEVS),
            inodes: header.numbers(tags::FILE_INODES),
            digests: header.texts(tags::FILE_DIGESTS),
            targets: header.texts(tags::FILE_LINK_TOS),
            users: header.texts(tags::FILE_USER_NAME),
            groups: header.texts(tags::FILE_GROUP_NAME),
            capabilities: header.texts(tags::FILE_CAPS),
        };
        let same = |len: usize| len == count;
        let same_or_none = |len: usize| len == count || len == 0;
        let fits = same(lists.modes.len())
            && same(lists.sizes.len())
            && same(lists.users.len())
            && same(lists.groups.len())
            && same(lists.times.len())
            && same_or_none(lists.file_flags.len())
            && same_or_none(lists.devices.len())
            && same_or_none(lists.inodes.len())
            && same_or_none(lists.digests.len())
            && same_or_none(lists.targets.len())
            && same_or_none(lists.capabilities.len());
        if count == 0 || fits {
            Ok(lists)
        } else {
            Err("its lists of files do not have the same length".to_owned())
        }
    }

    fn file(&self, index: usize, path: &[u8]) -> Result<PackagedFile, String> {
        let number = |list: &[u64]| list.get(index).copied().unwrap_or_default();
        let text = |list: &[&[u8]]| list.get(index).copied().unwrap_or_default().to_vec();
        let string = |list| String::from_utf8_lossy(&text(list)).into_owned();
        let path = ImagePath::parse(path).map_err(|error| error.to_string())?;
        let mode = u16::try_from(number(&self.modes)).unwrap_or_default();
        let file_type = FileType::from_mode(mode)
            .ok_or_else(|| format!("{path} has the mode {mode:o}, which is of no type of file"))?;
        let device = number(&self.devices);
        let low = |number: u64| u32::try_from(number & 0xff).expect("it has eight bits");
        Ok(PackagedFile {
            path,
            file_type,
            permissions: mode & 0o7777,
            size: number(&self.sizes),
            modified: Timestamp {
                seconds: i64::try_from(number(&self.times)).unwrap_or_default(),
                nanoseconds: 0,
            },
            digest: string(&self.digests).to_ascii_lowercase(),
            target: text(&self.targets),
            flags: number(&self.file_flags),
            user: string(&self.users),
            group: string(&self.groups),
            device: DeviceNumber {
                major: low(device >> 8),
                minor: low(device),
            },
            inode: number(&self.inodes),
            capabilities: string(&self.capabilities),
        })
    }
}

/// Numbers that say which files of a package are names of one: for each file the first index of its
/// set, which is its own where it has no other name.
pub fn hard_links(files: &[PackagedFile]) -> Vec<usize> {
    let mut first = std::collections::BTreeMap::new();
    let numbered = files.iter().enumerate();
    let set = |(index, file): (usize, &PackagedFile)| {
        let is_candidate =
            file.file_type == FileType::Regular && file.inode != 0 && !file.is(flags::GHOST);
        if is_candidate {
            *first.entry(file.inode).or_insert(index)
        } else {
            index
        }
    };
    numbered.map(set).collect()
}
