//! Bases that lie on a server: which file of the host holds such a one, once it was fetched.

use std::path::{Path, PathBuf};

use crate::config::Url;
use crate::config::place::is_url;
use imgasm_block::Digest;

/// The folder beside the recipe for what `imgasm fetch --vendor` gets.
pub const VENDOR: &str = "vendor";

/// A file on a server, which is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: Url,
    /// The digest that it must have.
    pub sha256: Digest,
}

impl Download {
    /// What is named where a path may be, if it is a URL, or what is wrong with that.
    pub(super) fn at(named: &Path, sha256: Option<Digest>) -> Result<Option<Self>, String> {
        let text = named.to_str().unwrap_or_default();
        if !is_url(text) {
            return Ok(None);
        }
        let url = text.parse()?;
        let sha256 = sha256.ok_or("a base on a server needs a `sha256`")?;
        Ok(Some(Self { url, sha256 }))
    }

    /// What it is called on its server.
    pub fn name(&self) -> &str {
        self.url.name()
    }

    /// Where it lies if it was fetched into the folder of the recipe.
    pub fn vendored(&self, folder: &Path) -> PathBuf {
        folder.join(VENDOR).join(self.name())
    }

    /// Where it lies in a cache's folder of downloads.
    pub fn cached(&self, downloads: &Path) -> PathBuf {
        downloads.join(self.sha256.to_string())
    }

    /// Where it lies, or would lie after `imgasm fetch`.
    pub(super) fn place(&self, folder: &Path, downloads: Option<&Path>) -> PathBuf {
        let vendored = self.vendored(folder);
        match downloads {
            Some(downloads) if !vendored.is_file() => self.cached(downloads),
            _ => vendored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_a_digest() {
        let at = |text: &str, sha256| Download::at(Path::new(text), sha256);
        let digest = Some(Digest::of(b"x"));
        assert_eq!(at("base.raw", digest), Ok(None));
        assert!(at("https://h/a", digest).unwrap().is_some());
        at("https://h/a", None).unwrap_err();
        at("https://h", digest).unwrap_err();
    }
}
