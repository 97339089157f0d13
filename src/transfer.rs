//! Files of an image taken out to the host, and files of the host put into an image.
//!
//! What is taken out is made beside its target and moved there when it is whole. Modes are kept in both
//! directions without set-ID bits, on the host as far as the umask allows; owners are not: what is put
//! in belongs to root.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::config::boundary::open_regular;
use crate::config::{self, digest};
use crate::private;
use imgasm_fs::digest::ContentBudget;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, At, Attributes, Editor, Entry, LastLink, walk};
use imgasm_fs::{FileSystem, FileType};

/// The bits of a mode that are kept.
const PERMISSIONS: u16 = 0o777;
/// How much is read of a file in one step.
const STEP: usize = 1 << 20;

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read or changed.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The files of the host could not be listed.
    #[error(transparent)]
    Listing(#[from] config::Error),
    /// A file of the host could not be read or made.
    #[error("{}: {source}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name in the image is none that a host's folder can hold.
    #[error("{path}: the name cannot be that of a file on this machine")]
    Name {
        /// Where it is in the image.
        path: ImagePath,
    },
    /// A folder was to be copied as if it were a file.
    #[error("{path} is a directory")]
    IsDirectory {
        /// The folder, in the image or on the host.
        path: String,
    },
    /// Something is no file, folder or symbolic link.
    #[error("{} is neither a file nor a folder nor a symbolic link", path.display())]
    Special {
        /// The node on the host.
        path: PathBuf,
    },
}

fn host(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |source| Error::Host {
        path: path.to_owned(),
        source,
    }
}

/// Puts a file of the host into the image at `to`, or with `recursive` a folder with all that is in it.
/// A link is followed if it is `from` itself.
///
/// A file that is there is replaced, and a directory that is there keeps its attributes.
pub fn put(
    editor: &mut Editor<'_>,
    from: &Path,
    to: &ImagePath,
    recursive: bool,
) -> Result<(), Error> {
    let from = &fs::canonicalize(from).map_err(host(from))?;
    let is_folder = fs::metadata(from).map_err(host(from))?.is_dir();
    if is_folder && !recursive {
        return Err(Error::IsDirectory {
            path: from.display().to_string(),
        });
    }
    put_one(editor, from, to)?;
    if is_folder {
        for relative in digest::entries(from)? {
            let names = relative.components().map(Component::as_os_str);
            let path = names.fold(to.clone(), |path, name| path.child(name.as_bytes()));
            put_one(editor, &from.join(&relative), &path)?;
        }
    }
    Ok(())
}

fn put_one(editor: &mut Editor<'_>, from: &Path, to: &ImagePath) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(from).map_err(host(from))?;
    // The lowest bits are the same in 16 bits.
    let [low, high, ..] = metadata.permissions().mode().to_le_bytes();
    let attributes = Attributes::of_root(u16::from_le_bytes([low, high]) & PERMISSIONS);
    if metadata.is_dir() {
        let is_there = tree::exists(editor.fs(), to)?;
        let given = if is_there {
            Attributes::default()
        } else {
            attributes
        };
        return Ok(editor.mkdir_all(to, given)?);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(host(from))?;
        editor.symlink(to, target.as_os_str().as_bytes())?;
        let owners = Attributes {
            permissions: None,
            ..attributes
        };
        return Ok(editor.set_attributes(to, LastLink::Keep, owners)?);
    }
    if !metadata.is_file() {
        let path = from.to_owned();
        return Err(Error::Special { path });
    }
    let mut file = open_regular(from).map_err(host(from))?;
    let size = file.metadata().map_err(host(from))?.len();
    Ok(editor.write_from(to, LastLink::Follow, size, &mut file, attributes)?)
}

/// Takes the file at `from` out of the image to `to`, or with `recursive` a directory with all that is
/// in it. A link is followed if it is `from` itself. Gives the number of devices, pipes and sockets,
/// which are left out.
///
/// With `replaces`, a file that is there is replaced; a folder never is.
pub fn take(
    image: &dyn FileSystem,
    from: &ImagePath,
    to: &Path,
    recursive: bool,
    replaces: bool,
) -> Result<u64, Error> {
    let (node, from) = tree::resolve(image, from, LastLink::Follow)?;
    let found = image.metadata(node).at("read", &from)?.file_type;
    if found == FileType::Directory && !recursive {
        return Err(Error::IsDirectory {
            path: from.to_string(),
        });
    }
    if !matches!(found, FileType::Directory | FileType::Regular) {
        return Err(tree::Error::WrongType {
            path: from,
            found,
            expected: "a file or a directory",
        }
        .into());
    }
    let beside = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let workshop = private::folder(".imgasm-").tempdir_in(beside);
    let workshop = workshop.map_err(host(to))?;
    let whole = workshop.path().join("whole");
    let mut copy = Copy {
        image,
        start: &from,
        target: &whole,
        buffer: vec![0; STEP],
        budget: ContentBudget::default(),
        firsts: HashMap::new(),
        folders: Vec::new(),
        left_out: 0,
    };
    copy.budget.allow(image).at("read", &from)?;
    for entry in walk(image, &from)? {
        copy.take_one(&entry?)?;
    }
    let set_mode = |folder: &Path, mode| {
        fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(host(to))
    };
    // A folder may forbid its owner to write into it, and to move it into another: it gets its mode
    // after that.
    for (folder, mode) in copy.folders.iter().skip(1).rev() {
        set_mode(folder, *mode)?;
    }
    let left_out = copy.left_out;
    // A rename would replace a file, and an empty folder.
    let moved = if replaces && found == FileType::Regular {
        fs::rename(&whole, to)
    } else {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let here = rustix::fs::CWD;
        rustix::fs::renameat_with(here, &whole, here, to, flags).map_err(Into::into)
    };
    moved.map_err(host(to))?;
    if let Some((_, mode)) = copy.folders.first() {
        set_mode(to, *mode)?;
    }
    Ok(left_out)
}

/// A tree that is being taken out.
struct Copy<'a> {
    image: &'a dyn FileSystem,
    start: &'a ImagePath,
    target: &'a Path,
    buffer: Vec<u8>,
    budget: ContentBudget,
    /// What has become of the files with several names, by the first of them.
    firsts: HashMap<ImagePath, PathBuf>,
    /// The folders that were made, with the modes that they are to have.
    folders: Vec<(PathBuf, u32)>,
    left_out: u64,
}

impl Copy<'_> {
    fn take_one(&mut self, entry: &Entry) -> Result<(), Error> {
        let to = self.place(&entry.path)?;
        let metadata = &entry.metadata;
        let mode = u32::from(metadata.permissions & PERMISSIONS);
        let first = entry.first_link.as_ref();
        if let Some(first) = first.and_then(|first| self.firsts.get(first)) {
            return fs::hard_link(first, &to).map_err(host(&to));
        }
        match metadata.file_type {
            FileType::Directory => {
                let made = DirBuilder::new().mode(mode).create(&to);
                let permissions = made.and_then(|()| fs::metadata(&to)).map_err(host(&to))?;
                let mode = permissions.permissions().mode();
                let open = Permissions::from_mode(mode | 0o700);
                fs::set_permissions(&to, open).map_err(host(&to))?;
                self.folders.push((to, mode));
                return Ok(());
            }
            FileType::Regular => {
                let made = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&to);
                self.content(entry, &mut made.map_err(host(&to))?, &to)?;
            }
            FileType::Symlink => {
                let target = self.image.read_link(entry.node);
                let target = target.at("read", &entry.path)?;
                symlink(OsStr::from_bytes(&target), &to).map_err(host(&to))?;
            }
            _ => {
                self.left_out += 1;
                return Ok(());
            }
        }
        if metadata.links > 1 {
            self.firsts.insert(entry.path.clone(), to);
        }
        Ok(())
    }

    /// Where something goes. A corrupt image may hold names that lead elsewhere.
    fn place(&self, path: &ImagePath) -> Result<PathBuf, Error> {
        let mut place = self.target.to_owned();
        for name in path.names().skip(self.start.names().count()) {
            let name = Path::new(OsStr::from_bytes(name));
            let mut parts = name.components();
            match (parts.next(), parts.next()) {
                (Some(Component::Normal(part)), None) if part == name => place.push(part),
                _ => return Err(Error::Name { path: path.clone() }),
            }
        }
        Ok(place)
    }

    /// Writes what the file holds; what it does not hold stays a hole.
    fn content(&mut self, entry: &Entry, file: &mut File, to: &Path) -> Result<(), Error> {
        let size = entry.metadata.size;
        file.set_len(size).map_err(host(to))?;
        let extents = self.image.extents(entry.node);
        for extent in extents.at("read", &entry.path)? {
            let start = extent.file_offset.min(size);
            let end = extent.file_offset.saturating_add(extent.len).min(size);
            let held = end.saturating_sub(start);
            let taken = self.budget.take_held(self.image, entry.node, held);
            taken.at("read", &entry.path)?;
            file.seek(SeekFrom::Start(start)).map_err(host(to))?;
            let (image, buffer) = (self.image, &mut self.buffer);
            tree::read_range(image, entry, start..end, buffer, |bytes| {
                file.write_all(bytes).map_err(host(to))
            })?;
        }
        Ok(())
    }
}
