//! What an archive says of one of its members.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::sparse::{Map, Piece, decimal};
use super::{bad, damaged};

/// What GNU tar, bsdtar and star call the record of an extended attribute, before its name.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Fields of a header.
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, whose content [`super::Archive::content`] gives.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A further name of the member with this one.
    HardLink(Vec<u8>),
    /// A character device, by major and minor number.
    CharDevice(u32, u32),
    /// A block device, by major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// What a header is the header of; `None` for what no filesystem holds, such as the name of a
    /// volume.
    pub(super) fn of(header: &tar::Header, about: &mut About) -> io::Result<Option<Self>> {
        let kind = header.entry_type();
        let target = about.target.take();
        let target = || {
            let in_header = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
            let target = target.or_else(in_header);
            target.ok_or_else(|| bad("a link without a target"))
        };
        let device = || {
            let number = |part: io::Result<Option<u32>>| {
                part.map_err(damaged).map(Option::unwrap_or_default)
            };
            Ok::<_, io::Error>((
                number(header.device_major())?,
                number(header.device_minor())?,
            ))
        };
        let is_folder = match &about.name {
            Some(name) => name.ends_with(b"/"),
            None => header.path_bytes().ends_with(b"/"),
        };
        Ok(Some(if kind.is_file() && is_folder {
            // The oldest archives have no type for directories.
            Self::Directory
        } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Symlink(target()?)
        } else if kind.is_hard_link() {
            Self::HardLink(target()?)
        } else if kind.is_character_special() {
            let (major, minor) = device()?;
            Self::CharDevice(major, minor)
        } else if kind.is_block_special() {
            let (major, minor) = device()?;
            Self::BlockDevice(major, minor)
        } else if kind.is_fifo() {
            Self::Fifo
        } else {
            return Ok(None);
        }))
    }
}

/// A member of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, as it stands in the archive: `./etc/fstab`, `etc/`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The low twelve bits of the mode.
    pub mode: u16,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Extended attributes, by their whole names.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What was recorded and is not in the fields above: the names of such records, as `SCHILY.acl.access`.
    pub others: Vec<String>,
    /// Bytes of a regular file once it is unpacked.
    pub len: u64,
    pub(super) pieces: Vec<Piece>,
}

/// What comes before a member and is about it.
#[derive(Default)]
pub(super) struct About {
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    /// Length of what is stored.
    pub(super) size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    others: Vec<String>,
    sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    /// Versions 0.0 and 0.1.
    pub(super) map: Option<Map>,
    /// The offset of version 0.0 whose length is yet to come.
    offset: Option<u64>,
    /// Version 1.0.
    pub(super) map_is_stored: bool,
}

impl About {
    /// Takes the PAX records of a header.
    pub(super) fn take(&mut self, records: &[u8]) -> io::Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            let (key, value, following) = pax_record(rest)?;
            rest = following;
            match key {
                b"path" => self.name = Some(value.to_owned()),
                b"linkpath" => self.target = Some(value.to_owned()),
                b"uid" => self.uid = Some(decimal(value)?),
                b"gid" => self.gid = Some(decimal(value)?),
                b"size" => self.size = Some(decimal(value)?),
                b"GNU.sparse.name" => self.sparse_name = Some(value.to_owned()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    self.sparse_size = Some(decimal(value)?);
                }
                b"GNU.sparse.major" => self.map_is_stored = value == b"1",
                b"GNU.sparse.map" => self.map = Some(Map::from_list(value)?),
                b"GNU.sparse.offset" => self.offset = Some(decimal(value)?),
                b"GNU.sparse.numbytes" => {
                    let start = self.offset.take();
                    let start = start.ok_or_else(|| bad("a length without an offset"))?;
                    self.map
                        .get_or_insert_default()
                        .push(start, decimal(value)?)?;
                }
                _ if key.starts_with(XATTR) => {
                    let name = xattr_name(&key[XATTR.len()..]);
                    self.xattrs.insert(name, value.to_owned());
                }
                _ if key.starts_with(b"SCHILY.acl.") => {
                    self.others.push(String::from_utf8_lossy(key).into_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The member that the header and what came before it are about.
    pub(super) fn entry(
        self,
        header: &tar::Header,
        kind: Kind,
        len: u64,
        pieces: Vec<Piece>,
    ) -> io::Result<Entry> {
        // A field that is not filled in is a zero.
        let is_blank = |field: Range<usize>| {
            let mut bytes = header.as_bytes()[field].iter();
            bytes.all(|byte| matches!(byte, 0 | b' '))
        };
        let id = |recorded: Option<u64>, field, in_header: io::Result<u64>| {
            let id = match recorded {
                Some(id) => id,
                None if is_blank(field) => 0,
                None => in_header.map_err(damaged)?,
            };
            u32::try_from(id).map_err(|_| bad("the number of an owner or group has over 32 bits"))
        };
        let name = self.sparse_name.or(self.name);
        let mode = if is_blank(MODE) {
            0
        } else {
            header.mode().map_err(damaged)? & 0o7777
        };
        Ok(Entry {
            name: name.unwrap_or_else(|| header.path_bytes().into_owned()),
            kind,
            mode: u16::try_from(mode).expect("twelve bits"),
            uid: id(self.uid, UID, header.uid())?,
            gid: id(self.gid, GID, header.gid())?,
            xattrs: self.xattrs,
            others: self.others,
            len,
            pieces,
        })
    }
}

/// The name of an extended attribute, in which GNU tar writes `=` and `%` by their numbers.
fn xattr_name(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            _ => (*first, after),
        };
        name.push(byte);
        rest = after;
    }
    name
}

/// The first of some PAX records, as its key and value, and those behind it. A record is its length
/// in decimal digits, a space, the key, `=`, the value, and a line feed.
fn pax_record(records: &[u8]) -> io::Result<(&[u8], &[u8], &[u8])> {
    let damaged = || bad("a PAX record is damaged");
    let split = |bytes, at| <[u8]>::split_at_checked(bytes, at).ok_or_else(damaged);
    let space = records.iter().position(|byte| *byte == b' ');
    let (digits, _) = split(records, space.ok_or_else(damaged)?)?;
    let len = usize::try_from(decimal(digits)?).map_err(|_| damaged())?;
    let (record, following) = split(records, len)?;
    let record = record.get(digits.len() + 1..).ok_or_else(damaged)?;
    let record = record.strip_suffix(b"\n").ok_or_else(damaged)?;
    let equals = record.iter().position(|byte| *byte == b'=');
    let (key, value) = split(record, equals.ok_or_else(damaged)?)?;
    Ok((key, &value[1..], following))
}
