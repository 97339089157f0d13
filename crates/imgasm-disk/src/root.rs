//! Which partition holds the root filesystem.
//!
//! The signs are checked from the most to the least deliberate: a type GUID of the Discoverable
//! Partitions Specification, the filesystem's label, the partition's name, and finally what the
//! filesystem holds. The first sign that exactly one place has decides; if several have it, the
//! next signs choose among those.

use super::error::{Candidate, Error, Result};
use super::{Disk, Partition, Place};
use imgasm_fs::{FileSystem, FileType};

/// Labels that distributions give to their root filesystem: Amazon Linux, most others, Ubuntu.
const LABELS: [&[u8]; 3] = [b"/", b"root", b"cloudimg-rootfs"];
/// The same for partition names; Amazon Linux calls it `Linux`.
const NAMES: [&str; 4] = ["/", "root", "cloudimg-rootfs", "Linux"];

/// What is known about one place.
struct Seen {
    place: Place,
    partition: Option<Partition>,
    label: Vec<u8>,
    has_root_tree: bool,
    description: String,
}

impl Disk {
    /// The place of the root filesystem: the partition of the given number, or the one that has the
    /// signs of one.
    ///
    /// # Errors
    /// [`Error::NoPartition`], [`Error::NoRoot`], [`Error::AmbiguousRoot`].
    pub fn root(&self, number: Option<u32>) -> Result<Place> {
        if let Some(number) = number {
            let place = Place::Partition(number);
            self.slice(place)?;
            return Ok(place);
        }
        let places = self.places();
        if places == [Place::WholeDisk] {
            return Ok(Place::WholeDisk);
        }
        let partitions = self.partitions();
        let seen = places
            .into_iter()
            .map(|place| {
                let partition = partitions
                    .iter()
                    .find(|partition| place == Place::Partition(partition.number));
                self.look_at(place, partition.cloned())
            })
            .collect::<Result<Vec<Seen>>>()?;
        choose(&seen)
    }

    /// Looks at what a place holds. A filesystem that cannot be read is described, and is not an
    /// error.
    fn look_at(&self, place: Place, partition: Option<Partition>) -> Result<Seen> {
        let mut words = Vec::new();
        if let Some(partition) = &partition {
            words.push(partition.kind.name().map_or_else(
                || format!("type {}", partition.kind),
                |name| format!("type \"{name}\""),
            ));
            if !partition.name.is_empty() {
                words.push(format!("name {:?}", partition.name));
            }
        }
        let mut seen = Seen {
            place,
            partition,
            label: Vec::new(),
            has_root_tree: false,
            description: String::new(),
        };
        match self.probe(place)? {
            None => words.push("no known filesystem".to_owned()),
            Some(kind) => {
                words.push(kind.to_owned());
                match self.open_filesystem(place).and_then(|fs| {
                    let failed = |source| Error::FileSystem { place, source };
                    seen.label = fs.info().map_err(failed)?.label;
                    seen.has_root_tree = has_root_tree(&*fs).map_err(failed)?;
                    Ok(())
                }) {
                    Ok(()) if seen.label.is_empty() => {}
                    Ok(()) => {
                        words.push(format!("label {:?}", String::from_utf8_lossy(&seen.label)));
                    }
                    Err(Error::FileSystem { source, .. }) => words.push(source.to_string()),
                    Err(other) => return Err(other),
                }
            }
        }
        seen.description = words.join(", ");
        Ok(seen)
    }
}

/// Whether a filesystem holds what a root filesystem must: `/etc`, and `/usr` or `/sbin/init`.
fn has_root_tree(fs: &dyn FileSystem) -> imgasm_fs::Result<bool> {
    let root = fs.root();
    if fs.lookup(root, b"etc")?.is_none() {
        return Ok(false);
    }
    if fs.lookup(root, b"usr")?.is_some() {
        return Ok(true);
    }
    match fs.lookup(root, b"sbin")? {
        Some(sbin) if fs.metadata(sbin)?.file_type == FileType::Directory => {
            Ok(fs.lookup(sbin, b"init")?.is_some())
        }
        _ => Ok(false),
    }
}

/// Chooses by the signs.
fn choose(seen: &[Seen]) -> Result<Place> {
    let partition =
        |seen: &Seen, is: &dyn Fn(&Partition) -> bool| seen.partition.as_ref().is_some_and(is);
    let signs: [&dyn Fn(&Seen) -> bool; 4] = [
        &|seen| partition(seen, &|partition| partition.kind.is_root()),
        &|seen| LABELS.contains(&seen.label.as_slice()),
        &|seen| partition(seen, &|partition| NAMES.contains(&partition.name.as_str())),
        &|seen| seen.has_root_tree,
    ];
    let mut left: Vec<&Seen> = seen.iter().collect();
    let mut found = false;
    for sign in signs {
        let bearing: Vec<&Seen> = left.iter().copied().filter(|seen| sign(seen)).collect();
        match bearing.as_slice() {
            [] => {}
            [one] => return Ok(one.place),
            _ => {
                left = bearing;
                found = true;
            }
        }
    }
    let candidates = left
        .iter()
        .map(|seen| Candidate {
            place: seen.place,
            description: seen.description.clone(),
        })
        .collect();
    Err(if found {
        Error::AmbiguousRoot(candidates)
    } else {
        Error::NoRoot(candidates)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::partition::{LINUX_DATA, LINUX_ROOTS, PartitionKind};
    use super::*;

    fn seen(number: u32, kind: Uuid, name: &str, label: &str, has_root_tree: bool) -> Seen {
        Seen {
            place: Place::Partition(number),
            partition: Some(Partition {
                number,
                kind: PartitionKind::Gpt(kind),
                guid: None,
                name: name.to_owned(),
                attributes: 0,
                first_lba: 2048,
                last_lba: 4095,
            }),
            label: label.as_bytes().to_vec(),
            has_root_tree,
            description: String::new(),
        }
    }

    #[test]
    fn a_type_wins_over_a_label_and_a_label_over_contents() {
        let typed = seen(3, LINUX_ROOTS[0].0, "", "", false);
        let labelled = seen(2, LINUX_DATA, "", "/", false);
        let filled = seen(1, LINUX_DATA, "", "", true);
        let all = [filled, labelled, typed];
        assert_eq!(choose(&all).expect("found"), Place::Partition(3));
        assert_eq!(choose(&all[..2]).expect("found"), Place::Partition(2));
        assert_eq!(choose(&all[..1]).expect("found"), Place::Partition(1));
    }

    #[test]
    fn later_signs_choose_among_equals() {
        let all = [
            seen(1, LINUX_ROOTS[0].0, "", "", false),
            seen(2, LINUX_ROOTS[0].0, "root", "", true),
            seen(3, LINUX_DATA, "", "/", true),
        ];
        assert_eq!(choose(&all).expect("found"), Place::Partition(2));
    }

    #[test]
    fn equals_to_the_end_are_listed() {
        let all = [
            seen(1, LINUX_DATA, "", "root", true),
            seen(2, LINUX_DATA, "", "root", true),
            seen(3, LINUX_DATA, "", "", true),
        ];
        let Err(Error::AmbiguousRoot(candidates)) = choose(&all) else {
            panic!("two bear the same signs");
        };
        let places: Vec<Place> = candidates.iter().map(|c| c.place).collect();
        assert_eq!(places, [Place::Partition(1), Place::Partition(2)]);
        assert!(matches!(
            choose(&[seen(1, LINUX_DATA, "", "", false)]),
            Err(Error::NoRoot(_))
        ));
    }
}
