//! Laying a package's files.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::super::Error;
use super::super::file_list::{PackagedFile, flags};
use super::candidate::Candidate;
use super::existing::{OldFiles, fate_of};
use super::fate::Fate;
use super::ways::check_ways;
use super::world::World;
use crate::Accounts;
use crate::capabilities;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};
use imgasm_fs::{FileSystem, FileType, NodeKind};

/// Bytes of a file that are kept in memory between the payload and the image; larger files go by a
/// temporary file.
const IN_MEMORY: usize = 16 << 20;

/// Whether the files could fit at all: what the headers announce is bounded before it is unpacked.
pub(super) fn check_room(fs: &dyn FileSystem, new: &[Candidate]) -> Result<(), Error> {
    let root = ImagePath::root();
    let info = fs.info().map_err(|error| failed("read", &root, error))?;
    let mut needed = 0_u64;
    for candidate in new {
        for (index, &first) in candidate.sets.iter().enumerate() {
            let file = &candidate.files[index];
            if file.file_type == FileType::Regular && first == index && !file.is(flags::GHOST) {
                needed = needed.saturating_add(file.size);
            }
        }
        if needed > info.total_bytes {
            let room = info.total_bytes;
            let problem = format!("its files have {needed} bytes, and the filesystem has {room}");
            return Err(candidate.unsound(problem));
        }
    }
    Ok(())
}

/// Lays the files of a package.
pub(super) fn lay(
    editor: &mut Editor<'_>,
    candidate: &Candidate,
    world: &World<'_>,
) -> Result<(), Error> {
    let accounts = Accounts::read(editor.fs())?;
    let mut layer = Layer {
        candidate,
        owners: Vec::with_capacity(candidate.files.len()),
        fates: Vec::with_capacity(candidate.files.len()),
    };
    check_ways(editor.fs(), candidate)?;
    let mut old = OldFiles::default();
    for (index, file) in candidate.files.iter().enumerate() {
        if candidate.is_left_out(index) {
            layer.owners.push(Attributes::default());
            layer.fates.push(Fate::Keep);
            continue;
        }
        layer.owners.push(attributes(candidate, file, &accounts)?);
        let old = old.file(editor.fs(), world, file)?;
        layer
            .fates
            .push(fate_of(editor.fs(), candidate, index, old)?);
    }
    layer.directories(editor)?;
    layer.unpack(editor)?;
    layer.others(editor)
}

struct Layer<'a> {
    candidate: &'a Candidate,
    owners: Vec<Attributes>,
    fates: Vec<Fate>,
}

impl Layer<'_> {
    /// Whether a file is laid: it comes with the package, and is not left out.
    fn is_wanted(&self, index: usize) -> bool {
        !self.candidate.files[index].is(flags::GHOST) && !self.candidate.is_left_out(index)
    }

    /// Makes the directories, those further up first.
    fn directories(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        let files = self.candidate.files.iter().zip(&self.owners).enumerate();
        let files = files.filter(|(index, _)| self.is_wanted(*index));
        let mut directories: Vec<_> = files
            .map(|(_, file)| file)
            .filter(|(file, _)| file.file_type == FileType::Directory)
            .collect();
        directories.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
        for (file, attributes) in directories {
            editor.mkdir_all(&file.path, *attributes)?;
        }
        Ok(())
    }

    /// Lays the regular files as the payload brings them.
    fn unpack(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        let mut laid: BTreeMap<usize, usize> = BTreeMap::new();
        self.candidate.unpack(|index, size, content| {
            let file = &self.candidate.files[index];
            let set = self.candidate.sets[index];
            // Of the names of one file all but one come without its content.
            let has_content = file.file_type == FileType::Regular
                && size == file.size
                && !laid.contains_key(&set);
            // The name that it comes by may be left out, and others of it not.
            let mut names = (0..self.candidate.files.len())
                .filter(|name| self.candidate.sets[*name] == set && self.is_wanted(*name));
            let name = if self.is_wanted(index) {
                Some(index)
            } else {
                names.next()
            };
            let Some(name) = name.filter(|_| has_content) else {
                return Ok(());
            };
            let mut spooled = tempfile::spooled_tempfile(IN_MEMORY);
            io::copy(content, &mut spooled).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self
                    .candidate
                    .unsound("its payload is cut short".to_owned()),
                _ => host(error),
            })?;
            self.check_content(file, &mut spooled)?;
            self.regular(editor, name, size, &mut spooled)?;
            laid.insert(set, name);
            Ok(())
        })?;
        self.links(editor, &laid)
    }

    /// Gives the files that came their further names.
    fn links(&self, editor: &mut Editor<'_>, laid: &BTreeMap<usize, usize>) -> Result<(), Error> {
        for (index, file) in self.candidate.files.iter().enumerate() {
            if file.file_type != FileType::Regular || !self.is_wanted(index) {
                continue;
            }
            let Some(&with_content) = laid.get(&self.candidate.sets[index]) else {
                let problem = format!("its payload does not bring {}", file.path);
                return Err(self.candidate.unsound(problem));
            };
            if with_content == index {
                continue;
            }
            let target = &self.candidate.files[with_content].path;
            if self.fates[with_content] != Fate::Create || self.fates[index] != Fate::Create {
                let problem = "is a further name of a configuration file that was changed";
                return Err(self.refused(file, problem));
            }
            parent(editor, &file.path)?;
            editor.hard_link(&file.path, target)?;
        }
        Ok(())
    }

    /// Lays what is neither a directory nor a regular file: the header has all of it.
    fn others(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        for (index, file) in self.candidate.files.iter().enumerate() {
            let kind = match file.file_type {
                _ if !self.is_wanted(index) => continue,
                FileType::Directory | FileType::Regular => continue,
                FileType::Symlink => NodeKind::Symlink(&file.target),
                FileType::CharDevice => NodeKind::CharDevice(file.device),
                FileType::BlockDevice => NodeKind::BlockDevice(file.device),
                FileType::Fifo => NodeKind::Fifo,
                FileType::Socket => NodeKind::Socket,
            };
            let Some(path) = self.make_way(editor, index)? else {
                continue;
            };
            if let NodeKind::Symlink(target) = kind {
                editor.symlink(&path, target)?;
                editor.set_attributes(&path, LastLink::Keep, self.owners[index])?;
            } else {
                editor.mknod(&path, kind, self.owners[index])?;
            }
            editor.set_modified(&path, LastLink::Keep, file.modified)?;
        }
        Ok(())
    }

    fn regular<S: Read + Seek>(
        &self,
        editor: &mut Editor<'_>,
        index: usize,
        size: u64,
        content: &mut S,
    ) -> Result<(), Error> {
        let file = &self.candidate.files[index];
        let Some(path) = self.make_way(editor, index)? else {
            return Ok(());
        };
        let fs = editor.fs();
        let place = tree::locate(fs, &path, LastLink::Keep)?;
        if let Some(node) = place.node {
            let found = fs.metadata(node);
            let found = found.map_err(|error| failed("read", &place.path, error))?;
            // Other names of what was there keep what they had.
            if found.file_type == FileType::Regular && found.links > 1 {
                editor.remove_tree(&path)?;
            }
        }
        editor.write_from(&path, LastLink::Keep, size, content, self.owners[index])?;
        let capabilities = if file.capabilities.is_empty() {
            None
        } else {
            let attribute = capabilities::attribute(&file.capabilities);
            Some(attribute.ok_or_else(|| {
                let problem = format!("has capabilities that are none: {:?}", file.capabilities);
                self.refused(file, &problem)
            })?)
        };
        let name = capabilities::XATTR;
        editor.set_xattr(&path, LastLink::Keep, name, capabilities.as_deref())?;
        editor.set_modified(&path, LastLink::Keep, file.modified)?;
        Ok(())
    }

    /// Does about what is at a file's path what its fate says; gives the path to lay it at.
    fn make_way(&self, editor: &mut Editor<'_>, index: usize) -> Result<Option<ImagePath>, Error> {
        let path = &self.candidate.files[index].path;
        parent(editor, path)?;
        Ok(match self.fates[index] {
            Fate::Create => Some(path.clone()),
            Fate::Keep => None,
            Fate::Beside => Some(beside(path, ".rpmnew")),
            Fate::MoveAside(suffix) => {
                editor.rename(path, &beside(path, suffix))?;
                Some(path.clone())
            }
        })
    }

    fn check_content<S: Read + Seek>(
        &self,
        file: &PackagedFile,
        content: &mut S,
    ) -> Result<(), Error> {
        content.rewind().map_err(host)?;
        if !file.digest.is_empty() {
            let found = self.candidate.algorithm.digest(content).map_err(host)?;
            if found != file.digest {
                let problem = format!("{} in its payload has another digest", file.path);
                return Err(self.candidate.unsound(problem));
            }
        }
        content.rewind().map_err(host)
    }

    fn refused(&self, file: &PackagedFile, problem: &str) -> Error {
        refused(self.candidate, &file.path, problem)
    }
}

/// The permissions and owners of a file, by the image's own accounts.
fn attributes(
    candidate: &Candidate,
    file: &PackagedFile,
    accounts: &Accounts,
) -> Result<Attributes, Error> {
    let missing = |kind, name: &str| Error::Owner {
        package: candidate.package.to_string(),
        path: file.path.clone(),
        kind,
        name: name.to_owned(),
    };
    let uid = match file.user.as_str() {
        "root" => Some(0),
        name => accounts.user(name).map(|user| user.uid),
    };
    let gid = match file.group.as_str() {
        "root" => Some(0),
        name => accounts.group(name).map(|group| group.gid),
    };
    if file.is(flags::GHOST) {
        return Ok(Attributes::default());
    }
    Ok(Attributes {
        permissions: Some(file.permissions),
        uid: Some(uid.ok_or_else(|| missing("user", &file.user))?),
        gid: Some(gid.ok_or_else(|| missing("group", &file.group))?),
    })
}

/// Makes the directory that a path lies in.
fn parent(editor: &mut Editor<'_>, path: &ImagePath) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        editor.mkdir_all(&folder, Attributes::default())?;
    }
    Ok(())
}

/// A path with something behind its last name.
pub(super) fn beside(path: &ImagePath, suffix: &str) -> ImagePath {
    let name = [path.file_name().unwrap_or_default(), suffix.as_bytes()].concat();
    path.parent().unwrap_or_else(ImagePath::root).child(&name)
}

pub(super) fn refused(candidate: &Candidate, path: &ImagePath, problem: &str) -> Error {
    Error::Path {
        package: candidate.package.to_string(),
        path: path.clone(),
        problem: problem.to_owned(),
    }
}

/// A temporary file failed.
fn host(source: io::Error) -> Error {
    Error::Host {
        path: tempfile::env::temp_dir(),
        source,
    }
}

pub(super) fn failed(action: &'static str, path: &ImagePath, source: imgasm_fs::Error) -> Error {
    Error::Tree(tree::Error::FileSystem {
        action,
        path: path.clone(),
        source,
    })
}
