//! What `$name` stands for in dnf's configuration.

use std::collections::BTreeMap;

use imgasm_fs::tree;
use imgasm_fs::{FileSystem, FileType};

use super::{MAIN, main_file};
use crate::files::{list, read_optional};
use crate::packages::Package;
use crate::packages::database::Record;
use crate::packages::header::Header;
use crate::packages::version::{provides, sense};
use crate::{Arch, Facts, known_path};

/// The folders of variables, of which the later counts.
const FOLDERS: [&str; 2] = ["/etc/yum/vars", "/etc/dnf/vars"];
/// What the package provides whose version is that of the system, the first first.
const RELEASE: [&str; 6] = [
    "system-release(releasever)",
    "system-release",
    "distribution-release(releasever)",
    "distribution-release",
    "redhat-release",
    "suse-release",
];

/// Values by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of a system with these packages.
    pub fn read(fs: &dyn FileSystem, facts: &Facts, installed: &[Record]) -> tree::Result<Self> {
        let mut values = BTreeMap::new();
        let version = || facts.os_release.version_id().map(str::to_owned);
        if let Some(release) = release(installed).or_else(version) {
            values.insert("releasever".to_owned(), release);
        }
        let (_, main) = main_file(fs)?;
        if let Some(release) = main.value(MAIN, "releasever") {
            values.insert("releasever".to_owned(), release.to_owned());
        }
        for folder in FOLDERS.map(known_path) {
            for (name, kind) in list(fs, &folder)? {
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                if kind == FileType::Directory || !name.iter().all(is_name) {
                    continue;
                }
                let content = read_optional(fs, &folder.child(&name))?.unwrap_or_default();
                let content = String::from_utf8_lossy(&content);
                let value = content.lines().next().unwrap_or_default();
                let name = String::from_utf8_lossy(&name).into_owned();
                values.insert(name, value.to_owned());
            }
        }
        // These two nobody may set.
        let arch = match facts.arch {
            Some(Arch::Arm64) => "aarch64",
            Some(arch) => arch.name(),
            None => "noarch",
        };
        for name in ["arch", "basearch"] {
            values.insert(name.to_owned(), arch.to_owned());
        }
        Ok(Self(values))
    }

    /// A text with the values in the places of their names, `$name` or `${name}`; what is not known
    /// stays as it is.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            let is_braced = after.starts_with('{');
            let name = &after[usize::from(is_braced)..];
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = &name[..name.find(|c| !is_part(c)).unwrap_or(name.len())];
            let end = name.len() + if is_braced { 2 } else { 0 };
            let is_whole = !is_braced || after.get(end - 1..end) == Some("}");
            match self.0.get(name) {
                Some(value) if is_whole => {
                    filled.push_str(value);
                    rest = &after[end..];
                }
                _ => {
                    filled.push('$');
                    rest = after;
                }
            }
        }
        filled + rest
    }
}

/// The version of the system, by the package that stands for it.
fn release(installed: &[Record]) -> Option<String> {
    RELEASE.into_iter().find_map(|wanted| {
        let provider = |header: &Header| {
            let provided = provides(header);
            let provided = provided.into_iter().find(|one| one.name == wanted)?;
            let package = Package::of(header);
            let is_exact = provided.flags & sense::COMPARISON == sense::EQUAL;
            let is_named_so = package.name == wanted;
            let has_version = is_exact && !provided.version.is_empty() && !is_named_so;
            Some(if has_version {
                provided.version
            } else {
                package.version
            })
        };
        installed.iter().find_map(|record| provider(&record.header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let values = [
            ("releasever", "2023.5"),
            ("basearch", "x86_64"),
            ("a", "$a"),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let values = Variables(values.into());
        for (text, filled) in [
            (
                "https://x/$releasever/$basearch/",
                "https://x/2023.5/x86_64/",
            ),
            ("${releasever}-$basearch", "2023.5-x86_64"),
            (
                "$releaseverx $other ${other}",
                "$releaseverx $other ${other}",
            ),
            ("$a$a", "$a$a"),
            ("${basearch $ ${", "${basearch $ ${"),
            ("${basearch", "${basearch"),
            ("100$", "100$"),
        ] {
            assert_eq!(values.fill(text), filled);
        }
    }
}
