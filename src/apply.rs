//! Applying overlays to a raw image where it lies, as a whole or not at all.

use std::path::PathBuf;

use crate::config::{self, Given, Values};
use crate::overlay::{self, Applier, ChangedPath, Overlay, OverlayFile};
use crate::session::{self, Finish, Session};
use imgasm_block::{BlockDevice, InPlace};
use imgasm_fs::Timestamp;

/// Why overlays could not be applied. The image is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be edited.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The changes could not be written.
    #[error(transparent)]
    Block(#[from] imgasm_block::Error),
}

impl From<overlay::Error> for Error {
    fn from(error: overlay::Error) -> Self {
        Self::Session(error.into())
    }
}

/// How overlays are applied.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of the root partition; `None` looks for the root.
    pub partition: Option<u32>,
    /// The time given to everything that is made or changed.
    pub now: Timestamp,
    /// Whether the changed files are read for their digests.
    pub with_digests: bool,
}

/// The seed of new identifiers: an image that is edited in place has no recipe, and so no name from
/// which they could be derived.
const SEED: [u8; 16] = *b"imgasm apply    ";

/// Applies overlays in their order, as a [`change`].
pub fn apply(
    image: InPlace,
    overlays: &[Overlay],
    options: &Options,
) -> Result<Vec<ChangedPath>, Error> {
    change(image, options, |applier| {
        applier.check_wishless(overlays)?;
        let mut overlays = overlays.iter();
        overlays.try_for_each(|overlay| applier.apply(overlay).map_err(Error::from))
    })
}

/// Edits the root filesystem of an image; gives every path that differs afterwards. If none does, the
/// image is not written.
pub fn change(
    image: InPlace,
    options: &Options,
    edit: impl FnOnce(&mut Applier<'_>) -> Result<(), Error>,
) -> Result<Vec<ChangedPath>, Error> {
    let base = image.device().clone();
    let len = base.len();
    let opened = session::Options {
        partition: options.partition,
        now: options.now,
        seed: SEED,
    };
    let mut session = Session::open(base, len, opened)?;
    session.edit(edit)?;
    let edited = session.finish(Finish {
        sparsify: false,
        with_digests: options.with_digests,
    })?;
    image.commit(&edited.delta)?;
    Ok(edited.changed_paths)
}

/// Reads the overlays in these folders. Each value goes to every overlay that declares its variable.
///
/// # Errors
/// Also if a variable is set that no overlay declares.
pub fn load(folders: &[PathBuf], values: &Values) -> config::Result<Vec<Overlay>> {
    let mut files = Vec::with_capacity(folders.len());
    for folder in folders {
        let file = OverlayFile::read(&folder.display().to_string(), folder)?;
        files.push(file.without_readings());
    }
    for name in values.names() {
        if !files.iter().any(|file| file.declarations().contains(name)) {
            let mut known: Vec<&str> = files
                .iter()
                .flat_map(|file| file.declarations().iter().map(|(name, _)| name))
                .collect();
            known.sort_unstable();
            known.dedup();
            let hint = config::decode::alternatives("variable", "variables", name, &known);
            return Err(config::Error::Variable {
                name: name.to_owned(),
                problem: format!("no overlay has it; {hint}"),
            });
        }
    }
    let mut overlays = Vec::with_capacity(files.len());
    for file in files {
        let given = values.declared(file.declarations())?;
        overlays.push(file.resolve(|name| given.get(name).cloned().map(Given::from))?);
    }
    Ok(overlays)
}
