//! The properties of disks, partitions and filesystems that differ.

use std::collections::BTreeSet;

use super::change::{FieldChange, PartitionChange};
use crate::inspect::{PartitionDescription, TableDescription};
use imgasm_fs::FileSystemInfo;
use imgasm_fs::text::name_text;

/// The properties of something on both sides; only those that differ are kept.
#[derive(Default)]
pub(super) struct Fields(pub(super) Vec<FieldChange>);

impl Fields {
    pub(super) fn compare<T: PartialEq + ToString>(
        &mut self,
        name: &str,
        old: Option<T>,
        new: Option<T>,
    ) {
        if old != new {
            self.0.push(FieldChange {
                name: name.to_owned(),
                old: old.map(|value| value.to_string()),
                new: new.map(|value| value.to_string()),
            });
        }
    }
}

/// The size of two disks, and their tables except the partitions.
pub(super) fn of_disks(
    (old_len, old): (u64, Option<&TableDescription>),
    (new_len, new): (u64, Option<&TableDescription>),
) -> Vec<FieldChange> {
    let mut fields = Fields::default();
    fields.compare("size", Some(old_len), Some(new_len));
    compare_tables(&mut fields, old, new);
    fields.0
}

fn compare_tables(
    fields: &mut Fields,
    old: Option<&TableDescription>,
    new: Option<&TableDescription>,
) {
    fields.compare(
        "partition_table",
        old.map(|t| &t.kind),
        new.map(|t| &t.kind),
    );
    fields.compare("id", old.map(|t| &t.id), new.map(|t| &t.id));
    fields.compare(
        "sector_size",
        old.map(|t| t.sector_size),
        new.map(|t| t.sector_size),
    );
    fields.compare("hybrid", old.map(|t| t.hybrid), new.map(|t| t.hybrid));
    let boot_code =
        |table: Option<&TableDescription>| table.and_then(|t| t.boot_code_sha256.clone());
    fields.compare("boot_code", boot_code(old), boot_code(new));
}

/// The partitions of two tables, by their numbers.
pub(super) fn of_partitions(
    old: Option<&TableDescription>,
    new: Option<&TableDescription>,
) -> Vec<PartitionChange> {
    let partitions = |table: Option<&TableDescription>| {
        table
            .map(|table| table.partitions.clone())
            .unwrap_or_default()
    };
    let (old, new) = (partitions(old), partitions(new));
    let numbers: BTreeSet<u32> = old
        .iter()
        .chain(&new)
        .map(|partition| partition.number)
        .collect();
    let mut changes = Vec::new();
    for number in numbers {
        let find =
            |all: &'_ [PartitionDescription]| all.iter().find(|p| p.number == number).cloned();
        let (a, b) = (find(&old), find(&new));
        let (a, b) = (a.as_ref(), b.as_ref());
        let mut fields = Fields::default();
        // The number of the type, and its name if that is known.
        let kind = |p: &PartitionDescription| match &p.type_name {
            Some(name) => format!("{} ({name})", p.r#type),
            None => p.r#type.clone(),
        };
        fields.compare("type", a.map(kind), b.map(kind));
        fields.compare(
            "guid",
            a.and_then(|p| p.guid.as_ref()),
            b.and_then(|p| p.guid.as_ref()),
        );
        fields.compare("name", a.map(|p| &p.name), b.map(|p| &p.name));
        fields.compare(
            "attributes",
            a.map(|p| p.attributes),
            b.map(|p| p.attributes),
        );
        fields.compare("first_lba", a.map(|p| p.first_lba), b.map(|p| p.first_lba));
        fields.compare("last_lba", a.map(|p| p.last_lba), b.map(|p| p.last_lba));
        if !fields.0.is_empty() {
            changes.push(PartitionChange {
                number,
                fields: fields.0,
            });
        }
    }
    changes
}

/// The parameter in which ext4 stores where it was mounted last: a trace of use, like times.
const LAST_MOUNT: &str = "Last mounted on";

/// The kind and the parameters of two filesystems; traces of use only if `times` are compared.
pub(super) fn of_filesystems(
    old: &FileSystemInfo,
    new: &FileSystemInfo,
    times: bool,
) -> Vec<FieldChange> {
    let mut fields = Fields::default();
    fields.compare("kind", Some(old.kind), Some(new.kind));
    fields.compare(
        "label",
        Some(name_text(&old.label)),
        Some(name_text(&new.label)),
    );
    fields.compare("uuid", Some(&old.uuid), Some(&new.uuid));
    fields.compare(
        "features",
        Some(old.features.join(" ")),
        Some(new.features.join(" ")),
    );
    fields.compare("block_size", Some(old.block_size), Some(new.block_size));
    fields.compare("size", Some(old.total_bytes), Some(new.total_bytes));
    fields.compare(
        "needs_recovery",
        Some(old.needs_recovery),
        Some(new.needs_recovery),
    );
    let names: BTreeSet<&str> = old
        .parameters
        .iter()
        .chain(&new.parameters)
        .map(|(name, _)| *name)
        .filter(|name| times || *name != LAST_MOUNT)
        .collect();
    for name in names {
        let find = |info: &'_ FileSystemInfo| {
            info.parameters
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        };
        fields.compare(name, find(old), find(new));
    }
    fields.0
}
