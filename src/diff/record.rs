//! Comparing a manifest with another one, or with an image, if its own image is not available.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::change::{FieldChange, Report};
use super::disk::table;
use super::{Error, Result, Side, fields};
use crate::manifest::Manifest;
use imgasm_block::Digest;
use imgasm_disk::Disk;
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::path_bytes;
use imgasm_fs::tree::{self, LastLink, locate};
use imgasm_fs::{FileSystem, FileType, digest};

/// Compares all that two manifests say.
pub fn compare(old: &Manifest, new: &Manifest) -> Report {
    let tables = [old, new].map(|manifest| manifest.image.partition_table.as_ref());
    let (before, after) = (flat(old), flat(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    Report {
        disk_len: old.image.size.max(new.image.size),
        record: differing
            .map(|name| FieldChange {
                name: name.clone(),
                old: before.get(name).cloned(),
                new: after.get(name).cloned(),
            })
            .collect(),
        disk: fields::of_disks((old.image.size, tables[0]), (new.image.size, tables[1])),
        partitions: fields::of_partitions(tables[0], tables[1]),
        ..Report::default()
    }
}

/// Compares a manifest with a disk whose digest is known: size, digest, partition table, and the
/// paths in the manifest. `side` is the manifest's.
pub fn compare_with_disk(
    manifest: &Manifest,
    side: Side,
    disk: &Disk,
    digest: Digest,
) -> Result<Report> {
    let disk_side = !side;
    let table = table(disk_side, disk)?;
    let recorded = (manifest.image.size, manifest.image.partition_table.as_ref());
    let seen = (disk.device().len(), table.as_ref());
    let (old, new) = match side {
        Side::Old => (recorded, seen),
        Side::New => (seen, recorded),
    };
    let mut report = Report {
        disk_len: old.0.max(new.0),
        disk: fields::of_disks(old, new),
        partitions: fields::of_partitions(old.1, new.1),
        ..Report::default()
    };
    if digest == manifest.image.digest && report.is_empty() {
        return Ok(report);
    }
    let mut compare = |name: String, recorded: Option<String>, seen: Option<String>| {
        if recorded != seen {
            let (old, new) = match side {
                Side::Old => (recorded, seen),
                Side::New => (seen, recorded),
            };
            report.record.push(FieldChange { name, old, new });
        }
    };
    let digests = [manifest.image.digest, digest].map(|digest| Some(digest.to_string()));
    let [recorded, seen] = digests;
    compare("image.digest".to_owned(), recorded, seen);
    if manifest.changes.is_empty() {
        return Ok(report);
    }
    let failed = |source| Error::Disk {
        side: disk_side,
        source,
    };
    let place = disk.root(None).map_err(failed)?;
    let root = disk.open_filesystem(place).map_err(failed)?;
    for change in &manifest.changes {
        // A path that is not possible in an image is not in this one.
        let Ok(path) = ImagePath::parse(path_bytes(&change.path)) else {
            continue;
        };
        let recorded = (change.r#type.clone(), change.sha256);
        let seen = state(root.as_ref(), &path).map_err(|error| Error::Path {
            side: disk_side,
            source: error,
        })?;
        let name = |what: &str| format!("changes.{}.{what}", change.path);
        compare(name("type"), recorded.0, seen.0);
        let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
        compare(name("sha256"), text(recorded.1), text(seen.1));
    }
    Ok(report)
}

/// The type of what is at a path, in the words of a manifest, and the digest of a regular file.
fn state(fs: &dyn FileSystem, path: &ImagePath) -> tree::Result<(Option<String>, Option<Digest>)> {
    let node = match locate(fs, path, LastLink::Keep) {
        Ok(place) => place.node,
        Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(node) = node else {
        return Ok((None, None));
    };
    let metadata = fs.metadata(node);
    let metadata = metadata.map_err(|source| tree::Error::FileSystem {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let is_file = metadata.file_type == FileType::Regular;
    let digest = is_file
        .then(|| digest::sha256(fs, node, path))
        .transpose()?;
    Ok((Some(metadata.file_type.name().to_owned()), digest))
}

/// All values of a manifest by dotted names, except those that reports have a place for.
fn flat(manifest: &Manifest) -> BTreeMap<String, String> {
    let mut value = serde_json::to_value(manifest).expect("plain values are always JSON");
    if let Some(image) = value.get_mut("image").and_then(Value::as_object_mut) {
        image.shift_remove("size");
        image.shift_remove("partition_table");
    }
    let mut values = BTreeMap::new();
    let mut pending = vec![(String::new(), value)];
    while let Some((name, value)) = pending.pop() {
        let below = |key: &str| match name.as_str() {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        };
        match value {
            Value::Object(fields) => {
                pending.extend(fields.into_iter().map(|(key, value)| (below(&key), value)));
            }
            Value::Array(items) => {
                let keyed = items.into_iter().enumerate().map(|(index, item)| {
                    let key = ["path", "name", "device_name"]
                        .iter()
                        .find_map(|key| item.get(key)?.as_str().map(str::to_owned));
                    (below(&key.unwrap_or_else(|| index.to_string())), item)
                });
                pending.extend(keyed);
            }
            Value::Null => {}
            Value::String(text) => drop(values.insert(name, text)),
            other => drop(values.insert(name, other.to_string())),
        }
    }
    values
}
