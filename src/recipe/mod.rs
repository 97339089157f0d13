//! The recipe, `imgasm.toml`: what to build from what.
//!
//! - [`Recipe`]: a recipe that was read and checked, with its variables filled in and its overlays
//!   read; [`load`] does that.
//! - `compose`: recipes that extend others, and the images of one recipe.
//! - `overlays`: the overlays that it names; `ami`: the AMI; `identity`: what tells it from others.
//! - [`base`]: what the image is made from, which may lie on a server ([`download`]); `disk`: how a
//!   disk that is assembled is divided.
//! - [`packages`]: repositories, and the packages that are wished for by name; [`named`]: by file.
//! - [`volume`]: the disks beside the root.
//! - [`schema`]: what a recipe takes, for editors.

mod ami;
pub mod base;
mod compose;
mod disk;
pub mod download;
mod identity;
mod load;
pub mod named;
mod overlays;
pub mod packages;
pub mod schema;
pub mod volume;

use std::ops::Range;
use std::path::PathBuf;

pub use base::Base;
pub use download::Download;
pub use named::NamedPackage;
pub use volume::Volume;

use crate::config::digest::Folders;
use crate::config::{Boundary, ByteSize, Diagnostic, Epoch, Source, Values, Variables};
use crate::overlay::{Overlay, ScriptSteps};
use crate::verify::expect::Expectation;
use crate::verify::live::Live;
use imgasm_block::Digest;

/// A recipe that was read and checked.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Which one of the recipe's images this is, if it has several.
    pub image: Option<String>,
    /// The name of the image, with which the names of its files begin.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The values of the recipe's variables.
    pub variables: Variables,
    /// What the image is made from.
    pub base: Base,
    /// Where the recipe says what the image is made from.
    pub(super) base_span: Range<usize>,
    /// The size to which the disk grows, if it does.
    pub disk_size: Option<ByteSize>,
    /// Whether what the root filesystem does not use becomes holes.
    pub sparsify: bool,
    /// The time given to everything that is made or changed, in seconds since 1970.
    pub source_date_epoch: i64,
    /// The RPM files that are installed before anything else is done, all together.
    pub packages: Vec<NamedPackage>,
    /// The repositories that packages are wished for from, in order.
    pub repositories: Vec<packages::Repository>,
    /// What it wishes for itself, by name: `[packages]`.
    pub own_wishes: Option<packages::PackageWishes>,
    /// What is done in the place of scripts of packages.
    pub instead_of_scripts: Vec<ScriptSteps>,
    /// What is applied to the root filesystem, in order.
    pub overlays: Vec<Overlay>,
    /// The identities of their folders' contents, in the same order.
    pub overlay_digests: Vec<Digest>,
    /// What the folders held of which the recipe has digests.
    pub folders: Folders,
    /// The disks beside the root.
    pub volumes: Vec<Volume>,
    /// What is expected of the image, in order.
    pub expectations: Vec<Expectation>,
    /// What is expected of the running machine, in order.
    pub live: Vec<Live>,
    /// The folder that the recipe's paths are relative to.
    pub folder: PathBuf,
    /// The boundary within which the files that it names lie.
    pub boundary: Boundary,
    /// The identity of everything above except the base: the recipe's bytes, the values of its
    /// variables, and its overlays and their variables.
    pub digest: Digest,
    /// What in it is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// The recipe's text, for messages about it.
    pub source: Source,
}

impl Recipe {
    /// Whether only a lock knows which packages it means.
    pub fn needs_lock(&self) -> bool {
        packages::need_lock(self.own_wishes.as_ref(), &self.packages, &self.overlays)
    }

    /// The values that nobody else may see, with the names of their variables.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, String)> {
        let overlays = self.overlays.iter().map(|overlay| &overlay.variables);
        let all = std::iter::once(&self.variables).chain(overlays);
        let sensitive = all.flat_map(Variables::sensitive);
        sensitive.map(|(name, value)| (name, value.to_string()))
    }

    /// What is wrong with the base, at its place.
    pub fn base_error(&self, message: impl Into<String>) -> Diagnostic {
        self.source.error(self.base_span.clone(), message)
    }
}

/// What is given from outside when a recipe is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Values for variables.
    pub values: Values,
    /// Which of the recipe's images is meant, if it has several.
    pub image: Option<String>,
    /// The environment's `SOURCE_DATE_EPOCH`; the recipe's own takes precedence.
    pub source_date_epoch: Option<Epoch>,
    /// Folders outside of the recipe's project that it may use, too.
    pub allow_outside: Vec<PathBuf>,
    /// The folder for files that are fetched from servers, if there is one.
    pub downloads: Option<PathBuf>,
    /// The identities of the folders that recipes read with these options have in common.
    pub folders: Folders,
}

/// What the templates of `[ami]` see besides the recipe's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmiFacts {
    /// Seconds since 1970: `timestamp`, and as a day `date`.
    pub now: i64,
    /// The digest of the image: `digest`.
    pub digest: Digest,
    /// The AMI that the base came from: `source_ami` and `source_ami_name`.
    pub source: Option<(String, String)>,
}
