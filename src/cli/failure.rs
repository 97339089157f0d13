//! Why a command failed, in words for a person.

use std::error::Error;
use std::fmt;
use std::io;

use crate::{apply, built, compare, grow, opener, recovery, verification};

/// A command's failure: an error from the library with what was being done, and a hint.
#[derive(Debug)]
pub enum Failure {
    /// The reader of stdout is gone; nothing is wrong, and nobody listens.
    StdoutClosed,
    /// Anything else.
    Failed {
        /// What was wrong.
        error: Box<dyn Error + Send + Sync>,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Failure {
    /// A failure to write to stdout.
    pub fn stdout(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::StdoutClosed
        } else {
            Self::from(error)
        }
    }

    /// A failure in the command's own words.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Failed {
            error: message.into().into(),
            hint: None,
        }
    }

    /// The failure that an error is, with the advice that belongs to it, if any.
    pub fn advised(error: impl Into<Self>, hint: Option<impl Into<String>>) -> Self {
        let failure = error.into();
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::StdoutClosed => self,
            Self::Failed { error, .. } => Self::Failed {
                error,
                hint: Some(hint.into()),
            },
        }
    }

    /// The same failure as the cause of a larger one.
    #[must_use]
    pub fn in_context(self, what: impl Into<String>) -> Self {
        match self {
            Self::StdoutClosed => self,
            Self::Failed { error, hint } => Self::Failed {
                error: Box::new(Context {
                    what: what.into(),
                    error,
                }),
                hint,
            },
        }
    }

    /// The same failure with advice if a filesystem of the image has no room left.
    #[must_use]
    pub fn with_room_hint(self, hint: &str) -> Self {
        if self.is_about_room() {
            self.with_hint(hint)
        } else {
            self
        }
    }

    fn is_about_room(&self) -> bool {
        let Self::Failed { error, .. } = self else {
            return false;
        };
        let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(error) = cause {
            if let Some(imgasm_fs::Error::NoSpace { .. }) = error.downcast_ref() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// What was wrong, without its causes.
    pub fn message(&self) -> String {
        match self {
            Self::StdoutClosed => self.to_string(),
            Self::Failed { error, .. } => error.to_string(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::StdoutClosed => None,
            Self::Failed { hint, .. } => hint.as_deref(),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed {
            hint: about_half_changed(&error),
            error: Box::new(error),
        }
    }
}

/// The advice for a half-changed image, wherever in the chain of causes that is said.
fn about_half_changed(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let hint = device_error(error).and_then(recovery::hint);
        if hint.is_some() {
            return hint;
        }
        cause = error.source();
    }
    None
}

/// The error of a device that an error is, or shows as its own, so that it is not among the causes.
fn device_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e imgasm_block::Error> {
    if let Some(apply::Error::Block(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(grow::Error::Block(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(built::Error::Block(error)) = error.downcast_ref() {
        return Some(error);
    }
    let container = if let Some(opener::Error::Container(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(verification::Error::Open(opener::Error::Container(error))) =
        error.downcast_ref()
    {
        Some(error)
    } else if let Some(boxed) = error.downcast_ref::<Box<compare::OpenError>>()
        && let compare::OpenError::Container(error) = &**boxed
    {
        Some(error)
    } else if let Some(built::Error::Container(error)) = error.downcast_ref() {
        Some(error)
    } else {
        error.downcast_ref()
    };
    match container {
        Some(imgasm_container::Error::Block(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// What was being done when an error came.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Context {
    what: String,
    #[source]
    error: Box<dyn Error + Send + Sync>,
}

/// The message, then each cause on a line of its own.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { error, .. } = self else {
            return f.write_str("stdout was closed");
        };
        let mut said = error.to_string();
        write!(f, "{said}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // A transparent error prints its cause, and the message of a step includes all causes.
            if !said.contains(&text) {
                write!(f, "\n  cause: {text}")?;
                said.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_changed_image_has_advice_wherever_it_is_met() {
        let path = std::path::PathBuf::from("disk.raw");
        let interrupted = || imgasm_block::Error::Interrupted {
            path: path.clone(),
            undo: "disk.raw.imgasm-undo".into(),
        };
        let half_changed = || imgasm_block::Error::HalfChanged {
            path: path.clone(),
            source: Box::new(interrupted()),
        };
        let container = || imgasm_container::Error::Block(interrupted());
        let failures = [
            Failure::from(interrupted()),
            Failure::from(container()),
            Failure::from(opener::Error::Container(container())),
            Failure::from(verification::Error::Open(opener::Error::Container(
                container(),
            ))),
            Failure::from(compare::Error::Open {
                path: path.clone(),
                source: Box::new(compare::OpenError::Container(container())),
            }),
            Failure::from(built::Error::Block(interrupted())),
            Failure::from(apply::Error::Block(half_changed())).in_context("cannot change it"),
            Failure::from(grow::Error::Block(half_changed())),
        ];
        for failure in failures {
            let hint = failure.hint().unwrap_or_default();
            let advice = "`imgasm recover disk.raw` puts it back as it was";
            assert!(hint.ends_with(advice), "{failure:?}");
            assert!(!failure.message().contains("imgasm recover"), "{failure:?}");
        }
    }
}
