//! SELinux's labels: a machine that enforces its policy cannot use files without them.

use super::super::{Error, Findings};
use imgasm_fs::FileSystem;
use imgasm_fs::tree::walk;
use imgasm_guest::files::read_known;
use imgasm_guest::known_path;

/// The attribute with the label.
const ATTRIBUTE: &[u8] = b"security.selinux";

/// Folders without which a machine cannot start.
const FOLDERS: [&str; 4] = ["/etc", "/usr/bin", "/usr/lib/systemd", "/home"];

/// The most paths that are looked at, and that are named.
const LOOK_LIMIT: usize = 20_000;
const NAME_LIMIT: usize = 3;

pub(super) fn check(fs: &dyn FileSystem) -> Result<Findings, Error> {
    let configuration = read_known(fs, "/etc/selinux/config")?.unwrap_or_default();
    let enforces = String::from_utf8_lossy(&configuration)
        .lines()
        .any(|line| line.trim() == "SELINUX=enforcing");
    if !enforces {
        return Ok(Findings::skipped("SELinux does not enforce a policy"));
    }
    if imgasm_fs::tree::exists(fs, &known_path("/.autorelabel"))? {
        return Ok(Findings::skipped(
            "the machine labels its files when it starts",
        ));
    }
    let (mut looked, mut without) = (0, Vec::new());
    for folder in FOLDERS {
        let path = known_path(folder);
        if !imgasm_fs::tree::exists(fs, &path)? {
            continue;
        }
        for entry in walk(fs, &path)?.take(LOOK_LIMIT.saturating_sub(looked)) {
            let entry = entry?;
            looked += 1;
            let labelled =
                fs.xattrs(entry.node)
                    .map_err(|source| imgasm_fs::tree::Error::FileSystem {
                        action: "read",
                        path: entry.path.clone(),
                        source,
                    })?;
            if !labelled.contains_key(ATTRIBUTE) {
                without.push(entry.path.to_string());
            }
        }
    }
    let mut findings = Findings::default();
    if !without.is_empty() {
        let named = without.iter().take(NAME_LIMIT).cloned();
        let named: Vec<_> = named.collect();
        let more = match without.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        findings.warning(format!(
            "SELinux enforces its policy, and there is no label at {}{more}",
            named.join(", ")
        ));
    }
    Ok(findings)
}
