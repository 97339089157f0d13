//! RPM's database in SQLite.
//!
//! The table `Packages` has the headers; a table for each index has a row for each value of a tag:
//! the value, the package's number, and the number of the value among those of its tag.

use std::collections::BTreeSet;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{ToSql, params};
use sha2::{Digest, Sha256};

use super::copy::Copy;
use super::index::{INDEXES, Key, keys};
use super::{RawRecord, add, failure};
use crate::packages::Error;
use crate::packages::header::Header;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::Editor;

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
    copy.give_back(editor, path)
}

/// What RPM tells the states of a database apart by (`rpmdbCookie`): a digest of the index of names.
pub fn cookie(fs: &dyn FileSystem, path: &ImagePath) -> Result<String, Error> {
    let copy = Copy::take(fs, path)?;
    let read = || -> rusqlite::Result<String> {
        let connection = copy.open()?;
        let mut digest = Sha256::new();
        let mut names = connection.prepare("SELECT DISTINCT key FROM Name ORDER BY key")?;
        let mut numbers = connection.prepare("SELECT hnum FROM Name WHERE key = ?1")?;
        let mut names = names.query([])?;
        while let Some(row) = names.next()? {
            let name = row.get_ref(0)?;
            digest.update(name.as_bytes()?);
            let mut numbers = numbers.query([name.as_str()?])?;
            while let Some(row) = numbers.next()? {
                digest.update(row.get::<_, u32>(0)?.to_le_bytes());
            }
        }
        Ok(hex::encode(digest.finalize()))
    };
    read().map_err(|error| failure(path, error.to_string()))
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
