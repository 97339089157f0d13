//! The shell in which the scripts of packages are carried out on an image.
//!
//! What it does has the effect that a real shell's work has; a script that comes to anything else is
//! stopped there. Nothing is run: commands are those that [`builtins`] knows.
//!
//! - [`ast`], [`parser`]: a script, taken apart.
//! - [`expand`], [`arithmetic`], [`pattern`]: from its words to arguments.
//! - [`evaluate`]: carrying its parts out.
//! - [`io`], [`redirect`]: what commands read and write.
//! - [`conditions`]: `[` and `[[`.
//! - [`regex`]: regular expressions as grep and sed have them.
//! - [`builtins`]: the commands, by what they are about.
//! - [`lua`]: scripts in Lua.

mod arithmetic;
mod ast;
mod builtins;
mod conditions;
mod evaluate;
mod expand;
mod io;
mod lua;
mod parser;
mod pattern;
mod redirect;
mod regex;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ast::{List, Stage};
use io::{Descriptors, Input};

use super::super::Error;
use crate::files::entry;
use crate::known_path;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor, LastLink};
use imgasm_fs::{FileSystem, FileType, Metadata, Timestamp};

/// The most commands that one script may run: far more than any needs that ends.
const MAX_STEPS: u32 = 100_000;
/// How much work one script may make: about as many bytes read, written and expanded.
const MAX_WORK: u64 = 1 << 30;
/// How much all scripts of a transaction may make together: a whole distribution needs a tenth.
const MAX_TOTAL: u64 = 4 << 30;
/// The work that a command is, whatever it does.
const STEP_WORK: u64 = 8 << 10;
/// How deep commands may be carried out within each other.
const MAX_NESTED: u32 = 200;
/// How deep functions may call each other.
const MAX_CALLS: u32 = 40;

/// Which shell a script asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// `/bin/sh`, whichever the image has.
    Sh,
    /// bash.
    Bash,
    /// The Lua that RPM has built in.
    Lua,
}

/// Why a script was not carried out to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It comes to this command, which is not known.
    Unknown(String),
    /// The image could not be read or written.
    Failed(Error),
}

/// What the scripts of a transaction have done.
#[derive(Debug, Default)]
pub(super) struct Spent(Cell<u64>);

/// What a script is given.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Its variables.
    pub(super) environment: BTreeMap<String, String>,
    /// What it can read.
    pub(super) input: Vec<u8>,
}

/// Carries out a script; gives its status, 0 for success. `notes` gets one line for each thing that a
/// real shell would have done and that is left to the running system.
pub(super) fn run(
    script: &str,
    interpreter: Interpreter,
    given: Given,
    editor: &mut Editor<'_>,
    now: Timestamp,
    spent: &Spent,
    notes: &mut Vec<String>,
) -> Result<u8, Stopped> {
    let dialect = match interpreter {
        Interpreter::Bash => Dialect::Bash,
        Interpreter::Sh | Interpreter::Lua => {
            Dialect::of(editor.fs()).map_err(|error| Stopped::Failed(error.into()))?
        }
    };
    let mut shell = Shell {
        editor,
        now,
        dialect,
        notes,
        arguments: given.arguments,
        variables: given.environment,
        functions: BTreeMap::new(),
        hidden: Vec::new(),
        descriptors: Descriptors {
            input: Input::new(given.input),
            ..Descriptors::default()
        },
        folder: ImagePath::root(),
        umask: 0o022,
        status: 0,
        has_substituted: false,
        at_exit: None,
        stops_on_failure: false,
        refuses_unset: false,
        conditions: 0,
        loops: 0,
        calls: 0,
        steps: 0,
        nested: 0,
        work: Cell::new(0),
        spent,
        text: String::new(),
    };
    let result = match interpreter {
        Interpreter::Lua => lua::run(&mut shell, script),
        Interpreter::Sh | Interpreter::Bash => {
            let result = shell.list(&parser::parse(script));
            shell.at_end(result)
        }
    };
    match result {
        Ok(status) | Err(Stop::Exit(status) | Stop::Return(status)) => Ok(status),
        // Outside a loop these do nothing; the shells do not agree on whether they warn.
        Err(Stop::Break(_) | Stop::Continue(_)) => Err(Stopped::Unknown(shell.text)),
        Err(Stop::Unknown(text)) => Err(Stopped::Unknown(text)),
        Err(Stop::Failed(error)) => Err(Stopped::Failed(error)),
    }
}

/// Why a script does not go on.
enum Stop {
    /// `exit`
    Exit(u8),
    /// `return`
    Return(u8),
    /// `break` out of so many loops.
    Break(u32),
    /// `continue` of the loop so many further out.
    Continue(u32),
    /// It comes to what is not known.
    Unknown(String),
    /// The image could not be read or written.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Run<T = u8> = Result<T, Stop>;

/// Which shell the image has as `/bin/sh`, as far as scripts can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// bash, which every distribution with RPM has.
    Bash,
    /// Another one. What bash does in its own way is not known then.
    Other,
}

impl Dialect {
    fn of(fs: &dyn FileSystem) -> tree::Result<Self> {
        let found = entry(fs, &known_path("/bin/sh"), LastLink::Follow);
        let is_bash = match found {
            Ok(Some((place, _))) => matches!(place.name(), b"bash" | b"sh"),
            Ok(None) | Err(tree::Error::TooManyLinks { .. } | tree::Error::WrongType { .. }) => {
                true
            }
            Err(error) => return Err(error),
        };
        Ok(if is_bash { Self::Bash } else { Self::Other })
    }
}

/// The state of a shell.
struct Shell<'a, 'fs> {
    editor: &'a mut Editor<'fs>,
    now: Timestamp,
    dialect: Dialect,
    notes: &'a mut Vec<String>,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Rc<Stage>>,
    /// For each function that is being carried out the values that its own variables hide.
    hidden: Vec<BTreeMap<String, Option<String>>>,
    descriptors: Descriptors,
    /// The current folder.
    folder: ImagePath,
    umask: u16,
    /// How the last command ended.
    status: u8,
    /// Whether the words of the current command had the output of others in them.
    has_substituted: bool,
    /// What is done at the end (`trap … EXIT`).
    at_exit: Option<List>,
    /// `set -e`
    stops_on_failure: bool,
    /// `set -u`
    refuses_unset: bool,
    /// How many conditions are being evaluated, in which failures do not stop a script.
    conditions: u32,
    loops: u32,
    calls: u32,
    steps: u32,
    nested: u32,
    /// The work that was done, up to [`MAX_WORK`].
    work: Cell<u64>,
    /// That of all scripts, up to [`MAX_TOTAL`].
    spent: &'a Spent,
    /// The command that is being carried out, for messages.
    text: String,
}

impl Shell<'_, '_> {
    /// The current command is not known.
    fn unknown(&self) -> Stop {
        Stop::Unknown(self.text.clone())
    }

    /// Does what was left for the end of the script.
    fn at_end(&mut self, result: Run) -> Run {
        let Some(list) = self.at_exit.take() else {
            return result;
        };
        match result {
            Ok(status) | Err(Stop::Exit(status)) => {
                self.status = status;
                self.stops_on_failure = false;
                self.list(&list)?;
                Ok(status)
            }
            stop => stop,
        }
    }

    /// Counts a step, so that no script takes long.
    fn step(&mut self) -> Run<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(self.unknown());
        }
        self.spend(STEP_WORK)
    }

    /// Counts work, so that no script takes long.
    fn spend(&self, work: u64) -> Run<()> {
        let spent = self.work.get().saturating_add(work);
        self.work.set(spent);
        let total = self.spent.0.get().saturating_add(work);
        self.spent.0.set(total);
        if spent > MAX_WORK || total > MAX_TOTAL {
            return Err(self.unknown());
        }
        Ok(())
    }

    /// Says, once, what is left to the running system.
    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// Where a path of a script leads, from the current folder.
    fn path(&self, text: &str) -> Run<ImagePath> {
        let path = if text.starts_with('/') {
            ImagePath::parse(text)
        } else {
            self.folder.join(text)
        };
        path.map_err(|_| self.unknown())
    }

    /// What is at a path, following links; `None` if nothing is.
    fn metadata(&self, text: &str) -> Run<Option<Metadata>> {
        self.look(text, LastLink::Follow)
    }

    /// What is at a path itself, a link or not.
    fn metadata_kept(&self, text: &str) -> Run<Option<Metadata>> {
        // A slash at the end asks for what a link leads to.
        let is_folder = text.len() > 1 && text.ends_with('/');
        self.look(
            text,
            if is_folder {
                LastLink::Follow
            } else {
                LastLink::Keep
            },
        )
    }

    fn look(&self, text: &str, last: LastLink) -> Run<Option<Metadata>> {
        if text.is_empty() {
            return Ok(None);
        }
        let path = self.path(text)?;
        let place = match tree::locate(self.editor.fs(), &path, last) {
            Ok(place) => place,
            Err(error) if error.is_absence() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(node) = place.node else {
            return Ok(None);
        };
        let metadata = self.editor.fs().metadata(node);
        let metadata = metadata.map_err(|source| tree::Error::FileSystem {
            action: "read",
            path,
            source,
        })?;
        Ok(Some(metadata))
    }

    fn file_type_kept(&self, text: &str) -> Run<Option<FileType>> {
        Ok(self.metadata_kept(text)?.map(|metadata| metadata.file_type))
    }

    fn is_directory(&self, text: &str) -> Run<bool> {
        let found = self.metadata(text)?;
        Ok(found.is_some_and(|metadata| metadata.file_type == FileType::Directory))
    }

    /// Carries out a list with a state of its own, except for the image.
    fn subshell(&mut self, list: &List) -> Run {
        self.isolated(|shell| shell.list(list))
    }

    fn isolated(&mut self, act: impl FnOnce(&mut Self) -> Run) -> Run {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(self.unknown());
        }
        let values = self.variables.values().chain(&self.arguments);
        self.spend(values.map(|value| value.len() as u64).sum())?;
        let arguments = self.arguments.clone();
        let variables = self.variables.clone();
        let functions = self.functions.clone();
        let hidden = self.hidden.clone();
        let folder = self.folder.clone();
        let at_exit = self.at_exit.take();
        let state = (
            self.umask,
            self.stops_on_failure,
            self.refuses_unset,
            self.loops,
        );
        let result = act(self);
        self.arguments = arguments;
        self.variables = variables;
        self.functions = functions;
        self.hidden = hidden;
        self.folder = folder;
        self.at_exit = at_exit;
        (
            self.umask,
            self.stops_on_failure,
            self.refuses_unset,
            self.loops,
        ) = state;
        self.calls -= 1;
        match result {
            Err(Stop::Exit(status) | Stop::Return(status)) => Ok(status),
            Err(Stop::Break(_) | Stop::Continue(_)) => Err(self.unknown()),
            result => result,
        }
    }
}
