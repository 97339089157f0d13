//! The triggers that a header has.

use super::super::super::header::Header;
use super::super::super::tags::{self, Tag};
use super::super::super::version::{self, Dependency, sense};

/// What a trigger watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Watch {
    /// Packages.
    Packages,
    /// The files of one package after the other.
    Files,
    /// The files of a whole transaction.
    Transaction,
}

/// When a trigger runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Occasion {
    /// Before what it watches comes.
    PreIn,
    /// When that has come.
    In,
    /// Before it goes.
    Un,
    /// When it has gone.
    PostUn,
}

/// Where headers have the scripts of triggers.
pub(in super::super) struct ScriptTags {
    pub(in super::super) scripts: Tag,
    pub(in super::super) programs: Tag,
    pub(in super::super) flags: Tag,
}

impl Watch {
    pub(in super::super) const fn tags(self) -> ScriptTags {
        let (scripts, programs, flags) = match self {
            Self::Packages => (
                tags::TRIGGER_SCRIPTS,
                tags::TRIGGER_PROG,
                tags::TRIGGER_SCRIPT_FLAGS,
            ),
            Self::Files => (
                tags::FILE_TRIGGER_SCRIPTS,
                tags::FILE_TRIGGER_PROG,
                tags::FILE_TRIGGER_SCRIPT_FLAGS,
            ),
            Self::Transaction => (
                tags::TRANS_FILE_TRIGGER_SCRIPTS,
                tags::TRANS_FILE_TRIGGER_PROG,
                tags::TRANS_FILE_TRIGGER_SCRIPT_FLAGS,
            ),
        };
        ScriptTags {
            scripts,
            programs,
            flags,
        }
    }

    /// What spec files call such a trigger.
    pub(in super::super) const fn name(self, occasion: Occasion) -> &'static str {
        match (self, occasion) {
            (Self::Packages, Occasion::PreIn) => "triggerprein",
            (Self::Packages, Occasion::In) => "triggerin",
            (Self::Packages, Occasion::Un) => "triggerun",
            (Self::Packages, Occasion::PostUn) => "triggerpostun",
            (Self::Files, Occasion::PreIn | Occasion::In) => "filetriggerin",
            (Self::Files, Occasion::Un) => "filetriggerun",
            (Self::Files, Occasion::PostUn) => "filetriggerpostun",
            (Self::Transaction, Occasion::PreIn | Occasion::In) => "transfiletriggerin",
            (Self::Transaction, Occasion::Un) => "transfiletriggerun",
            (Self::Transaction, Occasion::PostUn) => "transfiletriggerpostun",
        }
    }
}

impl Occasion {
    /// Its bit in the flags of what a trigger watches.
    pub(super) const fn sense(self) -> u64 {
        match self {
            Self::PreIn => sense::TRIGGER_PRE_IN,
            Self::In => sense::TRIGGER_IN,
            Self::Un => sense::TRIGGER_UN,
            Self::PostUn => sense::TRIGGER_POST_UN,
        }
    }

    /// Whether something goes then.
    pub(super) const fn is_removal(self) -> bool {
        matches!(self, Self::Un | Self::PostUn)
    }
}

/// A package that a trigger watches, and the number of the trigger's script.
pub(super) struct Condition {
    pub(super) index: usize,
    pub(super) wanted: Dependency,
}

/// The packages that the triggers of a header watch, in its order.
pub(super) fn conditions(header: &Header) -> Vec<Condition> {
    let indexes = indexes(header, tags::TRIGGER_INDEX);
    let wanted = version::triggers(header).into_iter();
    wanted
        .zip(indexes)
        .map(|(wanted, index)| Condition { index, wanted })
        .collect()
}

/// A trigger on files.
pub(super) struct FileTrigger {
    /// The number of its script.
    pub(super) index: usize,
    /// Those of higher priority run first.
    pub(super) priority: u64,
    /// The paths that it watches: files whose paths begin so.
    pub(super) places: Vec<Vec<u8>>,
    flags: u64,
}

impl FileTrigger {
    pub(super) fn is_for(&self, occasion: Occasion) -> bool {
        self.flags & occasion.sense() != 0
    }
}

/// The triggers of a header on files, those of one package after the other or of transactions, in
/// the order in which they run.
pub(super) fn file_triggers(header: &Header, watch: Watch) -> Vec<FileTrigger> {
    let (names, numbers, flags, priorities) = match watch {
        Watch::Packages => return Vec::new(),
        Watch::Files => (
            tags::FILE_TRIGGER_NAME,
            tags::FILE_TRIGGER_INDEX,
            tags::FILE_TRIGGER_FLAGS,
            tags::FILE_TRIGGER_PRIORITIES,
        ),
        Watch::Transaction => (
            tags::TRANS_FILE_TRIGGER_NAME,
            tags::TRANS_FILE_TRIGGER_INDEX,
            tags::TRANS_FILE_TRIGGER_FLAGS,
            tags::TRANS_FILE_TRIGGER_PRIORITIES,
        ),
    };
    let priorities = header.numbers(priorities);
    let places = header.texts(names).into_iter();
    let mut found: Vec<FileTrigger> = Vec::new();
    for ((place, index), flags) in places
        .zip(indexes(header, numbers))
        .zip(header.numbers(flags))
    {
        match found.iter_mut().find(|one| one.index == index) {
            Some(known) => known.places.push(place.to_vec()),
            // The first of its places says when it runs.
            None => found.push(FileTrigger {
                index,
                priority: priorities.get(index).copied().unwrap_or_default(),
                places: vec![place.to_vec()],
                flags,
            }),
        }
    }
    found.sort_by_key(|one| (std::cmp::Reverse(one.priority), one.index));
    found
}

/// The numbers of scripts; one that is none of a script finds none later.
fn indexes(header: &Header, tag: Tag) -> impl Iterator<Item = usize> {
    let numbers = header.numbers(tag).into_iter();
    numbers.map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}
