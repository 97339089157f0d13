//! `filelists.xml`: all files of all packages. It is the largest of the files and seldom needed, so
//! only the paths that someone depends on are kept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::BufRead;

use super::primary::full_version;
use super::xml::{self, Attributes, Visitor};

/// Which packages have a path, by their names as [`crate::package::Package::nevra`] gives them.
pub type Owners = HashMap<String, Vec<String>>;

/// Reads which packages have one of these paths: the paths by the packages.
///
/// # Errors
/// What is wrong with the file.
pub fn read(reader: impl BufRead, wanted: &BTreeSet<String>) -> Result<Owners, String> {
    let mut lists = Lists {
        wanted: wanted.iter().map(String::as_str).collect(),
        owners: Owners::new(),
        package: (String::new(), String::new()),
        nevra: String::new(),
    };
    xml::read(reader, "filelists", &mut lists)?;
    Ok(lists.owners)
}

struct Lists<'w> {
    wanted: HashSet<&'w str>,
    owners: Owners,
    package: (String, String),
    nevra: String,
}

impl Visitor for Lists<'_> {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        match name {
            "package" => {
                let (name, arch) = (attributes.wanted("name")?, attributes.wanted("arch")?);
                self.package = (name.into_owned(), arch.into_owned());
            }
            "version" => {
                let (name, arch) = &self.package;
                self.nevra = format!("{name}-{}.{arch}", full_version(attributes)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str, text: &str) -> Result<(), String> {
        if name == "file" && self.wanted.contains(text) {
            let owned = self.owners.entry(self.nevra.clone()).or_default();
            owned.push(text.to_owned());
        }
        Ok(())
    }
}
