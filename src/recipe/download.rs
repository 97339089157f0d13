//! Bases that lie on a server: which file of the host holds such a one, once it was fetched.

use std::path::{Path, PathBuf};

use imgasm_block::Digest;

/// The folder beside the recipe for what `imgasm fetch --vendor` gets.
pub const VENDOR: &str = "vendor";

/// The beginnings of the URLs that `imgasm fetch` gets.
const SCHEMES: [&str; 3] = ["https://", "http://", "s3://"];

/// A file on a server, which is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// The digest that it must have.
    pub sha256: Digest,
}

impl Download {
    /// What is named where a path may be, if it is a URL, or what is wrong with that.
    pub(super) fn at(named: &Path, sha256: Option<Digest>) -> Result<Option<Self>, String> {
        let text = named.to_str().unwrap_or_default();
        let Some(rest) = after_scheme(text) else {
            return Ok(None);
        };
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_sound = |c: char| c.is_ascii_graphic();
        if server.is_empty() || !text.chars().all(is_sound) {
            return Err(format!("{text:?} is not a URL"));
        }
        if server.contains('@') {
            return Err("a URL with a user or a password would be shown to others".to_owned());
        }
        if matches!(name(path), "" | "." | "..") {
            return Err(format!("{text:?} names no file"));
        }
        let sha256 = sha256.ok_or("a base on a server needs a `sha256`")?;
        let url = text.to_owned();
        Ok(Some(Self { url, sha256 }))
    }

    /// What it is called on its server.
    pub fn name(&self) -> &str {
        name(&self.url)
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

/// Whether a text is the URL of a file on a server, and not the path of one.
pub(super) fn is_url(text: &str) -> bool {
    after_scheme(text).is_some()
}

fn after_scheme(url: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))
}

/// The last name of a path, without what a server is asked besides.
fn name(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_url_of_a_file() {
        let digest = Digest::of(b"x");
        let at = |text: &str| Download::at(Path::new(text), Some(digest));
        let name = |text| at(text).unwrap().unwrap().name().to_owned();
        assert_eq!(name("https://h/a/b.raw.xz?v=/2#x"), "b.raw.xz");
        assert_eq!(name("s3://bucket/a/b.raw"), "b.raw");
        assert_eq!(at("base.raw"), Ok(None));
        assert_eq!(at("./https:/x"), Ok(None));
        for wrong in [
            "https://h",
            "https://h/a/",
            "https://h/a/..",
            "https:///a",
            "https://h/a b",
            "https://u:p@h/a",
        ] {
            at(wrong).unwrap_err();
        }
        Download::at(Path::new("https://h/a"), None).unwrap_err();
    }
}
