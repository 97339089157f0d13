//! The properties of a path that differ, as names and values.

use std::collections::BTreeSet;

use super::xattr;
use crate::diff::{FieldChange, PathChange, PathState};
use imgasm_fs::DeviceNumber;
use imgasm_fs::text::name_text;

/// The properties that differ; for a path that is new or gone, all that it has or had.
pub fn of_path(change: &PathChange) -> Vec<FieldChange> {
    let (old, new) = (change.old.as_ref(), change.new.as_ref());
    let mut fields = Vec::new();
    let mut compare = |name: &str, value: &dyn Fn(&PathState) -> Option<String>| {
        let (before, after) = (old.and_then(value), new.and_then(value));
        if before != after {
            fields.push(FieldChange {
                name: name.to_owned(),
                old: before,
                new: after,
            });
        }
    };
    compare("type", &|state| Some(state.file_type.name().to_owned()));
    compare("mode", &|state| Some(format!("{:04o}", state.permissions)));
    compare("uid", &|state| Some(state.uid.to_string()));
    compare("gid", &|state| Some(state.gid.to_string()));
    compare("size", &|state| {
        is_file(state).then(|| state.size.to_string())
    });
    compare("target", &|state| state.target.as_deref().map(name_text));
    compare("rdev", &|state| {
        state
            .device
            .map(|DeviceNumber { major, minor }| format!("{major}:{minor}"))
    });
    compare("hard_link_to", &|state| {
        state
            .hard_link_to
            .as_ref()
            .map(|path| name_text(path.as_bytes()))
    });
    compare("mtime", &|state| {
        state
            .modified
            .map(|time| format!("{}.{:09}", time.seconds, time.nanoseconds))
    });
    let names: BTreeSet<&Vec<u8>> = [old, new]
        .into_iter()
        .flatten()
        .flat_map(|state| state.xattrs.keys())
        .collect();
    for name in names {
        compare(&format!("xattr:{}", name_text(name)), &|state| {
            state.xattrs.get(name).map(|value| xattr::text(name, value))
        });
    }
    if let Some(content) = &change.content {
        let digest = |digest: Option<imgasm_block::Digest>| digest.map(|digest| digest.to_string());
        fields.push(FieldChange {
            name: "sha256".to_owned(),
            old: digest(content.old),
            new: digest(content.new),
        });
    }
    fields
}

fn is_file(state: &PathState) -> bool {
    state.file_type == imgasm_fs::FileType::Regular
}
