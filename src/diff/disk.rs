//! Two disks beside each other.

use std::collections::BTreeSet;
use std::ops::Range;

use super::change::{FieldChange, FileSystemReport, PartitionChange, RawChange, Report};
use super::raw::{self, Ranges};
use super::tree::{self, TreeOptions};
use super::{Error, Options, Result, Side, renames};
use crate::block::ChunkMap;
use crate::disk::{self, Disk, Place};
use crate::fs::{FileExtent, FileSystem, FileSystemInfo};
use crate::inspect::{PartitionDescription, TableDescription, table_description};
use crate::text::name_text;

/// Compares two disks. Chunk maps, where both are at hand, save the reading of what is the same.
pub fn compare(
    old: &Disk,
    new: &Disk,
    maps: Option<(&ChunkMap, &ChunkMap)>,
    options: Options,
) -> Result<Report> {
    let (before, after) = (old.device(), new.device());
    let differing = raw::differing(before, after, maps)?;
    let layout = new
        .places()
        .into_iter()
        .filter_map(|place| Some((place.to_string(), new.range(place)?)));
    let mut report = Report {
        disk_len: before.len().max(after.len()),
        changed: differing.clone(),
        layout: layout.collect(),
        ..Report::default()
    };
    if differing.is_empty() && before.len() == after.len() {
        return Ok(report);
    }
    let mut disk = Fields::default();
    disk.compare("size", Some(before.len()), Some(after.len()));
    let tables = (table(Side::Old, old)?, table(Side::New, new)?);
    compare_tables(&mut disk, tables.0.as_ref(), tables.1.as_ref());
    report.disk = disk.0;
    report.partitions = compare_partitions(tables.0.as_ref(), tables.1.as_ref());

    let mut unexplained = differing.clone();
    if !report.is_empty() {
        // What the table says was compared; where that differs, so do the sectors that hold it.
        unexplained = raw::difference(
            &unexplained,
            &table_sectors(&tables, [before.len(), after.len()]),
        );
    }
    let places: BTreeSet<Place> = old.places().into_iter().chain(new.places()).collect();
    for place in places {
        let ranges = (old.range(place), new.range(place));
        let (Some(old_range), Some(new_range)) = ranges else {
            // A partition on one side only is told of as such, with everything in it.
            let gone = ranges.0.or(ranges.1).into_iter().collect::<Vec<_>>();
            unexplained = raw::difference(&unexplained, &gone);
            continue;
        };
        let span = raw::union(
            std::slice::from_ref(&old_range),
            std::slice::from_ref(&new_range),
        );
        let here = raw::intersection(&differing, &span);
        if here.is_empty() {
            continue;
        }
        unexplained = raw::difference(&unexplained, &span);
        let pair = Pair {
            place,
            old,
            old_range,
            new,
            new_range,
        };
        pair.compare(&here, options, &mut report)?;
    }
    push_raw(&mut report.raw, "outside any partition", &unexplained);
    Ok(report)
}

/// The properties of something on both sides, of which those that differ are kept.
#[derive(Default)]
struct Fields(Vec<FieldChange>);

impl Fields {
    fn compare<T: PartialEq + ToString>(&mut self, name: &str, old: Option<T>, new: Option<T>) {
        if old != new {
            self.0.push(FieldChange {
                name: name.to_owned(),
                old: old.map(|value| value.to_string()),
                new: new.map(|value| value.to_string()),
            });
        }
    }
}

fn table(side: Side, disk: &Disk) -> Result<Option<TableDescription>> {
    let table = disk
        .table()
        .map_err(|source| Error::Disk { side, source })?;
    Ok(table.map(|table| table_description(&table)))
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

fn compare_partitions(
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
        fields.compare("type", a.map(|p| &p.r#type), b.map(|p| &p.r#type));
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

/// Where tables and boot code lie: the first sectors and, of a GPT, the last ones (UEFI 2.10,
/// section 5.3: MBR, header and 16 KiB of entries; entries and header at the end).
fn table_sectors(
    tables: &(Option<TableDescription>, Option<TableDescription>),
    lens: [u64; 2],
) -> Ranges {
    const ENTRIES_BYTES: u64 = 16 << 10;
    let mut sectors = Ranges::new();
    for (table, len) in [&tables.0, &tables.1].into_iter().zip(lens) {
        let Some(table) = table else { continue };
        let size = table.sector_size;
        if table.kind == "gpt" {
            let backup = len.saturating_sub(size + ENTRIES_BYTES);
            sectors = raw::union(
                &sectors,
                std::slice::from_ref(&(0..2 * size + ENTRIES_BYTES)),
            );
            sectors = raw::union(&sectors, std::slice::from_ref(&(backup..len)));
        } else {
            sectors = raw::union(&sectors, std::slice::from_ref(&(0..size)));
        }
    }
    sectors
}

/// One place on both disks.
struct Pair<'a> {
    place: Place,
    old: &'a Disk,
    old_range: Range<u64>,
    new: &'a Disk,
    new_range: Range<u64>,
}

/// A filesystem with what is to be compared of it.
type Opened = (Box<dyn FileSystem>, FileSystemInfo);

impl Pair<'_> {
    /// Compares what lies here, where the bytes `differing` of the disks are not the same.
    fn compare(&self, differing: &Ranges, options: Options, report: &mut Report) -> Result<()> {
        let name = self.place.to_string();
        let filesystems = (
            self.open(Side::Old, self.old)?,
            self.open(Side::New, self.new)?,
        );
        let (Some((old, old_info)), Some((new, new_info))) = filesystems else {
            push_raw(&mut report.raw, &name, differing);
            return Ok(());
        };
        let same_device_bytes = |extent: &FileExtent| {
            let start = self.old_range.start.saturating_add(extent.device_offset);
            let bytes = start..start.saturating_add(extent.len);
            self.old_range.start == self.new_range.start && !raw::touches(differing, &bytes)
        };
        let tree_options = TreeOptions {
            times: options.times,
            same_device_bytes: &same_device_bytes,
        };
        let paths = renames::pair(tree::compare(old.as_ref(), new.as_ref(), &tree_options)?);
        let fields = compare_infos(&old_info, &new_info);
        let explained = !(paths.is_empty() && fields.is_empty());
        let used = raw::union(
            &self.used(Side::Old, old.as_ref(), &self.old_range)?,
            &self.used(Side::New, new.as_ref(), &self.new_range)?,
        );
        if !explained {
            let metadata = raw::intersection(differing, &used);
            push_raw(
                &mut report.raw,
                &format!("{name}, in use: times or layout"),
                &metadata,
            );
        }
        push_raw(
            &mut report.raw,
            &format!("{name}, free space"),
            &raw::difference(differing, &used),
        );
        if explained {
            let partition = match self.place {
                Place::WholeDisk => None,
                Place::Partition(number) => Some(number),
            };
            report.filesystems.push(FileSystemReport {
                partition,
                fields,
                paths,
            });
        }
        Ok(())
    }

    /// Opens the filesystem, if there is one that can be read.
    fn open(&self, side: Side, disk: &Disk) -> Result<Option<Opened>> {
        let failed = |source| Error::Disk { side, source };
        if disk.probe(self.place).map_err(failed)?.is_none() {
            return Ok(None);
        }
        match disk.open_filesystem(self.place) {
            Ok(fs) => {
                let info = fs.info().map_err(|source| {
                    failed(disk::Error::FileSystem {
                        place: self.place,
                        source,
                    })
                })?;
                Ok(Some((fs, info)))
            }
            Err(disk::Error::FileSystem {
                source: crate::fs::Error::Incompatible { .. },
                ..
            }) => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// What a filesystem uses, as bytes of the disk.
    fn used(&self, side: Side, fs: &dyn FileSystem, range: &Range<u64>) -> Result<Ranges> {
        let used = fs.used_extents().map_err(|source| Error::Disk {
            side,
            source: disk::Error::FileSystem {
                place: self.place,
                source,
            },
        })?;
        let shift = |at: u64| range.start.saturating_add(at).min(range.end);
        Ok(used
            .into_iter()
            .map(|used| shift(used.start)..shift(used.end))
            .collect())
    }
}

fn compare_infos(old: &FileSystemInfo, new: &FileSystemInfo) -> Vec<FieldChange> {
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

fn push_raw(changes: &mut Vec<RawChange>, region: &str, ranges: &Ranges) {
    if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
        changes.push(RawChange {
            region: region.to_owned(),
            range: first.start..last.end,
            bytes: raw::total(ranges),
        });
    }
}
