//! A message that shows the place in a text.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::Source;

/// Something wrong in a text, with the file, line and column, the text there, and a hint.
///
/// As text it is several lines; the first is the message, without a word such as `error:` before
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    source: Source,
    span: Range<usize>,
    message: String,
    hint: Option<String>,
}

/// The prefix of every rendered message, which is removed again.
const PREFIX: &str = "error: ";

impl Diagnostic {
    pub(super) fn new(source: Source, span: Range<usize>, message: String) -> Self {
        Self {
            span: clamp(source.text(), span),
            source,
            message,
            hint: None,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// Line and column of the place, both from 1; the column in characters.
    pub fn position(&self) -> (usize, usize) {
        let before = &self.source.text()[..self.span.start];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// The span, clamped to the text and to character boundaries.
fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |at: usize| text.floor_char_boundary(at.min(text.len()));
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = AnnotationKind::Primary.span(self.span.clone());
        let snippet = Snippet::source(self.source.text())
            .path(self.source.name())
            .annotation(place);
        let title = Level::ERROR.primary_title(&self.message);
        let hint = self.hint.as_ref().map(|hint| Level::HELP.message(hint));
        let report = title.element(snippet).elements(hint);
        let rendered = Renderer::plain().render(&[report]);
        let rendered = rendered.trim_end();
        f.write_str(rendered.strip_prefix(PREFIX).unwrap_or(rendered))
    }
}

impl std::error::Error for Diagnostic {}
