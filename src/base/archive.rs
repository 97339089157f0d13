//! A root filesystem from a tar file, as mmdebstrap makes one and `docker export` does.
//!
//! Of a member count its name, type, content, mode, numbers of owner and group, and extended
//! attributes; its time does not, as everything gets the time of the build.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::source::Source;
use super::tree::{Content, Item, Tree, add_directories};
use super::{Error, Result};
use imgasm_block::bytes::byte_len;
use imgasm_block::{BlockDevice, Delta, Digest, Hole};
use imgasm_container::tar::{Archive, Entry, Kind};
use imgasm_container::{Error as ContainerError, TarFile};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, FileType};

/// Bytes of all files together, once they are unpacked: more than any disk has.
const STORE_BYTES: u64 = 1 << 46;
/// Most members of an archive.
const MAX_MEMBERS: usize = 10_000_000;
/// How much is unpacked in one step.
const STEP: usize = 1 << 20;
/// Contents begin at a multiple of this, so that their zeros stay holes.
const ALIGN: u64 = 4096;

/// Reads the tar file at `path`, opened as `file`; gives the tree and the file's SHA-256.
///
/// # Errors
/// [`Error::Archive`] for what is no tar file or a damaged one; [`Error::Member`] for a member that
/// cannot be put into an image.
pub fn read(path: &Path, file: File) -> Result<(Tree, Digest)> {
    let mut input = TarFile::open(path, file)?;
    let mut reading = Reading {
        tree: Tree::from([(ImagePath::root(), Item::directory())]),
        linked: BTreeSet::new(),
        store: Arc::new(Delta::new(Arc::new(Hole::new(STORE_BYTES)))),
        end: 0,
        limit: input.limit(),
        path,
    };
    let read = reading.read(&mut input);
    match read {
        Ok(()) => Ok((reading.tree, input.finish()?)),
        Err(Failure::Input(error)) => Err(input.failed(error).into()),
        Err(Failure::Ours(error)) => Err(error),
    }
}

/// Why an archive could not be read.
enum Failure {
    Input(io::Error),
    Ours(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl From<imgasm_block::Error> for Failure {
    fn from(error: imgasm_block::Error) -> Self {
        Self::Ours(error.into())
    }
}

struct Reading<'a> {
    tree: Tree,
    /// The files that have further names.
    linked: BTreeSet<ImagePath>,
    store: Arc<Delta>,
    end: u64,
    /// The most bytes of the store that may be used.
    limit: u64,
    path: &'a Path,
}

impl Reading<'_> {
    fn read(&mut self, input: &mut dyn Read) -> Result<(), Failure> {
        let mut archive = Archive::new(input);
        for _ in 0..MAX_MEMBERS {
            let Some(entry) = archive.next_entry()? else {
                return Ok(());
            };
            let path = path_of(&entry.name).map_err(|problem| self.wrong(&entry, problem))?;
            let item = self.item(&mut archive, &entry)?;
            self.put(path, item)
                .map_err(|problem| self.wrong(&entry, problem))?;
        }
        Err(Failure::Ours(Error::Archive(ContainerError::Corrupt {
            path: self.path.to_owned(),
            format: "tar",
            problem: format!("more than {MAX_MEMBERS} members"),
        })))
    }

    fn item(&mut self, archive: &mut Archive<'_>, entry: &Entry) -> Result<Item, Failure> {
        if let Some(record) = entry.others.first() {
            let problem = format!("has an ACL ({record}), which is not read from a tar file");
            return Err(self.wrong(entry, problem));
        }
        let device =
            |kind, major, minor| Content::Special((kind, Some(DeviceNumber { major, minor })));
        let content = match &entry.kind {
            Kind::File => Content::File {
                source: self.unpack(archive, entry)?,
                size: entry.len,
            },
            Kind::Directory => Content::Directory,
            Kind::Symlink(target) => Content::Symlink(target.clone()),
            Kind::HardLink(target) => {
                let target = self.linked_file(target);
                Content::HardLink(target.map_err(|problem| self.wrong(entry, problem))?)
            }
            Kind::CharDevice(major, minor) => device(FileType::CharDevice, *major, *minor),
            Kind::BlockDevice(major, minor) => device(FileType::BlockDevice, *major, *minor),
            Kind::Fifo => Content::Special((FileType::Fifo, None)),
        };
        // The mode of a symbolic link means nothing, and is always the same.
        let is_symlink = matches!(content, Content::Symlink(_));
        Ok(Item {
            content,
            mode: if is_symlink { 0o777 } else { entry.mode },
            uid: entry.uid,
            gid: entry.gid,
            xattrs: entry.xattrs.clone(),
        })
    }

    /// Keeps the content of a file.
    fn unpack(&mut self, archive: &mut Archive<'_>, entry: &Entry) -> Result<Source, Failure> {
        let offset = self.end;
        let end = offset.saturating_add(entry.len);
        if end > self.limit {
            return Err(Failure::Ours(Error::Archive(ContainerError::TooLarge {
                path: self.path.to_owned(),
                limit: self.limit,
            })));
        }
        let mut content = archive.content(entry);
        let mut buffer = vec![0; STEP.min(usize::try_from(entry.len).unwrap_or(STEP))];
        let mut at = offset;
        while at < end {
            // What is not written reads as zeros.
            at = offset + content.skip_hole();
            let left =
                usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let len = content.read(&mut buffer[..left])?;
            if len == 0 && at < end {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if !imgasm_block::bytes::is_zero(&buffer[..len]) {
                self.store.write_at(at, &buffer[..len])?;
            }
            at += byte_len(&buffer[..len]);
        }
        self.end = end.next_multiple_of(ALIGN);
        Ok(Source::Unpacked {
            store: self.store.clone(),
            offset,
            len: entry.len,
        })
    }

    /// The file that a hard link names.
    fn linked_file(&mut self, name: &[u8]) -> Result<ImagePath, String> {
        let target = path_of(name)?;
        let target = match self.tree.get(&target).map(|item| &item.content) {
            Some(Content::HardLink(first)) => first.clone(),
            Some(Content::Directory) => return Err(format!("is a link to {target}, a directory")),
            Some(_) => target,
            None => {
                return Err(format!(
                    "is a link to {target}, which does not come before it"
                ));
            }
        };
        self.linked.insert(target.clone());
        Ok(target)
    }

    /// Puts an item at its path. What comes later takes the place of what was there.
    fn put(&mut self, path: ImagePath, item: Item) -> Result<(), String> {
        let is_directory = matches!(item.content, Content::Directory);
        if let Some(parent) = path.parent() {
            add_directories(&mut self.tree, &parent)?;
        } else if !is_directory {
            return Err("is the root, and no directory".to_owned());
        }
        if self.linked.contains(&path) {
            return Err("comes again, after links to it".to_owned());
        }
        let was_directory = self
            .tree
            .get(&path)
            .is_some_and(|it| matches!(it.content, Content::Directory));
        if was_directory && !is_directory {
            return Err("was a directory before".to_owned());
        }
        self.tree.insert(path, item);
        Ok(())
    }

    fn wrong(&self, entry: &Entry, problem: impl Into<String>) -> Failure {
        Failure::Ours(Error::Member {
            archive: self.path.to_owned(),
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            problem: problem.into(),
        })
    }
}

/// Where a member lies in the image: `./etc/fstab` and `etc/fstab` alike.
fn path_of(name: &[u8]) -> Result<ImagePath, String> {
    let relative = name.strip_prefix(b"/").unwrap_or(name);
    if relative.contains(&0) {
        return Err("has a name with a NUL".to_owned());
    }
    let absolute = [b"/", relative].concat();
    ImagePath::parse(absolute).map_err(|error| error.to_string())
}
