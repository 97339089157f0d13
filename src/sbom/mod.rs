//! A bill of materials: the packages that are installed in an image with their licences, and every file
//! of the root filesystem, and of those of its disk that it mounts, with its digest.
//!
//! - [`contents`]: what there is in the image; `licence`: what its databases say of licences.
//! - [`cyclonedx`], [`spdx`]: the two forms of the document.
//!
//! It is made from the image alone, without the time: equal images have equal documents.

pub mod contents;
pub mod cyclonedx;
mod licence;
pub mod spdx;

use std::path::Path;

use purl::ParseError;

use crate::manifest::Manifest;
pub use contents::Contents;
use imgasm_guest::packages;

/// What identifies a document: this address, followed by the image's digest.
const ADDRESS: &str = "https://github.com/imgasm/imgasm/image/";

/// Why a bill of materials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database of packages cannot be read.
    #[error("cannot say which packages are in the image")]
    Packages(#[from] packages::Error),
    /// The root filesystem could not be looked at.
    #[error(transparent)]
    Root(#[from] imgasm_fs::tree::Error),
    /// The disk could not be looked at.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The image has no database of packages.
    #[error("the image has no database of packages, neither RPM's nor dpkg's")]
    NoDatabase,
    /// A package has a name or version that a package URL cannot hold.
    #[error("the package {package} has no package URL")]
    PackageUrl {
        /// The package.
        package: String,
        /// Why not.
        source: ParseError,
    },
    /// The image's time has no date.
    #[error("the time of the image has no date")]
    Time(#[source] jiff::Error),
    /// The document could not be written.
    #[error("cannot write the bill of materials")]
    Document(#[from] serde_json::Error),
}

/// The forms of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `CycloneDX` 1.5.
    CycloneDx,
    /// SPDX 2.3.
    Spdx,
}

impl Form {
    /// The form that the name of a file asks for: names of SPDX documents end in `.spdx.json`.
    pub fn of_name(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".spdx.json") {
            Self::Spdx
        } else {
            Self::CycloneDx
        }
    }
}

/// The document of a built image with these contents, as JSON.
///
/// # Errors
/// [`Error::Time`].
pub fn document(form: Form, manifest: &Manifest, contents: &Contents) -> Result<Vec<u8>, Error> {
    let mut json = match form {
        Form::CycloneDx => serde_json::to_vec_pretty(&cyclonedx::Bom::new(manifest, contents))?,
        Form::Spdx => serde_json::to_vec_pretty(&spdx::Document::new(manifest, contents)?)?,
    };
    json.push(b'\n');
    Ok(json)
}
