//! `append_line`: a line that is to be in a file once.

use serde::Deserialize;

use super::{Context, Error};
use crate::config::values::Line;
use imgasm_fs::path::ImagePath;

/// Adds a line to the end of a file that does not have it, making the file if it is missing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendLine {
    path: ImagePath,
    line: Line,
}

impl AppendLine {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let mut content = context.read_or_empty(&self.path)?;
        add_line(&mut content, self.line.as_str().as_bytes());
        context.rewrite(&self.path, &content)
    }
}

/// Adds a line, unless it is there already.
pub(super) fn add_line(content: &mut Vec<u8>, line: &[u8]) {
    if content.split(|&b| b == b'\n').any(|known| known == line) {
        return;
    }
    if content.last().is_some_and(|&last| last != b'\n') {
        content.push(b'\n');
    }
    content.extend_from_slice(line);
    content.push(b'\n');
}
