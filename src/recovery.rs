//! What to do about an image that is half-changed.

use imgasm_block::Error;

/// The advice that belongs to an error of a device, if that is about a half-changed image.
pub fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Interrupted { path, .. } => Some(format!(
            "`imgasm recover {}` puts it back as it was",
            path.display()
        )),
        Error::HalfChanged { path, .. } => Some(format!(
            "fix the cause of the failure, then `imgasm recover {}` puts it back as it was",
            path.display()
        )),
        _ => None,
    }
}
