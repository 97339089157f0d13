//! What is in the image already: configuration files that were changed, and the files of the
//! packages that are replaced.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::database::Record;
use super::super::digests::Algorithm;
use super::super::file_list::{self, PackagedFile, flags, states};
use super::super::{Error, Package, tags};
use super::candidate::Candidate;
use super::content::{beside, failed};
use super::fate::{self, Fate, Found};
use super::omissions::Omissions;
use super::world::World;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor, FileReader, LastLink};
use imgasm_fs::{FileSystem, FileType};

/// The files of the installed packages, each list read when it is first needed.
#[derive(Default)]
pub(super) struct OldFiles(BTreeMap<usize, Vec<PackagedFile>>);

impl OldFiles {
    /// The file that an installed package has at the path of this one, and the algorithm of its
    /// digest.
    pub(super) fn file(
        &mut self,
        fs: &dyn FileSystem,
        world: &World<'_>,
        file: &PackagedFile,
    ) -> Result<Option<(&PackagedFile, Option<Algorithm>)>, Error> {
        let owners = world.at(fs, &file.path)?.into_iter();
        let mut owners = owners.filter_map(|(number, index)| {
            let record = world.members[number].record?;
            Some((number, index, record))
        });
        let Some((number, index, record)) = owners.next() else {
            return Ok(None);
        };
        let files = match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(files_of(record)?),
        };
        let algorithm = Algorithm::of(&record.header);
        Ok(files.get(index).map(|file| (file, algorithm)))
    }
}

/// The files of an installed package.
fn files_of(record: &Record) -> Result<Vec<PackagedFile>, Error> {
    file_list::files(&record.header).map_err(|problem| Error::Record {
        package: Package::of(&record.header).to_string(),
        problem,
    })
}

/// What becomes of what is at a file's path.
pub(super) fn fate_of(
    fs: &dyn FileSystem,
    candidate: &Candidate,
    index: usize,
    old: Option<(&PackagedFile, Option<Algorithm>)>,
) -> Result<Fate, Error> {
    let file = &candidate.files[index];
    if file.is(flags::GHOST) || file.file_type == FileType::Directory {
        return Ok(Fate::Create);
    }
    let Some(real) = real_path(fs, &file.path)? else {
        return Ok(Fate::Create);
    };
    let is_config = file.is(flags::CONFIG) || old.is_some_and(|(old, _)| old.is(flags::CONFIG));
    if !is_config {
        return Ok(Fate::Create);
    }
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
    let is_regular = metadata.file_type == FileType::Regular;
    let found = Found {
        file_type: metadata.file_type,
        target,
        is_new: is_regular && has_digest(fs, &real, Some(candidate.algorithm), &file.digest)?,
        is_old: match old {
            Some((old, algorithm)) if is_regular => has_digest(fs, &real, algorithm, &old.digest)?,
            _ => false,
        },
    };
    let old = old.map(|(old, algorithm)| {
        let same_content = algorithm == Some(candidate.algorithm) && old.digest == file.digest;
        (old, same_content && old.target == file.target)
    });
    Ok(fate::decide(file, &found, old))
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

/// Where the files of the new packages lie.
pub(super) fn present(
    fs: &dyn FileSystem,
    world: &World<'_>,
) -> Result<BTreeSet<ImagePath>, Error> {
    let candidates = world
        .arriving()
        .iter()
        .filter_map(|member| member.candidate);
    let mut present = BTreeSet::new();
    for candidate in candidates {
        for (index, file) in candidate.files.iter().enumerate() {
            if !candidate.is_left_out(index) {
                present.extend(real_path(fs, &file.path)?);
            }
        }
    }
    Ok(present)
}

/// The files of a package that goes, in the order of their paths, but for those that another package
/// has: one of `present`, where the files of the new ones lie, or one that stays.
pub(super) fn going(
    fs: &dyn FileSystem,
    world: &World<'_>,
    record: &Record,
    present: &BTreeSet<ImagePath>,
    omissions: &Omissions,
) -> Result<Vec<PackagedFile>, Error> {
    let mut going = Vec::new();
    let states = record.header.numbers(tags::FILE_STATES);
    for (index, file) in files_of(record)?.into_iter().enumerate() {
        // What was left out did not come from this package; what is shared is left to others.
        let state = states.get(index);
        let is_absent = state.is_some_and(|state| *state != states::NORMAL);
        if is_absent || omissions.is_net_shared(file.path.as_bytes()) {
            continue;
        }
        let real = real_path(fs, &file.path)?;
        let is_new = real.is_some_and(|real| present.contains(&real));
        let mut owners = world.at(fs, &file.path)?.into_iter();
        let stays = |(number, index): (usize, usize)| {
            let other = &world.members[number];
            let is_left_out = other.candidate.is_some_and(|it| it.is_left_out(index));
            other.stays() && !is_left_out
        };
        if !is_new && !owners.any(stays) {
            going.push(file);
        }
    }
    going.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(going)
}

/// Takes away files of a package that goes. Configuration files that were changed are moved aside.
pub(super) fn remove_files(
    editor: &mut Editor<'_>,
    record: &Record,
    files: &[PackagedFile],
) -> Result<(), Error> {
    for file in files.iter().rev() {
        if let Some(real) = real_path(editor.fs(), &file.path)? {
            remove(editor, file, &real, Algorithm::of(&record.header))?;
        }
    }
    Ok(())
}

fn remove(
    editor: &mut Editor<'_>,
    file: &PackagedFile,
    real: &ImagePath,
    algorithm: Option<Algorithm>,
) -> Result<(), Error> {
    let fs = editor.fs();
    let (node, _) = tree::resolve(fs, real, LastLink::Keep)?;
    let metadata = fs
        .metadata(node)
        .map_err(|error| failed("read", real, error))?;
    match metadata.file_type {
        FileType::Directory => {
            let entries = fs
                .read_dir(node)
                .map_err(|error| failed("list", real, error))?;
            if file.file_type == FileType::Directory && entries.is_empty() {
                editor.remove_tree(real)?;
            }
        }
        FileType::Regular if file.is(flags::CONFIG) && !file.is(flags::GHOST) => {
            if has_digest(fs, real, algorithm, &file.digest)? {
                editor.remove_tree(real)?;
            } else {
                editor.rename(real, &beside(real, ".rpmsave"))?;
            }
        }
        _ => {
            editor.remove_tree(real)?;
        }
    }
    Ok(())
}

/// Where what is at a path really lies; `None` where nothing is.
fn real_path(fs: &dyn FileSystem, path: &ImagePath) -> Result<Option<ImagePath>, Error> {
    match tree::locate(fs, path, LastLink::Keep) {
        Ok(place) => Ok(place.node.map(|_| place.path)),
        Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
