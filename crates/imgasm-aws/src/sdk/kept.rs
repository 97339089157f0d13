//! Credentials that are kept for as long as they are good: some come from a program, or by a request
//! to STS, and more than one client wants them.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

/// How long before their end credentials are asked for again.
const MARGIN: Duration = Duration::from_mins(1);

/// Where credentials come from, with the last that came.
#[derive(Debug)]
pub(super) struct Kept {
    source: SharedCredentialsProvider,
    last: Mutex<Option<Credentials>>,
}

impl Kept {
    pub(super) fn new(source: SharedCredentialsProvider) -> Self {
        let last = Mutex::new(None);
        Self { source, last }
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let mut last = self.last.lock().await;
            let is_good = |it: &&Credentials| match it.expiry() {
                Some(end) => end > SystemTime::now() + MARGIN,
                None => true,
            };
            if let Some(kept) = last.as_ref().filter(is_good) {
                return Ok(kept.clone());
            }
            let new = self.source.provide_credentials().await?;
            *last = Some(new.clone());
            Ok(new)
        })
    }
}
