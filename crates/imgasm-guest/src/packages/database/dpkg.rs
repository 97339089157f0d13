//! The status file of Debian's packages (deb-control(5), dpkg(1) under "FILES").

use crate::known_path;
use crate::packages::{Error, Package};
use imgasm_fs::FileSystem;
use imgasm_fs::tree;

/// Where the file is.
pub const PATH: &str = "/var/lib/dpkg/status";
/// The most that is read of it, in bytes.
const LIMIT: u64 = 256 << 20;

/// The packages that are installed; `None` where the image has no such file.
pub(in super::super) fn read(fs: &dyn FileSystem) -> Result<Option<Vec<Package>>, Error> {
    let path = known_path(PATH);
    if !tree::is_file(fs, &path)? {
        return Ok(None);
    }
    let content = tree::read_file(fs, &path, LIMIT)?;
    Ok(Some(parse(&String::from_utf8_lossy(&content))))
}

/// The installed ones among the paragraphs of a status file.
fn parse(content: &str) -> Vec<Package> {
    let paragraphs = content.split("\n\n");
    paragraphs.filter_map(package).collect()
}

fn package(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim)
    };
    // What was asked for, whether that is in order, and how it stands.
    let is_installed = field("Status")?.split_whitespace().nth(2) == Some("installed");
    if !is_installed {
        return None;
    }
    let whole = field("Version")?;
    let (epoch, rest) = match whole.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().ok(), rest),
        None => (None, whole),
    };
    let (version, release) = match rest.rsplit_once('-') {
        Some((version, revision)) => (version, Some(revision.to_owned())),
        None => (rest, None),
    };
    Some(Package {
        name: field("Package")?.to_owned(),
        epoch,
        version: version.to_owned(),
        release,
        arch: field("Architecture").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let packages = parse(
            "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\n\
             Version: 12.4+deb12u5\nDescription: x\n Package: no\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1-1\n\n\
             Package: login\nStatus: install ok installed\nArchitecture: amd64\n\
             Version: 1:4.13+dfsg1-1+b1\n",
        );
        let text: Vec<_> = packages.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "base-files-12.4+deb12u5.amd64",
                "login-1:4.13+dfsg1-1+b1.amd64"
            ]
        );
    }
}
