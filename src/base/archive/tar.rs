//! The members of a tar file, as mmdebstrap makes one and `docker export` does.
//!
//! Of a member count its name, type, content, mode, numbers of owner and group, and extended
//! attributes; its time does not, as everything gets the time of the build.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Failure, Result, STEP, Store, path_of};
use crate::base::source::Source;
use crate::base::tree::{Content, Item, Tree};
use imgasm_block::Digest;
use imgasm_block::bytes::byte_len;
use imgasm_container::TarFile;
use imgasm_container::tar::{Archive, Entry, Kind};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{DeviceNumber, FileType};

/// Reads the tar file at `path`, opened as `file`; gives the tree and the file's SHA-256.
///
/// # Errors
/// [`Error::Archive`](crate::base::Error::Archive) for what is no tar file or a damaged one;
/// [`Error::Member`](crate::base::Error::Member) for a member that cannot be put into an image.
pub fn read(path: &Path, file: File) -> Result<(Tree, Digest)> {
    let mut input = TarFile::open(path, file)?;
    let mut reading = Reading {
        store: Store::new(path, input.limit()),
        linked: BTreeSet::new(),
    };
    let read = reading.read(&mut input);
    match read {
        Ok(()) => Ok((reading.store.tree, input.finish()?)),
        Err(Failure::Input(error)) => Err(input.failed(error).into()),
        Err(Failure::Ours(error)) => Err(error),
    }
}

struct Reading<'a> {
    store: Store<'a>,
    /// The files that have further names.
    linked: BTreeSet<ImagePath>,
}

impl Reading<'_> {
    fn read(&mut self, input: &mut dyn Read) -> Result<(), Failure> {
        let mut archive = Archive::new(input);
        while let Some(entry) = archive.next_entry()? {
            self.store.count()?;
            let path = path_of(&entry.name).map_err(|problem| self.wrong(&entry, problem))?;
            let item = self.item(&mut archive, &entry)?;
            self.put(path, item)
                .map_err(|problem| self.wrong(&entry, problem))?;
        }
        Ok(())
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
        let offset = self.store.reserve(entry.len)?;
        let end = offset + entry.len;
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
            self.store.write(at, &buffer[..len])?;
            at += byte_len(&buffer[..len]);
        }
        Ok(self.store.source(offset, entry.len))
    }

    /// The file that a hard link names.
    fn linked_file(&mut self, name: &[u8]) -> Result<ImagePath, String> {
        let target = path_of(name)?;
        let target = match self.store.tree.get(&target).map(|item| &item.content) {
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
        if self.linked.contains(&path) {
            return Err("comes again, after links to it".to_owned());
        }
        self.store.put(path, item)
    }

    fn wrong(&self, entry: &Entry, problem: impl Into<String>) -> Failure {
        self.store.wrong(&entry.name, problem)
    }
}
