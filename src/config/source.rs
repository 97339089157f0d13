//! A text file with its name.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Diagnostic, Error, Result};

/// The largest recipe, overlay description or template that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// A text that a person wrote, for messages about it. A copy shares the text.
///
/// A recipe may extend another one. The bytes of the text that it extends count from where its own
/// end, so that a span names its text, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
    extended: Option<Arc<Source>>,
}

impl Source {
    /// Reads a file of UTF-8 text.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::from_file(file, path)
    }

    /// Reads an open file of UTF-8 text; `path` is what messages call it.
    pub fn from_file(file: impl Read, path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let unusable = |problem| Error::Unusable {
            path: path.to_owned(),
            problem,
        };
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > LIMIT {
            return Err(unusable(format!("has more than {LIMIT} bytes")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(&path.display().to_string(), &text)),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                Err(unusable(format!("is not UTF-8 text from byte {at} on")))
            }
        }
    }

    /// A text that is already in memory.
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            extended: None,
        }
    }

    /// The same text, which extends another one.
    #[must_use]
    pub fn extending(self, extended: Self) -> Self {
        Self {
            extended: Some(Arc::new(extended)),
            ..self
        }
    }

    /// The text that this one extends.
    pub fn extended(&self) -> Option<&Self> {
        self.extended.as_deref()
    }

    /// Where the bytes of the text that this one extends begin to count. No span of this text goes
    /// that far.
    pub fn extended_at(&self) -> usize {
        self.text.len() + 1
    }

    /// The file's name, as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text that a span is in, and the span there.
    pub fn at(&self, span: Range<usize>) -> (&Self, Range<usize>) {
        match (self.extended(), span.start.checked_sub(self.extended_at())) {
            (Some(extended), Some(start)) => {
                extended.at(start..span.end.saturating_sub(self.extended_at()))
            }
            _ => (self, span),
        }
    }

    /// An error at these bytes of the text.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        let (source, span) = self.at(span);
        Diagnostic::new(source.clone(), span, message.into())
    }
}
