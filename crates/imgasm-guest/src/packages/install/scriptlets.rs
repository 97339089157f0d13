//! The scripts of packages: which there are, when they run, and what their failure means.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fmt;

use super::super::header::Header;
use super::super::tags::{self, Tag};
use super::super::{Error, Package};
use super::deferred::{self, Waiting};
use super::shell::{self, Given, Interpreter, Spent, Stopped};
use super::triggers;
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// Flags of a script by which RPM fills in macros (`RPMSCRIPT_FLAG_EXPAND`) and values of the header
/// (`RPMSCRIPT_FLAG_QFORMAT`) before it runs it.
const FILLED_IN: u64 = 1 | 2;

/// What is done about a script that cannot be carried out on an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scriptlets {
    /// It is an error.
    #[default]
    Native,
    /// It is left at the command that is not known.
    Skip,
    /// It waits for the first boot, whole.
    FirstBoot,
}

/// Something that is done in the place of a script.
pub type Act<'w> = dyn Fn(&mut Editor<'_>) -> Result<(), Box<dyn StdError + Send + Sync>> + 'w;

/// What is done instead of a script.
#[derive(Clone, Copy)]
pub struct Override<'w> {
    /// The name of the package.
    pub package: &'w str,
    /// Which of its scripts: `post`.
    pub script: &'w str,
    /// What is done.
    pub act: &'w Act<'w>,
}

/// A script of a transaction, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The package that it belongs to, as [`Package::nevra`] names it.
    pub package: String,
    /// Which of its scripts: `post`.
    pub script: &'static str,
    /// The first package or path that it watches, if it is a trigger.
    pub watched: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was carried out.
    CarriedOut,
    /// It was carried out, and ended with this status, which changes nothing.
    Failed(u8),
    /// It was left at this command.
    Skipped(String),
    /// It waits for the first boot, because of this command.
    Deferred(String),
    /// Something else was done in its place.
    Overridden,
}

impl Verdict {
    /// Whether the script did not do all that it would have done.
    pub fn is_partial(&self) -> bool {
        !matches!(self, Self::CarriedOut | Self::Overridden)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CarriedOut => f.write_str("carried out"),
            Self::Failed(status) => write!(f, "failed with the status {status}"),
            Self::Skipped(statement) => write!(f, "skipped from `{statement}` on"),
            Self::Deferred(reason) => write!(f, "deferred to the first boot: {reason}"),
            Self::Overridden => f.write_str("overridden"),
        }
    }
}

impl Script {
    /// `post`, or with what it watches `triggerin other`.
    pub fn name(&self) -> String {
        match &self.watched {
            Some(watched) => format!("{} {watched}", self.script),
            None => self.script.to_owned(),
        }
    }
}

/// `%post of NAME-VERSION.ARCH: …`.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (script, package, verdict) = (self.name(), &self.package, &self.verdict);
        write!(f, "%{script} of {package}: {verdict}")
    }
}

/// A moment at which a script of a package runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before anything is changed.
    PreTrans,
    /// Before the package's files are laid.
    Pre,
    /// After that.
    Post,
    /// Before the files of a package are removed.
    PreUn,
    /// After that.
    PostUn,
    /// When everything is done.
    PostTrans,
}

impl Moment {
    /// The script's name, its text, its interpreter and its flags.
    const fn script(self) -> (&'static str, [Tag; 3]) {
        use tags as t;
        match self {
            Self::PreTrans => (
                "pretrans",
                [t::PRE_TRANS, t::PRE_TRANS_PROG, t::PRE_TRANS_FLAGS],
            ),
            Self::Pre => ("pre", [t::PRE_IN, t::PRE_IN_PROG, t::PRE_IN_FLAGS]),
            Self::Post => ("post", [t::POST_IN, t::POST_IN_PROG, t::POST_IN_FLAGS]),
            Self::PreUn => ("preun", [t::PRE_UN, t::PRE_UN_PROG, t::PRE_UN_FLAGS]),
            Self::PostUn => ("postun", [t::POST_UN, t::POST_UN_PROG, t::POST_UN_FLAGS]),
            Self::PostTrans => (
                "posttrans",
                [t::POST_TRANS, t::POST_TRANS_PROG, t::POST_TRANS_FLAGS],
            ),
        }
    }

    /// Whether what the script is run before does not happen if it fails.
    const fn is_before(self) -> bool {
        matches!(self, Self::PreTrans | Self::Pre | Self::PreUn)
    }
}

/// A script as a header has it.
struct Text<'h> {
    /// The program that runs it, with its own arguments.
    program: Vec<&'h [u8]>,
    /// The script, if there is more than the program.
    body: Option<&'h [u8]>,
    /// Whether RPM would fill something in first.
    is_filled_in: bool,
    /// The paths that a relocatable package is installed below, which RPM hands to scripts.
    prefixes: Vec<&'h [u8]>,
}

impl<'h> Text<'h> {
    fn of(header: &'h Header, moment: Moment) -> Option<Self> {
        let (_, [text, program, flags]) = moment.script();
        if !header.has(text) && !header.has(program) {
            return None;
        }
        let flags = header.number(flags).unwrap_or_default();
        let body = header.text(text).filter(|body| !body.is_empty());
        let has_macros = body.is_some_and(|body| body.contains(&b'%'));
        Some(Self {
            program: match header.texts(program) {
                program if program.is_empty() => vec![b"/bin/sh"],
                program => program,
            },
            body,
            is_filled_in: flags & FILLED_IN != 0 && has_macros,
            prefixes: prefixes(header),
        })
    }

    /// The script of a trigger.
    fn of_trigger(header: &'h Header, tags: &triggers::ScriptTags, index: usize) -> Option<Self> {
        let nth = |tag| header.texts(tag).into_iter().nth(index);
        let flags = header.numbers(tags.flags);
        let flags = flags.get(index).copied().unwrap_or_default();
        let body = nth(tags.scripts)?;
        Some(Self {
            program: vec![nth(tags.programs).unwrap_or(b"/bin/sh")],
            body: Some(body).filter(|body| !body.is_empty()),
            is_filled_in: flags & FILLED_IN != 0 && body.contains(&b'%'),
            prefixes: prefixes(header),
        })
    }

    /// Carries it out with these arguments, and with something to read.
    fn run(
        &self,
        editor: &mut Editor<'_>,
        now: Timestamp,
        (arguments, input): (&[String], &[u8]),
        spent: &Spent,
        notes: &mut Vec<String>,
    ) -> Result<u8, Stopped> {
        let unknown = |what: &str| Err(Stopped::Unknown(what.to_owned()));
        if self.is_filled_in {
            return unknown("macros in the script");
        }
        let Ok(body) = std::str::from_utf8(self.body.unwrap_or_default()) else {
            return unknown("a script that is not UTF-8 text");
        };
        let program = String::from_utf8_lossy(self.program[0]).into_owned();
        let (script, interpreter) = match (self.program.as_slice(), program.as_str()) {
            ([_], "<lua>") => (body, Interpreter::Lua),
            ([_], "/bin/sh" | "/usr/bin/sh") => (body, Interpreter::Sh),
            ([_], "/bin/bash" | "/usr/bin/bash") => (body, Interpreter::Bash),
            // A program alone, as in `%post -p /sbin/ldconfig`.
            ([_], program) if body.trim().is_empty() => (program, Interpreter::Sh),
            _ => return unknown(&format!("a script for {program}")),
        };
        let mut environment = BTreeMap::new();
        for (number, prefix) in self.prefixes.iter().enumerate() {
            let Ok(prefix) = std::str::from_utf8(prefix) else {
                return unknown("a prefix that is not UTF-8 text");
            };
            if number == 0 {
                environment.insert("RPM_INSTALL_PREFIX".to_owned(), prefix.to_owned());
            }
            environment.insert(format!("RPM_INSTALL_PREFIX{number}"), prefix.to_owned());
        }
        let given = Given {
            arguments: arguments.to_vec(),
            environment,
            input: input.to_vec(),
        };
        shell::run(script, interpreter, given, editor, now, spent, notes)
    }
}

/// The paths that a relocatable package is, or will be, installed below: where it says itself. One
/// without files has none (`rpmRelocateFileList`).
pub(super) fn prefixes(header: &Header) -> Vec<&[u8]> {
    let has_files = header.has(tags::BASE_NAMES) || header.has(tags::OLD_FILE_NAMES);
    match header.texts(tags::INST_PREFIXES) {
        installed if installed.is_empty() && has_files => header.texts(tags::PREFIXES),
        installed => installed,
    }
}

/// A script that is to be carried out.
pub(super) struct Due<'h> {
    package: Package,
    /// Which of the package's scripts it is.
    script: &'static str,
    /// The first package or path that it watches, if it is a trigger.
    watched: Option<String>,
    text: Text<'h>,
    /// What RPM gives it.
    arguments: Vec<String>,
    /// What RPM gives it to read.
    input: Vec<u8>,
    /// Whether what it runs before does not happen if it fails.
    is_before: bool,
}

impl<'h> Due<'h> {
    /// The script of a package for a moment, if it has one. `instances` is what RPM gives it: how
    /// many packages of the name there are, or will be.
    pub(super) fn of(header: &'h Header, moment: Moment, instances: usize) -> Option<Self> {
        Some(Self {
            package: Package::of(header),
            script: moment.script().0,
            watched: None,
            text: Text::of(header, moment)?,
            arguments: vec![instances.to_string()],
            input: Vec::new(),
            is_before: moment.is_before(),
        })
    }

    /// The script of a trigger. Nothing depends on its success.
    pub(super) fn of_trigger(trigger: triggers::Due<'h>) -> Option<Self> {
        let (header, watch) = (trigger.owner, trigger.watch);
        Some(Self {
            package: Package::of(header),
            script: watch.name(trigger.occasion),
            watched: Some(trigger.watched),
            text: Text::of_trigger(header, &watch.tags(), trigger.index)?,
            arguments: trigger.arguments,
            input: trigger.input,
            is_before: false,
        })
    }

    fn run(
        &self,
        editor: &mut Editor<'_>,
        now: Timestamp,
        spent: &Spent,
        notes: &mut Vec<String>,
    ) -> Result<u8, Stopped> {
        let given = (self.arguments.as_slice(), self.input.as_slice());
        self.text.run(editor, now, given, spent, notes)
    }

    /// It has something in it that cannot be carried out.
    fn refused(&self, statement: &str) -> Error {
        Error::Scriptlet {
            package: self.package.to_string(),
            scriptlet: self.script.to_owned(),
            can_wait: !self.is_before,
            statement: statement.to_owned(),
        }
    }
}

/// Carries out the scripts of a transaction.
pub(super) struct Scripts<'t> {
    now: Timestamp,
    overrides: &'t [Override<'t>],
    spent: Spent,
    /// Which of these were used.
    used: BTreeSet<usize>,
    /// What became of each script, in order.
    done: Vec<Script>,
    waiting: Vec<Waiting>,
}

impl<'t> Scripts<'t> {
    pub(super) fn new(now: Timestamp, overrides: &'t [Override<'t>]) -> Self {
        Self {
            now,
            overrides,
            spent: Spent::default(),
            used: BTreeSet::new(),
            done: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Carries out a script. `notes` gets a line for each thing that RPM would have done and that is
    /// not done.
    pub(super) fn run(
        &mut self,
        editor: &mut Editor<'_>,
        due: &Due<'_>,
        policy: Scriptlets,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut overrides = self.overrides.iter();
        let own =
            overrides.position(|one| one.package == due.package.name && one.script == due.script);
        let verdict = if let Some(own) = own {
            self.used.insert(own);
            (self.overrides[own].act)(editor).map_err(|reason| Error::Override {
                package: due.package.name.clone(),
                scriptlet: due.script,
                reason,
            })?;
            Verdict::Overridden
        } else {
            let can_wait = policy == Scriptlets::FirstBoot && !due.is_before;
            let reason = can_wait.then(|| self.reason_to_wait(editor, due));
            if let Some(reason) = reason.flatten() {
                self.wait(due)?;
                Verdict::Deferred(reason)
            } else {
                finished(due.run(editor, self.now, &self.spent, notes), due, policy)?
            }
        };
        let script = Script {
            package: due.package.nevra(),
            script: due.script,
            watched: due.watched.clone(),
            verdict,
        };
        if script.verdict.is_partial() {
            let (name, package, verdict) = (script.name(), &due.package, &script.verdict);
            notes.push(format!("%{name} of {package}: {verdict}"));
        }
        self.done.push(script);
        Ok(())
    }

    /// Why a script cannot be carried out to its end, if it cannot. It is tried first, so that
    /// nothing has happened of one that waits.
    fn reason_to_wait(&self, editor: &mut Editor<'_>, due: &Due<'_>) -> Option<String> {
        let nevra = due.package.nevra();
        let mut earlier = self.done.iter().filter(|script| script.package == nevra);
        if earlier.any(|script| matches!(script.verdict, Verdict::Deferred(_))) {
            return Some("an earlier script of the package waits".to_owned());
        }
        let mut rehearsal = editor.rehearsal(self.now);
        let mut trial = Editor::new(&mut rehearsal);
        match due.run(&mut trial, self.now, &self.spent, &mut Vec::new()) {
            Err(Stopped::Unknown(statement)) => Some(format!("`{statement}`")),
            // What else goes wrong does so again.
            Ok(_) | Err(Stopped::Failed(_)) => None,
        }
    }

    /// Lets a script wait for the first boot.
    fn wait(&mut self, due: &Due<'_>) -> Result<(), Error> {
        let text = &due.text;
        // Only RPM itself can do these.
        if text.is_filled_in {
            return Err(due.refused("macros in the script"));
        }
        if text.program[0].starts_with(b"<") {
            let program = String::from_utf8_lossy(text.program[0]);
            return Err(due.refused(&format!("a script for {program}")));
        }
        let owned = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect();
        self.waiting.push(Waiting {
            name: format!("{}.{}", due.package.nevra(), due.script),
            program: owned(&text.program),
            body: text.body.map(<[u8]>::to_vec),
            arguments: due.arguments.clone(),
            input: due.input.clone(),
            prefixes: owned(&text.prefixes),
        });
        Ok(())
    }

    /// Puts what waits for the first boot into the image, and gives what became of each script.
    ///
    /// # Errors
    /// Where something was to be done in the place of a script that nobody has, but for those of
    /// the packages that `is_known` names.
    pub(super) fn finish(
        self,
        editor: &mut Editor<'_>,
        is_known: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Script>, Error> {
        for (number, one) in self.overrides.iter().enumerate() {
            if !self.used.contains(&number) && !is_known(one.package) {
                return Err(Error::UnusedOverride {
                    package: one.package.to_owned(),
                    scriptlet: one.script.to_owned(),
                });
            }
        }
        deferred::install(editor, &self.waiting)?;
        Ok(self.done)
    }
}

/// What the end of a script means.
fn finished(
    result: Result<u8, Stopped>,
    due: &Due<'_>,
    policy: Scriptlets,
) -> Result<Verdict, Error> {
    match result {
        Ok(0) => Ok(Verdict::CarriedOut),
        Ok(status) if due.is_before => Err(Error::ScriptletFailed {
            package: due.package.to_string(),
            scriptlet: due.script,
            status,
        }),
        Ok(status) => Ok(Verdict::Failed(status)),
        Err(Stopped::Failed(error)) => Err(error),
        Err(Stopped::Unknown(statement)) if policy == Scriptlets::Skip => {
            Ok(Verdict::Skipped(statement))
        }
        Err(Stopped::Unknown(statement)) => Err(due.refused(&statement)),
    }
}
