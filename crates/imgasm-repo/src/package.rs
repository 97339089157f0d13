//! A package: one that is installed, or one that can be had.

use imgasm_block::Digest;
use imgasm_guest::packages::version::{Dependency, sense};

use crate::names::{Id, Names};

/// A name with versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Relation {
    /// The name, or a whole boolean expression in parentheses.
    pub name: Id,
    /// How versions are compared, see [`sense`].
    pub flags: u8,
    /// `[epoch:]version[-release]`; empty for any.
    pub version: Id,
}

impl Relation {
    /// The relation as a package's header has it.
    pub fn new(names: &mut Names, dependency: &Dependency) -> Self {
        let flags = dependency.flags & sense::COMPARISON;
        Self {
            name: names.intern(&dependency.name),
            flags: u8::try_from(flags).unwrap_or_default(),
            version: names.intern(&dependency.version),
        }
    }

    /// The relation with its texts.
    pub fn dependency(self, names: &Names) -> Dependency {
        Dependency {
            name: names.text(self.name).to_owned(),
            flags: self.flags.into(),
            version: names.text(self.version).to_owned(),
        }
    }
}

/// What a package says of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    /// What it needs.
    pub requires: Vec<Relation>,
    /// What it is.
    pub provides: Vec<Relation>,
    /// What must not be there with it.
    pub conflicts: Vec<Relation>,
    /// What it takes the place of.
    pub obsoletes: Vec<Relation>,
    /// What is installed with it if that can be.
    pub recommends: Vec<Relation>,
    /// What it is installed with if that can be.
    pub supplements: Vec<Relation>,
}

/// Where a package can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// The number of the repository; `None` if the file itself is named.
    pub repository: Option<usize>,
    /// Its file, relative to the repository, or as it is named.
    pub location: String,
    /// The digest of the file.
    pub sha256: Digest,
    /// Bytes of the file.
    pub size: u64,
    /// The source package that it was built from.
    pub source: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: Id,
    /// `[epoch:]version-release`, without an epoch of 0.
    pub version: Id,
    /// The architecture that it is for.
    pub arch: Id,
    /// What it says of others.
    pub relations: Relations,
    /// Its files: all of an installed package, those that the metadata names of another.
    pub files: Vec<Id>,
    /// Where it can be had; `None` if it is installed.
    pub available: Option<Available>,
}

impl Package {
    /// Whether it is installed.
    pub fn is_installed(&self) -> bool {
        self.available.is_none()
    }

    /// `name-[epoch:]version-release.arch`.
    pub fn nevra(&self, names: &Names) -> String {
        let (name, version) = (names.text(self.name), names.text(self.version));
        format!("{name}-{version}.{}", names.text(self.arch))
    }
}
