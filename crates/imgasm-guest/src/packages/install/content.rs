//! Laying a package's files.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::super::Error;
use super::super::file_list::{PackagedFile, flags};
use super::candidate::Candidate;
use super::existing::real_path;
use super::fate::Fate;
use super::ways::check_ways;
use crate::Accounts;
use crate::{capabilities, selinux};
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

/// Lays the files of a package, of which each has this fate.
pub(super) fn lay(
    editor: &mut Editor<'_>,
    candidate: &Candidate,
    fates: &[Fate],
) -> Result<(), Error> {
    let accounts = Accounts::read(editor.fs())?;
    check_ways(editor.fs(), candidate)?;
    let owners = candidate.files.iter().enumerate().map(|(index, file)| {
        if candidate.is_left_out(index) {
            return Ok(Attributes::default());
        }
        attributes(candidate, file, &accounts)
    });
    let layer = Layer {
        candidate,
        owners: owners.collect::<Result<_, _>>()?,
        fates,
    };
    layer.directories(editor)?;
    layer.unpack(editor)?;
    layer.others(editor)
}

struct Layer<'a> {
    candidate: &'a Candidate,
    owners: Vec<Attributes>,
    fates: &'a [Fate],
}

impl Layer<'_> {
    /// Whether a file is laid: it comes with the package, and is not left out.
    fn is_wanted(&self, index: usize) -> bool {
        !self.candidate.files[index].is(flags::GHOST) && !self.candidate.is_left_out(index)
    }

    /// Makes the directories, those further up first.
    fn directories(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        let files = self.candidate.files.iter().enumerate();
        let mut directories: Vec<_> = files
            .filter(|(index, file)| file.file_type == FileType::Directory && self.is_wanted(*index))
            .collect();
        directories.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
        for (index, file) in directories {
            if self.fates[index] == Fate::Keep {
                continue;
            }
            if let Some(path) = self.make_way(editor, index)? {
                clear_for_directory(editor, &path)?;
            }
            editor.mkdir_all(&file.path, self.owners[index])?;
        }
        Ok(())
    }

    /// Lays the regular files as the payload brings them.
    fn unpack(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        // Of the names of one file, the one that was written, and where.
        let mut laid: BTreeMap<usize, (usize, ImagePath)> = BTreeMap::new();
        let mut brought = vec![false; self.candidate.files.len()];
        self.candidate.unpack(|index, size, content| {
            brought[index] = true;
            let file = &self.candidate.files[index];
            let set = self.candidate.sets[index];
            // Of the names of one file all but one come without its content.
            let has_content = file.file_type == FileType::Regular
                && size == file.size
                && !laid.contains_key(&set);
            // The name that it comes by may be left out or stay as it is, and others of it not.
            let is_written = |name: &usize| self.is_wanted(*name) && self.fates[*name].is_written();
            let mut names = (0..self.candidate.files.len())
                .filter(|name| self.candidate.sets[*name] == set && is_written(name));
            let name = if is_written(&index) {
                Some(index)
            } else {
                names.next()
            };
            if !has_content {
                return Ok(());
            }
            let mut spooled = tempfile::spooled_tempfile(IN_MEMORY);
            io::copy(content, &mut spooled).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self
                    .candidate
                    .unsound("its payload is cut short".to_owned()),
                _ => host(error),
            })?;
            self.check_content(file, &mut spooled)?;
            if let Some(name) = name
                && let Some(path) = self.regular(editor, name, size, &mut spooled)?
            {
                laid.insert(set, (name, path));
            }
            Ok(())
        })?;
        for (index, file) in self.candidate.files.iter().enumerate() {
            if !brought[index] && !file.is(flags::GHOST) {
                let problem = format!("its payload does not bring {}", file.path);
                return Err(self.candidate.unsound(problem));
            }
        }
        self.links(editor, &laid)
    }

    /// Gives the files that came their further names, and those that were there what they are to have.
    fn links(
        &self,
        editor: &mut Editor<'_>,
        laid: &BTreeMap<usize, (usize, ImagePath)>,
    ) -> Result<(), Error> {
        for (index, file) in self.candidate.files.iter().enumerate() {
            if file.file_type != FileType::Regular || !self.is_wanted(index) {
                continue;
            }
            let written = laid.get(&self.candidate.sets[index]);
            match (self.fates[index], written) {
                (Fate::Keep, _) => {}
                (Fate::Touch, _) => self.attributes(editor, index, &file.path)?,
                (_, Some((first, _))) if *first == index => {}
                (_, Some((_, target))) => {
                    if let Some(path) = self.make_way(editor, index)? {
                        editor.hard_link(&path, target)?;
                    }
                }
                (_, None) => {
                    let problem = format!("its payload does not bring {}", file.path);
                    return Err(self.candidate.unsound(problem));
                }
            }
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

    /// Writes a file; gives where.
    fn regular<S: Read + Seek>(
        &self,
        editor: &mut Editor<'_>,
        index: usize,
        size: u64,
        content: &mut S,
    ) -> Result<Option<ImagePath>, Error> {
        let Some(path) = self.make_way(editor, index)? else {
            return Ok(None);
        };
        if !can_be_rewritten(editor.fs(), &path)? {
            editor.remove_tree(&path)?;
        }
        editor.write_from(&path, LastLink::Keep, size, content, self.owners[index])?;
        self.attributes(editor, index, &path)?;
        Ok(Some(path))
    }

    /// Gives a regular file its owners, permissions, capabilities and time.
    fn attributes(
        &self,
        editor: &mut Editor<'_>,
        index: usize,
        path: &ImagePath,
    ) -> Result<(), Error> {
        let file = &self.candidate.files[index];
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
        editor.set_attributes(path, LastLink::Keep, self.owners[index])?;
        editor.set_xattr(path, LastLink::Keep, name, capabilities.as_deref())?;
        editor.set_modified(path, LastLink::Keep, file.modified)?;
        Ok(())
    }

    /// Does about what is at a file's path what its fate says; gives the path to lay it at.
    fn make_way(&self, editor: &mut Editor<'_>, index: usize) -> Result<Option<ImagePath>, Error> {
        let path = &self.candidate.files[index].path;
        parent(editor, path)?;
        Ok(match self.fates[index] {
            Fate::Create | Fate::Touch => Some(path.clone()),
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

/// What a folder hands down to new files in it.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Whether a file may be written into what is at its path, so that nobody could tell it from a new one:
/// other names of what was there keep what they had, its attributes go with it, and a new one inherits.
fn can_be_rewritten(fs: &dyn FileSystem, path: &ImagePath) -> Result<bool, Error> {
    let place = tree::locate(fs, path, LastLink::Keep)?;
    let Some(node) = place.node else {
        return Ok(true);
    };
    let found = fs.metadata(node);
    let found = found.map_err(|error| failed("read", &place.path, error))?;
    if found.file_type != FileType::Regular {
        return Ok(true);
    }
    let attributes = |node| {
        let attributes = fs.xattrs(node);
        attributes.map_err(|error| failed("read", &place.path, error))
    };
    let kept = [selinux::XATTR, capabilities::XATTR];
    let has_others = || -> Result<_, Error> {
        let own = attributes(node)?;
        let has_own = own.keys().any(|name| !kept.contains(&name.as_slice()));
        Ok(has_own || attributes(place.directory)?.contains_key(DEFAULT_ACL))
    };
    Ok(found.links == 1 && !has_others()?)
}

/// Makes room for a directory: what is there goes, unless it is one, or a link that root or its owner
/// has made to one.
fn clear_for_directory(editor: &mut Editor<'_>, path: &ImagePath) -> Result<(), Error> {
    let Some(real) = real_path(editor.fs(), path)? else {
        return Ok(());
    };
    let metadata = |last| -> Result<_, Error> {
        let fs = editor.fs();
        let place = match tree::locate(fs, &real, last) {
            Ok(place) => place,
            Err(error) if error.is_absence() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = place.node.map(|node| fs.metadata(node)).transpose();
        found.map_err(|error| failed("read", &real, error))
    };
    let Some(own) = metadata(LastLink::Keep)? else {
        return Ok(());
    };
    let is_fine = match own.file_type {
        FileType::Directory => true,
        FileType::Symlink => metadata(LastLink::Follow)?.is_some_and(|target| {
            target.file_type == FileType::Directory && (own.uid == 0 || own.uid == target.uid)
        }),
        _ => false,
    };
    if !is_fine {
        editor.remove_tree(&real)?;
    }
    Ok(())
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
