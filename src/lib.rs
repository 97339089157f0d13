//! imgasm assembles disk images offline: an image is a base plus a delta.
//!
//! Lowest floor first; a module imports only from those above it in this list:
//!
//! - [`memo`]: what several images need, made once.
//! - [`recovery`]: what to do about an image that is half-changed.
//! - [`inspect`]: what an image is, described.
//! - [`schema`]: JSON Schemas of what people write, for editors.
//! - [`config`]: what recipes and overlays have in common: places, messages, templates, values.
//! - [`environment`]: the environment of the process; [`private`]: its temporary folders.
//! - [`filesystem`]: fresh filesystems.
//! - [`base`]: assembling a base disk from a root filesystem on the host.
//! - [`verify`]: checks of what an image holds, without starting it.
//! - [`overlay`]: folders that say what to change, and applying them.
//! - [`recipe`]: `imgasm.toml`: what to build from what.
//! - [`volume`]: data volumes.
//! - [`manifest`]: `manifest.json`: what was built from what.
//! - [`provenance`]: the same as a statement that others can check and sign.
//! - [`envelope`]: a statement in an envelope that a key has signed.
//! - [`sbom`]: the packages and files in an image, as a bill of materials.
//! - [`diff`]: what differs between two images.
//! - [`session`]: an image that is being edited.
//! - [`apply`]: applying overlays to an image where it lies; [`grow`]: making it larger there.
//! - [`lock`]: exactly which packages a recipe's wishes come to.
//! - [`build`]: the pipeline from a recipe to an image.
//! - [`plan`]: what a build would do.
//! - [`reproduce`]: whether the same inputs give the same bytes.
//! - [`export`]: a tree of an image as an archive.
//! - [`transfer`]: files of an image taken out, and files put into it.
//! - [`sandbox`]: shutting this process off from the rest of the machine.
//! - [`opener`]: opening the images that users name.
//! - [`compare`]: comparing what users name.
//! - [`verification`]: all checks of an image, with what its recipe expects.
//! - [`built`]: what a build has made, for an import.
//! - [`boot`]: starting an image.
//! - [`cli`]: the command line.

pub mod apply;
pub mod base;
pub mod boot;
pub mod build;
pub mod built;
pub mod cli;
pub mod compare;
pub mod config;
pub mod diff;
pub mod envelope;
pub mod environment;
pub mod export;
pub mod filesystem;
pub mod grow;
pub mod inspect;
pub mod lock;
pub mod manifest;
pub mod memo;
pub mod opener;
pub mod overlay;
pub mod plan;
pub mod private;
pub mod provenance;
pub mod recipe;
pub mod recovery;
pub mod reproduce;
pub mod sandbox;
pub mod sbom;
pub mod schema;
pub mod session;
pub mod transfer;
pub mod verification;
pub mod verify;
pub mod volume;

pub use imgasm_aws::origin;
