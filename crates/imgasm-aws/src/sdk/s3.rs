//! A disk to an object: a multipart upload of a stream that is made on the way.
//!
//! The bucket itself is the journal: the parts of an unfinished upload are listed with their
//! checksums, and those that are right are not sent again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, thread};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, MultipartUpload,
    ServerSideEncryption,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::{Aws, failed};
use super::made::Place;
use super::pace::{patiently, pause_apart};
use crate::outlook::Outlook;
use crate::parts::{Part, PartWriter, part_bytes, stream_limit};
use crate::plan::steps::{METADATA_DISK, METADATA_KEEP};
use crate::plan::{Disk, DiskFormat};
use crate::report::Report;
use crate::request::CreateMultipartUpload;
use crate::{Error, Result};
use imgasm_block::Digest;
use imgasm_container::write_stream;

/// Parts under way at a time. Six of 10 MiB keep a line of a gigabit busy, and stay far below the
/// memory that a build takes.
const PARTS_UNDER_WAY: usize = 6;

/// A part that the bucket has.
struct Stored {
    size: u64,
    checksum: String,
    e_tag: String,
}

/// Sends a HEAD request, again for as long as S3 is busy: its answers have no body that would name a
/// code, so that the status has to say so.
pub(super) async fn head<T, E, F>(
    mut call: impl FnMut() -> F,
) -> std::result::Result<T, SdkError<E, HttpResponse>>
where
    F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
{
    let mut waited = Duration::ZERO;
    let mut attempts = 0;
    loop {
        let result = call().await;
        let is_busy = result.as_ref().err().is_some_and(|error| {
            let raw = error.raw_response();
            raw.is_some_and(|raw| matches!(raw.status().as_u16(), 429 | 500..=599))
        });
        if !is_busy || waited >= Outlook::Busy.patience(false) {
            return result;
        }
        attempts += 1;
        let pause = pause_apart(attempts);
        sleep(pause).await;
        waited += pause;
    }
}

/// Looks whether the bucket is there, ours to use, and in the region.
pub(super) async fn check_bucket(aws: &Aws, bucket: &str, owner: Option<String>) -> Result<()> {
    let is_named = owner.is_some();
    let call = aws.s3.head_bucket().bucket(bucket);
    let call = call.set_expected_bucket_owner(owner);
    let asked = head(|| call.clone().send()).await;
    let found = match &asked {
        Ok(answer) => answer.bucket_region().map(ToOwned::to_owned),
        // A bucket elsewhere is told by a header even where it is not ours to use.
        Err(error) => error
            .raw_response()
            .and_then(|response| response.headers().get("x-amz-bucket-region"))
            .map(ToOwned::to_owned),
    };
    if let Some(found) = found
        && found != aws.region
    {
        return Err(Error::BucketRegion {
            bucket: bucket.to_owned(),
            found,
            wanted: aws.region.clone(),
        });
    }
    match asked {
        Ok(_) => Ok(()),
        Err(error) => {
            let status = error
                .raw_response()
                .map(|response| response.status().as_u16());
            let doing = format!("use the bucket {bucket}");
            // The answer to HEAD has no body that would name a code.
            match status {
                Some(404) => Err(Error::Service {
                    doing,
                    code: Some("NoSuchBucket".to_owned()),
                    message: "the bucket does not exist".to_owned(),
                }),
                Some(403) => Err(Error::Service {
                    doing,
                    code: Some("AccessDenied".to_owned()),
                    message: if is_named {
                        "s3:ListBucket is not allowed, or the bucket is not of the account that \
                         `s3_bucket_owner` names"
                    } else {
                        "s3:ListBucket is not allowed"
                    }
                    .to_owned(),
                }),
                _ => Err(failed(doing)(error)),
            }
        }
    }
}

/// A disk's upload, which is under way.
pub(super) struct Upload {
    pub(super) place: Place,
    /// Its id at S3.
    pub(super) id: String,
    /// The parts that the bucket has.
    stored: BTreeMap<i32, Stored>,
    /// All parts, once they were sent.
    parts: Vec<CompletedPart>,
}

impl Upload {
    /// How many parts the bucket has.
    pub(super) fn count(&self) -> usize {
        self.stored.len()
    }
}

/// What is there of a disk in a bucket.
pub(super) enum Found {
    /// The whole object; whether it is to stay there.
    Object {
        is_kept: bool,
    },
    /// An upload that was not finished.
    Upload(Upload),
    Nothing,
}

/// What an earlier run has left of a disk.
pub(super) async fn find(aws: &Aws, place: &Place, disk: Digest) -> Result<Found> {
    if let Some(is_kept) = is_there(aws, place, disk).await? {
        return Ok(Found::Object { is_kept });
    }
    let Some(id) = find_upload(aws, place).await? else {
        return Ok(Found::Nothing);
    };
    let stored = list_parts(aws, place, &id).await?;
    Ok(Found::Upload(Upload {
        place: place.clone(),
        id,
        stored,
        parts: Vec::new(),
    }))
}

/// Whether a disk's whole object is there, and whether it is to stay.
async fn is_there(aws: &Aws, place: &Place, disk: Digest) -> Result<Option<bool>> {
    let Some(found) = look(aws, place).await? else {
        return Ok(None);
    };
    let is_it = found.metadata.get(METADATA_DISK) == Some(&disk.to_string());
    Ok(is_it.then_some(found.is_kept()))
}

/// An object that is there.
pub(super) struct Object {
    metadata: HashMap<String, String>,
    /// When it was written, in seconds since 1970.
    pub(super) modified: Option<i64>,
}

impl Object {
    /// Whether it is to stay.
    pub(super) fn is_kept(&self) -> bool {
        self.metadata.contains_key(METADATA_KEEP)
    }
}

/// An object, if it is there.
pub(super) async fn look(aws: &Aws, place: &Place) -> Result<Option<Object>> {
    let call = aws.s3.head_object().bucket(&place.bucket).key(&place.key);
    let call = call.set_expected_bucket_owner(place.owner.clone());
    // The answer to HEAD has no body that would name a code, so that the status says what there is.
    match head(|| call.clone().send()).await {
        Ok(found) => Ok(Some(Object {
            metadata: found.metadata().cloned().unwrap_or_default(),
            modified: found.last_modified().map(DateTime::secs),
        })),
        // 403 is the answer where the object is not there and the bucket may not be listed.
        Err(error) => match error.raw_response().map(|raw| raw.status().as_u16()) {
            Some(403 | 404) => Ok(None),
            _ => Err(failed(format!("look for {place}"))(error)),
        },
    }
}

/// Begins an upload.
pub(super) async fn begin(aws: &Aws, request: &CreateMultipartUpload) -> Result<Upload> {
    let place = Place {
        bucket: request.bucket.clone(),
        key: request.key.clone(),
        owner: request.expected_bucket_owner.clone(),
    };
    let encryption = request.server_side_encryption;
    let call = aws
        .s3
        .create_multipart_upload()
        .bucket(&request.bucket)
        .key(&request.key)
        .checksum_algorithm(ChecksumAlgorithm::from(request.checksum_algorithm))
        .checksum_type(ChecksumType::from(request.checksum_type))
        .set_metadata(Some(request.metadata.clone().into_iter().collect()))
        .set_server_side_encryption(encryption.map(ServerSideEncryption::from))
        .set_ssekms_key_id(request.sse_kms_key_id.clone())
        .set_expected_bucket_owner(request.expected_bucket_owner.clone());
    let doing = format!("begin the upload of {place}");
    let answer = patiently(doing, || call.clone().send()).await?;
    let id = answer.upload_id().map(ToOwned::to_owned);
    let id = id.ok_or_else(|| Error::Answer {
        what: place.to_string(),
        problem: "the upload has no id".to_owned(),
    })?;
    Ok(Upload {
        place,
        id,
        stored: BTreeMap::new(),
        parts: Vec::new(),
    })
}

/// An upload of the same object that was not finished.
async fn find_upload(aws: &Aws, place: &Place) -> Result<Option<String>> {
    let all = uploads(aws, place).await?;
    let mut same = all.iter().filter(|it| it.key() == Some(&place.key));
    Ok(same.find_map(|upload| upload.upload_id().map(ToOwned::to_owned)))
}

/// The unfinished uploads to keys that begin as this one's.
pub(super) async fn uploads(aws: &Aws, place: &Place) -> Result<Vec<MultipartUpload>> {
    let Place { bucket, key, owner } = place;
    let mut all = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let (after_key, after_id) = after.clone().unzip();
        let call = aws
            .s3
            .list_multipart_uploads()
            .bucket(bucket)
            .prefix(key)
            .set_expected_bucket_owner(owner.clone())
            .set_key_marker(after_key)
            .set_upload_id_marker(after_id);
        let doing = format!("list the uploads of {bucket}");
        let page = patiently(doing, || call.clone().send()).await?;
        all.extend(page.uploads().iter().cloned());
        let next = page.next_key_marker().zip(page.next_upload_id_marker());
        let next = next.map(|(key, id)| (key.to_owned(), id.to_owned()));
        if page.is_truncated() != Some(true) || next.is_none() || next == after {
            return Ok(all);
        }
        after = next;
    }
}

async fn list_parts(aws: &Aws, place: &Place, id: &str) -> Result<BTreeMap<i32, Stored>> {
    let mut pages = aws
        .s3
        .list_parts()
        .bucket(&place.bucket)
        .key(&place.key)
        .upload_id(id)
        .set_expected_bucket_owner(place.owner.clone())
        .into_paginator()
        .send();
    let mut parts = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed(format!("list the parts of {place}")))?;
        for part in page.parts() {
            let known = part
                .part_number()
                .zip(part.size())
                .zip(part.checksum_sha256().zip(part.e_tag()));
            if let Some(((number, size), (checksum, e_tag))) = known {
                let stored = Stored {
                    size: u64::try_from(size).unwrap_or(0),
                    checksum: checksum.to_owned(),
                    e_tag: e_tag.to_owned(),
                };
                parts.insert(number, stored);
            }
        }
    }
    Ok(parts)
}

/// Makes the stream on a thread of its own, and sends the parts that the bucket does not have.
pub(super) async fn send_parts(
    aws: &Aws,
    upload: &mut Upload,
    disk: &Disk,
    format: DiskFormat,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<()> {
    let Upload {
        place, id, stored, ..
    } = &*upload;
    let size = part_bytes(stream_limit(disk, format));
    let (give, mut parts) = mpsc::channel::<Part>(1);
    let built = disk.built.clone();
    let telling = Arc::clone(report);
    let what = format!("uploading {}", built.file);
    let maker = thread::spawn(move || -> imgasm_container::Result<()> {
        let mut writer = PartWriter::new(size, |part| {
            // Nobody takes parts any more where the upload has failed.
            give.blocking_send(part)
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        let progress = |done: u64, all: u64| telling.progress(&what, done, all);
        let (device, map) = (&*built.device, &*built.chunk_map);
        write_stream(device, map, format.output(), &mut writer, &progress)?;
        writer
            .finish()
            .map_err(|source| imgasm_container::Error::Write {
                format: "upload",
                source,
            })
    });
    let mut sending: JoinSet<Result<CompletedPart>> = JoinSet::new();
    let mut done = Vec::new();
    let sent = Arc::new(AtomicU64::new(0));
    let mut result = Ok(());
    while let Some(part) = parts.recv().await {
        if let Some(stored) = stored
            .get(&part.number)
            .filter(|stored| is_same(stored, &part))
        {
            done.push(completed(&part, &stored.e_tag));
            continue;
        }
        if sending.len() >= PARTS_UNDER_WAY
            && let Some(part) = sending.join_next().await
        {
            match finished(part) {
                Ok(part) => done.push(part),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let (aws, place) = (aws.clone(), place.clone());
        let (upload_id, sent) = (id.clone(), Arc::clone(&sent));
        sending.spawn(async move {
            let part = send_part(&aws, &place, &upload_id, part).await?;
            sent.fetch_add(1, Ordering::Relaxed);
            Ok(part)
        });
    }
    // Ends the maker where it is still at work.
    drop(parts);
    while let Some(part) = sending.join_next().await {
        match finished(part) {
            Ok(part) => done.push(part),
            Err(error) => result = result.and(Err(error)),
        }
    }
    let made = tokio::task::spawn_blocking(move || maker.join()).await;
    result?;
    match made {
        Ok(Ok(made)) => made?,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => return Err(Error::Interrupted),
    }
    let sent = sent.load(Ordering::Relaxed);
    report.note(
        "uploaded",
        &format!("{place}, {sent} of {} parts sent", done.len()),
    );
    done.sort_by_key(CompletedPart::part_number);
    upload.parts = done;
    Ok(())
}

/// What a task came to.
fn finished<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Interrupted),
    }
}

fn is_same(stored: &Stored, part: &Part) -> bool {
    u64::try_from(part.bytes.len()) == Ok(stored.size)
        && stored.checksum == BASE64.encode(part.digest.as_bytes())
}

fn completed(part: &Part, e_tag: &str) -> CompletedPart {
    CompletedPart::builder()
        .part_number(part.number)
        .e_tag(e_tag)
        .checksum_sha256(BASE64.encode(part.digest.as_bytes()))
        .build()
}

async fn send_part(aws: &Aws, place: &Place, id: &str, mut part: Part) -> Result<CompletedPart> {
    let bytes = std::mem::take(&mut part.bytes);
    let doing = format!("upload part {} of {place}", part.number);
    let send = || {
        aws.s3
            .upload_part()
            .bucket(&place.bucket)
            .key(&place.key)
            .upload_id(id)
            .set_expected_bucket_owner(place.owner.clone())
            .part_number(part.number)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64.encode(part.digest.as_bytes()))
            .body(ByteStream::from(bytes.clone()))
            .send()
    };
    let answer = patiently(doing, send).await?;
    Ok(completed(&part, answer.e_tag().unwrap_or_default()))
}

/// Makes the object of its parts, and compares its checksum: SHA-256 over the parts' SHA-256s (S3
/// user guide, "Checking object integrity", composite checksums).
///
/// An answer may be lost although the object was made: the upload is not known then, and the object
/// is there.
pub(super) async fn complete(aws: &Aws, upload: &Upload, disk: Digest) -> Result<()> {
    let Upload {
        place, id, parts, ..
    } = upload;
    let mut hasher = Sha256::new();
    for part in parts {
        let digest = BASE64.decode(part.checksum_sha256().unwrap_or_default());
        hasher.update(digest.unwrap_or_default());
    }
    let expected = format!("{}-{}", BASE64.encode(hasher.finalize()), parts.len());
    let all = CompletedMultipartUpload::builder().set_parts(Some(parts.clone()));
    let call = aws
        .s3
        .complete_multipart_upload()
        .bucket(&place.bucket)
        .key(&place.key)
        .upload_id(id)
        .set_expected_bucket_owner(place.owner.clone())
        .multipart_upload(all.build());
    let doing = format!("finish the upload of {place}");
    let answer = match patiently(doing, || call.clone().send()).await {
        Err(error)
            if error.outlook() == Outlook::NotFound
                && is_there(aws, place, disk).await?.is_some() =>
        {
            return Ok(());
        }
        answer => answer?,
    };
    match answer.checksum_sha256() {
        Some(found) if found != expected => Err(Error::Answer {
            what: place.to_string(),
            problem: format!("its checksum is {found}, and that of what was sent is {expected}"),
        }),
        _ => Ok(()),
    }
}
