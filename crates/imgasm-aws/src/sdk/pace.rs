//! How many requests to have under way: as many as the service takes without complaint.
//!
//! A fixed number is wrong everywhere: 64 at a time stall a line that is not EC2's own, 8 leave
//! EC2's idle. So the number grows by one with each round of requests that succeed, and is halved
//! when the service asks for less or does not answer.

use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::connect::failed;
use crate::{Error, Result};

/// The most requests at a time; EBS gives 1,000 blocks a second for a snapshot at best.
const WIDEST: u32 = 64;
/// What it begins with.
const FIRST: u32 = 8;

/// How often one thing is tried.
const ATTEMPTS: u32 = 12;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How many requests may be under way now.
#[derive(Debug)]
pub(super) struct Pace {
    width: u32,
    /// Successes since the width has grown.
    successes: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            width: FIRST,
            successes: 0,
        }
    }

    pub(super) fn width(&self) -> usize {
        usize::try_from(self.width).expect("at most 64")
    }

    pub(super) fn succeeded(&mut self) {
        self.successes += 1;
        if self.successes >= self.width {
            self.successes = 0;
            self.width = (self.width + 1).min(WIDEST);
        }
    }

    pub(super) fn failed(&mut self) {
        self.successes = 0;
        self.width = (self.width / 2).max(1);
    }
}

/// Whether a failure may not come again: the service is busy, or did not answer.
pub(super) fn is_passing<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    match error {
        SdkError::ServiceError(service) => {
            matches!(
                service.err().code(),
                Some(
                    "ThrottlingException"
                        | "Throttling"
                        | "RequestThrottledException"
                        | "RequestLimitExceeded"
                        | "SlowDown"
                        | "InternalServerException"
                        | "InternalServerError"
                        | "InternalError"
                        | "InternalFailure"
                        | "ServiceUnavailable"
                        | "Unavailable"
                ) | None
            )
        }
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        _ => true,
    }
}

/// How long to wait before the next try after this many.
pub(super) fn pause(attempts: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempts.saturating_sub(1).min(16));
    SHORTEST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

/// Whether something that failed so often is tried again.
pub(super) fn goes_on(attempts: u32) -> bool {
    attempts < ATTEMPTS
}

/// Sends a request again while it fails for a moment.
pub(super) async fn patiently<T, E, R, F>(doing: &str, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let mut attempts = 0;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        attempts += 1;
        if !is_passing(&error) || !goes_on(attempts) {
            return Err::<T, Error>(failed(doing)(error));
        }
        tokio::time::sleep(pause(attempts)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_widens_slowly_and_narrows_fast() {
        let mut pace = Pace::new();
        for _ in 0..8 {
            pace.succeeded();
        }
        assert_eq!(pace.width(), 9);
        pace.failed();
        assert_eq!(pace.width(), 4);
        for _ in 0..10 {
            pace.failed();
        }
        assert_eq!(pace.width(), 1);
        for _ in 0..10_000 {
            pace.succeeded();
        }
        assert_eq!(pace.width(), 64);
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        assert_eq!(pause(1), SHORTEST_PAUSE);
        assert_eq!(pause(3), SHORTEST_PAUSE * 4);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
