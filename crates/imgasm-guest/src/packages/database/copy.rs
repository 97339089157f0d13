//! A database of SQLite, as a copy among the host's temporary files.
//!
//! SQLite works on the copy, with what its log holds, and the copy goes back as a whole. Nothing in the
//! file depends on where or when that was.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::failure;
use crate::packages::Error;
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

/// A copy of a database.
pub(in crate::packages) struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    /// Copies the database at a path of an image.
    pub fn take(fs: &dyn FileSystem, path: &ImagePath) -> Result<Self, Error> {
        // What an image has installed is nobody else's business.
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = folder.map_err(|source| Error::Host {
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

    /// Puts it in the place of the one in the image.
    pub fn give_back(&self, editor: &mut Editor<'_>, path: &ImagePath) -> Result<(), Error> {
        editor.copy_in(&self.file(), path, LastLink::Follow, Attributes::default())?;
        // What the log held is in the database now.
        let log = log_path(path)?;
        if tree::is_file(editor.fs(), &log)? {
            editor.set_size(&log, 0)?;
        }
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    /// Opens the copy so that nothing but what is asked of it is done, whatever stands in it.
    pub fn open(&self) -> rusqlite::Result<Connection> {
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
