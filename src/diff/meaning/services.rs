//! What a symbolic link starts at boot.

use super::text;
use crate::diff::change::{FieldChange, PathChange, PathState};
use imgasm_fs::path::ImagePath;

/// The service that a link is about, with what the link says about it before and after.
pub(super) fn of(change: &PathChange) -> Vec<FieldChange> {
    let old = change
        .old
        .as_ref()
        .and_then(|state| fact(&change.path, state));
    let new = change
        .new
        .as_ref()
        .and_then(|state| fact(&change.path, state));
    let renamed = matches!(change.kind, crate::diff::PathChangeKind::Renamed { .. });
    match (old, new) {
        // A renamed link says the same at both paths.
        _ if renamed => Vec::new(),
        (None, None) => Vec::new(),
        (old, new) if old == new => Vec::new(),
        (old, new) => {
            let name = old.as_ref().or(new.as_ref()).map(|(name, _)| name.clone());
            vec![FieldChange {
                name: name.unwrap_or_default(),
                old: old.map(|(_, says)| says),
                new: new.map(|(_, says)| says),
            }]
        }
    }
}

/// The name of a service, and what a link at this path says about it: `systemd.unit(5)`, and the
/// `rcN.d` links of System V init.
fn fact(path: &ImagePath, state: &PathState) -> Option<(String, String)> {
    let target = state.target.as_deref()?;
    let names: Vec<&[u8]> = path.names().collect();
    let (folder, name) = match *names.as_slice() {
        [b"etc", b"systemd", b"system", unit] => {
            let says = if target == b"/dev/null" {
                "masked".to_owned()
            } else {
                format!("an alias of {}", text(target))
            };
            return Some((format!("service {}", text(unit)), says));
        }
        [b"etc", b"systemd", b"system", folder, unit] => {
            let (by, how) = folder
                .strip_suffix(b".wants")
                .map(|by| (by, "wanted"))
                .or_else(|| Some((folder.strip_suffix(b".requires")?, "required")))?;
            let says = format!("{how} by {}", text(by));
            return Some((format!("service {}", text(unit)), says));
        }
        [b"etc", folder, name] | [b"etc", b"rc.d", folder, name] => (folder, name),
        _ => return None,
    };
    let level = folder.strip_prefix(b"rc")?.strip_suffix(b".d")?;
    let ([level], [kind @ (b'S' | b'K'), _, _, service @ ..]) = (level, name) else {
        return None;
    };
    if !level.is_ascii_digit() {
        return None;
    }
    let verb = if *kind == b'S' { "started" } else { "stopped" };
    let says = format!("{verb} in runlevel {}", char::from(*level));
    Some((format!("service {}", text(service)), says))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use imgasm_fs::FileType;

    #[test]
    fn links_that_start_something() {
        let says = |path: &str, target: &str| {
            let state = PathState {
                file_type: FileType::Symlink,
                permissions: 0o777,
                uid: 0,
                gid: 0,
                size: 0,
                device: None,
                target: Some(target.as_bytes().to_vec()),
                xattrs: BTreeMap::new(),
                hard_link_to: None,
                modified: None,
            };
            fact(&ImagePath::parse(path).unwrap(), &state).map(|(name, says)| name + ": " + &says)
        };
        assert_eq!(
            says("/etc/systemd/system/multi-user.target.wants/a.service", "x").as_deref(),
            Some("service a.service: wanted by multi-user.target")
        );
        assert_eq!(
            says("/etc/systemd/system/a.service", "/dev/null").as_deref(),
            Some("service a.service: masked")
        );
        assert_eq!(
            says("/etc/rc.d/rc3.d/S58ntpd", "../init.d/ntpd").as_deref(),
            Some("service ntpd: started in runlevel 3")
        );
        assert_eq!(says("/etc/rc.d/rc.local", "x"), None);
        assert_eq!(says("/etc/alternatives/editor", "/usr/bin/vi"), None);
    }
}
