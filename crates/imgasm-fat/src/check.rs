//! Checking a volume against itself.

use std::collections::BTreeSet;

use super::format::boot::{BOOT_LEN, Geometry, Root};
use super::format::directory::{self, DOTS, Entry};
use super::table::Link;
use super::volume::{Place, Volume};
use imgasm_fs::{Finding, Location, Result};

/// Bytes that are compared at once.
const PIECE: u64 = 1 << 16;

/// Which clusters have been met in a chain.
struct Seen(Vec<u64>);

impl Seen {
    fn new(geometry: &Geometry) -> Self {
        let words = (u64::from(geometry.clusters) + 2).div_ceil(64);
        Self(vec![0; usize::try_from(words).expect("2^22 words at most")])
    }

    fn place(cluster: u32) -> (usize, u64) {
        let word = usize::try_from(cluster / 64).expect("32 bits fit");
        (word, 1 << (cluster % 64))
    }

    fn has(&self, cluster: u32) -> bool {
        let (word, bit) = Self::place(cluster);
        self.0[word] & bit != 0
    }

    /// Notes a cluster of the volume; gives whether it was noted before.
    fn note(&mut self, cluster: u32) -> bool {
        let before = self.has(cluster);
        let (word, bit) = Self::place(cluster);
        self.0[word] |= bit;
        before
    }
}

/// Checks all of `volume`; each fault is given to `report`.
pub fn check(volume: &Volume, report: &mut dyn FnMut(Finding)) -> Result<()> {
    structures(volume, report)?;
    if let Some(problem) = label_problem(volume) {
        report(Finding::error(Location::Superblock, problem));
    }
    Ok(())
}

/// Checks what files and directories are stored in.
pub fn structures(volume: &Volume, report: &mut dyn FnMut(Finding)) -> Result<()> {
    let mut check = Check {
        volume,
        report,
        seen: Seen::new(&volume.geometry),
    };
    check.copies()?;
    check.tree()?;
    check.unseen()
}

/// What the boot sector says of a label if there is none.
const NO_LABEL: [u8; 11] = *b"NO NAME    ";

/// What is wrong with the two places of the label, which must agree.
fn label_problem(volume: &Volume) -> Option<String> {
    let boot = volume.geometry.label;
    // A root directory that cannot be read is a fault of the structures.
    let bytes = volume.directory_bytes(Place::Root).ok()?;
    let root = directory::decode(&bytes, volume.geometry.width).label;
    let shown = |label: &[u8; 11]| {
        let label = String::from_utf8_lossy(label);
        format!("{:?}", label.trim_end())
    };
    match root {
        None if boot == NO_LABEL => None,
        None => Some(format!(
            "the boot sector has the label {}, the root directory has none",
            shown(&boot)
        )),
        Some(root) => {
            let mut root = root;
            // What would mark a removed entry is stored as this byte.
            if root[0] == 0x05 {
                root[0] = directory::REMOVED;
            }
            if !is_label(&root) {
                Some(format!("{} cannot be a label", shown(&root)))
            } else if boot != root {
                Some(format!(
                    "the root directory has the label {}, the boot sector {}",
                    shown(&root),
                    shown(&boot)
                ))
            } else {
                None
            }
        }
    }
}

/// Whether these bytes may be a label. Lower case is against the specification and common.
fn is_label(label: &[u8; 11]) -> bool {
    let is_good = |byte: &u8| *byte >= 0x20 && !b"\"*+,./:;<=>?[\\]|".contains(byte);
    label[0] != b' ' && label.iter().all(is_good)
}

struct Check<'a> {
    volume: &'a Volume,
    report: &'a mut dyn FnMut(Finding),
    seen: Seen,
}

impl Check<'_> {
    fn report(&mut self, at: Location, problem: String) {
        (self.report)(Finding::error(at, problem));
    }

    /// Compares the copies of the FAT and of the boot sector.
    fn copies(&mut self) -> Result<()> {
        let Volume {
            device, geometry, ..
        } = self.volume;
        let (media, first) = (geometry.media, self.volume.table.media()?);
        if media != first {
            // Neither a kernel nor fsck.fat minds.
            let problem = format!(
                "the FAT begins with the media byte {first:#04x}, the boot sector says {media:#04x}"
            );
            (self.report)(Finding::warning(Location::Superblock, problem));
        }
        if geometry.active_fat.is_none() {
            for copy in 1..geometry.fats {
                let second = geometry.fat_offset + u64::from(copy) * geometry.fat_len;
                if !self.equal(geometry.fat_offset, second, geometry.fat_len)? {
                    let problem = format!("FAT {copy} differs from FAT 0");
                    self.report(Location::Superblock, problem);
                }
            }
        }
        if let Some(offset) = geometry.backup_offset {
            let mut sector = [0; BOOT_LEN];
            device.read_at(offset, &mut sector)?;
            let mut backup = Geometry::decode(&sector, device.len());
            if let Ok(backup) = &mut backup {
                // Only the first copy is marked while the volume is mounted.
                backup.dirty = geometry.dirty;
            }
            if backup.as_ref() != Ok(geometry) {
                let problem = "the copy of the boot sector differs from it".to_owned();
                self.report(Location::Superblock, problem);
            }
        }
        Ok(())
    }

    fn equal(&self, first: u64, second: u64, len: u64) -> Result<bool> {
        let mut done = 0;
        while done < len {
            let step = usize::try_from(PIECE.min(len - done)).expect("a piece");
            let (mut a, mut b) = (vec![0; step], vec![0; step]);
            self.volume.device.read_at(first + done, &mut a)?;
            self.volume.device.read_at(second + done, &mut b)?;
            if a != b {
                return Ok(false);
            }
            done += PIECE;
        }
        Ok(true)
    }

    /// Checks all directories, from the root on. Each cluster is entered once, so that this ends.
    fn tree(&mut self) -> Result<()> {
        let mut left = vec![(Place::Root, Place::Root)];
        if let Root::Chain(cluster) = self.volume.geometry.root {
            self.follow(cluster, "the root directory")?;
        }
        while let Some((place, parent)) = left.pop() {
            let at = Location::Block(place.parent_cluster().into());
            let bytes = match self.volume.directory_bytes(place) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.report(at, error.to_string());
                    continue;
                }
            };
            let listing = directory::decode(&bytes, self.volume.geometry.width);
            for problem in listing.problems {
                self.report(at.clone(), problem);
            }
            if place != Place::Root {
                self.dots(&listing.entries, place, parent);
            }
            let mut names = BTreeSet::new();
            for entry in &listing.entries {
                if entry.is_dots() && place != Place::Root {
                    continue;
                }
                if self.entry(entry, &at, &mut names)? && entry.is_directory() {
                    left.push((Place::Chain(entry.cluster), place));
                }
            }
        }
        Ok(())
    }

    /// Checks that a directory begins with entries for itself and its parent.
    fn dots(&mut self, entries: &[Entry], place: Place, parent: Place) {
        let clusters = [place.parent_cluster(), parent.parent_cluster()];
        for (slot, (short, cluster)) in DOTS.into_iter().zip(clusters).enumerate() {
            let sound = entries.get(slot).is_some_and(|entry| {
                let root = self.volume.place(entry.cluster) == Place::Root && cluster == 0;
                entry.slot == slot
                    && entry.short == short
                    && entry.is_directory()
                    && (entry.cluster == cluster || root)
            });
            if !sound {
                let name = String::from_utf8_lossy(&short).trim_end().to_owned();
                self.report(
                    Location::Block(place.parent_cluster().into()),
                    format!("entry {slot} of the directory is not {name:?} to cluster {cluster}"),
                );
            }
        }
    }

    /// Checks one entry; gives whether it is a directory that can be entered.
    fn entry(
        &mut self,
        entry: &Entry,
        at: &Location,
        names: &mut BTreeSet<String>,
    ) -> Result<bool> {
        let name = format!("{:?}", entry.name);
        for alias in entry.names() {
            if !names.insert(alias) {
                self.report(
                    at.clone(),
                    format!("{name} has a name that is there already"),
                );
            }
        }
        if entry.name.is_empty() || entry.short.iter().any(|byte| *byte < 0x20 && *byte != 5) {
            self.report(at.clone(), format!("{name} has a bad short name"));
        }
        if entry.is_directory() {
            if entry.size != 0 {
                self.report(at.clone(), format!("directory {name} has a size"));
            }
            if entry.cluster == 0 {
                self.report(at.clone(), format!("directory {name} has no cluster"));
                return Ok(false);
            }
            return Ok(self.follow(entry.cluster, &name)?.is_some());
        }
        let needed = self.volume.clusters_for(entry.size.into());
        let found = match entry.cluster {
            0 => Some(0),
            cluster => self.follow(cluster, &name)?,
        };
        if let Some(found) = found.filter(|found| *found != needed) {
            self.report(
                at.clone(),
                format!(
                    "file {name} of {} bytes has {found} clusters, expected {needed}",
                    entry.size
                ),
            );
        }
        Ok(false)
    }

    /// Notes the clusters of a chain; gives their number, or `None` if the chain is faulty.
    fn follow(&mut self, first: u32, name: &str) -> Result<Option<u64>> {
        let mut cluster = first;
        let mut count = 0;
        loop {
            let at = Location::Block(cluster.into());
            if !self.volume.geometry.has(cluster) {
                self.report(at, format!("{name} leads to a cluster that is not there"));
                return Ok(None);
            }
            if self.seen.note(cluster) {
                self.report(
                    at,
                    format!("{name} leads to a cluster that is in use already"),
                );
                return Ok(None);
            }
            count += 1;
            match self.volume.table.link(cluster)? {
                Link::Next(next) => cluster = next,
                Link::End => return Ok(Some(count)),
                link => {
                    self.report(at, format!("{name} holds a cluster marked {link:?}"));
                    return Ok(None);
                }
            }
        }
    }

    /// Checks for clusters that are in use but belong to nothing, and the number of free ones.
    fn unseen(&mut self) -> Result<()> {
        let mut free = 0;
        let mut lost = Vec::new();
        for cluster in self.volume.table.clusters() {
            match self.volume.table.link(cluster)? {
                Link::Free => free += 1,
                Link::Bad => {}
                Link::Next(_) | Link::End if self.seen.has(cluster) => {}
                Link::Next(_) | Link::End => {
                    if lost.len() < 8 {
                        lost.push(cluster);
                    }
                }
            }
        }
        for cluster in lost {
            let problem = "the cluster is in use, but belongs to no file".to_owned();
            self.report(Location::Block(cluster.into()), problem);
        }
        let Some(offset) = self.volume.geometry.fs_info_offset else {
            return Ok(());
        };
        let mut sector = [0; BOOT_LEN];
        self.volume.device.read_at(offset, &mut sector)?;
        let word = |at: usize| {
            let bytes = [sector[at], sector[at + 1], sector[at + 2], sector[at + 3]];
            u32::from_le_bytes(bytes)
        };
        if (word(0), word(484), word(508)) != (0x4161_5252, 0x6141_7272, 0xaa55_0000) {
            let problem = "the sector that counts free clusters lacks its signatures".to_owned();
            self.report(Location::Superblock, problem);
        } else if word(488) != u32::MAX && word(488) != free {
            let problem = format!("{} free clusters are counted, there are {free}", word(488));
            self.report(Location::Superblock, problem);
        }
        Ok(())
    }
}
