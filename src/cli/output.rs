//! Everything that is printed: data on stdout, messages on stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::failure::Failure;
use super::inert;
pub(super) use crate::diff::render::units::bytes;
use imgasm_fs::text::shown;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const NOTE: Style = AnsiColor::Green.on_default().bold();

/// Where a command's output goes. Colours on stderr follow the terminal, `NO_COLOR` and
/// `CLICOLOR_FORCE`.
pub struct Output {
    to: To,
}

/// Where what is printed goes.
enum To {
    Process {
        stdout: BufWriter<io::Stdout>,
        stderr: AutoStream<io::Stderr>,
    },
    Held {
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
}

impl Output {
    /// The process's own stdout and stderr.
    pub fn new() -> Self {
        Self {
            to: To::Process {
                stdout: BufWriter::with_capacity(1 << 16, io::stdout()),
                stderr: AutoStream::auto(io::stderr()),
            },
        }
    }

    /// One that keeps what is printed, until another [releases](Output::release) it.
    pub(super) fn held() -> Self {
        Self {
            to: To::Held {
                stdout: Vec::new(),
                stderr: Vec::new(),
            },
        }
    }

    /// Prints what another has kept.
    pub(super) fn release(&mut self, held: Self) -> Result<(), Failure> {
        if let To::Held { stdout, stderr } = held.to {
            // If stderr itself fails, nobody is left to report to.
            let _ = self.stderr().write_all(&stderr);
            self.bytes(&stdout)?;
        }
        Ok(())
    }

    fn stdout(&mut self) -> &mut dyn Write {
        match &mut self.to {
            To::Process { stdout, .. } => stdout,
            To::Held { stdout, .. } => stdout,
        }
    }

    fn stderr(&mut self) -> &mut dyn Write {
        match &mut self.to {
            To::Process { stderr, .. } => stderr,
            To::Held { stderr, .. } => stderr,
        }
    }

    /// Whether someone watches stderr, so that a progress bar makes sense.
    pub fn is_watched() -> bool {
        io::stderr().is_terminal()
    }

    /// A line of data: always one, whatever is in it.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        let line = line.to_string();
        let line = shown(&line);
        writeln!(self.stdout(), "{}", inert::lines(&line)).map_err(Failure::stdout)
    }

    /// Text of several lines.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(inert::visible_lines(text).as_bytes())
    }

    /// Data as it is: from this program, or from a file that was asked for.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout().write_all(bytes).map_err(Failure::stdout)
    }

    /// Text with colours, which are left out if stdout does not want them. What does not come from
    /// this program must have been through [`shown`].
    pub fn styled(&mut self, text: &str) -> Result<(), Failure> {
        if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
            let text = anstream::adapter::strip_str(text).to_string();
            self.bytes(inert::lines(&text).as_bytes())
        } else {
            self.bytes(inert::lines(text).as_bytes())
        }
    }

    /// A value as one line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write_json(|to| serde_json::to_writer(to, value))
    }

    /// A value as indented JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write_json(|to| serde_json::to_writer_pretty(to, value))
    }

    fn write_json(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> serde_json::Result<()>,
    ) -> Result<(), Failure> {
        let mut inert = inert::Json(self.stdout());
        let written = if inert::is_hiding() {
            // The serializer writes a text in pieces.
            let mut whole = Vec::new();
            write(&mut whole).and_then(|()| {
                let text = String::from_utf8_lossy(&whole);
                let written = inert.write_all(inert::hidden(&text).as_bytes());
                written.map_err(serde_json::Error::io)
            })
        } else {
            write(&mut inert)
        };
        written.map_err(|e| Failure::stdout(e.into()))?;
        self.bytes(b"\n")
    }

    /// Something that was done and is worth a line.
    pub fn note(&mut self, verb: &str, what: impl Display) {
        self.tell(NOTE, &format!("{verb:>12}"), " ", what);
    }

    /// Something that a person should look at, although the command goes on.
    pub fn warning(&mut self, text: impl Display) {
        self.tell(WARNING, "warning", ": ", text);
    }

    /// Asks for a word, where someone sits at a terminal; `None` where nobody does, or says nothing.
    #[cfg(feature = "aws")]
    pub(super) fn ask(&mut self, what: impl Display) -> Option<String> {
        if !(io::stdin().is_terminal() && Self::is_watched()) {
            return None;
        }
        let what = inert::visible_lines(&what.to_string());
        let stderr = self.stderr();
        write!(stderr, "{NOTE}{what}{NOTE:#}: ").ok()?;
        stderr.flush().ok()?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).ok()?;
        let word = line.trim();
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// Why the command failed, with what to do about it.
    pub fn failure(&mut self, failure: &Failure) {
        self.tell(ERROR, "error", ": ", failure);
        if let Some(hint) = failure.hint() {
            self.tell(HINT, "hint", ": ", hint);
        }
    }

    /// If stderr itself fails, nobody is left to report to.
    fn tell(&mut self, style: Style, label: &str, separator: &str, text: impl Display) {
        let text = inert::visible_lines(&text.to_string());
        let _ = writeln!(self.stderr(), "{style}{label}{style:#}{separator}{text}");
    }

    /// Sends what is still buffered.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.stdout().flush().map_err(Failure::stdout)
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}
