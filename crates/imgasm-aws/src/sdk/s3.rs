//! A disk to an object: a multipart upload of a stream that is made on the way.
//!
//! The bucket itself is the journal: the parts of an unfinished upload are listed with their
//! checksums, and those that are right are not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    MultipartUpload,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connect::{Aws, failed};
use super::made::{Made, Place, Things};
use crate::parts::{Part, PartWriter, part_bytes};
use crate::plan::{Disk, DiskFormat};
use crate::preview::stream_limit;
use crate::report::Report;
use crate::{Error, Result};
use imgasm_block::Digest;
use imgasm_container::write_stream;

/// Parts under way at a time. Six of 10 MiB keep a line of a gigabit busy, and stay far below the
/// memory that a build takes.
const PARTS_UNDER_WAY: usize = 6;

/// In the object's metadata: the digest of the disk.
const METADATA_DISK: &str = "imgasm-disk";

/// A part that the bucket has.
struct Stored {
    size: u64,
    checksum: String,
    e_tag: String,
}

/// Looks whether the bucket is there, ours to use, and in the region.
pub(super) async fn check_bucket(aws: &Aws, bucket: &str) -> Result<()> {
    let asked = aws.s3.head_bucket().bucket(bucket).send().await;
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
                    message: "s3:ListBucket is not allowed".to_owned(),
                }),
                _ => Err(failed(doing)(error)),
            }
        }
    }
}

/// Uploads a disk, unless its object is there already, and notes in `things` what is made.
pub(super) async fn upload(
    aws: &Aws,
    disk: &Disk,
    format: DiskFormat,
    place: &Place,
    things: &mut Things,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<()> {
    things.add(Made::Object(place.clone()));
    if is_there(aws, place, disk.built.digest()).await? {
        report.note("found", &format!("{place} from an earlier run"));
        return Ok(());
    }
    let (upload_id, stored) = match find_upload(aws, place).await? {
        Some(id) => {
            let parts = list_parts(aws, place, &id).await?;
            let count = parts.len();
            report.note("resuming", &format!("{place}, {count} parts are there"));
            (id, parts)
        }
        None => (
            begin(aws, place, disk.built.digest()).await?,
            BTreeMap::new(),
        ),
    };
    things.add(Made::Upload {
        place: place.clone(),
        id: upload_id.clone(),
    });
    let parts = send_parts(aws, disk, format, place, &upload_id, stored, report).await?;
    complete(aws, place, &upload_id, parts).await?;
    things.forget_upload(&upload_id);
    Ok(())
}

async fn is_there(aws: &Aws, place: &Place, disk: Digest) -> Result<bool> {
    let asked = aws
        .s3
        .head_object()
        .bucket(&place.bucket)
        .key(&place.key)
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await;
    match asked {
        Ok(found) => {
            let tagged = found.metadata().and_then(|all| all.get(METADATA_DISK));
            Ok(tagged.is_some_and(|tagged| *tagged == disk.to_string()))
        }
        // 403 is the answer where the object is not there and the bucket may not be listed.
        Err(error) => match error.raw_response().map(|raw| raw.status().as_u16()) {
            Some(403 | 404) => Ok(false),
            _ => Err(failed(format!("look for {place}"))(error)),
        },
    }
}

async fn begin(aws: &Aws, place: &Place, disk: Digest) -> Result<String> {
    let sent = aws
        .s3
        .create_multipart_upload()
        .bucket(&place.bucket)
        .key(&place.key)
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .checksum_type(ChecksumType::Composite)
        .metadata(METADATA_DISK, disk.to_string())
        .send()
        .await;
    let answer = sent.map_err(failed(format!("begin the upload of {place}")))?;
    answer
        .upload_id()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Error::Answer {
            what: place.to_string(),
            problem: "the upload has no id".to_owned(),
        })
}

/// An upload of the same object that was not finished.
async fn find_upload(aws: &Aws, place: &Place) -> Result<Option<String>> {
    let all = uploads(aws, &place.bucket, &place.key).await?;
    let mut same = all.iter().filter(|it| it.key() == Some(&place.key));
    Ok(same.find_map(|upload| upload.upload_id().map(ToOwned::to_owned)))
}

/// The unfinished uploads to keys that begin so.
pub(super) async fn uploads(aws: &Aws, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
    let mut all = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let (key, id) = after.clone().unzip();
        let asked = aws
            .s3
            .list_multipart_uploads()
            .bucket(bucket)
            .prefix(prefix)
            .set_key_marker(key)
            .set_upload_id_marker(id)
            .send()
            .await;
        let page = asked.map_err(failed(format!("list the uploads of {bucket}")))?;
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

/// Makes the stream on a thread of its own, and sends its parts.
async fn send_parts(
    aws: &Aws,
    disk: &Disk,
    format: DiskFormat,
    place: &Place,
    upload_id: &str,
    stored: BTreeMap<i32, Stored>,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<Vec<CompletedPart>> {
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
        let (upload_id, sent) = (upload_id.to_owned(), Arc::clone(&sent));
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
    Ok(done)
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
    let sent = aws
        .s3
        .upload_part()
        .bucket(&place.bucket)
        .key(&place.key)
        .upload_id(id)
        .part_number(part.number)
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .checksum_sha256(BASE64.encode(part.digest.as_bytes()))
        .body(ByteStream::from(bytes))
        .send()
        .await;
    let doing = format!("upload part {} of {place}", part.number);
    let answer = sent.map_err(failed(doing))?;
    Ok(completed(&part, answer.e_tag().unwrap_or_default()))
}

/// Makes the object of its parts, and compares its checksum: SHA-256 over the parts' SHA-256s (S3
/// user guide, "Checking object integrity", composite checksums).
async fn complete(aws: &Aws, place: &Place, id: &str, parts: Vec<CompletedPart>) -> Result<()> {
    let mut hasher = Sha256::new();
    for part in &parts {
        let digest = BASE64.decode(part.checksum_sha256().unwrap_or_default());
        hasher.update(digest.unwrap_or_default());
    }
    let expected = format!("{}-{}", BASE64.encode(hasher.finalize()), parts.len());
    let upload = CompletedMultipartUpload::builder().set_parts(Some(parts));
    let sent = aws
        .s3
        .complete_multipart_upload()
        .bucket(&place.bucket)
        .key(&place.key)
        .upload_id(id)
        .multipart_upload(upload.build())
        .send()
        .await;
    let answer = sent.map_err(failed(format!("finish the upload of {place}")))?;
    match answer.checksum_sha256() {
        Some(found) if found != expected => Err(Error::Answer {
            what: place.to_string(),
            problem: format!("its checksum is {found}, and that of what was sent is {expected}"),
        }),
        _ => Ok(()),
    }
}
