//! Laying a package's files, and taking away those of the packages that it replaces.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

use super::super::Error;
use super::super::digests::Algorithm;
use super::super::file_list::{self, PackagedFile, flags};
use super::candidate::Candidate;
use super::capabilities;
use super::fate::{self, Fate, Found};
use super::world::World;
use crate::fs::path::ImagePath;
use crate::fs::tree::{self, Attributes, Editor, FileReader, LastLink};
use crate::fs::{FileSystem, FileType, NodeKind};
use crate::guest::Accounts;

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
    for (index, file) in candidate.files.iter().enumerate() {
        layer.owners.push(attributes(candidate, file, &accounts)?);
        layer
            .fates
            .push(fate_of(editor.fs(), candidate, index, world)?);
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
    /// Makes the directories, those further up first.
    fn directories(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        let files = self.candidate.files.iter().zip(&self.owners);
        let mut directories: Vec<_> = files
            .filter(|(file, _)| file.file_type == FileType::Directory && !file.is(flags::GHOST))
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
            let is_wanted = file.file_type == FileType::Regular
                && !file.is(flags::GHOST)
                && size == file.size
                && !laid.contains_key(&set);
            if !is_wanted {
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
            self.regular(editor, index, size, &mut spooled)?;
            laid.insert(set, index);
            Ok(())
        })?;
        self.links(editor, &laid)
    }

    /// Gives the files that came their further names.
    fn links(&self, editor: &mut Editor<'_>, laid: &BTreeMap<usize, usize>) -> Result<(), Error> {
        for (index, file) in self.candidate.files.iter().enumerate() {
            if file.file_type != FileType::Regular || file.is(flags::GHOST) {
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
                _ if file.is(flags::GHOST) => continue,
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

/// Takes away the files of the packages that are replaced, unless another package has them.
/// Configuration files that were changed are moved aside.
pub(super) fn remove_replaced(editor: &mut Editor<'_>, world: &World<'_>) -> Result<(), Error> {
    let mut present = BTreeSet::new();
    for file in world
        .new()
        .iter()
        .filter_map(|member| member.candidate)
        .flat_map(|c| &c.files)
    {
        present.extend(real_path(editor.fs(), &file.path)?);
    }
    for record in world.replaced() {
        let damaged = |problem: String| Error::Unmet {
            unmet: vec![format!(
                "the record of an installed package is damaged: {problem}"
            )],
        };
        let mut files = file_list::files(&record.header).map_err(damaged)?;
        files.sort_by(|one, other| other.path.cmp(&one.path));
        for file in files {
            let Some(real) = real_path(editor.fs(), &file.path)? else {
                continue;
            };
            let stays = |path: &ImagePath| {
                let mut owners = world.with_path(path.as_bytes()).iter();
                owners.any(|(number, _)| world.members[*number].stays())
            };
            if present.contains(&real) || stays(&real) || stays(&file.path) {
                continue;
            }
            let algorithm = Algorithm::of(&record.header);
            remove(editor, &file, &real, algorithm)?;
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

/// What becomes of what is at a file's path.
fn fate_of(
    fs: &dyn FileSystem,
    candidate: &Candidate,
    index: usize,
    world: &World<'_>,
) -> Result<Fate, Error> {
    let file = &candidate.files[index];
    if file.is(flags::GHOST) || file.file_type == FileType::Directory {
        return Ok(Fate::Create);
    }
    let Some(real) = real_path(fs, &file.path)? else {
        return Ok(Fate::Create);
    };
    let old = world
        .with_path(file.path.as_bytes())
        .iter()
        .find_map(|&(number, index)| {
            let record = world.members[number].record?;
            let old = file_list::files(&record.header).ok()?.get(index)?.clone();
            Some((old, Algorithm::of(&record.header)))
        });
    let is_config =
        file.is(flags::CONFIG) || old.as_ref().is_some_and(|(f, _)| f.is(flags::CONFIG));
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
        is_old: match &old {
            Some((old, algorithm)) if is_regular => has_digest(fs, &real, *algorithm, &old.digest)?,
            _ => false,
        },
    };
    let old = old.as_ref().map(|(old, algorithm)| {
        let same_content = *algorithm == Some(candidate.algorithm) && old.digest == file.digest;
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
    let found = found.map_err(|error| Error::Database {
        path,
        problem: error.to_string(),
    })?;
    Ok(found == digest)
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

/// Refuses files behind symbolic links that the package itself brings, that an ordinary user could
/// have made, or that lead above the image's root: RPM does not follow the first two either.
fn check_ways(fs: &dyn FileSystem, candidate: &Candidate) -> Result<(), Error> {
    let links = candidate
        .files
        .iter()
        .filter(|file| file.file_type == FileType::Symlink);
    let links: BTreeSet<_> = links.map(|file| &file.path).collect();
    let mut known = BTreeSet::new();
    for file in &candidate.files {
        let Some(folder) = file.path.parent() else {
            continue;
        };
        let mut way = ImagePath::root();
        for name in folder.names() {
            way = way.child(name);
            if links.contains(&way) {
                let problem = format!("lies behind the symbolic link {way} of the same package");
                return Err(refused(candidate, &file.path, &problem));
            }
            if !known.insert(way.clone()) {
                continue;
            }
            if let Some(problem) = link_problem(fs, &way)? {
                return Err(refused(candidate, &file.path, &problem));
            }
        }
    }
    Ok(())
}

/// Why a path must not be used on the way to a file, if it must not.
fn link_problem(fs: &dyn FileSystem, way: &ImagePath) -> Result<Option<String>, Error> {
    let place = match tree::locate(fs, way, LastLink::Keep) {
        Ok(place) => place,
        Err(tree::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(node) = place.node else {
        return Ok(None);
    };
    let metadata = fs
        .metadata(node)
        .map_err(|error| failed("read", way, error))?;
    if metadata.file_type != FileType::Symlink {
        return Ok(None);
    }
    if metadata.uid != 0 {
        let uid = metadata.uid;
        return Ok(Some(format!(
            "lies behind the symbolic link {way} of the user {uid}"
        )));
    }
    let target = fs
        .read_link(node)
        .map_err(|error| failed("read", way, error))?;
    let is_absolute = target.starts_with(b"/");
    let mut depth = if is_absolute {
        0
    } else {
        place.path.names().count() - 1
    };
    for name in target.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(higher) => depth = higher,
                None => {
                    return Ok(Some(format!(
                        "would leave the image by the symbolic link {way}"
                    )));
                }
            },
            _ => depth += 1,
        }
    }
    Ok(None)
}

/// Makes the directory that a path lies in.
fn parent(editor: &mut Editor<'_>, path: &ImagePath) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        editor.mkdir_all(&folder, Attributes::default())?;
    }
    Ok(())
}

/// A path with something behind its last name.
fn beside(path: &ImagePath, suffix: &str) -> ImagePath {
    let name = [path.file_name().unwrap_or_default(), suffix.as_bytes()].concat();
    path.parent().unwrap_or_else(ImagePath::root).child(&name)
}

fn refused(candidate: &Candidate, path: &ImagePath, problem: &str) -> Error {
    Error::Path {
        package: candidate.package.to_string(),
        path: path.clone(),
        problem: problem.to_owned(),
    }
}

/// A temporary file failed.
fn host(source: io::Error) -> Error {
    Error::Host {
        path: std::env::temp_dir(),
        source,
    }
}

fn failed(action: &'static str, path: &ImagePath, source: crate::fs::Error) -> Error {
    Error::Tree(tree::Error::FileSystem {
        action,
        path: path.clone(),
        source,
    })
}
