//! An object of S3 as a file on a server.

use super::connection::{Console, explained};
use super::failure::Failure;
use imgasm_aws::sdk::Settings;
use imgasm_aws::sdk::object::Object;
use imgasm_fs::text::chain;
use imgasm_repo::transport::resume::{Refusal, Remote, Stream};

/// An object, and its URL.
pub(super) struct S3Object<'u> {
    url: &'u str,
    object: Object,
}

impl<'u> S3Object<'u> {
    /// The object at `s3://BUCKET/KEY`.
    pub(super) fn connect(url: &'u str, settings: &Settings) -> Result<Self, Failure> {
        let object = Object::connect(url, settings, &*Console::shared());
        Ok(Self {
            url,
            object: object.map_err(explained)?,
        })
    }
}

impl Remote for S3Object<'_> {
    fn url(&self) -> &str {
        self.url
    }

    fn open(&self, from: u64) -> Result<Stream, Refusal> {
        // What may pass was waited for already.
        let body = self.object.open(from).map_err(|error| Refusal {
            problem: chain(&error),
            may_pass: false,
        })?;
        let (start, len) = (body.start, body.len);
        let reader = Box::new(body);
        Ok(Stream { reader, start, len })
    }
}
