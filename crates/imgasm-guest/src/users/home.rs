//! The home folder of a new user.

use super::database::HomeOwner;
use super::defaults::Defaults;
use super::{Error, Result};
use crate::files::{entry, link_target, read_optional};
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, walk};

/// Makes the folder with a copy of the skeleton folder's content; all of it belongs to the user. An
/// existing folder stays as it is.
pub(super) fn create(
    editor: &mut Editor<'_>,
    home: &ImagePath,
    owner: &HomeOwner,
    defaults: &Defaults,
) -> Result<()> {
    if entry(editor.fs(), home, LastLink::Follow)?.is_some() {
        return Ok(());
    }
    let owned = |permissions| Attributes {
        permissions,
        uid: Some(owner.uid),
        gid: Some(owner.gid),
    };
    editor.mkdir_all(home, owned(Some(defaults.home_mode())))?;
    let skeleton = defaults.skeleton();
    let skeleton = ImagePath::parse(&skeleton).map_err(|source| Error::Home {
        name: skeleton,
        source,
    })?;
    let Some((place, FileType::Directory)) = entry(editor.fs(), &skeleton, LastLink::Follow)?
    else {
        return Ok(());
    };
    let entries: Vec<_> = walk(editor.fs(), &place.path)?
        .skip(1)
        .collect::<Result<_, _>>()?;
    for entry in entries {
        let below = &entry.path.as_bytes()[place.path.as_bytes().len()..];
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let copy = home.join(below).map_err(|source| Error::Home {
            name: entry.path.to_string(),
            source,
        })?;
        let attributes = owned(Some(entry.metadata.permissions));
        match entry.metadata.file_type {
            FileType::Directory => editor.mkdir_all(&copy, attributes)?,
            FileType::Regular => {
                let content = read_optional(editor.fs(), &entry.path)?.unwrap_or_default();
                editor.write(&copy, LastLink::Keep, &content, attributes)?;
            }
            FileType::Symlink => {
                let target = link_target(editor.fs(), &entry.path)?.unwrap_or_default();
                editor.symlink(&copy, &target)?;
                editor.set_attributes(&copy, LastLink::Keep, owned(None))?;
            }
            // A skeleton has neither devices nor sockets.
            _ => {}
        }
    }
    Ok(())
}
