//! `unpack`: what an archive of the overlay holds.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::{Context, Error};
use crate::base::tree::{Content, Item};
use crate::base::{self, archive};
use crate::config::boundary::open_regular;
use crate::config::{self, Account, Mode, RelativePath};
use crate::overlay::files::{self, Named};
use imgasm_block::Digest;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, LastLink};

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
    /// The archive.
    pub(super) fn host_file(&self) -> &Path {
        self.from.as_path()
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let path = match files::named(context.folder, self.from.as_path())? {
            Named::One(path) => path,
            Named::Matching(_) => {
                return Err(self.unfit("`from` is one archive, and this is a pattern"));
            }
        };
        let file = open_regular(&path).map_err(|source| config::Error::Io {
            path: path.clone(),
            source,
        })?;
        let (tree, digest) = archive::read(&path, file)?;
        if let Some(expected) = self.sha256.filter(|expected| *expected != digest) {
            let problem = format!("its SHA-256 is {digest}, but {expected} was expected");
            return Err(config::Error::Unusable { path, problem }.into());
        }
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
