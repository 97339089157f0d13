//! An object that is read as it comes, from any of its bytes on, by a caller that waits for it.

use std::io::{self, Read};
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::connect::{Aws, Settings, runtime};
use super::made::Place;
use super::pace::patiently;
use super::s3::check_bucket;
use crate::report::Report;
use crate::{Error, Result};

/// An object in a bucket.
#[derive(Debug)]
pub struct Object {
    aws: Aws,
    place: Place,
    runtime: Arc<Runtime>,
}

/// What S3 sends of an object.
#[derive(Debug)]
pub struct Body {
    /// The byte of the object with which it begins.
    pub start: u64,
    /// The length of the object, if S3 says it.
    pub len: Option<u64>,
    stream: ByteStream,
    chunk: Bytes,
    runtime: Arc<Runtime>,
}

impl Object {
    /// The object at `s3://BUCKET/KEY`.
    ///
    /// # Errors
    /// If the URL is not of that form, or AWS cannot be reached.
    pub fn connect(url: &str, settings: &Settings, report: &dyn Report) -> Result<Self> {
        let place = url.strip_prefix("s3://").and_then(|it| it.split_once('/'));
        let (bucket, key) = place.ok_or_else(|| Error::Answer {
            what: url.to_owned(),
            problem: "it names no object".to_owned(),
        })?;
        let runtime = Arc::new(runtime()?);
        Ok(Self {
            aws: runtime.block_on(Aws::connect(settings, report))?,
            place: Place {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                owner: None,
            },
            runtime,
        })
    }

    /// Asks for it, from this byte on. The bucket may be in another region.
    ///
    /// # Errors
    /// As S3 refuses it.
    pub fn open(&self, from: u64) -> Result<Body> {
        self.runtime.block_on(async {
            let refused = match self.get(&self.aws, from).await {
                Err(error) => error,
                got => return got,
            };
            match check_bucket(&self.aws, &self.place.bucket, None).await {
                Err(Error::BucketRegion { found, .. }) => {
                    self.get(&self.aws.in_region(&found), from).await
                }
                _ => Err(refused),
            }
        })
    }

    async fn get(&self, aws: &Aws, from: u64) -> Result<Body> {
        let call = aws.s3.get_object();
        let call = call.bucket(&self.place.bucket).key(&self.place.key);
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let call = call.set_range(range);
        let answer = patiently(format!("get {}", self.place), || call.clone().send()).await;
        let body = |start, len, stream| Body {
            start,
            len,
            stream,
            chunk: Bytes::new(),
            runtime: Arc::clone(&self.runtime),
        };
        let answer = match answer {
            // There is no such byte: all of it is there.
            Err(Error::Service { code, .. }) if code.as_deref() == Some("InvalidRange") => {
                return Ok(body(from, None, ByteStream::default()));
            }
            answer => answer?,
        };
        let start = if answer.content_range().is_some() {
            from
        } else {
            0
        };
        let sent = answer
            .content_length()
            .and_then(|len| u64::try_from(len).ok());
        let len = sent.map(|sent| sent.saturating_add(start));
        Ok(body(start, len, answer.body))
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(next) => self.chunk = next.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let len = buf.len().min(self.chunk.len());
        buf[..len].copy_from_slice(&self.chunk.split_to(len));
        Ok(len)
    }
}
