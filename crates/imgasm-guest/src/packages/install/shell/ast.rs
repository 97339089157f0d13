//! A script, taken apart.

use std::rc::Rc;

/// Commands, one after the other.
pub(super) type List = Vec<AndOr>;

/// Pipelines, each run or not by how the one before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AndOr {
    pub first: Pipeline,
    pub rest: Vec<(Link, Pipeline)>,
}

/// What stands between two pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// `&&`
    And,
    /// `||`
    Or,
}

/// Commands of which each reads what the one before it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// Whether its status is turned round by `!`.
    pub is_negated: bool,
    pub stages: Vec<Stage>,
    /// How it begins in the script, for messages.
    pub text: String,
}

/// A command with its redirections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub command: Command,
    pub redirections: Vec<Redirection>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Assignments, then the words of a command.
    Simple(Vec<(String, Word)>, Vec<Word>),
    /// `{ …; }`
    Group(List),
    /// `( … )`
    Subshell(List),
    /// Conditions with what is done if they hold, and what is done if none does.
    If(Vec<(List, List)>, List),
    /// The variable, the words (those of the script without `in`), the body.
    For(String, Option<Vec<Word>>, List),
    /// Whether it is `until`, the condition, the body.
    While(bool, List, List),
    Case(Word, Vec<(Vec<Word>, List)>),
    Function(String, Rc<Stage>),
    /// The words between `[[` and `]]`.
    Test(Vec<Word>),
    /// What is not known.
    Opaque,
}

/// Where a command reads from or writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirection {
    /// The descriptor; both outputs if there is none.
    pub descriptor: Option<u32>,
    pub kind: RedirectionKind,
    pub target: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedirectionKind {
    /// `<`
    Read,
    /// `>` and `>|`
    Write,
    /// `>>`
    Append,
    /// `>&` and `<&`
    Duplicate,
    /// `<<` and `<<<`: the target is the content.
    Content,
}

/// A word: its parts, put together without anything between them.
pub(super) type Word = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands for itself; patterns in it count only if it is not quoted.
    Text { text: String, is_quoted: bool },
    /// `~` or `~name` at the beginning of a word.
    Home(String),
    /// `{…,…}`: the words of which each takes its place.
    Braces(Vec<Word>),
    /// `$name`, `${name…}`
    Parameter {
        name: String,
        action: Action,
        is_quoted: bool,
    },
    /// `$(…)`
    Output { list: List, is_quoted: bool },
    /// `$((…))`
    Arithmetic(Word),
    /// What is not known.
    Opaque,
}

/// What is done with the value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Value,
    /// `${#name}`
    Length,
    /// `${name-word}` and its kin: the sign, whether an empty value counts as none, the word.
    Unset(char, bool, Word),
    /// `${name#word}` and its kin: whether the end is cut off, whether as much as possible.
    Trim {
        is_end: bool,
        is_longest: bool,
        pattern: Word,
    },
}
