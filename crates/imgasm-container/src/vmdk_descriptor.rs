//! A VMDK of several files: a text that describes the disk, and its extents beside it ("Virtual Disk
//! Format 5.0", section "The Descriptor File").

use std::path::Path;
use std::sync::Arc;

use super::family::{Family, beside};
use super::joined::Joined;
use super::vmdk::{SECTOR_BYTES, open_extent};
use super::{Error, Result, WHOLE_DISK};
use imgasm_block::{BlockDevice, Hole};

const FORMAT: &str = "vmdk descriptor";

/// What a descriptor begins with.
pub(super) const MAGIC: &str = "# Disk DescriptorFile";

/// The longest descriptor that is read: some lines, and one per extent.
const LIMIT_BYTES: u64 = 1 << 20;

/// The most extents: each is an open file. Those of 2 GB make a disk of 1 TB.
const EXTENTS_LIMIT: usize = 512;

/// A line about an extent.
#[derive(Debug, PartialEq, Eq)]
struct Extent<'a> {
    sectors: u64,
    kind: &'a str,
    name: Option<&'a str>,
    /// Where a flat one begins in its file, in sectors.
    at: u64,
}

/// Whether the disk is based on another one.
pub(super) fn has_parent(text: &str) -> bool {
    let value = text.lines().find_map(|line| {
        let value = line.trim().strip_prefix("parentCID")?;
        value.trim_start().strip_prefix('=')
    });
    value.is_some_and(|id| !id.trim().eq_ignore_ascii_case("ffffffff"))
}

/// Opens the disk that the descriptor on `device` describes. It cannot be written.
pub(super) fn open(
    device: &dyn BlockDevice,
    path: &Path,
    family: Family,
) -> Result<Arc<dyn BlockDevice>> {
    let corrupt = |problem: String| Error::Corrupt {
        path: path.to_owned(),
        format: FORMAT,
        problem,
    };
    let unsupported = |what: String| Error::Unsupported {
        path: path.to_owned(),
        what,
        advice: WHOLE_DISK.to_owned(),
    };
    family.check_extents(path)?;
    if device.len() > LIMIT_BYTES {
        return Err(corrupt(format!("it has {} bytes", device.len())));
    }
    let len = usize::try_from(device.len()).expect("at most 1 MiB");
    let mut bytes = vec![0; len];
    device.read_at(0, &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if has_parent(&text) {
        return Err(unsupported("a VMDK with a parent".to_owned()));
    }
    let lines = text.lines().enumerate();
    let extents = lines.filter(|(_, line)| is_extent(line));
    let extents = extents.map(|(number, line)| {
        extent(line).ok_or_else(|| corrupt(format!("line {}: {line:?}", number + 1)))
    });
    let extents = extents.collect::<Result<Vec<_>>>()?;
    if extents.is_empty() || extents.len() > EXTENTS_LIMIT {
        return Err(unsupported(format!("a disk of {} extents", extents.len())));
    }
    let mut disk = Joined::default();
    for extent in extents {
        let wrong = || corrupt(format!("an extent of {} sectors", extent.sectors));
        let len = extent.sectors.checked_mul(SECTOR_BYTES).ok_or_else(wrong)?;
        let file = || {
            let name = extent.name.ok_or_else(wrong)?;
            beside(path, name)
        };
        let (part, start): (Arc<dyn BlockDevice>, u64) = match extent.kind {
            "ZERO" => (Arc::new(Hole::new(len)), 0),
            "FLAT" | "VMFS" => {
                let start = extent.at.checked_mul(SECTOR_BYTES).ok_or_else(wrong)?;
                (file()?.1, start)
            }
            "SPARSE" => {
                let (found, file) = file()?;
                (open_extent(file, &found)?, 0)
            }
            other => return Err(unsupported(format!("a VMDK extent of the kind {other:?}"))),
        };
        let end = start.checked_add(len).ok_or_else(wrong)?;
        if end > part.len() {
            return Err(corrupt(format!(
                "{}: bytes {start} to {end} of a file with {}: it is cut off",
                extent.name.unwrap_or_default(),
                part.len()
            )));
        }
        disk.push(part, start..end)?;
    }
    Ok(Arc::new(disk))
}

/// Whether a line is about an extent.
fn is_extent(line: &str) -> bool {
    let access = line.trim().split(' ').next();
    access.is_some_and(|access| ["RW", "RDONLY", "NOACCESS"].contains(&access))
}

/// What a line says of an extent: `RW 4192256 SPARSE "disk-s001.vmdk"`. `None` if it cannot be
/// understood.
fn extent(line: &str) -> Option<Extent<'_>> {
    let (_access, rest) = line.trim().split_once(' ')?;
    let (sectors, rest) = rest.trim_start().split_once(' ')?;
    let rest = rest.trim();
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, rest) = match rest.trim_start().strip_prefix('"') {
        Some(rest) => {
            let (name, rest) = rest.split_once('"')?;
            (Some(name), rest.trim())
        }
        None => (None, ""),
    };
    let at = rest.split(' ').next().filter(|at| !at.is_empty());
    Some(Extent {
        sectors: sectors.parse().ok()?,
        kind,
        name,
        at: at.map_or(Some(0), |at| at.parse().ok())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_extents() {
        let of = |sectors, kind, name, at| {
            Some(Extent {
                sectors,
                kind,
                name,
                at,
            })
        };
        for (line, expected) in [
            (
                "RW 8 SPARSE \"a b.vmdk\"",
                of(8, "SPARSE", Some("a b.vmdk"), 0),
            ),
            ("RW 8 FLAT \"x\" 77", of(8, "FLAT", Some("x"), 77)),
            ("RDONLY 8 ZERO ", of(8, "ZERO", None, 0)),
            ("NOACCESS 8 ZERO", of(8, "ZERO", None, 0)),
            ("RW x FLAT \"x\" 0", None),
            ("RW 8", None),
            ("RW -8 ZERO", None),
            ("RW 8 FLAT \"x 0", None),
            ("RW 8 FLAT \"x\" y", None),
        ] {
            assert!(is_extent(line), "{line}");
            assert_eq!(extent(line), expected, "{line}");
        }
        for line in [
            "ddb.geometry.sectors = \"63\"",
            "",
            "RWX 8 ZERO",
            "# RW 8 ZERO",
        ] {
            assert!(!is_extent(line), "{line}");
        }
    }
}
