//! How dnf, or yum before it, is configured: which repositories it asks.
//!
//! - [`config`]: the form of its files.
//! - [`variables`]: what `$name` in them stands for.
//! - [`repository`]: the repositories that are turned on; [`modules`]: the modules.

mod config;
pub mod modules;
pub mod repository;
pub mod variables;

pub use modules::Modules;
pub use repository::Repository;

use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree;

use crate::files::read_known;
use config::Sections;

/// The main files of dnf and of yum, of which the first counts that is there.
const MAIN_FILES: [&str; 2] = ["/etc/dnf/dnf.conf", "/etc/yum.conf"];
/// The section that is about no repository.
const MAIN: &str = "main";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is not what it must be.
    #[error("{path}: `{key}` of [{section}] is `{value}`, which is not {wanted}")]
    Value {
        /// The file.
        path: ImagePath,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A repository does not say where it is.
    #[error("{path}: [{section}] has no `baseurl`, `mirrorlist` or `metalink`")]
    NoPlace {
        /// The file.
        path: ImagePath,
        /// The section.
        section: String,
    },
    /// A repository is on a disk of the system itself.
    #[error("{path}: [{section}] is at {url}, a place of the system itself")]
    Local {
        /// The file.
        path: ImagePath,
        /// The section.
        section: String,
        /// Where it is.
        url: String,
    },
    /// A repository's key is not in the image.
    #[error("{path}: the key of [{section}] is at {url}, and not in the image")]
    Key {
        /// The file.
        path: ImagePath,
        /// The section.
        section: String,
        /// Where it is.
        url: String,
    },
    /// Packages must be signed, and no key is named.
    #[error("{path}: [{section}] has signed packages, and no `gpgkey`")]
    NoKey {
        /// The file.
        path: ImagePath,
        /// The section.
        section: String,
    },
    /// The image could not be read.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// The main file: where it is, and what it says; that of dnf and empty where there is none.
fn main_file(fs: &dyn FileSystem) -> tree::Result<(ImagePath, Sections)> {
    for path in MAIN_FILES {
        if let Some(content) = read_known(fs, path)? {
            return Ok((crate::known_path(path), Sections::parse(&content)));
        }
    }
    Ok((crate::known_path(MAIN_FILES[0]), Sections::default()))
}

/// Whether transactions leave documentation out.
pub(crate) fn leaves_out_documentation(fs: &dyn FileSystem) -> tree::Result<bool> {
    let (_, sections) = main_file(fs)?;
    let flags = sections.value(MAIN, "tsflags").unwrap_or_default();
    Ok(config::list(flags).any(|flag| flag == "nodocs"))
}
