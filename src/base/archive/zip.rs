//! The members of a zip file: files, directories and symbolic links.
//!
//! A zip file knows no owners. Modes it has if it was made on Unix; other files get 0644 and
//! directories 0755.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ::zip::read::ZipFile;
use ::zip::result::ZipError;
use ::zip::{System, ZipArchive};
use sha2::{Digest as _, Sha256};

use super::{Failure, Result, STEP, Store, path_of};
use crate::base::Error;
use crate::base::source;
use crate::base::tree::{Content, Item, Tree};
use imgasm_block::Digest;
use imgasm_block::bytes::byte_len;
use imgasm_container::{Error as ContainerError, usual_limit};

/// What a zip file begins with: a member, or the end if it has none.
const MAGICS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// The longest target of a symbolic link.
const MAX_TARGET_BYTES: u64 = 4095;

/// The type of a file in its Unix mode.
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const PERMISSIONS: u32 = 0o7777;

/// Whether a file that begins like this is a zip file.
pub(super) fn is_zip(head: &[u8]) -> bool {
    MAGICS.contains(&head)
}

/// Reads the zip file at `path`, opened as `file`; gives the tree and the file's SHA-256.
///
/// # Errors
/// As [`super::read`].
pub(super) fn read(path: &Path, file: File) -> Result<(Tree, Digest)> {
    let failed = |source| Error::Host {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let len = file.metadata().map_err(failed)?.len();
    let limit = usual_limit(len).saturating_add(len);
    let mut reading = Reading {
        store: Store::new(path, limit),
    };
    let read = reading.read(file, len);
    match read {
        Ok(digest) => Ok((reading.store.tree, digest)),
        Err(Failure::Input(error)) => Err(failed(error)),
        Err(Failure::Ours(error)) => Err(error),
    }
}

struct Reading<'a> {
    store: Store<'a>,
}

impl Reading<'_> {
    fn read(&mut self, file: File, len: u64) -> Result<Digest, Failure> {
        let (archive, digest) = self.copy(file, len)?;
        let archive = archive.open().map_err(Failure::Ours)?;
        let mut archive = ZipArchive::new(archive).map_err(|error| self.damaged(&error))?;
        for index in 0..archive.len() {
            self.store.count()?;
            let mut member = archive
                .by_index(index)
                .map_err(|error| self.damaged(&error))?;
            self.take(&mut member)?;
        }
        Ok(digest)
    }

    /// A copy of the file and its digest: what is hashed is what is read, though somebody should
    /// change the file meanwhile.
    fn copy(&mut self, mut file: File, len: u64) -> Result<(source::Source, Digest), Failure> {
        let offset = self.store.reserve(len)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; STEP];
        let mut at = 0;
        while at < len {
            let left = usize::try_from(len - at).map_or(STEP, |left| left.min(STEP));
            let read = file.read(&mut buffer[..left])?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            hasher.update(&buffer[..read]);
            self.store.write(offset + at, &buffer[..read])?;
            at += byte_len(&buffer[..read]);
        }
        Ok((self.store.source(offset, len), Digest::finish(hasher)))
    }

    /// Takes a member out.
    fn take<R: Read>(&mut self, member: &mut ZipFile<'_, R>) -> Result<(), Failure> {
        let name = self.name(member)?;
        let wrong = |store: &Store<'_>, problem: &str| store.wrong(&name, problem);
        let is_unix = matches!(member.system(), System::Unix | System::OsDarwin);
        let mode = Some(member.external_attributes() >> 16);
        let mode = mode.filter(|mode| is_unix && *mode != 0);
        let is_directory = name.ends_with(b"/");
        let kind = match mode.map(|mode| mode & S_IFMT) {
            _ if is_directory => S_IFDIR,
            // Not every program that makes them says what a member is.
            None | Some(0) => S_IFREG,
            Some(kind) => kind,
        };
        let content = match kind {
            S_IFDIR => Content::Directory,
            S_IFREG => {
                let size = member.size();
                Content::File {
                    source: self.unpack(member, &name)?,
                    size,
                }
            }
            S_IFLNK if member.size() <= MAX_TARGET_BYTES => {
                let mut target = Vec::new();
                let read = member.take(MAX_TARGET_BYTES + 1).read_to_end(&mut target);
                read.map_err(|error| self.store.wrong(&name, error.to_string()))?;
                if target.is_empty() || target.contains(&0) {
                    return Err(wrong(&self.store, "is a link that names nothing"));
                }
                Content::Symlink(target)
            }
            S_IFLNK => return Err(wrong(&self.store, "is a link with too long a target")),
            _ => {
                return Err(wrong(
                    &self.store,
                    "is neither a file nor a directory nor a link",
                ));
            }
        };
        let usual = match content {
            Content::Directory => 0o755,
            Content::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let is_link = kind == S_IFLNK;
        let given = mode.filter(|_| !is_link);
        let mode = given.and_then(|mode| u16::try_from(mode & PERMISSIONS).ok());
        let item = Item::of_root(content, mode.unwrap_or(usual));
        let put = path_of(&name).and_then(|path| self.store.put(path, item));
        put.map_err(|problem| self.store.wrong(&name, problem))
    }

    /// A member's name: as it stands if it is UTF-8, which is what all but old programs write, and
    /// otherwise in the code page of DOS. There, `\` stands between names.
    fn name<R: Read>(&self, member: &ZipFile<'_, R>) -> Result<Vec<u8>, Failure> {
        let raw = member.name_raw();
        let name = match std::str::from_utf8(raw) {
            Ok(name) => name.to_owned(),
            Err(_) => member
                .name()
                .map_err(|error| self.store.wrong(raw, error.to_string()))?
                .into_owned(),
        };
        Ok(match member.system() {
            System::Dos => name.replace('\\', "/").into_bytes(),
            _ => name.into_bytes(),
        })
    }

    /// Keeps the content of a file.
    fn unpack<R: Read>(
        &mut self,
        member: &mut ZipFile<'_, R>,
        name: &[u8],
    ) -> Result<source::Source, Failure> {
        let len = member.size();
        let offset = self.store.reserve(len)?;
        let mut buffer = vec![0; STEP.min(usize::try_from(len).unwrap_or(STEP)).max(1)];
        let mut at = 0;
        loop {
            // The end is read too: there the sum of the content is checked.
            let read = member.read(&mut buffer);
            let read = read.map_err(|error| self.store.wrong(name, error.to_string()))?;
            if read == 0 {
                break;
            }
            let end = at + byte_len(&buffer[..read]);
            if end > len {
                return Err(self.store.wrong(name, "is longer than the archive says"));
            }
            self.store.write(offset + at, &buffer[..read])?;
            at = end;
        }
        if at < len {
            return Err(self.store.wrong(name, "is shorter than the archive says"));
        }
        Ok(self.store.source(offset, len))
    }

    fn damaged(&self, error: &ZipError) -> Failure {
        let problem = match error {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                "a member is encrypted".to_owned()
            }
            error => error.to_string(),
        };
        Failure::Ours(Error::Archive(ContainerError::Corrupt {
            path: self.store.path.to_owned(),
            format: "zip",
            problem,
        }))
    }
}
