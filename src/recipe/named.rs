//! Packages by their files: of the project, or on a server.

use std::path::{Path, PathBuf};

use crate::config::{self, Boundary, Place};
use crate::overlay::steps::package::{PackageFile, SIGNATURE_OF_NOBODY};

/// A package as a recipe names it. Without a digest, the lock has it.
pub type NamedPackage = PackageFile<Place>;

impl NamedPackage {
    /// Makes sure that its files lie inside and are files, and that what a server sends can be told
    /// from something else.
    ///
    /// # Errors
    /// As [`Boundary::check_file`]; for a signature without keys; and for a file on a server with
    /// neither digest nor keys.
    pub(super) fn check(&self, folder: &Path, boundary: &Boundary) -> config::Result<()> {
        let inside = self.signature.iter().chain([&self.path]);
        let inside = inside.filter_map(|place| Some(folder.join(place.path()?)));
        for file in inside.chain(self.keyring(folder)) {
            boundary.check_file(&file)?;
        }
        let is_unsigned = self.keyring(folder).is_none();
        let unusable = |place: &Place, problem: &str| config::Error::Unusable {
            path: match place.path() {
                Some(path) => folder.join(path),
                None => PathBuf::from(place.text()),
            },
            problem: problem.to_owned(),
        };
        match &self.signature {
            Some(signature) if is_unsigned => Err(unusable(signature, SIGNATURE_OF_NOBODY)),
            None if is_unsigned && self.sha256.is_none() && self.path.url().is_some() => {
                let problem = "is on a server, and needs a `sha256`, or the `keyring` of those who \
                               must have signed it";
                Err(unusable(&self.path, problem))
            }
            _ => Ok(()),
        }
    }
}
