//! Where findings go.

use imgasm_fs::{Error, Finding, Location, Result};

/// Where findings go.
pub(super) type Report<'a> = &'a mut dyn FnMut(Finding);

/// Reports something that contradicts something else.
pub(super) fn finding(report: Report<'_>, at: Location, problem: impl Into<String>) {
    report(Finding::error(at, problem));
}

/// Gives a value, or reports why there is none. An error that is not a contradiction in the image
/// stays an error.
pub(super) fn found<T>(report: Report<'_>, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corrupt { at, problem, .. }) => {
            report(Finding::error(at, problem));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
