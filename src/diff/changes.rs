//! Many changes in little memory: encoded and compressed, decoded one by one.

use super::PathChange;

/// How many bytes of changes are compressed together.
const SLAB_BYTES: usize = 1 << 20;

/// zstd's fastest level, apart from negative ones.
const LEVEL: i32 = 1;

/// The paths that differ, in the order of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathChanges {
    /// The earlier ones, compressed.
    packed: Vec<Packed>,
    /// The latest ones, one after the other.
    open: Vec<u8>,
    len: usize,
}

/// Whole changes, compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed {
    bytes: Box<[u8]>,
    /// Bytes before compression.
    unpacked_len: usize,
}

impl Packed {
    fn new(bytes: &[u8]) -> Self {
        let packed = zstd::bulk::compress(bytes, LEVEL).expect("memory takes all");
        Self {
            bytes: packed.into(),
            unpacked_len: bytes.len(),
        }
    }

    fn unpack(&self) -> Vec<u8> {
        zstd::bulk::decompress(&self.bytes, self.unpacked_len).expect("`new` compressed it")
    }
}

impl PathChanges {
    /// Adds a change behind the others.
    pub fn push(&mut self, change: &PathChange) {
        let open = std::mem::take(&mut self.open);
        self.open = postcard::to_extend(change, open).expect("a vector takes all");
        self.len += 1;
        if self.open.len() >= SLAB_BYTES {
            self.packed.push(Packed::new(&self.open));
            self.open.clear();
        }
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
        let packed = self.packed.iter();
        let packed = packed.flat_map(|slab| Decoded::new(slab.unpack()));
        packed.chain(Decoded::new(self.open.clone()))
    }

    /// Replaces or drops each change. The function gets the change's place in the order.
    #[must_use]
    pub fn rewrite(self, mut change: impl FnMut(usize, PathChange) -> Option<PathChange>) -> Self {
        let mut rewritten = Self::default();
        // Frees each part once it has been decoded.
        let packed = self.packed.into_iter();
        let packed = packed.flat_map(|slab| Decoded::new(slab.unpack()));
        let all = packed.chain(Decoded::new(self.open));
        for (index, before) in all.enumerate() {
            if let Some(after) = change(index, before) {
                rewritten.push(&after);
            }
        }
        rewritten
    }
}

/// Decodes the changes in some bytes.
struct Decoded {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoded {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Decoded {
    type Item = PathChange;

    fn next(&mut self) -> Option<PathChange> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (change, after) = postcard::take_from_bytes(rest).expect("`push` encoded it");
        self.at = self.bytes.len() - after.len();
        Some(change)
    }
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
    use crate::diff::{ContentChange, FieldChange, PathChangeKind, PathState};
    use imgasm_block::Digest;
    use imgasm_fs::path::ImagePath;
    use imgasm_fs::{DeviceNumber, FileType, Timestamp};

    fn change(number: usize) -> PathChange {
        let path = ImagePath::parse(format!("/usr/{number}/\u{fe}")).unwrap();
        let state = PathState {
            file_type: FileType::CharDevice,
            permissions: 0o4755,
            uid: 0,
            gid: u32::MAX,
            size: u64::MAX,
            device: Some(DeviceNumber { major: 1, minor: 3 }),
            target: Some(vec![0xff; number * 3]),
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
                is_hidden: false,
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
        assert!(changes.packed.len() > 2 && !changes.open.is_empty());
        assert_eq!(changes.len(), all.len());
        assert!(changes.iter().eq(all.iter().cloned()));
        let odd = |index: usize, change| (index % 2 == 1).then_some(change);
        let rewritten = changes.rewrite(odd);
        assert_eq!(rewritten.len(), 1000);
        assert!(rewritten.iter().eq(all.into_iter().skip(1).step_by(2)));
    }
}
