//! `imgasm.lock`: exactly which packages a recipe's wishes come to.
//!
//! - [`mod@file`]: the lock as it is written.
//! - [`make`]: making it: the base's packages, the repositories, the solution.
//! - `advisories`: why packages become newer.
//! - [`repositories`]: the repositories that a recipe means.
//! - [`named`]: the packages that a recipe names by their files.
//! - [`store`]: the package files on the host.
//!
//! A build only ever reads the lock and the store; it asks no server.

mod advisories;
pub mod file;
pub mod make;
pub mod named;
pub mod repositories;
pub mod store;

use std::path::PathBuf;

pub use file::Lock;
pub use store::Store;

use imgasm_guest::packages;

/// Why a lock could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lock could not be read or written.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: std::io::Error,
    },
    /// There is no lock.
    #[error("{} is not there, and only it knows which packages the recipe means", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is not a lock.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The lock was made for something else.
    #[error("{} does not fit any more: {what} changed since it was made", path.display())]
    Stale {
        /// The file.
        path: PathBuf,
        /// What changed.
        what: &'static str,
    },
    /// Package files are missing.
    #[error("{count} of the packages are not here, such as {first}")]
    NotFetched {
        /// How many.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// The base has no RPM database.
    #[error("the base has no RPM database, so no package can be installed by name")]
    NoDatabase,
    /// The base's packages could not be read, or a package file is not sound.
    #[error(transparent)]
    Packages(#[from] packages::Error),
    /// The recipe names what lies outside of its project.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The base is configured with a repository that cannot be used.
    #[error(transparent)]
    Configuration(#[from] imgasm_guest::dnf::Error),
    /// The base could not be looked at.
    #[error(transparent)]
    Tree(#[from] imgasm_fs::tree::Error),
    /// Repositories could not be read, or the wishes not be met.
    #[error(transparent)]
    Repositories(#[from] imgasm_repo::Error),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } | Self::Stale { .. } => {
                Some("`imgasm lock` makes it; look at what differs before you commit it")
            }
            Self::NotFetched { .. } => Some("`imgasm fetch` gets them; a build asks no server"),
            Self::Repositories(error) => error.hint(),
            Self::Packages(error) => error.hint(),
            Self::Configuration(_) => Some(
                "a `[[repository]]` with this `id` takes its place; `enabled=0` in the base turns it off",
            ),
            _ => None,
        }
    }
}
