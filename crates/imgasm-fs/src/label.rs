//! The labels of filesystems.

use crate::error::{Error, Result};

/// Makes sure that a label has at most `most` bytes, and no NUL, which would end it.
///
/// # Errors
/// [`Error::Unstorable`] otherwise.
pub fn check_label(label: &[u8], most: usize) -> Result<()> {
    if label.len() <= most && !label.contains(&0) {
        return Ok(());
    }
    Err(Error::Unstorable {
        what: format!("label {:?}", String::from_utf8_lossy(label)),
        problem: format!(
            "it has {} bytes, at most {most} without NUL fit",
            label.len()
        ),
    })
}
