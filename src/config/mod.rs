//! What recipes and overlays have in common: text that a person wrote, and messages about what is
//! wrong in it.
//!
//! - [`source`]: a file with its name.
//! - [`diagnostic`]: a message that shows the place.
//! - [`decode`]: TOML to values.
//! - [`template`]: `{{ variables }}` in text.
//! - `setting`: the values of variables.
//! - [`variables`]: what may be set from outside, with defaults and help.
//! - `rules`: what they may hold; `pattern`: regular expressions.
//! - [`given`]: their values from outside, some of which nobody else may see.
//! - [`values`]: the kinds of values: sizes, modes, owners, relative paths.
//! - [`place`]: where a file is: in the project or on a server.
//! - [`digest`]: the identity of a folder's content.
//! - [`readings`]: that what is copied from a folder is what was hashed there.
//! - [`boundary`]: the folders in which named files may lie.

pub mod boundary;
pub mod decode;
pub mod diagnostic;
pub mod digest;
pub mod given;
pub(crate) mod pattern;
pub mod place;
pub mod readings;
mod rules;
mod setting;
pub mod source;
pub mod template;
pub mod values;
pub mod variables;

use std::io;
use std::path::PathBuf;

pub use boundary::Boundary;
pub use diagnostic::Diagnostic;
pub use given::{Given, Values};
pub use place::{Place, Url};
pub use setting::Setting;
pub use source::Source;
pub use values::{Account, ByteSize, Epoch, Id, Mode, ProjectPath, RelativePath};
pub use variables::{Declarations, Variables};

/// Why a recipe or an overlay cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of it could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Its path on the host.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A file cannot be used.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// Its path on the host.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or folder lies where it must not.
    #[error(
        "{} lies outside of {}: what is named here must lie in it, and so must a \
         link's target",
        path.display(),
        root.display()
    )]
    Outside {
        /// Its path on the host.
        path: PathBuf,
        /// The folder in which it had to lie.
        root: PathBuf,
    },
    /// Its text is wrong, at a place that can be shown.
    #[error(transparent)]
    Invalid(#[from] Box<Diagnostic>),
    /// A variable that was given from outside is not declared, or has a value of the wrong kind.
    #[error("variable `{name}`: {problem}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong, and what was probably meant.
        problem: String,
    },
}

/// What reading a recipe or an overlay returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Invalid(Box::new(diagnostic))
    }
}
