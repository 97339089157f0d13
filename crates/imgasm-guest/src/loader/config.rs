//! `/etc/ld.so.conf`, and the folders that are always searched.

use super::Error;
use crate::files::{known_path, read_optional};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, glob::Pattern};

/// The file.
const FILE: &str = "/etc/ld.so.conf";
/// The folders that are searched in any case on systems with RPM, in this order: 32-bit ones first
/// (`add_system_dir`).
const ALWAYS: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// How deep files may include each other.
const MAX_DEPTH: usize = 16;
/// How many files are read, each as often as it is included.
const MAX_FILES: usize = 1000;
/// The most folders that are searched.
const MAX_FOLDERS: usize = 10_000;

/// What it says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// The folders, in order.
    pub(super) folders: Vec<ImagePath>,
    /// Further names of folders with variants for certain processors.
    pub(super) variants: Vec<Vec<u8>>,
    /// How many files were read.
    files: usize,
}

/// Reads it, with the files that it includes.
pub(super) fn read(fs: &dyn FileSystem) -> Result<Config, Error> {
    let mut config = Config::default();
    read_file(fs, &known_path(FILE), 0, &mut config)?;
    config.folders.extend(ALWAYS.map(known_path));
    Ok(config)
}

fn read_file(
    fs: &dyn FileSystem,
    path: &ImagePath,
    depth: usize,
    config: &mut Config,
) -> Result<(), Error> {
    let unknown = |problem: &str| Err(Error::Unknown(format!("{path} {problem}")));
    if depth > MAX_DEPTH {
        return unknown("is included too deep");
    }
    config.files += 1;
    if config.files > MAX_FILES {
        return unknown("is one file too many that is included");
    }
    let Some(content) = read_optional(fs, path)? else {
        return Ok(());
    };
    let Ok(content) = String::from_utf8(content) else {
        return unknown("is not UTF-8 text");
    };
    for line in content.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if word == "include" && !rest.is_empty() {
            for pattern in rest.split([' ', '\t']).filter(|word| !word.is_empty()) {
                include(fs, path, pattern, depth, config)?;
            }
        } else if word.eq_ignore_ascii_case("hwcap") && !rest.is_empty() {
            let name = rest.split_ascii_whitespace().nth(1).unwrap_or_default();
            if imgasm_fs::is_name(name.as_bytes()) {
                config.variants.push(name.as_bytes().to_vec());
            }
        } else {
            // A kind of library behind `=` means nothing any more.
            let folder = line.split('=').next().unwrap_or_default().trim_end();
            if folder.trim_end_matches('/').is_empty() {
                continue;
            }
            if config.folders.len() >= MAX_FOLDERS {
                return unknown("names too many folders");
            }
            match ImagePath::parse(folder) {
                Ok(folder) => config.folders.push(folder),
                Err(_) => return unknown("names a folder that is no absolute path"),
            }
        }
    }
    Ok(())
}

fn include(
    fs: &dyn FileSystem,
    from: &ImagePath,
    pattern: &str,
    depth: usize,
    config: &mut Config,
) -> Result<(), Error> {
    let folder = from.parent().unwrap_or_else(ImagePath::root);
    let pattern = if pattern.starts_with('/') {
        pattern.to_owned()
    } else {
        format!("{folder}/{pattern}")
    };
    let unknown = || Error::Unknown(format!("{from} includes {pattern}"));
    if pattern.contains(['{', '}', '\\']) || pattern.contains("**") {
        return Err(unknown());
    }
    let (above, last) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    // Elsewhere, hidden folders would have to be told from others.
    if above.contains(['*', '?', '[']) {
        return Err(unknown());
    }
    let shows_hidden = last.starts_with('.');
    let parsed = Pattern::parse(&pattern).map_err(|_| unknown())?;
    let mut files = tree::glob(fs, &parsed)?;
    files.sort();
    for file in files {
        let is_hidden = file.file_name().is_some_and(|name| name.starts_with(b"."));
        if !is_hidden || shows_hidden {
            read_file(fs, &file, depth + 1, config)?;
        }
    }
    Ok(())
}
