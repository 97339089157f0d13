//! The scripts of packages, as far as their effect on an image is known without running them.

use super::super::database::Record;
use super::super::header::Header;
use super::super::tags::{self, Tag};
use super::super::{Error, Package, version};
use super::accounts;
use super::candidate::Candidate;
use super::shell::{self, Command, Link};
use crate::Accounts;
use crate::services::sysv;
use crate::services::sysv::links::Wish as LinkWish;
use crate::services::{self, Wish};
use crate::users::{ensure_group, ensure_user};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor};

/// When scripts are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Before any file is laid.
    Before,
    /// When the new files are there, and the old ones still.
    After,
    /// When the old files are gone.
    Last,
}

/// A script of a header: its name, its text and its interpreter.
type Script = (&'static str, Tag, Tag);

impl Event {
    /// The scripts of a new package.
    fn of_installed(self) -> &'static [Script] {
        match self {
            Self::Before => &[
                ("pretrans", tags::PRE_TRANS, tags::PRE_TRANS_PROG),
                ("pre", tags::PRE_IN, tags::PRE_IN_PROG),
            ],
            Self::After => &[("post", tags::POST_IN, tags::POST_IN_PROG)],
            Self::Last => &[("posttrans", tags::POST_TRANS, tags::POST_TRANS_PROG)],
        }
    }

    /// The scripts of a package that is replaced.
    fn of_replaced(self) -> &'static [Script] {
        match self {
            Self::Before => &[],
            Self::After => &[("preun", tags::PRE_UN, tags::PRE_UN_PROG)],
            Self::Last => &[("postun", tags::POST_UN, tags::POST_UN_PROG)],
        }
    }
}

/// Carries out the scripts that belong to the installation of one package.
pub(super) struct Scripts<'a, 'fs> {
    pub(super) editor: &'a mut Editor<'fs>,
    pub(super) package: &'a Package,
    /// Whether what is not known is passed over.
    pub(super) skip: bool,
    pub(super) skipped: &'a mut Vec<String>,
    pub(super) now: Timestamp,
}

impl Scripts<'_, '_> {
    /// The scripts of the new package, of which there are so many instances.
    pub(super) fn of_installed(
        &mut self,
        header: &Header,
        instances: usize,
        event: Event,
    ) -> Result<(), Error> {
        let scripts = event.of_installed().iter();
        for script in scripts {
            self.script(header, script, instances)?;
        }
        Ok(())
    }

    /// The scripts of a package that is replaced: one of its name stays.
    pub(super) fn of_replaced(&mut self, header: &Header, event: Event) -> Result<(), Error> {
        // Where the name changes, none of the old name stays.
        let is_update = Package::of(header).name == self.package.name;
        for script in event.of_replaced() {
            self.script(header, script, usize::from(is_update))?;
        }
        Ok(())
    }

    fn script(&mut self, header: &Header, script: &Script, argument: usize) -> Result<(), Error> {
        let (name, text, interpreter) = *script;
        let texts = header.texts(interpreter);
        let interpreter = texts
            .first()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let text = header.string(text);
        let command = match (interpreter.as_deref(), text) {
            (None, None) => return Ok(()),
            (Some("/bin/sh" | "/bin/bash" | "/usr/bin/sh" | "/usr/bin/bash") | None, text) => {
                shell::parse(&text.unwrap_or_default(), argument)
            }
            // A program alone, as in `%post -p /sbin/ldconfig`.
            (Some(program), None) => Command::Simple(vec![program.to_owned()]),
            (Some(program), Some(text)) if text.trim().is_empty() => {
                Command::Simple(vec![program.to_owned()])
            }
            (Some(program), Some(_)) => Command::Opaque(format!("a script for {program}")),
        };
        // First as a rehearsal, so that a script is carried out as a whole or not at all.
        for is_rehearsal in [true, false] {
            let mut run = Run {
                scripts: self,
                is_rehearsal,
            };
            match run.run(&command) {
                Ok(_) | Err(Stop::Exit) => {}
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Unknown(statement)) => {
                    let package = Package::of(header).to_string();
                    if !self.skip {
                        return Err(Error::Scriptlet {
                            package,
                            scriptlet: name.to_owned(),
                            statement,
                        });
                    }
                    self.skipped
                        .push(format!("%{name} of {package}: `{statement}`"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Why a script does not go on.
enum Stop {
    /// It says so.
    Exit,
    /// It comes to what is not known.
    Unknown(String),
    /// What it asks for cannot be done.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Run<'r, 'a, 'fs> {
    scripts: &'r mut Scripts<'a, 'fs>,
    is_rehearsal: bool,
}

impl Run<'_, '_, '_> {
    /// Carries a command out; gives whether it succeeds.
    fn run(&mut self, command: &Command) -> Result<bool, Stop> {
        match command {
            Command::Simple(words) => self.simple(words),
            Command::Chain(first, rest) => {
                let mut succeeds = self.run(first)?;
                for (link, command) in rest {
                    if succeeds == (*link == Link::And) {
                        succeeds = self.run(command)?;
                    }
                }
                Ok(succeeds)
            }
            Command::Not(command) => Ok(!self.run(command)?),
            Command::List(list) => {
                let mut succeeds = true;
                for command in list {
                    succeeds = self.run(command)?;
                }
                Ok(succeeds)
            }
            Command::If(arms, otherwise) => {
                for [condition, body] in arms {
                    if self.run(condition)? {
                        return self.run(body);
                    }
                }
                self.run(otherwise)
            }
            Command::Opaque(text) => Err(Stop::Unknown(text.clone())),
        }
    }

    fn simple(&mut self, words: &[String]) -> Result<bool, Stop> {
        let unknown = || Stop::Unknown(words.join(" "));
        let (program, arguments) = words.split_first().ok_or_else(unknown)?;
        let program = program.rsplit('/').next().unwrap_or_default();
        let is_rehearsal = self.is_rehearsal;
        let first = arguments.first().map(String::as_str);
        match program {
            ":" | "true" | "echo" => Ok(true),
            "false" => Ok(false),
            "exit" => Err(Stop::Exit),
            "[" | "test" => self.test(arguments).ok_or_else(unknown)?,
            "getent" | "id" => self.account_exists(arguments).ok_or_else(unknown)?,
            // Nothing runs in an image, and the machine does these when it starts.
            "service" | "udevadm" | "initctl" | "systemd-tmpfiles" => Ok(true),
            // The accounts are made before any file is laid.
            "systemd-sysusers" if !arguments.is_empty() => Ok(true),
            "ldconfig" => {
                self.note("ldconfig: the cache of the dynamic linker is as it was");
                Ok(true)
            }
            "groupadd" => {
                let spec = accounts::parse_groupadd(arguments).ok_or_else(unknown)?;
                if !is_rehearsal {
                    ensure_group(self.scripts.editor, &spec)?;
                }
                Ok(true)
            }
            "useradd" => {
                let spec = accounts::parse_useradd(arguments).ok_or_else(unknown)?;
                if !is_rehearsal {
                    ensure_user(self.scripts.editor, &spec, self.scripts.now)?;
                }
                Ok(true)
            }
            "chkconfig" => self.chkconfig(arguments).ok_or_else(unknown)?,
            "systemctl" => self.systemctl(arguments).ok_or_else(unknown)?,
            "systemd-update-helper" => match first {
                Some("install-system-units") => self.wish(&arguments[1..], Wish::Preset),
                Some("remove-system-units") => self.wish(&arguments[1..], Wish::Disabled),
                Some("mark-restart-system-units" | "mark-restart-user-units") => Ok(true),
                Some("system-reload-restart" | "system-reload" | "system-restart") => Ok(true),
                Some("user-reload-restart" | "user-reload" | "user-restart") => Ok(true),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }

    /// `chkconfig`; `None` where the arguments are not known.
    fn chkconfig(&mut self, arguments: &[String]) -> Option<Result<bool, Stop>> {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (service, wish) = match words.as_slice() {
            ["--add", service] => {
                return Some(self.service(|editor| sysv::set(editor, service, LinkWish::Add)));
            }
            [service, "on"] => (*service, Wish::Enabled),
            [service, "off"] => (*service, Wish::Disabled),
            _ => return None,
        };
        Some(self.wish(&[service.to_owned()], wish))
    }

    /// `systemctl`; `None` where the arguments are not known.
    fn systemctl(&mut self, arguments: &[String]) -> Option<Result<bool, Stop>> {
        let mut words = arguments.iter().filter(|word| !word.starts_with('-'));
        if arguments
            .iter()
            .any(|word| word == "--user" || word == "--global")
        {
            return None;
        }
        let verb = words.next()?;
        let units: Vec<_> = words.cloned().collect();
        let wish = match verb.as_str() {
            "preset" => Wish::Preset,
            "enable" => Wish::Enabled,
            "disable" => Wish::Disabled,
            "mask" => Wish::Masked,
            "unmask" => Wish::Unmasked,
            // Nothing runs in an image.
            "daemon-reload"
            | "daemon-reexec"
            | "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "try-reload-or-restart"
            | "reload-or-restart"
            | "kill"
            | "set-property" => return Some(Ok(true)),
            "is-active" => return Some(Ok(false)),
            _ => return None,
        };
        Some(self.wish(&units, wish))
    }

    fn wish(&mut self, names: &[String], wish: Wish) -> Result<bool, Stop> {
        let mut succeeds = true;
        for name in names.iter().filter(|name| !name.starts_with('-')) {
            succeeds &= self.service(|editor| services::set(editor, name, wish))?;
        }
        Ok(succeeds)
    }

    /// What is done about a service; one that is not there is only a failure of the command.
    fn service(
        &mut self,
        act: impl FnOnce(&mut Editor<'_>) -> services::Result<()>,
    ) -> Result<bool, Stop> {
        if self.is_rehearsal {
            return Ok(true);
        }
        match act(self.scripts.editor) {
            Ok(()) => Ok(true),
            Err(services::Error::Tree(error)) => Err(error.into()),
            Err(error) => {
                self.note(&error.to_string());
                Ok(false)
            }
        }
    }

    /// `[ … ]`; `None` where the condition is not known.
    fn test(&mut self, arguments: &[String]) -> Option<Result<bool, Stop>> {
        let mut words: Vec<_> = arguments.iter().map(String::as_str).collect();
        if words.last() == Some(&"]") {
            words.pop();
        }
        let holds = |holds| Some(Ok(holds));
        match words.as_slice() {
            ["!", rest @ ..] if rest.first() != Some(&"!") => {
                let rest: Vec<_> = rest.iter().map(|word| (*word).to_owned()).collect();
                Some(self.test(&rest)?.map(|holds| !holds))
            }
            ["-n", text] => holds(!text.is_empty()),
            ["-z", text] => holds(text.is_empty()),
            ["-e" | "-f" | "-x" | "-d" | "-r" | "-s", path] => Some(self.exists(path)),
            [one, "=" | "==", other] => holds(one == other),
            [one, "!=", other] => holds(one != other),
            [one, operator, other] => {
                let (one, other) = (one.parse::<i64>().ok()?, other.parse::<i64>().ok()?);
                holds(match *operator {
                    "-eq" => one == other,
                    "-ne" => one != other,
                    "-lt" => one < other,
                    "-le" => one <= other,
                    "-gt" => one > other,
                    "-ge" => one >= other,
                    _ => return None,
                })
            }
            _ => None,
        }
    }

    fn exists(&self, path: &str) -> Result<bool, Stop> {
        let Ok(path) = ImagePath::parse(path) else {
            return Err(Stop::Unknown(format!("test of {path}")));
        };
        Ok(tree::exists(self.scripts.editor.fs(), &path)?)
    }

    /// `getent passwd NAME`, `getent group NAME`, `id NAME`.
    fn account_exists(&mut self, arguments: &[String]) -> Option<Result<bool, Stop>> {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (is_user, name) = match words.as_slice() {
            ["passwd" | "-u" | "-g", name] => (true, *name),
            ["group", name] => (false, *name),
            [name] if !name.starts_with('-') => (true, *name),
            _ => return None,
        };
        Some(match Accounts::read(self.scripts.editor.fs()) {
            Ok(accounts) if is_user => Ok(accounts.user(name).is_some()),
            Ok(accounts) => Ok(accounts.group(name).is_some()),
            Err(error) => Err(error.into()),
        })
    }

    fn note(&mut self, note: &str) {
        let note = note.to_owned();
        if !self.is_rehearsal && !self.scripts.skipped.contains(&note) {
            self.scripts.skipped.push(note);
        }
    }
}

/// Notes the triggers that RPM would have run.
pub(super) fn note_triggers(candidate: &Candidate, records: &[Record], skipped: &mut Vec<String>) {
    let own = &candidate.rpm.header;
    for (kind, scripts) in [
        ("triggers", tags::TRIGGER_SCRIPTS),
        ("file triggers", tags::FILE_TRIGGER_SCRIPTS),
        (
            "transaction file triggers",
            tags::TRANS_FILE_TRIGGER_SCRIPTS,
        ),
    ] {
        if own.has(scripts) {
            skipped.push(format!("its own {kind}"));
        }
    }
    for record in records {
        let other = Package::of(&record.header);
        let flags = record.header.numbers(tags::TRIGGER_FLAGS);
        let names = record.header.texts(tags::TRIGGER_NAME).into_iter();
        let mut names = names
            .zip(flags)
            .filter(|(_, flags)| flags & version::sense::TRIGGER_IN != 0);
        if names.any(|(name, _)| name == candidate.package.name.as_bytes()) {
            skipped.push(format!("a trigger of {other}"));
        }
        for watched in [tags::FILE_TRIGGER_NAME, tags::TRANS_FILE_TRIGGER_NAME] {
            let mut watched = record.header.texts(watched).into_iter();
            let path = watched.find(|watched| {
                let mut files = candidate.files.iter();
                files.any(|file| file.path.as_bytes().starts_with(watched))
            });
            if let Some(path) = path {
                let path = String::from_utf8_lossy(path);
                skipped.push(format!("a file trigger of {other} for {path}"));
            }
        }
    }
}
