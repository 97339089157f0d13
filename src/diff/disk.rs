//! Two disks beside each other.

use std::collections::BTreeSet;
use std::ops::Range;

use super::change::{FileSystemReport, RawChange, Report};
use super::content::DeviceBytes;
use super::meaning::Meanings;
use super::raw::{self, Ranges};
use super::tree::{self, TreeChanges, TreeOptions};
use super::work::Work;
use super::{Error, Incomplete, Options, Result, Side, fields, renames};
use crate::inspect::{TableDescription, table_description};
use imgasm_disk::{Disk, Place};
use imgasm_fs::{FileSystem, FileSystemInfo};

/// Bytes that ext2, ext3 and ext4 leave to boot loaders: the superblock follows them (kernel
/// documentation, "ext4 Data Structures and Algorithms", Layout).
const EXT_BOOT_BYTES: u64 = 1024;

/// Compares two disks. If `suspects` are given, the caller knows that the disks are equal outside
/// them, and only they are read.
///
/// # Errors
/// [`Incomplete`]: what could not be read, with what was found before it.
pub fn compare(
    old: &Disk,
    new: &Disk,
    suspects: Option<&Ranges>,
    options: &Options,
) -> Result<Report, Incomplete> {
    let mut report = Report::default();
    match compare_into(&mut report, old, new, suspects, options) {
        Ok(()) => Ok(report),
        Err(error) => Err(Incomplete {
            report: Box::new(report),
            error,
        }),
    }
}

fn compare_into(
    report: &mut Report,
    old: &Disk,
    new: &Disk,
    suspects: Option<&Ranges>,
    options: &Options,
) -> Result<()> {
    let (before, after) = (old.device(), new.device());
    report.disk_len = before.len().max(after.len());
    report.layout = new
        .places()
        .into_iter()
        .filter_map(|place| Some((place.to_string(), new.range(place)?)))
        .collect();
    let tables = (table(Side::Old, old)?, table(Side::New, new)?);
    report.disk = fields::of_disks(
        (before.len(), tables.0.as_ref()),
        (after.len(), tables.1.as_ref()),
    );
    report.partitions = fields::of_partitions(tables.0.as_ref(), tables.1.as_ref());

    let differing = raw::differing(before, after, suspects)?;
    let mut explained = Ranges::new();
    if !report.is_empty() {
        // The table has been compared, and explains differences in its sectors.
        explained.extend(table_sectors(&tables, [before.len(), after.len()]));
    }
    let mut failure = None;
    let mut work = Work::default();
    let places: BTreeSet<Place> = old.places().into_iter().chain(new.places()).collect();
    for place in places {
        let ranges = (old.range(place), new.range(place));
        let (Some(old_range), Some(new_range)) = ranges else {
            // A partition on one side only is reported as a whole, with everything in it.
            explained.extend(ranges.0.or(ranges.1));
            continue;
        };
        let span = raw::union(
            std::slice::from_ref(&old_range),
            std::slice::from_ref(&new_range),
        );
        let here = raw::intersection(&differing, &span);
        explained.extend(span);
        if here.is_empty() {
            continue;
        }
        let pair = Pair {
            place,
            old,
            old_range,
            new,
            new_range,
        };
        // Damage in one place does not concern the others.
        if let Err(error) = pair.compare(here, options, &mut work, report) {
            failure.get_or_insert(error);
        }
    }
    raw::join(&mut explained);
    let unexplained = raw::difference(&differing, &explained);
    push_raw(&mut report.raw, "outside any partition", &unexplained);
    report.changed = differing;
    failure.map_or(Ok(()), Err)
}

pub(super) fn table(side: Side, disk: &Disk) -> Result<Option<TableDescription>> {
    let table = disk
        .table()
        .map_err(|source| Error::Disk { side, source })?;
    Ok(table.map(|table| table_description(&table)))
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

/// A filesystem and its properties.
type Opened = (Box<dyn FileSystem>, FileSystemInfo);

impl Pair<'_> {
    /// Compares what lies here; `differing` are the bytes of the disks that differ.
    fn compare(
        &self,
        differing: Ranges,
        options: &Options,
        work: &mut Work,
        report: &mut Report,
    ) -> Result<()> {
        let name = self.place.to_string();
        let filesystems = (
            self.open(Side::Old, self.old)?,
            self.open(Side::New, self.new)?,
        );
        let (Some((old, old_info)), Some((new, new_info))) = filesystems else {
            push_raw(&mut report.raw, &name, &differing);
            return Ok(());
        };
        let tree_options = TreeOptions {
            times: options.times,
            show_secrets: options.show_secrets,
            secrets: &options.secrets,
            lines: options.lines,
            device: DeviceBytes {
                differing: &differing,
                starts: [self.old_range.start, self.new_range.start],
            },
        };
        let TreeChanges {
            paths,
            mut bytes,
            failure,
        } = tree::compare(old.as_ref(), new.as_ref(), &tree_options, work);
        let paths = renames::pair(paths);
        let mut meanings = Meanings::new(old.as_ref(), new.as_ref(), work);
        let paths = paths.rewrite(|_, mut change| {
            change.meanings = meanings.of(&change);
            Some(change)
        });
        let fields = fields::of_filesystems(&old_info, &new_info, options.times);
        let partition = match self.place {
            Place::WholeDisk => None,
            Place::Partition(number) => Some(number),
        };
        let explained = !(paths.is_empty() && fields.is_empty());
        if explained {
            report.filesystems.push(FileSystemReport {
                partition,
                fields,
                paths,
                structure_bytes: 0,
            });
        }
        if let Some(error) = failure {
            return Err(error);
        }
        raw::join(&mut bytes.content);
        raw::join(&mut bytes.slack);
        let regions = self.regions(
            (old.as_ref(), &old_info),
            (new.as_ref(), &new_info),
            bytes.slack,
        )?;
        let mut rest = differing;
        for (what, ranges) in regions {
            let here = raw::intersection(&rest, &ranges);
            push_raw(&mut report.raw, &format!("{name}, {what}"), &here);
            rest = raw::difference(&rest, &ranges);
        }
        match report.filesystems.last_mut().filter(|_| explained) {
            Some(filesystem) => {
                let structures = raw::difference(&rest, &bytes.content);
                filesystem.structure_bytes = raw::total(&structures);
            }
            // The same content may lie elsewhere.
            None => push_raw(
                &mut report.raw,
                &format!("{name}, in use: times or layout"),
                &rest,
            ),
        }
        Ok(())
    }

    /// The parts of a place that no change of a path can explain, with the names of these regions.
    /// Everything else is the content of files, or metadata.
    fn regions(
        &self,
        old: (&dyn FileSystem, &FileSystemInfo),
        new: (&dyn FileSystem, &FileSystemInfo),
        slack: Ranges,
    ) -> Result<[(&'static str, Ranges); 4]> {
        let start = self.old_range.start.min(self.new_range.start);
        let end = self.old_range.end.max(self.new_range.end);
        // The bytes that a filesystem of this kind leaves to boot loaders.
        let boot_bytes = if old.1.kind.starts_with("ext") && new.1.kind.starts_with("ext") {
            EXT_BOOT_BYTES
        } else {
            0
        };
        let ends = [
            self.old_range.start.saturating_add(old.1.total_bytes),
            self.new_range.start.saturating_add(new.1.total_bytes),
        ];
        let end_of_both = ends[0].max(ends[1]).min(end);
        let used = raw::union(
            &self.used(Side::Old, old.0, &self.old_range)?,
            &self.used(Side::New, new.0, &self.new_range)?,
        );
        let one = |range: Range<u64>| -> Ranges { std::iter::once(range).collect() };
        Ok([
            ("boot block", one(start..start.saturating_add(boot_bytes))),
            ("behind the filesystem", one(end_of_both..end)),
            ("behind the end of files", slack),
            ("free space", raw::difference(&one(start..end), &used)),
        ])
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
                    failed(imgasm_disk::Error::FileSystem {
                        place: self.place,
                        source,
                    })
                })?;
                Ok(Some((fs, info)))
            }
            Err(imgasm_disk::Error::FileSystem {
                source: imgasm_fs::Error::Incompatible { .. },
                ..
            }) => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// The space that a filesystem uses, as bytes of the disk.
    fn used(&self, side: Side, fs: &dyn FileSystem, range: &Range<u64>) -> Result<Ranges> {
        let used = fs.used_extents().map_err(|source| Error::Disk {
            side,
            source: imgasm_disk::Error::FileSystem {
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

fn push_raw(changes: &mut Vec<RawChange>, region: &str, ranges: &Ranges) {
    if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
        changes.push(RawChange {
            region: region.to_owned(),
            range: first.start..last.end,
            bytes: raw::total(ranges),
        });
    }
}
