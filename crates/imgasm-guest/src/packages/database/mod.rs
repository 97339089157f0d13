//! The databases in which a system records its packages.
//!
//! - [`sqlite`]: RPM's database since 4.16: read and written.
//! - [`berkeley`]: RPM's database before that, in Berkeley DB: read and written.
//! - [`ndb`]: RPM's own format, met on SUSE: read and written.
//! - [`copy`]: a database of SQLite, as a copy outside the image.
//! - [`index`]: the keys by which RPM's databases find packages.
//! - [`side_file`]: where packages are recorded whose database cannot be written.
//! - [`dpkg`]: the status file of Debian's packages: read.

pub mod berkeley;
pub(super) mod copy;
pub mod dpkg;
mod index;
pub mod ndb;
pub mod side_file;
pub mod sqlite;

use std::collections::BTreeSet;

use super::Error;
use super::header::Header;
use crate::known_path;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor, LastLink};
use imgasm_fs::{FileSystem, NodeId};

/// The folders in which RPM's database is looked for.
pub const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// The most bytes that the headers of all packages may have together.
const MAX_TOTAL: usize = 1 << 30;

/// The formats of RPM's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQLite, `rpmdb.sqlite`.
    Sqlite,
    /// Berkeley DB, `Packages`.
    Berkeley,
    /// The same with indexes that RPM does not have since 4.9, or in files of an old version.
    OldBerkeley,
    /// RPM's own, `Packages.db`.
    Ndb,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Sqlite, Self::Ndb, Self::Berkeley];

    /// What the format is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Berkeley => "Berkeley DB",
            Self::OldBerkeley => "Berkeley DB of RPM before 4.9",
            Self::Ndb => "ndb",
        }
    }

    /// Whether it can be written.
    pub fn is_writable(self) -> bool {
        self != Self::OldBerkeley
    }

    fn file(self) -> &'static str {
        match self {
            Self::Sqlite => "rpmdb.sqlite",
            Self::Berkeley | Self::OldBerkeley => "Packages",
            Self::Ndb => "Packages.db",
        }
    }
}

/// An installed package as the database has it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The number that it has there; none where it is in the side file.
    pub number: Option<i64>,
    /// Its header.
    pub header: Header,
}

/// RPM's database of an image.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its format.
    pub kind: Kind,
    /// Its file.
    pub path: ImagePath,
    /// What is installed, in the order of the numbers, what is in the side file last.
    pub records: Vec<Record>,
}

impl Database {
    /// Reads the database of an image; `None` where there is none.
    pub fn read(fs: &dyn FileSystem) -> Result<Option<Self>, Error> {
        let Some((kind, path)) = find(fs)? else {
            return Ok(None);
        };
        let records = match kind {
            Kind::Sqlite => sqlite::read(fs, &path)?,
            Kind::Berkeley | Kind::OldBerkeley => berkeley::read(fs, &path)?,
            Kind::Ndb => ndb::read(fs, &path)?,
        };
        let mut records = records
            .into_iter()
            .map(|(number, blob)| {
                let header = Header::decode(blob);
                let header = header
                    .map_err(|error| failure(&path, format!("the record {number}: {error}")))?;
                let number = Some(number);
                Ok(Record { number, header })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        records.sort_by_key(|record| record.number);
        records.extend(side_file::read(fs)?.into_iter().map(|header| Record {
            number: None,
            header,
        }));
        Ok(Some(Self {
            kind,
            path,
            records,
        }))
    }

    /// Takes these records out, and puts those with these headers in: into the side file if the
    /// format cannot be written.
    pub fn update(
        &self,
        editor: &mut Editor<'_>,
        removed: &[&Record],
        added: &[&Header],
    ) -> Result<(), Error> {
        let numbers = removed.iter().filter_map(|record| record.number).collect();
        match self.kind {
            Kind::Sqlite => sqlite::update(editor, &self.path, &numbers, added)?,
            Kind::Berkeley => berkeley::update(editor, self, &numbers, added)?,
            Kind::Ndb => ndb::update(editor, self, &numbers, added)?,
            Kind::OldBerkeley => {}
        }
        let aside = self.records.iter().filter(|record| {
            let is_removed = removed.iter().any(|other| std::ptr::eq(*other, *record));
            record.number.is_none() && !is_removed
        });
        let mut aside: Vec<_> = aside.map(|record| &record.header).collect();
        if !self.kind.is_writable() {
            aside.extend(added);
        }
        side_file::write(editor, &aside)
    }

    /// What the indexes are made of after a change: the records that stay, then those that are added, of
    /// which `first` is the first number.
    fn rows<'d>(
        &'d self,
        removed: &BTreeSet<i64>,
        first: u32,
        added: &[&'d Header],
    ) -> Vec<(u32, &'d Header)> {
        let staying = self.records.iter().filter_map(|record| {
            let number = record.number.filter(|number| !removed.contains(number))?;
            Some((u32::try_from(number).ok()?, &record.header))
        });
        staying
            .chain((first..).zip(added.iter().copied()))
            .collect()
    }
}

/// A record of a database before it is decoded: its number, and the header's bytes.
type RawRecord = (i64, Vec<u8>);

/// The database's format and file.
fn find(fs: &dyn FileSystem) -> Result<Option<(Kind, ImagePath)>, Error> {
    for kind in Kind::ALL {
        for folder in FOLDERS {
            let path = known_path(folder).child(kind.file().as_bytes());
            if !tree::is_file(fs, &path)? {
                continue;
            }
            let is_old = kind == Kind::Berkeley && berkeley::is_old(fs, &path)?;
            let kind = if is_old { Kind::OldBerkeley } else { kind };
            return Ok(Some((kind, path)));
        }
    }
    Ok(None)
}

pub(super) fn failure(path: &ImagePath, problem: impl Into<String>) -> Error {
    Error::Database {
        path: path.clone(),
        problem: problem.into(),
    }
}

/// Adds a header's bytes to all others, unless they become too many.
fn add(records: &mut Vec<RawRecord>, total: &mut usize, record: RawRecord) -> Result<(), String> {
    *total = total.saturating_add(record.1.len());
    if *total > MAX_TOTAL {
        return Err(format!(
            "its records have more than {MAX_TOTAL} bytes together"
        ));
    }
    records.push(record);
    Ok(())
}

/// A file of the image that is read piece by piece.
struct Pieces<'a> {
    fs: &'a dyn FileSystem,
    node: NodeId,
    path: ImagePath,
    len: u64,
}

impl<'a> Pieces<'a> {
    fn open(fs: &'a dyn FileSystem, path: &ImagePath) -> Result<Self, Error> {
        let (node, path) = tree::resolve(fs, path, LastLink::Follow)?;
        let len = match fs.metadata(node) {
            Ok(metadata) => metadata.size,
            Err(error) => return Err(failure(&path, error.to_string())),
        };
        Ok(Self {
            fs,
            node,
            path,
            len,
        })
    }

    /// Fills `buf` from byte `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let count = self.fs.read_at(self.node, at, &mut buf[done..]);
            match count.map_err(|error| failure(&self.path, error.to_string()))? {
                0 => {
                    let end = self.len;
                    let problem = format!("it ends at byte {end}, and byte {at} is needed");
                    return Err(failure(&self.path, problem));
                }
                count => done += count,
            }
        }
        Ok(())
    }
}
