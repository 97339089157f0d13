//! `unpack`: what an archive of the overlay holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Context, Error};
use crate::base::tree::{Content, Item};
use crate::base::{self, archive};
use crate::config::boundary::open_regular;
use crate::config::{self, Account, Mode, RelativePath};
use crate::overlay::files::{self, Named};
use imgasm_block::{Digest, Hashed};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, LastLink};
use imgasm_guest::packages::signature::{self, KeyFile};

/// Unpacks a tar file of the overlay, packed or not, or a zip file, into a directory of the image.
///
/// Files and directories have the modes of the archive, without set-ID bits, or those that the step
/// gives; a mode that it gives is for files. Everything belongs to root, except what the step gives.
/// The archive's own owners and extended attributes mean nothing here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpack {
    from: RelativePath,
    to: ImagePath,
    sha256: Option<Digest>,
    /// A file with a detached signature of the archive.
    signature: Option<RelativePath>,
    /// A file with the public keys of which one must have made it.
    keyring: Option<RelativePath>,
    /// How many names are taken from the front of each path; what has no more is left out.
    #[serde(default)]
    strip_components: usize,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

/// The bits of a mode that an archive can give.
const PERMISSIONS: u16 = 0o1777;

impl Unpack {
    /// The archive, the signature and the keys.
    pub(super) fn host_files(&self) -> impl Iterator<Item = &Path> {
        let beside = self.signature.iter().chain(&self.keyring);
        std::iter::once(&self.from)
            .chain(beside)
            .map(RelativePath::as_path)
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let path = self.one(context, &self.from)?;
        let file = open_regular(&path).map_err(|source| config::Error::Io {
            path: path.clone(),
            source,
        })?;
        let (tree, digest) = archive::read(&path, file)?;
        context.readings.whole(&path, digest);
        if let Some(expected) = self.sha256.filter(|expected| *expected != digest) {
            let problem = format!("its SHA-256 is {digest}, but {expected} was expected");
            return Err(config::Error::Unusable { path, problem }.into());
        }
        self.check_signature(context, &path, digest)?;
        let given = context.attributes(self.mode, self.owner.as_ref(), self.group.as_ref())?;
        context.editor.mkdir_all(&self.to, Attributes::default())?;
        let mut places = BTreeSet::new();
        for (path, item) in &tree {
            let Some(place) = self.place(path) else {
                continue;
            };
            if !places.insert(place.clone()) && !matches!(item.content, Content::Directory) {
                return Err(Error::Unfit {
                    path: place,
                    problem: "the archive has several files for this path".to_owned(),
                    hint: Some("fewer `strip_components` keep them apart"),
                });
            }
            self.put(context, &place, item, given)?;
        }
        if places.is_empty() {
            return Err(self.unfit("nothing is left of the archive"));
        }
        Ok(())
    }

    /// The file of the overlay that this names.
    fn one(&self, context: &Context<'_, '_>, file: &RelativePath) -> Result<PathBuf, Error> {
        match files::named(context.folder, file.as_path(), context.readings)? {
            Named::One(path) => Ok(path),
            Named::Matching(_) => {
                let name = file.as_path().display();
                Err(self.unfit(format!("{name} has to be one file, and is a pattern")))
            }
        }
    }

    /// Makes sure that the archive with this digest was signed as the step wants it.
    fn check_signature(
        &self,
        context: &Context<'_, '_>,
        path: &Path,
        digest: Digest,
    ) -> Result<(), Error> {
        let (signature, keyring) = match (&self.signature, &self.keyring) {
            (None, None) => return Ok(()),
            (Some(signature), Some(keyring)) => (signature, keyring),
            _ => return Err(self.unfit("`signature` and `keyring` need each other")),
        };
        let signature = self.one(context, signature)?;
        let keys = [KeyFile::Host(self.one(context, keyring)?)];
        let file = Hashed::open(path).map_err(base::Error::from)?;
        // What was unpacked is what is signed, or the file was changed in between.
        if file.digest() != digest {
            let (path, problem) = (path.to_owned(), "was changed while it was read".to_owned());
            return Err(config::Error::Unusable { path, problem }.into());
        }
        let mut content = file.reader(0).map_err(base::Error::from)?;
        signature::check_detached(path, &mut content, &signature, &keys, &[])?;
        Ok(())
    }

    /// Where a member lies in the image; `None` if nothing is left of its path.
    fn place(&self, path: &ImagePath) -> Option<ImagePath> {
        let mut names = path.names().skip(self.strip_components).peekable();
        names.peek()?;
        Some(names.fold(self.to.clone(), |place, name| place.child(name)))
    }

    fn put(
        &self,
        context: &mut Context<'_, '_>,
        path: &ImagePath,
        item: &Item,
        given: Attributes,
    ) -> Result<(), Error> {
        let is_directory = matches!(item.content, Content::Directory);
        let mode = given.permissions.filter(|_| !is_directory);
        let attributes = Attributes {
            permissions: mode.or(Some(item.mode & PERMISSIONS)),
            uid: given.uid.or(Some(0)),
            gid: given.gid.or(Some(0)),
        };
        match &item.content {
            Content::Directory => context.editor.mkdir_all(path, attributes)?,
            Content::File { source, size } => {
                let mut content = source.open()?;
                let (editor, last) = (&mut context.editor, LastLink::Keep);
                editor.write_from(path, last, *size, &mut content, attributes)?;
            }
            Content::Symlink(target) => context.editor.symlink(path, target)?,
            Content::HardLink(target) => {
                let target = self.place(target).ok_or_else(|| {
                    self.unfit(format!("{path} is a link to {target}, which is left out"))
                })?;
                context.editor.hard_link(path, &target)?;
            }
            Content::Special(_) => {
                return Err(Error::Unfit {
                    path: path.clone(),
                    problem: "is a device or a named pipe in the archive".to_owned(),
                    hint: Some("a `mknod` step makes one"),
                });
            }
        }
        Ok(())
    }

    fn unfit(&self, problem: impl Into<String>) -> Error {
        Error::Unfit {
            path: self.to.clone(),
            problem: problem.into(),
            hint: None,
        }
    }
}

impl From<base::Error> for Error {
    fn from(error: base::Error) -> Self {
        Self::Archive(Box::new(error))
    }
}
