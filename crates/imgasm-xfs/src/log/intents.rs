//! Intents: a transaction says what later ones will do. If the log ends between the two, that is
//! still to be done.

use std::collections::BTreeMap;

use imgasm_fs::Result;

use crate::format::numbers::{FileBlock, FsBlock, InodeNumber};
use crate::problem::unknown_in_log;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IntentKind {
    /// Blocks become free (EFI).
    Free,
    /// The tree of owners follows (RUI).
    Owner,
    /// The tree of shared blocks follows (CUI).
    Share,
    /// Blocks are added to a file or removed from one (BUI).
    Mapping,
    /// An attribute changes (ATTRI).
    Attribute,
    /// Two files exchange extents (XMI).
    Exchange,
    /// Any of these for a realtime section.
    Realtime,
}

impl IntentKind {
    /// The kind of intent that an item belongs to, and whether the item begins it.
    pub(super) fn from_item(kind: u16) -> Option<(Self, bool)> {
        Some(match kind {
            0x1236 => (Self::Free, true),
            0x1237 => (Self::Free, false),
            0x1240 | 0x1241 => (Self::Owner, kind == 0x1240),
            0x1242 | 0x1243 => (Self::Share, kind == 0x1242),
            0x1244 | 0x1245 => (Self::Mapping, kind == 0x1244),
            0x1246 | 0x1247 => (Self::Attribute, kind == 0x1246),
            0x1248 | 0x1249 => (Self::Exchange, kind == 0x1248),
            0x124a..=0x124f => (Self::Realtime, kind.is_multiple_of(2)),
            _ => return None,
        })
    }
}

/// A change of where a fork's blocks lie.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) inode: InodeNumber,
    /// First block in the filesystem.
    pub(crate) start: FsBlock,
    /// First block in the fork.
    pub(crate) file_block: FileBlock,
    pub(crate) blocks: u32,
    /// What is to be done, and to which fork (`XFS_BMAP_EXTENT_*`).
    pub(crate) flags: u32,
}

/// An intent that was begun.
pub(super) struct Intent {
    pub(super) kind: IntentKind,
    /// The number by which its end names it.
    pub(super) id: u64,
    /// For [`IntentKind::Mapping`], the changes.
    pub(super) mappings: Vec<Mapping>,
}

/// The intents that were begun and have not ended.
#[derive(Default)]
pub(super) struct Intents {
    open: BTreeMap<(IntentKind, u64), (u64, Vec<Mapping>)>,
    begun: u64,
}

impl Intents {
    pub(super) fn begin(&mut self, intent: Intent) {
        self.begun += 1;
        self.open
            .insert((intent.kind, intent.id), (self.begun, intent.mappings));
    }

    pub(super) fn end(&mut self, kind: IntentKind, id: u64) {
        // What began before the log's first valid record is done already.
        self.open.remove(&(kind, id));
    }

    /// What is left to be done: `None` if nothing is, else the changes of mappings in order.
    pub(super) fn left(self) -> Result<Option<Vec<Mapping>>> {
        for (kind, _) in self.open.keys() {
            match kind {
                IntentKind::Attribute => {
                    return Err(unknown_in_log("an unfinished change of attributes"));
                }
                IntentKind::Exchange => {
                    return Err(unknown_in_log("an unfinished exchange of extents"));
                }
                IntentKind::Realtime => {
                    return Err(unknown_in_log("an unfinished realtime change"));
                }
                IntentKind::Free | IntentKind::Owner | IntentKind::Share | IntentKind::Mapping => {}
            }
        }
        if self.open.is_empty() {
            return Ok(None);
        }
        let mut left: Vec<_> = self.open.into_values().collect();
        left.sort_unstable_by_key(|(order, _)| *order);
        Ok(Some(
            left.into_iter()
                .flat_map(|(_, mappings)| mappings)
                .collect(),
        ))
    }
}
