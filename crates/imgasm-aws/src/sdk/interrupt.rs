//! When the user stops a run.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};

use crate::{Error, Result};

/// What some work comes to, unless the user stops it by SIGINT or SIGTERM: the next one from here
/// on, so that what is done after a first one can be stopped by a second.
pub(super) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // Without handlers, the process ends as any other.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let mut work = pin!(work);
    poll_fn(|context| {
        for signal in signals.iter_mut().flatten() {
            if signal.poll_recv(context).is_ready() {
                return Poll::Ready(Err(Error::Interrupted));
            }
        }
        work.as_mut().poll(context)
    })
    .await
}
