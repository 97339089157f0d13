//! The repositories that are turned on.

use std::collections::BTreeSet;

use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;

use super::config::{Sections, list, truth};
use super::variables::Variables;
use super::{Error, MAIN, main_file};
use crate::files::{self, read_optional};
use crate::known_path;

/// Where files of repositories are.
const FOLDERS: [&str; 3] = [
    "/etc/yum.repos.d",
    "/etc/yum/repos.d",
    "/etc/distro.repos.d",
];

/// A repository, with the variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What it is called.
    pub id: String,
    /// Where it is.
    pub place: Place,
    /// Where the keys are, in the image.
    pub keys: Vec<ImagePath>,
    /// Whether its packages must be signed.
    pub gpgcheck: bool,
    /// Whether its list of metadata must be.
    pub repo_gpgcheck: bool,
    /// Packages of repositories with a higher number are hidden by those of the same name here.
    pub priority: Option<u32>,
    /// Of equal packages that of the repository with the lowest number is taken.
    pub cost: Option<u32>,
    /// Patterns of packages that are not taken from it.
    pub excludes: Vec<String>,
    /// If there are any, patterns of the only packages that are.
    pub includes: Vec<String>,
    /// Whether modules hide none of its packages.
    pub module_hotfixes: bool,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At one of these.
    Urls(Vec<String>),
    /// Where a list at this URL says.
    MirrorList(String),
    /// Where a metalink at this URL says.
    Metalink(String),
}

impl Repository {
    /// The repositories of a system that are turned on, in the order of their names, without those
    /// that are called so.
    ///
    /// # Errors
    /// If one cannot be used from outside of the system.
    pub fn enabled(
        fs: &dyn FileSystem,
        variables: &Variables,
        without: &[&str],
    ) -> Result<Vec<Self>, Error> {
        let (main_path, main) = main_file(fs)?;
        let folders = main.value(MAIN, "reposdir").map(|folders| {
            let folders = list(folders).filter_map(|folder| ImagePath::parse(folder).ok());
            folders.collect()
        });
        let folders: Vec<_> = folders.unwrap_or_else(|| FOLDERS.map(known_path).into());
        let mut files = vec![(main_path, main)];
        for folder in folders {
            for (name, _) in files::list(fs, &folder)? {
                let path = folder.child(&name);
                if name.ends_with(b".repo")
                    && let Some(content) = read_optional(fs, &path)?
                {
                    files.push((path, Sections::parse(&content)));
                }
            }
        }
        let (_, main) = &files[0];
        let mut found = Vec::new();
        // Of two that are called alike, the first counts.
        let mut ids: BTreeSet<_> = without.iter().map(|id| (*id).to_owned()).collect();
        for (path, sections) in &files {
            for section in sections.names().filter(|name| *name != MAIN) {
                let file = File {
                    path,
                    section,
                    sections,
                    main,
                    variables,
                };
                if ids.insert(section.to_owned()) && file.truth("enabled")?.unwrap_or(true) {
                    found.push(file.repository()?);
                }
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }
}

/// A repository in its file.
struct File<'f> {
    path: &'f ImagePath,
    section: &'f str,
    sections: &'f Sections,
    main: &'f Sections,
    variables: &'f Variables,
}

impl File<'_> {
    fn repository(&self) -> Result<Repository, Error> {
        let gpgcheck = self.truth("gpgcheck")?.unwrap_or(false);
        let repo_gpgcheck = self.truth("repo_gpgcheck")?.unwrap_or(false);
        let keys = if gpgcheck || repo_gpgcheck {
            self.keys()?
        } else {
            Vec::new()
        };
        Ok(Repository {
            id: self.section.to_owned(),
            place: self.place()?,
            keys,
            gpgcheck,
            repo_gpgcheck,
            priority: self.number("priority")?,
            cost: self.number("cost")?,
            excludes: self.patterns(&["excludepkgs", "exclude"]),
            includes: self.patterns(&["includepkgs"]),
            module_hotfixes: match self.own("module_hotfixes") {
                Some(value) => truth(&value)
                    .ok_or_else(|| self.wrong("module_hotfixes", value, "true or false"))?,
                None => false,
            },
        })
    }

    fn place(&self) -> Result<Place, Error> {
        let one = |key| self.own(key).filter(|value| !value.is_empty());
        let place = if let Some(metalink) = one("metalink") {
            Place::Metalink(metalink)
        } else if let Some(url) = one("mirrorlist") {
            // As dnf tells them apart.
            if url.contains("metalink") {
                Place::Metalink(url)
            } else {
                Place::MirrorList(url)
            }
        } else if let Some(urls) = one("baseurl") {
            Place::Urls(list(&urls).map(str::to_owned).collect())
        } else {
            return Err(Error::NoPlace {
                path: self.path.clone(),
                section: self.section.to_owned(),
            });
        };
        let urls = match &place {
            Place::Urls(urls) => urls.as_slice(),
            Place::MirrorList(url) | Place::Metalink(url) => std::slice::from_ref(url),
        };
        // What a system calls its own is nothing of the host's.
        let local = urls.iter().find(|url| !is_remote(url));
        match local {
            Some(url) => Err(Error::Local {
                path: self.path.clone(),
                section: self.section.to_owned(),
                url: url.clone(),
            }),
            None => Ok(place),
        }
    }

    fn keys(&self) -> Result<Vec<ImagePath>, Error> {
        let urls = self.own("gpgkey").unwrap_or_default();
        let keys = list(&urls).map(|url| {
            let path = url.strip_prefix("file://").unwrap_or(url);
            let path = path.starts_with('/').then(|| ImagePath::parse(path).ok());
            path.flatten().ok_or_else(|| Error::Key {
                path: self.path.clone(),
                section: self.section.to_owned(),
                url: url.to_owned(),
            })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(Error::NoKey {
                path: self.path.clone(),
                section: self.section.to_owned(),
            });
        }
        Ok(keys)
    }

    /// A value of the repository itself.
    fn own(&self, key: &str) -> Option<String> {
        let value = self.sections.value(self.section, key)?;
        Some(self.variables.fill(value))
    }

    /// A value of the repository, or else that for all.
    fn any(&self, key: &str) -> Option<String> {
        let main = || self.main.value(MAIN, key);
        let value = self.sections.value(self.section, key).or_else(main)?;
        Some(self.variables.fill(value))
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.any(key) else {
            return Ok(None);
        };
        let truth = truth(&value);
        truth
            .map(Some)
            .ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.own(key) else {
            return Ok(None);
        };
        let number = value.parse().ok();
        number
            .map(Some)
            .ok_or_else(|| self.wrong(key, value, "a number"))
    }

    /// Patterns of the repository, and those for all.
    fn patterns(&self, keys: &[&str]) -> Vec<String> {
        let of = |sections: &Sections, section: &str| -> Vec<String> {
            let values = keys.iter().filter_map(|key| sections.value(section, key));
            let values = values.map(|value| self.variables.fill(value));
            values
                .flat_map(|value| list(&value).map(str::to_owned).collect::<Vec<_>>())
                .collect()
        };
        let mut patterns = of(self.sections, self.section);
        patterns.extend(of(self.main, MAIN));
        patterns
    }

    fn wrong(&self, key: &str, value: String, wanted: &'static str) -> Error {
        Error::Value {
            path: self.path.clone(),
            section: self.section.to_owned(),
            key: key.to_owned(),
            value,
            wanted,
        }
    }
}

/// Whether a URL is one of a server.
fn is_remote(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()))
}
