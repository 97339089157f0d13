//! When the user stops a run.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};

use crate::{Error, Result};

/// What some work comes to, unless the user stops it by one of these signals: the next one from here
/// on, so that what is done after a first one can be stopped by a second.
pub(super) async fn unless_interrupted<T>(
    signals: &[i32],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let signals = signals.iter().copied().map(SignalKind::from_raw);
    // Without handlers, the process ends as any other.
    let mut signals: Vec<_> = signals.filter_map(|kind| signal(kind).ok()).collect();
    let mut work = pin!(work);
    poll_fn(|context| {
        for signal in &mut signals {
            if signal.poll_recv(context).is_ready() {
                return Poll::Ready(Err(Error::Interrupted));
            }
        }
        work.as_mut().poll(context)
    })
    .await
}
