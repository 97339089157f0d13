//! Where a named file is: in the project, or on a server.

use std::path::Path;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};

use super::values::ProjectPath;

/// The beginnings of the URLs that `imgasm fetch` gets.
const SCHEMES: [&str; 3] = ["https://", "http://", "s3://"];

/// A file as it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the project.
    Inside(ProjectPath),
    /// On a server.
    Server(Url),
}

/// The URL of a file on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

impl Place {
    /// The path, if it is in the project.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Inside(path) => Some(path.as_path()),
            Self::Server(_) => None,
        }
    }

    /// The URL, if it is on a server.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Inside(_) => None,
            Self::Server(url) => Some(url.as_str()),
        }
    }

    /// The path or the URL.
    pub fn text(&self) -> String {
        match self {
            Self::Inside(path) => path.as_path().display().to_string(),
            Self::Server(url) => url.as_str().to_owned(),
        }
    }
}

impl Url {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the file is called on its server.
    pub fn name(&self) -> &str {
        name(&self.0)
    }
}

/// Whether a text is the URL of a file on a server, and not the path of one.
pub fn is_url(text: &str) -> bool {
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

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = after_scheme(text).unwrap_or_default();
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
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_url(text) {
            text.parse().map(Self::Server)
        } else {
            text.parse().map(Self::Inside)
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_url_of_a_file() {
        let name = |text: &str| text.parse::<Url>().unwrap().name().to_owned();
        assert_eq!(name("https://h/a/b.raw.xz?v=/2#x"), "b.raw.xz");
        assert_eq!(name("s3://bucket/a/b.raw"), "b.raw");
        for wrong in [
            "https://h",
            "https://h/a/",
            "https://h/a/..",
            "https:///a",
            "https://h/a b",
            "https://u:p@h/a",
            "base.raw",
        ] {
            wrong.parse::<Url>().unwrap_err();
        }
        for path in ["base.raw", "./https:/x"] {
            assert!(path.parse::<Place>().unwrap().path().is_some(), "{path}");
        }
    }
}
