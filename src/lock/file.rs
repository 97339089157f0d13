//! The lock as it is written: TOML in a fixed order, to be read as a diff.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use imgasm_block::{Digest, Output};
use imgasm_guest::packages::Script;
use imgasm_guest::packages::history::Reason;

/// What stands before everything else.
const HEAD: &str = "# Made by `imgasm lock`; not to be edited.\n";
/// The form that this version writes and reads.
const VERSION: u32 = 1;
/// The largest lock that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Exactly which packages wishes come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// The identity of the packages that the base has.
    pub base: Digest,
    /// The identity of the wishes and the repositories.
    pub wishes: Digest,
    /// The repositories, in the order of their names.
    #[serde(default, rename = "repository", skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<LockedRepository>,
    /// The packages that come, in the order of their names.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<LockedPackage>,
    /// The packages that go, in the order of their names, but for those that a newer version
    /// replaces.
    #[serde(default, rename = "remove", skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<LockedRemoval>,
    /// What becomes of each script, by its package and its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, String>,
}

/// A repository as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// What it is called.
    pub id: String,
    /// The places where it is, each as good as the others.
    pub places: Vec<String>,
    /// The digest of its list of metadata.
    pub repomd: Digest,
    /// The fingerprints of the keys that may have signed its packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// A package that comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    /// The architecture that it is for.
    pub arch: String,
    /// The repository that has it; none if the recipe names the file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Its file there, or as the recipe names it.
    pub location: String,
    /// Bytes of the file.
    pub size: u64,
    /// The digest of the file.
    pub sha256: Digest,
    /// The source package that it was built from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The version that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The advisories that tell of it, or of a version between the one that is installed and it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
    /// Why it comes; because another needs it, if nothing is said.
    #[serde(default, skip_serializing_if = "is_needed")]
    pub reason: Reason,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls is given a reference"
)]
fn is_needed(reason: &Reason) -> bool {
    *reason == Reason::Dependency
}

/// A package that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRemoval {
    /// Its name.
    pub name: String,
    /// `[epoch:]version-release`.
    pub version: String,
    /// The architecture that it is for.
    pub arch: String,
}

/// What becomes of scripts, as the lock has it.
pub fn verdicts(scripts: &[Script]) -> BTreeMap<String, String> {
    let mut verdicts = BTreeMap::new();
    for script in scripts {
        let name = format!("{} %{}", script.package, script.name());
        // A trigger may run several times.
        if script.verdict.is_partial() || !verdicts.contains_key(&name) {
            verdicts.insert(name, script.verdict.to_string());
        }
    }
    verdicts
}

impl LockedPackage {
    /// `name-[epoch:]version-release.arch`.
    pub fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name, self.version, self.arch)
    }
}

impl LockedRemoval {
    /// `name-[epoch:]version-release.arch`.
    pub fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name, self.version, self.arch)
    }
}

impl Lock {
    /// One with nothing in it.
    pub fn new(base: Digest, wishes: Digest) -> Self {
        Self {
            version: VERSION,
            base,
            wishes,
            repositories: Vec::new(),
            packages: Vec::new(),
            removals: Vec::new(),
            scripts: BTreeMap::new(),
        }
    }

    /// The packages that are from repositories, and not named by their files.
    pub fn of_repositories(&self) -> impl Iterator<Item = &LockedPackage> {
        let packages = self.packages.iter();
        packages.filter(|package| package.repository.is_some())
    }

    /// Reads a lock; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let unusable = |problem: String| Error::Unusable {
            path: path.to_owned(),
            problem,
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                return Err(unusable(format!("it has more than {MAX_BYTES} bytes")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(unusable("it is not a regular file".to_owned())),
            Err(error) => return Err(failed(error)),
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let lock: Self = toml::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        if lock.version != VERSION {
            let found = lock.version;
            return Err(unusable(format!(
                "it is a lock of the form {found}, and this imgasm reads {VERSION}"
            )));
        }
        Ok(Some(lock))
    }

    /// The lock as text.
    pub fn to_toml(&self) -> String {
        // Texts, numbers and lists of tables of these always have a form.
        let text = toml::to_string(self).unwrap_or_default();
        format!("{HEAD}{text}")
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Output::write(path, self.to_toml().as_bytes()).map_err(|error| Error::Io {
            path: path.to_owned(),
            source: io::Error::other(error),
        })
    }
}
