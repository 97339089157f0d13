//! `copy`: a file or a tree from the overlay, or a file from the image.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{Account, Mode, RelativePath};
use crate::overlay::files::{self, Named, Rendering};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, At, Attributes, LastLink};

/// Copies a file, link or folder of the overlay to a path in the image, or a file of the image
/// itself.
///
/// Files from the overlay get their modes from the host's execute bit and belong to root, unless the step says otherwise; a mode in the step
/// applies to files. What a pattern matches goes into the directory `to`, each file or folder under its own name. A file of the image keeps
/// its mode and owners, unless the step says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Copy {
    source: Origin,
    to: ImagePath,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

#[derive(Debug, Clone)]
enum Origin {
    Overlay(RelativePath, Rendering),
    Image(ImagePath),
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    from: Option<RelativePath>,
    from_image: Option<ImagePath>,
    to: ImagePath,
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
    #[serde(default)]
    template: bool,
}

impl TryFrom<Keys> for Copy {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let rendering = if keys.template {
            Rendering::Template
        } else {
            Rendering::AsItIs
        };
        let source = match (keys.from, keys.from_image) {
            (Some(from), None) => Origin::Overlay(from, rendering),
            (None, Some(from)) if !keys.template => Origin::Image(from),
            (None, Some(_)) => return Err("only a file of the overlay can be a template"),
            _ => return Err("what is copied is named by either `from` or `from_image`"),
        };
        Ok(Self {
            source,
            to: keys.to,
            mode: keys.mode,
            owner: keys.owner,
            group: keys.group,
        })
    }
}

impl Copy {
    /// What is copied, if it comes from the overlay.
    pub(super) fn host_file(&self) -> Option<&Path> {
        match &self.source {
            Origin::Overlay(from, _) => Some(from.as_path()),
            Origin::Image(_) => None,
        }
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let (owner, group) = (self.owner.as_ref(), self.group.as_ref());
        let attributes = context.attributes(self.mode, owner, group)?;
        match &self.source {
            Origin::Overlay(from, rendering) => {
                match files::named(context.folder, from.as_path(), context.readings)? {
                    Named::One(from) => {
                        files::copy(context, &from, &self.to, attributes, *rendering)
                    }
                    Named::Matching(all) => self.copy_all(context, &all, attributes, *rendering),
                }
            }
            Origin::Image(from) => self.copy_within(context, from, attributes),
        }
    }

    /// Copies what a pattern matches into the directory `to`.
    fn copy_all(
        &self,
        context: &mut Context<'_, '_>,
        all: &[PathBuf],
        attributes: Attributes,
        rendering: Rendering,
    ) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        let folder = Attributes::default();
        context.editor.mkdir_all(&self.to, folder)?;
        for from in all {
            let name = from.file_name().unwrap_or_default().as_bytes();
            if !names.insert(name) {
                return Err(Error::Unfit {
                    path: self.to.child(name),
                    problem: "the pattern matches several files of this name".to_owned(),
                    hint: None,
                });
            }
            files::copy(context, from, &self.to.child(name), attributes, rendering)?;
        }
        Ok(())
    }

    fn copy_within(
        &self,
        context: &mut Context<'_, '_>,
        from: &ImagePath,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let content = context.read(from)?;
        let fs = context.editor.fs();
        let (node, from) = tree::resolve(fs, from, LastLink::Follow)?;
        let metadata = fs.metadata(node).at("read", &from)?;
        let attributes = Attributes {
            permissions: attributes.permissions.or(Some(metadata.permissions)),
            uid: attributes.uid.or(Some(metadata.uid)),
            gid: attributes.gid.or(Some(metadata.gid)),
        };
        let last = LastLink::Keep;
        Ok(context.editor.write(&self.to, last, &content, attributes)?)
    }
}
