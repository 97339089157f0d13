//! Waiting for something that takes its time at AWS.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::outlook::Outlook;
use crate::{Error, Result};

/// The first question is asked soon: small disks are quick.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait, and how often to ask.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The longest pause between two questions.
    pub pause: Duration,
    /// When to give up.
    pub limit: Duration,
}

/// What a question brought.
pub(super) enum State<T> {
    /// It is done.
    Done(T),
    /// It is not: what it is instead.
    Pending(String),
}

/// Asks until it is done.
pub(super) async fn until<T, F>(
    what: &str,
    patience: Patience,
    mut ask: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<State<T>>>,
{
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE.min(patience.pause);
    loop {
        let state = match ask().await {
            Ok(State::Done(result)) => return Ok(result),
            Ok(State::Pending(state)) => state,
            // What is waited for goes on meanwhile, whether the question arrived or not.
            Err(error) if error.outlook() == Outlook::Busy => error.to_string(),
            Err(error) => return Err(error),
        };
        if begin.elapsed() >= patience.limit {
            return Err(Error::TimeOut {
                what: what.to_owned(),
                seconds: patience.limit.as_secs(),
                state,
            });
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(patience.pause);
    }
}
