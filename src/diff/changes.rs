//! Many changes in little room: encoded, about a hundred bytes each, and decoded one by one.

use super::PathChange;

/// Bytes held together; what is decoded for the last time is freed by as much.
const SLAB_BYTES: usize = 1 << 20;

/// Room that must be left in a piece for the next change. A longer one makes it grow.
const ROOM_BYTES: usize = 4096;

/// The paths that differ, in the order of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathChanges {
    /// Changes one after the other; none reaches from one slab into the next.
    slabs: Vec<Vec<u8>>,
    len: usize,
}

impl PathChanges {
    /// Adds a change behind the others.
    pub fn push(&mut self, change: &PathChange) {
        let last = self.slabs.pop();
        let has_room = |slab: &Vec<u8>| slab.capacity() - slab.len() >= ROOM_BYTES;
        let slab = match last {
            Some(slab) if has_room(&slab) => slab,
            full => {
                self.slabs.extend(full);
                Vec::with_capacity(SLAB_BYTES)
            }
        };
        let slab = postcard::to_extend(change, slab).expect("a vector takes all");
        self.slabs.push(slab);
        self.len += 1;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The changes, each decoded when it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = PathChange> {
        self.slabs.iter().flat_map(|slab| decode(slab))
    }

    /// Makes something else of each change, or nothing. The function gets its place in the order.
    #[must_use]
    pub fn rewrite(self, mut change: impl FnMut(usize, PathChange) -> Option<PathChange>) -> Self {
        let mut rewritten = Self::default();
        let mut index = 0;
        // What was decoded of these is not held any more.
        for slab in self.slabs {
            for before in decode(&slab) {
                if let Some(after) = change(index, before) {
                    rewritten.push(&after);
                }
                index += 1;
            }
        }
        rewritten
    }
}

/// The changes in a slab.
fn decode(slab: &[u8]) -> impl Iterator<Item = PathChange> {
    let mut rest = slab;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (change, after) = postcard::take_from_bytes(rest).expect("`push` encoded it");
        rest = after;
        Some(change)
    })
}

impl FromIterator<PathChange> for PathChanges {
    fn from_iter<I: IntoIterator<Item = PathChange>>(changes: I) -> Self {
        let mut collected = Self::default();
        changes
            .into_iter()
            .for_each(|change| collected.push(&change));
        collected
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::block::Digest;
    use crate::diff::{ContentChange, FieldChange, PathChangeKind, PathState};
    use crate::fs::path::ImagePath;
    use crate::fs::{DeviceNumber, FileType, Timestamp};

    fn change(number: usize) -> PathChange {
        let path = ImagePath::parse(format!("/usr/{number}/\u{fe}")).unwrap();
        let state = PathState {
            file_type: FileType::CharDevice,
            permissions: 0o4755,
            uid: 0,
            gid: u32::MAX,
            size: u64::MAX,
            device: Some(DeviceNumber { major: 1, minor: 3 }),
            target: Some(vec![0xff; number % 7000]),
            xattrs: BTreeMap::from([(b"security.selinux".to_vec(), b"x\0".to_vec())]),
            hard_link_to: Some(path.clone()),
            modified: Some(Timestamp {
                seconds: -1,
                nanoseconds: 999,
            }),
        };
        PathChange {
            kind: match number % 3 {
                0 => PathChangeKind::Changed,
                1 => PathChangeKind::Added,
                _ => PathChangeKind::Renamed {
                    from: path.clone(),
                    with_parent: true,
                },
            },
            path,
            old: None,
            new: Some(state),
            content: Some(ContentChange {
                old: Some(Digest::of(b"")),
                new: None,
                hunks: Some("@@".to_owned()),
            }),
            meanings: vec![FieldChange {
                name: "user".to_owned(),
                old: None,
                new: Some("x".to_owned()),
            }],
        }
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let all: Vec<_> = (0..2000).map(change).collect();
        let changes: PathChanges = all.iter().cloned().collect();
        assert!(changes.slabs.len() > 2);
        assert_eq!(changes.len(), all.len());
        assert!(changes.iter().eq(all.iter().cloned()));
        let odd = |index: usize, change| (index % 2 == 1).then_some(change);
        let rewritten = changes.rewrite(odd);
        assert_eq!(rewritten.len(), 1000);
        assert!(rewritten.iter().eq(all.into_iter().skip(1).step_by(2)));
    }
}
