//! Which certificate authorities programs trust, as the system's own tools leave it.
//!
//! - [`certificate`]: certificates as they lie in files, and what the tools take from them.
//! - [`redhat`]: what `update-ca-trust` makes.
//! - [`debian`]: what `update-ca-certificates` makes.
//! - [`java`]: the keystore that both keep for Java.

pub mod certificate;
mod debian;
mod java;
mod redhat;

pub use certificate::Certificate;

use super::{Facts, known_path};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor};

/// Why an authority could not be added.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// Nobody would trust the certificate.
    #[error("the certificate {subject:?} {problem}")]
    Useless {
        /// Whom it is for.
        subject: String,
        /// Why not.
        problem: String,
    },
    /// A file of the image is not as its tool would have left it.
    #[error("{path}: {problem}")]
    Unusable {
        /// The file.
        path: ImagePath,
        /// What is wrong.
        problem: String,
    },
    /// Nothing says which authorities are trusted.
    #[error("the image has neither /etc/pki/ca-trust/source/anchors nor /etc/ca-certificates.conf")]
    NoTool,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NoTool => Some("the package ca-certificates makes them"),
            _ => None,
        }
    }
}

/// Adds authorities. Their files are called `name`, with a number behind it if there are several.
/// `now` is the time at which they must be valid.
///
/// # Errors
/// [`Error::Useless`] for a certificate that is no authority's, or has expired.
pub fn add(
    editor: &mut Editor<'_>,
    facts: &Facts,
    name: &str,
    certificates: &[Certificate],
    now: Timestamp,
) -> Result<(), Error> {
    for certificate in certificates {
        let useful = certificate.check_authority(now);
        useful.map_err(|problem| Error::Useless {
            subject: certificate.subject(),
            problem,
        })?;
    }
    let names = (1..).map(|number| match certificates.len() {
        1 => name.to_owned(),
        _ => format!("{name}-{number}"),
    });
    let named: Vec<_> = names.zip(certificates).collect();
    if tree::exists(editor.fs(), &known_path(redhat::ANCHORS))? {
        return redhat::add(editor, &named, now);
    }
    let has_tool = tree::is_file(editor.fs(), &known_path(debian::LIST))?;
    if has_tool && facts.is_like("debian") {
        return debian::add(editor, &named, now);
    }
    Err(Error::NoTool)
}

/// Whether `haystack` has `needle` in it.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}
