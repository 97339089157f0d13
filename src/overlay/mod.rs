//! Overlays: folders that say what to change in an image.
//!
//! - [`model`]: an [`Overlay`] that was read and checked, with its variables filled in.
//! - [`applier`]: applies overlays to a filesystem.
//! - [`report`]: what was touched by which step.
//! - [`when`]: guards of steps.
//! - [`schema`]: what an `overlay.toml` takes, for editors.
//! - [`script`]: steps in the place of a script of a package.
//! - [`files`]: the `files/` tree.
//! - [`steps`]: the vocabulary, one file per kind of step.

mod applier;
pub mod files;
mod model;
pub mod report;
pub mod schema;
pub mod script;
pub mod steps;
pub mod when;

pub(crate) use applier::hint_line;
pub use applier::{Applier, Error};
pub use model::{Overlay, OverlayFile};
pub use report::{ChangedPath, Report};
pub use script::ScriptSteps;
