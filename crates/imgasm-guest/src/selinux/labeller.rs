//! Labels for what an edit has made.

use super::{Contexts, Error, Label, XATTR, load, xattr_value};
use crate::files::entry;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, ChangeKind, Editor, LastLink, Touch};

/// Gives new and moved paths the labels of the image's policy.
///
/// The policy is read when there is something to label for the first time, and looked for again as
/// long as the image has none: a step may install it.
#[derive(Debug, Default)]
pub struct Labeller {
    contexts: Option<Contexts>,
}

impl Labeller {
    /// Labels what `touched` says was made. What was only changed keeps its label, as does a file
    /// that only got a further name.
    pub fn label_created(
        &mut self,
        editor: &mut Editor<'_>,
        touched: &[Touch],
    ) -> Result<(), Error> {
        let created = |touch: &&Touch| touch.change == Some(ChangeKind::Created);
        let mut created = touched.iter().filter(created).peekable();
        if created.peek().is_none() {
            return Ok(());
        }
        if self.contexts.is_none() {
            self.contexts = load(editor.fs())?;
        }
        let Some(contexts) = &self.contexts else {
            return Ok(());
        };
        for touch in created {
            label(editor, contexts, &touch.path)?;
        }
        Ok(())
    }
}

fn label(editor: &mut Editor<'_>, contexts: &Contexts, path: &ImagePath) -> Result<(), Error> {
    // A later part of the same edit may have removed it.
    let Some((place, file_type)) = entry(editor.fs(), path, LastLink::Keep)? else {
        return Ok(());
    };
    let node = place.node.unwrap_or_else(|| editor.fs().root());
    let has_label = || -> Result<bool, Error> {
        let failed = |source| tree::Error::FileSystem {
            action: "read",
            path: path.clone(),
            source,
        };
        let has_names = editor.fs().metadata(node).map_err(failed)?.links > 1;
        let xattrs = editor.fs().xattrs(node).map_err(failed)?;
        Ok(has_names && xattrs.contains_key(XATTR))
    };
    if file_type != imgasm_fs::FileType::Directory && has_label()? {
        return Ok(());
    }
    if let Some(Label::Context(context)) = contexts.lookup(path.as_bytes(), file_type)? {
        let value = xattr_value(context);
        editor.set_xattr(path, LastLink::Keep, XATTR, Some(&value))?;
    }
    Ok(())
}
