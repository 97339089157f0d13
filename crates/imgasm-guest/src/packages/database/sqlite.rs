//! RPM's database in SQLite.
//!
//! The table `Packages` has the headers; a table for each index has a row for each value of a tag:
//! the value, the package's number, and the number of the value among those of its tag.
//!
//! SQLite works on a copy of the file among the host's temporary files, with what its log holds,
//! and the copy goes back as a whole. Nothing in the file depends on where or when that was.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params};

use super::index::{INDEXES, Key, keys};
use super::{RawRecord, add, failure};
use crate::packages::Error;
use crate::packages::header::Header;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, FileReader, LastLink};
use imgasm_fs::{FileSystem, FileType};

/// The largest database that is copied, in bytes.
const MAX_LEN: u64 = 4 << 30;
/// What SQLite may hold in one value whatever the length of the file: new headers are longer than an
/// empty database.
const SHORTEST_LIMIT: i32 = 64 << 20;
/// The name of the copy.
const FILE_NAME: &str = "rpmdb.sqlite";
/// What the name of SQLite's log ends with.
const LOG_SUFFIX: &str = "-wal";

/// The records of the database in this file.
pub(super) fn read(fs: &dyn FileSystem, path: &ImagePath) -> Result<Vec<RawRecord>, Error> {
    let copy = Copy::take(fs, path)?;
    let read = || -> rusqlite::Result<Result<Vec<RawRecord>, String>> {
        let connection = copy.open()?;
        // Columns that are computed are not stored: they may be of any length in each row.
        let computed = "SELECT count(*) FROM pragma_table_xinfo('Packages') WHERE hidden <> 0";
        let computed: i64 = connection.query_row(computed, [], |row| row.get(0))?;
        if computed > 0 {
            return Ok(Err("its table of packages has computed columns".to_owned()));
        }
        let mut statement = connection.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum")?;
        let mut rows = statement.query([])?;
        let (mut records, mut total) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let blob = row.get_ref(1)?.as_blob()?.to_vec();
            if let Err(problem) = add(&mut records, &mut total, (number, blob)) {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(records))
    };
    read()
        .map_err(|error| failure(path, error.to_string()))?
        .map_err(|problem| failure(path, problem))
}

/// Takes the records with these numbers out, and puts those with these headers in.
pub fn update(
    editor: &mut Editor<'_>,
    path: &ImagePath,
    removed: &BTreeSet<i64>,
    added: &[&Header],
) -> Result<(), Error> {
    let copy = Copy::take(editor.fs(), path)?;
    change(&copy, removed, added).map_err(|error| failure(path, error.to_string()))?;
    editor.copy_in(&copy.file(), path, LastLink::Follow, Attributes::default())?;
    // What the log held is in the database now.
    let log = log_path(path)?;
    if tree::is_file(editor.fs(), &log)? {
        editor.set_size(&log, 0)?;
    }
    Ok(())
}

fn change(copy: &Copy, removed: &BTreeSet<i64>, added: &[&Header]) -> rusqlite::Result<()> {
    let mut connection = copy.open()?;
    let transaction = connection.transaction()?;
    let mut indexes = Vec::new();
    for (name, tag) in INDEXES {
        let exists = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        let count: i64 = transaction.query_row(exists, [name], |row| row.get(0))?;
        if count > 0 {
            indexes.push((name, tag));
        }
    }
    for number in removed {
        for (name, _) in &indexes {
            transaction.execute(&format!("DELETE FROM '{name}' WHERE hnum = ?1"), [number])?;
        }
        transaction.execute("DELETE FROM Packages WHERE hnum = ?1", [number])?;
    }
    for header in added {
        let insert = "INSERT INTO Packages (hnum, blob) VALUES (NULL, ?1)";
        transaction.execute(insert, [header.bytes()])?;
        let number = transaction.last_insert_rowid();
        for (name, tag) in &indexes {
            let insert = format!("INSERT INTO '{name}' (key, hnum, idx) VALUES (?1, ?2, ?3)");
            let mut insert = transaction.prepare(&insert)?;
            for (key, position) in keys(header, *tag) {
                insert.execute(params![key, number, position])?;
            }
        }
    }
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text)),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            // As the processor holds it, which is the least byte first on all that EC2 has.
            Self::Number(number) => ToSqlOutput::Owned(Value::Blob(number.to_le_bytes().into())),
        })
    }
}

/// A copy of a database among the host's temporary files.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn take(fs: &dyn FileSystem, path: &ImagePath) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(|source| Error::Host {
            path: tempfile::env::temp_dir(),
            source,
        })?;
        let copy = Self { folder };
        copy_out(fs, path, &copy.file())?;
        let log = log_path(path)?;
        if tree::is_file(fs, &log)? {
            let name = format!("{FILE_NAME}{LOG_SUFFIX}");
            copy_out(fs, &log, &copy.folder.path().join(name))?;
        }
        Ok(copy)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    /// Opens the copy so that nothing but what is asked of it is done, whatever stands in it.
    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.file(), flags)?;
        for (option, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        ] {
            connection.set_db_config(option, value)?;
        }
        // It looks for other folders than the copy's otherwise.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // No value is longer than the file that it stands in: one that is was made up by the schema.
        let len = std::fs::metadata(self.file()).map_or(0, |metadata| metadata.len());
        let len = i32::try_from(len).unwrap_or(i32::MAX).max(SHORTEST_LIMIT);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, len)?;
        connection.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, 25_000)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        Ok(connection)
    }
}

/// Where SQLite's log of a database lies.
fn log_path(path: &ImagePath) -> Result<ImagePath, Error> {
    let log = [path.as_bytes(), LOG_SUFFIX.as_bytes()].concat();
    ImagePath::parse(log).map_err(|error| failure(path, error.to_string()))
}

fn copy_out(fs: &dyn FileSystem, path: &ImagePath, host: &Path) -> Result<(), Error> {
    let (node, real) = tree::resolve(fs, path, LastLink::Follow)?;
    let unreadable = |error: imgasm_fs::Error| failure(&real, error.to_string());
    let metadata = fs.metadata(node).map_err(unreadable)?;
    if metadata.file_type != FileType::Regular || metadata.size > MAX_LEN {
        let problem = format!("it is not a file of {MAX_LEN} bytes at most");
        return Err(failure(&real, problem));
    }
    let written = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(host)?;
        std::io::copy(&mut FileReader::new(fs, node), &mut file)?;
        file.flush()
    };
    written().map_err(|source| Error::Host {
        path: host.to_owned(),
        source,
    })
}
