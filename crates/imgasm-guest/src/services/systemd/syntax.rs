//! The syntax of unit files: systemd.syntax(7).

/// A line `key=value` of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its section, without brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, as it is written.
    pub value: String,
}

/// All assignments of a unit file, in order. What is not an assignment is skipped, as systemd does
/// with a warning.
pub fn assignments(text: &str) -> Vec<Assignment> {
    let mut section = String::new();
    let mut assignments = Vec::new();
    for line in logical_lines(text) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            assignments.push(Assignment {
                section: section.clone(),
                key: key.trim_end().to_owned(),
                value: value.trim_start().to_owned(),
            });
        }
    }
    assignments
}

/// Lines without comments, blank ones and surrounding space; a backslash at the end of a line joins
/// the next line with a space.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for raw in text.lines() {
        let line = raw.trim_start();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut joined = open.take().unwrap_or_default();
        if let Some(part) = line.strip_suffix('\\') {
            joined.push_str(part);
            joined.push(' ');
            open = Some(joined);
        } else {
            joined.push_str(line);
            lines.push(joined);
        }
    }
    lines.extend(open);
    for line in &mut lines {
        *line = line.trim().to_owned();
    }
    lines.retain(|line| !line.is_empty());
    lines
}
