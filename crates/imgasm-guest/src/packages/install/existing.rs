//! What is in the image already at the places of files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::database::Record;
use super::super::digests::Algorithm;
use super::super::file_list::{self, PackagedFile, flags, states};
use super::super::{Error, Package, tags};
use super::content::{beside, failed};
use super::fate::{Farewell, Found};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor, FileReader, LastLink};
use imgasm_fs::{FileSystem, FileType};

/// An installed package's files.
pub(super) struct Old {
    /// The files, in the order of the header.
    pub(super) files: Vec<PackagedFile>,
    /// The algorithm of their digests.
    pub(super) algorithm: Option<Algorithm>,
    states: Vec<u64>,
}

impl Old {
    /// The state of a file.
    pub(super) fn state(&self, index: usize) -> u64 {
        self.states.get(index).copied().unwrap_or(states::NORMAL)
    }
}

/// The files of the installed packages, each list read when it is first needed.
#[derive(Default)]
pub(super) struct OldFiles(BTreeMap<usize, Old>);

impl OldFiles {
    /// The files of an installed package, which has this number.
    pub(super) fn of(&mut self, number: usize, record: &Record) -> Result<&Old, Error> {
        Ok(match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let files = file_list::files(&record.header);
                let files = files.map_err(|problem| Error::Record {
                    package: Package::of(&record.header).to_string(),
                    problem,
                })?;
                new.insert(Old {
                    files,
                    algorithm: Algorithm::of(&record.header),
                    states: record.header.numbers(tags::FILE_STATES),
                })
            }
        })
    }
}

/// A file of a package, with the algorithm of its digest.
pub(super) type Described<'f> = (&'f PackagedFile, Option<Algorithm>);

/// What is at the path of a file, compared with it and with that of a replaced package; `None` if
/// nothing is.
pub(super) fn found(
    fs: &dyn FileSystem,
    new: Described<'_>,
    old: Option<Described<'_>>,
) -> Result<Option<Found>, Error> {
    let Some(real) = real_path(fs, &new.0.path)? else {
        return Ok(None);
    };
    let (node, _) = tree::resolve(fs, &real, LastLink::Keep)?;
    let metadata = fs
        .metadata(node)
        .map_err(|error| failed("read", &real, error))?;
    let target = match metadata.file_type {
        FileType::Symlink => fs
            .read_link(node)
            .map_err(|error| failed("read", &real, error))?,
        _ => Vec::new(),
    };
    let is_it = |(file, algorithm): Described<'_>| {
        let may_be = file.file_type == FileType::Regular && file.size == metadata.size;
        if metadata.file_type != FileType::Regular || !may_be {
            return Ok(false);
        }
        has_digest(fs, &real, algorithm, &file.digest)
    };
    Ok(Some(Found {
        file_type: metadata.file_type,
        target,
        is_new: is_it(new)?,
        is_old: old.map_or(Ok(false), is_it)?,
    }))
}

fn has_digest(
    fs: &dyn FileSystem,
    path: &ImagePath,
    algorithm: Option<Algorithm>,
    digest: &str,
) -> Result<bool, Error> {
    let Some(algorithm) = algorithm else {
        return Ok(false);
    };
    let (node, path) = tree::resolve(fs, path, LastLink::Keep)?;
    let found = algorithm.digest(&mut FileReader::new(fs, node));
    let found = found.map_err(|error| failed("read", &path, imgasm_fs::Error::Content(error)))?;
    Ok(found == digest)
}

/// Takes away files of a package that goes, in the reverse order of their paths.
pub(super) fn remove_files(
    editor: &mut Editor<'_>,
    files: &[(PackagedFile, Farewell)],
) -> Result<(), Error> {
    for (file, farewell) in files.iter().rev() {
        if let Some(real) = real_path(editor.fs(), &file.path)? {
            remove(editor, file, *farewell, &real)?;
        }
    }
    Ok(())
}

fn remove(
    editor: &mut Editor<'_>,
    file: &PackagedFile,
    farewell: Farewell,
    real: &ImagePath,
) -> Result<(), Error> {
    match farewell {
        Farewell::Keep => return Ok(()),
        // One that did not come with the package is neither saved nor removed.
        Farewell::Save if file.is(flags::GHOST) => return Ok(()),
        Farewell::Save => {
            editor.rename(real, &beside(real, ".rpmsave"))?;
            return Ok(());
        }
        Farewell::Erase => {}
    }
    let fs = editor.fs();
    let (node, _) = tree::resolve(fs, real, LastLink::Keep)?;
    let metadata = fs.metadata(node);
    let metadata = metadata.map_err(|error| failed("read", real, error))?;
    if metadata.file_type == FileType::Directory {
        let entries = fs.read_dir(node);
        let entries = entries.map_err(|error| failed("list", real, error))?;
        if !entries.is_empty() {
            return Ok(());
        }
    }
    editor.remove_tree(real)?;
    Ok(())
}

/// Where what is at a path really lies; `None` where nothing is.
pub(super) fn real_path(fs: &dyn FileSystem, path: &ImagePath) -> Result<Option<ImagePath>, Error> {
    match tree::locate(fs, path, LastLink::Keep) {
        Ok(place) => Ok(place.node.map(|_| place.path)),
        Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
