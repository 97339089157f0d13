//! Reading the configuration of an image, with a bound: thousands of links can lead to one large file.

use std::cell::Cell;

use super::super::Error;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_guest::files::read_optional;
use imgasm_guest::services::systemd::install_section::InstallSection;
use imgasm_guest::services::systemd::name::UnitName;
use imgasm_guest::services::systemd::units::{self, Found};

/// How much all checks together read: a hundred times what a whole distribution has.
const MOST_BYTES: u64 = 64 << 20;

/// A reader of configuration that has an end.
pub(super) struct Reader<'a> {
    /// What it reads.
    pub(super) fs: &'a dyn FileSystem,
    left: Cell<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fs: &'a dyn FileSystem) -> Self {
        Self {
            fs,
            left: Cell::new(MOST_BYTES),
        }
    }

    /// The content of a file; empty if nothing is there.
    pub(super) fn read(&self, path: &ImagePath) -> Result<Vec<u8>, Error> {
        let content = read_optional(self.fs, path)?.unwrap_or_default();
        self.take(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
        Ok(content)
    }

    /// Finds a unit; what it asks for when it is enabled is left out.
    pub(super) fn find(&self, name: &UnitName) -> Result<Found, Error> {
        let mut found = units::find(self.fs, name)?;
        if let Found::Unit(unit) = &mut found {
            self.take(unit.bytes)?;
            unit.install = InstallSection::default();
        }
        Ok(found)
    }

    /// Takes work that is as much as reading so many bytes.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or_default());
        left.map(drop).ok_or(Error::TooMuch)
    }
}
