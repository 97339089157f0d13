//! What is installed, with the licences and the files of each package.

use super::database::{Database, dpkg};
use super::file_list::raw_paths;
use super::{Error, Package, tags};
use crate::files::read_known;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;

/// The kinds of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RPM's.
    Rpm,
    /// Debian's.
    Deb,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Which one it is.
    pub package: Package,
    /// Its licence or licences, in the words of its database.
    pub licences: Vec<String>,
    /// The paths that it lists, in its order, whether they are there or not.
    pub paths: Vec<ImagePath>,
}

/// What is installed in an image, in the order of the names; `None` if the image has neither RPM's nor
/// Debian's database.
///
/// # Errors
/// [`Error::Database`] if it is not one, and what reading it brings.
pub fn inventory(fs: &dyn FileSystem) -> Result<Option<(Kind, Vec<Installed>)>, Error> {
    let (kind, mut all) = match Database::read(fs)? {
        Some(database) => (Kind::Rpm, of_rpm(&database)),
        None => match dpkg::read(fs)? {
            Some(packages) => (Kind::Deb, of_dpkg(fs, packages)?),
            None => return Ok(None),
        },
    };
    all.sort_by_cached_key(|one| (one.package.name.clone(), one.package.full_version()));
    Ok(Some((kind, all)))
}

fn of_rpm(database: &Database) -> Vec<Installed> {
    let headers = database.records.iter().map(|record| &record.header);
    let all = headers.map(|header| Installed {
        package: Package::of(header),
        licences: header.string(tags::LICENSE).into_iter().collect(),
        // Which files a damaged record lists nobody knows.
        paths: paths(raw_paths(header).unwrap_or_default()),
    });
    all.collect()
}

/// Those of the paths that can be in an image.
fn paths(raw: impl IntoIterator<Item = Vec<u8>>) -> Vec<ImagePath> {
    let paths = raw.into_iter().map(ImagePath::parse);
    paths.filter_map(Result::ok).collect()
}

fn of_dpkg(fs: &dyn FileSystem, packages: Vec<Package>) -> Result<Vec<Installed>, Error> {
    let read = |path: String| read_known(fs, &path);
    let one = |package: Package| {
        let name = &package.name;
        let arch = package.arch.as_deref().unwrap_or_default();
        // Packages of which several architectures may be installed have it in the name.
        let list = match read(format!("/var/lib/dpkg/info/{name}.list"))? {
            Some(list) => Some(list),
            None => read(format!("/var/lib/dpkg/info/{name}:{arch}.list"))?,
        };
        let list = list.unwrap_or_default();
        let lines = list
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty());
        let copyright = read(format!("/usr/share/doc/{name}/copyright"))?;
        Ok(Installed {
            licences: licences(&String::from_utf8_lossy(&copyright.unwrap_or_default())),
            paths: paths(lines.map(<[u8]>::to_vec)),
            package,
        })
    };
    packages.into_iter().map(one).collect()
}

/// The short names of the licences in a copyright file that is made for machines
/// (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>), each once.
fn licences(copyright: &str) -> Vec<String> {
    if !copyright.starts_with("Format:") {
        return Vec::new();
    }
    let names = copyright
        .lines()
        .filter_map(|line| line.strip_prefix("License:"));
    let names = names.map(|name| name.trim().to_owned());
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_of_a_copyright_file() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
                    \nFiles: *\nLicense: GPL-2+\n Words.\n\nFiles: debian/*\nLicense: Expat\n\
                    \nLicense: GPL-2+\n More words.\n";
        assert_eq!(licences(text), ["Expat", "GPL-2+"]);
        assert_eq!(licences("This is free.\nLicense: none\n"), [""; 0]);
    }
}
