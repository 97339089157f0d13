//! How often to try again, and how many requests to have under way.
//!
//! A fixed number under way is wrong everywhere: 64 at a time stall a line that is not EC2's own, 8
//! leave EC2's idle. So the number grows by one with each round of requests that succeed, and is
//! halved when the service asks for less or does not answer.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::connect::failed;
use crate::{Error, Result};

/// The most requests at a time; EBS takes 1,000 blocks per second for a snapshot at best.
const WIDEST: u32 = 64;
/// What it begins with.
const FIRST: u32 = 8;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

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

/// How long to wait before the next try after this many: longer each time.
fn pause(attempts: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempts.saturating_sub(1).min(16));
    SHORTEST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

/// The same but for up to a half of it, so that those who failed together do not come back together.
pub(super) fn pause_apart(attempts: u32) -> Duration {
    let pause = pause(attempts);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let part = now.map_or(0, |now| now.subsec_nanos() % 1000);
    pause * (2000 - part) / 2000
}

/// Whether something that was just made, and failed so often and now so, is tried again.
pub(super) fn goes_on(error: &Error, attempts: u32) -> bool {
    // From some number on each pause is the longest.
    let waited: Duration = (1..attempts.min(1000)).map(pause).sum();
    waited < error.outlook().patience(true)
}

/// Sends a request again for as long as its failure may pass.
pub(super) async fn patiently<T, E, R, F>(
    doing: impl AsRef<str>,
    call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    again(doing.as_ref(), false, call).await
}

/// The same for a request about something that was just made, and that may not be known yet.
pub(super) async fn until_known<T, E, R, F>(
    doing: impl AsRef<str>,
    call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    again(doing.as_ref(), true, call).await
}

/// The same for a request about something that was `just_made` or is older.
pub(super) async fn again<T, E, R, F>(
    doing: &str,
    just_made: bool,
    mut call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let mut waited = Duration::ZERO;
    let mut attempts = 0;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => failed(doing)(error),
        };
        if waited >= error.outlook().patience(just_made) {
            return Err(error);
        }
        attempts += 1;
        let pause = pause_apart(attempts);
        tracing::info!(attempts, %error, "once more");
        tokio::time::sleep(pause).await;
        waited += pause;
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
        for attempts in 1..20 {
            let apart = pause_apart(attempts);
            assert!(apart <= pause(attempts) && apart >= pause(attempts) / 2);
        }
    }
}
