//! Which system a root filesystem is.

use super::{Arch, Init, OsRelease};
use imgasm_fs::FileSystem;
use imgasm_fs::tree::Result;

/// What is known about a root filesystem; each part may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The distribution.
    pub os_release: OsRelease,
    /// The init system.
    pub init: Option<Init>,
    /// The architecture of its programs.
    pub arch: Option<Arch>,
}

impl Facts {
    /// Looks at a root filesystem.
    pub fn detect(fs: &dyn FileSystem) -> Result<Self> {
        Ok(Self {
            os_release: OsRelease::read(fs)?.unwrap_or_default(),
            init: Init::detect(fs)?,
            arch: Arch::detect(fs)?,
        })
    }

    /// Whether the distribution is `id`, or is derived from it.
    pub fn is_like(&self, id: &str) -> bool {
        self.os_release.id() == id || self.os_release.id_like().any(|like| like == id)
    }
}
