//! Packages: which are installed, and installing RPM files.
//!
//! - [`open`]: what is installed, by RPM's database ([`open_rpm`]) or Debian's status file
//!   ([`open_dpkg`]).
//! - [`inventory`]: the same, with licences and files.
//! - [`install()`]: installs RPM files as RPM itself would; [`transact`] removes packages too.
//! - [`database`]: where systems record their packages; [`history`]: why they are there.
//! - [`rpm_file`], [`payload`]: a package file and what it brings.
//! - [`header`], [`tags`], [`tag_types`]: its tagged values; [`file_list`], [`version`], [`boolean`]: what they
//!   say of files and dependencies.
//! - [`signature`], [`openpgp`]: whether someone who is trusted made it.
//! - `digests`: whether what a package brings is whole.
//! - [`mod@install`]: the parts of an installation, a file for each concern.

pub mod boolean;
pub mod database;
pub mod digests;
pub mod file_list;
pub mod header;
pub mod history;
pub mod install;
pub mod inventory;
pub mod openpgp;
pub mod payload;
pub mod rpm_file;
pub mod signature;
mod tag_types;
pub mod tags;
pub mod version;

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::path::PathBuf;

use database::{Database, Kind, dpkg};
use header::Header;
pub use install::{
    Done, Outcome, Override, Removed, Request, Script, Scriptlets, Unwritable, Verdict, Wishes,
    install, transact,
};

use super::{services, users};
use imgasm_block::Digest;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

/// An installed package, or one that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its epoch, where it has one.
    pub epoch: Option<u64>,
    /// Its version.
    pub version: String,
    /// Its release, or Debian's revision, where it has one.
    pub release: Option<String>,
    /// The architecture that it is for.
    pub arch: Option<String>,
}

impl Package {
    /// What a header says of the package that it belongs to.
    pub fn of(header: &Header) -> Self {
        Self {
            name: header.string(tags::NAME).unwrap_or_default(),
            epoch: header.number(tags::EPOCH),
            version: header.string(tags::VERSION).unwrap_or_default(),
            release: header.string(tags::RELEASE),
            arch: header.string(tags::ARCH),
        }
    }

    /// `version[-release]`.
    pub fn version_and_release(&self) -> String {
        match &self.release {
            Some(release) => format!("{}-{release}", self.version),
            None => self.version.clone(),
        }
    }

    /// `[epoch:]version[-release]`.
    pub fn full_version(&self) -> String {
        match self.epoch {
            Some(epoch) => format!("{epoch}:{}", self.version_and_release()),
            None => self.version_and_release(),
        }
    }

    /// `name-[epoch:]version-release.arch`, without an epoch of 0: what repositories call it.
    pub fn nevra(&self) -> String {
        let plain = Self {
            epoch: self.epoch.filter(|epoch| *epoch != 0),
            ..self.clone()
        };
        plain.to_string()
    }

    /// Compares the versions, whatever the names.
    pub fn compare(&self, other: &Self) -> Ordering {
        version::compare(&self.full_version(), &other.full_version())
    }
}

/// `name-[epoch:]version[-release][.arch]`.
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.full_version())?;
        match &self.arch {
            Some(arch) => write!(f, ".{arch}"),
            None => Ok(()),
        }
    }
}

/// What is installed in an image, in the order of the names. `None` where the image has no
/// database of packages.
pub fn open(fs: &dyn FileSystem) -> Result<Option<Vec<Package>>, Error> {
    match open_rpm(fs)? {
        Some(packages) => Ok(Some(packages)),
        None => open_dpkg(fs),
    }
}

/// What RPM's database says is installed; `None` where there is none.
pub fn open_rpm(fs: &dyn FileSystem) -> Result<Option<Vec<Package>>, Error> {
    let database = Database::read(fs)?;
    Ok(database.map(|database| {
        let headers = database.records.iter().map(|record| &record.header);
        in_order(headers.map(Package::of).collect())
    }))
}

/// What dpkg's status file says is installed; `None` where there is none.
pub fn open_dpkg(fs: &dyn FileSystem) -> Result<Option<Vec<Package>>, Error> {
    Ok(dpkg::read(fs)?.map(in_order))
}

/// By their names, then by the text of their versions.
fn in_order(mut packages: Vec<Package>) -> Vec<Package> {
    packages.sort_by_cached_key(|package| (package.name.clone(), package.full_version()));
    packages
}

/// Why packages could not be installed, or not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file on the host could not be read or written.
    #[error("cannot read {}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A package file is not sound.
    #[error("{}: {problem}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A package file is another than the one that is meant.
    #[error("{} has the SHA-256 {found}, not {wanted}", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// The digest that was asked for.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A package file holds another package than was announced.
    #[error("{} is {found}, and its repository calls it {wanted}", path.display())]
    OtherPackage {
        /// The file.
        path: PathBuf,
        /// The package that was announced.
        wanted: String,
        /// The package that it is.
        found: String,
    },
    /// A keyring cannot be used.
    #[error("{} is not a keyring: {problem}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A package is not signed by a key of the keyring.
    #[error("{} is not signed by a key of {}: {problem}", path.display(), all(keyrings))]
    Signature {
        /// The package file.
        path: PathBuf,
        /// The keyrings.
        keyrings: Vec<PathBuf>,
        /// What was found.
        problem: String,
    },
    /// A package is for another processor.
    #[error("{package} is for {wanted}, and the image is for {image}")]
    Architecture {
        /// The package.
        package: String,
        /// The architecture that it is for.
        wanted: String,
        /// The architecture of the image.
        image: &'static str,
    },
    /// Two of the packages to be installed are the same in different versions.
    #[error("{one} and {other} cannot both be installed")]
    Twice {
        /// A package.
        one: String,
        /// Another of the same name.
        other: String,
    },
    /// The image has a newer version.
    #[error("{package} is older than {installed}, which is installed")]
    Older {
        /// The package to be installed.
        package: String,
        /// The installed one.
        installed: String,
    },
    /// What is to be removed is not there.
    #[error("{package} is to be removed and is not installed")]
    NotInstalled {
        /// The package.
        package: String,
    },
    /// Dependencies are not met.
    #[error("{}", unmet.join("; "))]
    Unmet {
        /// One line for each.
        unmet: Vec<String>,
    },
    /// Packages do not get on with each other.
    #[error("{package} conflicts with {other}, by its `{conflict}`")]
    Conflict {
        /// The package that says so.
        package: String,
        /// The package that it conflicts with.
        other: String,
        /// What it says.
        conflict: String,
    },
    /// Two packages have different files at one path.
    #[error("{path} of {package} is another file than that of {other}")]
    FileConflict {
        /// The path.
        path: ImagePath,
        /// A package to be installed.
        package: String,
        /// Another one, or an installed one.
        other: String,
    },
    /// A path of a package cannot be used.
    #[error("{package}: {path} {problem}")]
    Path {
        /// The package.
        package: String,
        /// The path.
        path: ImagePath,
        /// Why not.
        problem: String,
    },
    /// A file belongs to an account that the image does not have.
    #[error("{package}: {path} belongs to the {kind} `{name}`, which the image does not have")]
    Owner {
        /// The package.
        package: String,
        /// The file.
        path: ImagePath,
        /// `user` or `group`.
        kind: &'static str,
        /// The account's name.
        name: String,
    },
    /// A script cannot be carried out without running it.
    #[error("{package}: the script %{scriptlet} cannot be carried out offline: `{statement}`")]
    Scriptlet {
        /// The package.
        package: String,
        /// Which script.
        scriptlet: String,
        /// Whether it runs late enough to wait for the first boot.
        can_wait: bool,
        /// The part that is not known.
        statement: String,
    },
    /// What was to be done in the place of a script could not be done.
    #[error("{package}: what is done instead of %{scriptlet}: {reason}")]
    Override {
        /// The package.
        package: String,
        /// Which script.
        scriptlet: &'static str,
        /// Why not.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something was to be done in the place of a script that is not there.
    #[error(
        "%{scriptlet} of {package} is overridden, and no such script of a package of that name runs"
    )]
    UnusedOverride {
        /// The name of the package.
        package: String,
        /// Which script.
        scriptlet: String,
    },
    /// A macro that says which files are left out is not plain text.
    #[error("RPM's macro %{name} of the image is `{value}`, which only RPM itself can fill in")]
    Macro {
        /// Its name.
        name: String,
        /// What it is defined as.
        value: String,
    },
    /// Nothing would run a script at the first boot.
    #[error("{script} is to wait for the first boot, and the image has no init system")]
    NoInit {
        /// The script.
        script: String,
    },
    /// A script failed whose success the installation depends on.
    #[error("{package}: the script %{scriptlet} fails with the status {status}")]
    ScriptletFailed {
        /// The package.
        package: String,
        /// Which script.
        scriptlet: &'static str,
        /// Its status.
        status: u8,
    },
    /// The image has no RPM database.
    #[error("the image has no RPM database, neither in /var/lib/rpm nor in /usr/lib/sysimage/rpm")]
    NoDatabase,
    /// The database cannot be written.
    #[error("{path} is an RPM database in the format {}, which can be read but not written", kind.name())]
    UnwritableDatabase {
        /// The database.
        path: ImagePath,
        /// Its format.
        kind: Kind,
    },
    /// The database could not be read or written.
    #[error("{path}: {problem}")]
    Database {
        /// The database.
        path: ImagePath,
        /// What is wrong.
        problem: String,
    },
    /// The record of an installed package is damaged.
    #[error("the record of {package}, which is installed, is damaged: {problem}")]
    Record {
        /// The package.
        package: String,
        /// What is wrong.
        problem: String,
    },
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A service could not be turned on.
    #[error(transparent)]
    Service(#[from] services::Error),
    /// A user or group could not be made.
    #[error(transparent)]
    Users(#[from] users::Error),
}

/// The names of files, one after the other.
fn all(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OtherFile { .. } => Some(
                "if this file is meant, give its digest, as `imgasm lock` does where the lock has it; if \
                 not, remove it, and `imgasm fetch` gets what the lock means",
            ),
            Self::OtherPackage { .. } => Some(
                "what the repository says of its packages is not so: ask another place for it, and with \
                 `repo_gpgcheck = true` if it is signed",
            ),
            Self::Unmet { .. } => Some(
                "install what is missing in the same step, or give `nodeps = true` to the package",
            ),
            Self::Scriptlet { can_wait: true, .. } => Some(
                "with `scriptlets = \"first-boot\"` it waits for the first boot, `[packages.override]` \
                 has steps in its place, and with \"skip\" it is left",
            ),
            Self::Scriptlet { .. } => Some(
                "`[packages.override]` has steps in its place, and with `scriptlets = \"skip\"` it is \
                 left; it runs too early to wait for the first boot",
            ),
            Self::Owner { .. } => Some("`user` and `group` steps before this one make accounts"),
            Self::UnwritableDatabase { .. } => Some(
                "with `database = \"side-file\"` packages are recorded in \
                 /var/lib/imgasm/rpm-headers instead",
            ),
            _ => None,
        }
    }
}
