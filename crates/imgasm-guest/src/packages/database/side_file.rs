//! A file beside RPM's database, for packages that the database cannot take.
//!
//! It holds the packages' headers one after the other, each with the magic before it: what
//! `rpmdb --exportdb` writes and `rpmdb --importdb` reads.

use crate::known_path;
use crate::packages::Error;
use crate::packages::header::{COUNTS_LEN, Header, MAGIC};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};

use super::failure;

/// The most that is read of the file, in bytes.
const LIMIT: u64 = 1 << 30;

/// Where the file is.
pub fn path() -> ImagePath {
    known_path("/var/lib/imgasm/rpm-headers")
}

/// The headers in the file; none where it is missing.
pub fn read(fs: &dyn FileSystem) -> Result<Vec<Header>, Error> {
    let path = path();
    if !tree::exists(fs, &path)? {
        return Ok(Vec::new());
    }
    let content = tree::read_file(fs, &path, LIMIT)?;
    decode(&content).map_err(|problem| failure(&path, problem))
}

/// Makes the file hold these headers; without any, there is no file.
pub fn write(editor: &mut Editor<'_>, headers: &[&Header]) -> Result<(), Error> {
    let path = path();
    if headers.is_empty() {
        if tree::exists(editor.fs(), &path)? {
            editor.remove_tree(&path)?;
        }
        return Ok(());
    }
    let content: Vec<_> = headers
        .iter()
        .flat_map(|header| [&MAGIC, header.bytes()].concat())
        .collect();
    if let Some(folder) = path.parent() {
        editor.mkdir_all(&folder, Attributes::default())?;
    }
    editor.write(&path, LastLink::Keep, &content, Attributes::default())?;
    Ok(())
}

fn decode(mut content: &[u8]) -> Result<Vec<Header>, String> {
    let mut headers = Vec::new();
    while !content.is_empty() {
        let rest = content.strip_prefix(&MAGIC);
        let rest = rest.ok_or("there is no header where one must be")?;
        let counts = rest.first_chunk::<COUNTS_LEN>();
        let counts = *counts.ok_or("it is cut short")?;
        let length = Header::length(counts).map_err(|error| error.to_string())?;
        let (header, rest) = rest.split_at_checked(length).ok_or("it is cut short")?;
        let header = Header::decode(header.to_vec()).map_err(|error| error.to_string())?;
        headers.push(header);
        content = rest;
    }
    Ok(headers)
}
