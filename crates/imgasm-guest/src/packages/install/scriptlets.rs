//! The scripts of packages: which there are, when they run, and what their failure means.

use super::super::database::Record;
use super::super::header::Header;
use super::super::tags::{self, Tag};
use super::super::{Error, Package, version};
use super::candidate::Candidate;
use super::shell::{self, Interpreter, Stopped};
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

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
    /// The script's name, its text and its interpreter.
    const fn script(self) -> (&'static str, Tag, Tag) {
        match self {
            Self::PreTrans => ("pretrans", tags::PRE_TRANS, tags::PRE_TRANS_PROG),
            Self::Pre => ("pre", tags::PRE_IN, tags::PRE_IN_PROG),
            Self::Post => ("post", tags::POST_IN, tags::POST_IN_PROG),
            Self::PreUn => ("preun", tags::PRE_UN, tags::PRE_UN_PROG),
            Self::PostUn => ("postun", tags::POST_UN, tags::POST_UN_PROG),
            Self::PostTrans => ("posttrans", tags::POST_TRANS, tags::POST_TRANS_PROG),
        }
    }

    /// Whether what the script is run before does not happen if it fails.
    const fn is_before(self) -> bool {
        matches!(self, Self::PreTrans | Self::Pre | Self::PreUn)
    }
}

/// Carries out the scripts that belong to the installation of one package.
pub(super) struct Scripts<'a, 'fs> {
    pub(super) editor: &'a mut Editor<'fs>,
    /// Whether a script is passed over from the first command on that is not known.
    pub(super) skip: bool,
    pub(super) skipped: &'a mut Vec<String>,
    pub(super) now: Timestamp,
}

impl Scripts<'_, '_> {
    /// Carries out the script of a package for a moment, if it has one. `instances` is what RPM
    /// gives it as its argument: how many packages of the name there are, or will be.
    pub(super) fn run(
        &mut self,
        header: &Header,
        moment: Moment,
        instances: usize,
    ) -> Result<(), Error> {
        let (scriptlet, text, interpreter) = moment.script();
        let package = || Package::of(header).to_string();
        let program: Vec<_> = header
            .texts(interpreter)
            .iter()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        let text = header.string(text).unwrap_or_default();
        let program: Vec<_> = program.iter().map(String::as_str).collect();
        let result = match program.as_slice() {
            [] | ["/bin/sh" | "/usr/bin/sh"] => self.shell(&text, Interpreter::Sh, instances),
            ["/bin/bash" | "/usr/bin/bash"] => self.shell(&text, Interpreter::Bash, instances),
            // A program alone, as in `%post -p /sbin/ldconfig`.
            [program] if text.trim().is_empty() => self.shell(program, Interpreter::Sh, instances),
            [program, ..] => Err(Stopped::Unknown(format!("a script for {program}"))),
        };
        match result {
            Ok(0) => Ok(()),
            Ok(status) if moment.is_before() => Err(Error::ScriptletFailed {
                package: package(),
                scriptlet,
                status,
            }),
            Ok(status) => {
                let package = package();
                self.skipped.push(format!(
                    "%{scriptlet} of {package} failed with the status {status}"
                ));
                Ok(())
            }
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Unknown(statement)) if self.skip => {
                let package = package();
                self.skipped
                    .push(format!("%{scriptlet} of {package}: `{statement}`"));
                Ok(())
            }
            Err(Stopped::Unknown(statement)) => Err(Error::Scriptlet {
                package: package(),
                scriptlet: scriptlet.to_owned(),
                statement,
            }),
        }
    }

    fn shell(
        &mut self,
        script: &str,
        interpreter: Interpreter,
        instances: usize,
    ) -> Result<u8, Stopped> {
        let arguments = [instances.to_string()];
        shell::run(
            script,
            interpreter,
            &arguments,
            self.editor,
            self.now,
            self.skipped,
        )
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
