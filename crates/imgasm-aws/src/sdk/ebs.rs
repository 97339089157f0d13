//! A disk to a snapshot, block by block (EBS direct APIs).
//!
//! Only blocks that hold data are sent, or those that differ from a parent; where blocks that are
//! left out would not read as zeros, all of them. What EBS has taken is in a journal, with which a
//! further run goes on.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm};
use aws_sdk_ec2::types::{Snapshot, SnapshotState};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::{Aws, failed};
use super::journal::{self, Journal};
use super::pace::{Pace, goes_on, patiently, pause_apart, until_known};
use super::send;
use super::wait::{Patience, State, until};
use crate::blocks::{Block, linear_checksum};
use crate::outlook::Outlook;
use crate::plan::Disk;
use crate::report::Report;
use crate::request::StartSnapshot;
use crate::{Error, Result};
use imgasm_block::{CHUNK_BYTES, Digest};

/// What an upload makes, for its journal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    account: String,
    region: String,
    disk: Digest,
    parent: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    /// EBS's checksum over the blocks that are sent.
    checksum: Digest,
}

/// The upload of a disk, which is under way.
pub(super) struct Upload {
    /// The snapshot.
    pub(super) id: String,
    blocks: Vec<Block>,
    checksum: Digest,
    journal: Journal,
    journal_path: PathBuf,
}

/// What came of beginning an upload.
pub(super) enum Begun {
    /// There is something to send.
    Upload(Box<Upload>),
    /// A run that was killed had done it all: the snapshot.
    Done(String),
}

/// Begins the upload of a disk's blocks, or goes on with that of a run that was killed.
pub(super) async fn begin(
    aws: &Aws,
    disk: &Disk,
    request: &StartSnapshot,
    blocks: Vec<Block>,
    journal_path: &Path,
    report: &dyn Report,
) -> Result<Begun> {
    let checksum = linear_checksum(&blocks);
    let intent = Intent {
        account: aws.account.clone(),
        region: aws.region.clone(),
        disk: disk.built.digest(),
        parent: request.parent_snapshot_id.clone(),
        encrypted: request.encrypted,
        kms_key_arn: request.kms_key_arn.clone(),
        checksum,
    };
    let mut journal = Journal::open(journal_path, &intent)?;
    if let Some(id) = journal.id.clone() {
        match state(aws, &id).await? {
            Some(SnapshotState::Pending) => {}
            // The run was killed when all was done.
            Some(SnapshotState::Completed) => {
                journal::remove(journal_path)?;
                return Ok(Begun::Done(id));
            }
            _ => {
                // The new one locks the same file.
                drop(journal);
                journal = Journal::begin(journal_path, &intent)?;
            }
        }
    }
    let id = if let Some(id) = journal.id.clone() {
        let (done, all) = (journal.done.len(), blocks.len());
        report.note(
            "resuming",
            &format!("{id}, {done} of {all} blocks are there"),
        );
        id
    } else {
        let id = send::start_snapshot(aws, request, &journal.token).await?;
        journal.begun(&id)?;
        id
    };
    Ok(Begun::Upload(Box::new(Upload {
        id,
        blocks,
        checksum,
        journal,
        journal_path: journal_path.to_owned(),
    })))
}

impl Upload {
    /// The blocks that EBS gets, by their checksums.
    pub(super) fn indices(&self) -> BTreeSet<u64> {
        self.blocks.iter().map(|block| block.index).collect()
    }

    /// Sends the blocks that EBS does not have.
    pub(super) async fn put(&mut self, aws: &Aws, disk: &Disk, report: &dyn Report) -> Result<()> {
        let Self {
            id,
            blocks,
            journal,
            ..
        } = self;
        let sent = put_blocks(aws, disk, id, blocks, journal, report).await?;
        let (file, all) = (&disk.built.file, blocks.len());
        report.note(
            "uploaded",
            &format!("{file} as {id}, {sent} of {all} blocks sent"),
        );
        Ok(())
    }

    /// Completes the snapshot, and waits until EBS has it whole.
    pub(super) async fn complete(self, aws: &Aws, patience: Patience) -> Result<String> {
        let id = self.id;
        complete(aws, &id, self.blocks.len(), self.checksum).await?;
        until(&format!("snapshot {id}"), patience, || async {
            match state(aws, &id).await? {
                Some(SnapshotState::Completed) => Ok(State::Done(())),
                Some(SnapshotState::Error) => Err(Error::Answer {
                    what: id.clone(),
                    problem: "EBS could not complete the snapshot".to_owned(),
                }),
                Some(other) => Ok(State::Pending(other.to_string())),
                None => Ok(State::Pending("not known yet".to_owned())),
            }
        })
        .await?;
        journal::remove(&self.journal_path)?;
        Ok(id)
    }
}

/// Whether the account encrypts all snapshots.
pub(super) async fn encrypts(aws: &Aws) -> Result<bool> {
    let call = aws.ec2.get_ebs_encryption_by_default();
    let doing = "ask whether snapshots are encrypted by default";
    let asked = patiently(doing, || call.clone().send()).await?;
    Ok(asked.ebs_encryption_by_default().unwrap_or(false))
}

/// Why nothing can be built upon a snapshot; `None` where it can.
pub(super) async fn unusable(aws: &Aws, id: &str, disk: &Disk) -> Result<Option<String>> {
    let Some(snapshot) = describe(aws, id).await? else {
        return Ok(Some("it is not there any more".to_owned()));
    };
    let why = if snapshot.state() != Some(&SnapshotState::Completed) {
        "it is not complete"
    } else if snapshot.owner_id() != Some(aws.account.as_str()) {
        "it is another account's"
    } else if snapshot.encrypted() == Some(true) {
        "it is encrypted"
    } else if u64::try_from(snapshot.volume_size().unwrap_or(0)).unwrap_or(0) > disk.built.gib() {
        "it is larger than the disk"
    } else {
        return Ok(None);
    };
    Ok(Some(why.to_owned()))
}

async fn describe(aws: &Aws, id: &str) -> Result<Option<Snapshot>> {
    let call = aws.ec2.describe_snapshots().snapshot_ids(id);
    match patiently(format!("look at {id}"), || call.clone().send()).await {
        Ok(answer) => Ok(answer.snapshots().first().cloned()),
        Err(error) if error.outlook() == Outlook::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn state(aws: &Aws, id: &str) -> Result<Option<SnapshotState>> {
    let snapshot = describe(aws, id).await?;
    Ok(snapshot.and_then(|snapshot| snapshot.state().cloned()))
}

/// What became of one try to send a block.
type Tried = (Block, u32, Result<Option<String>>);

/// Sends the blocks that the journal does not have; gives their number.
async fn put_blocks(
    aws: &Aws,
    disk: &Disk,
    id: &str,
    blocks: &[Block],
    journal: &mut Journal,
    report: &dyn Report,
) -> Result<usize> {
    let is_done = |block: &Block| journal.done.get(&block.index) == Some(&block.digest);
    let mut queue: VecDeque<(Block, u32)> = blocks
        .iter()
        .filter(|block| !is_done(block))
        .map(|block| (*block, 0))
        .collect();
    let count = queue.len();
    let what = format!("uploading {}", disk.built.file);
    let in_bytes = |blocks: usize| u64::try_from(blocks).unwrap_or(0) * CHUNK_BYTES;
    let mut pace = Pace::new();
    let mut sending: JoinSet<Tried> = JoinSet::new();
    let mut result = Ok(count);
    loop {
        while sending.len() < pace.width()
            && let Some((block, attempts)) = queue.pop_front()
        {
            let bytes = read(disk, block)?;
            sending.spawn(put(aws.clone(), id.to_owned(), block, bytes, attempts));
        }
        let Some(tried) = sending.join_next().await else {
            return result;
        };
        let (block, attempts, tried) = match tried {
            Ok(tried) => tried,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Interrupted),
        };
        match tried {
            Ok(checksum) => {
                check(id, block, checksum.as_deref())?;
                pace.succeeded();
                journal.block(block.index, block.digest)?;
                let left = queue.len() + sending.len();
                report.progress(&what, in_bytes(count - left), in_bytes(count));
            }
            Err(error) if result.is_ok() && goes_on(&error, attempts + 1) => {
                tracing::debug!(block = block.index, attempts, %error, "once more");
                pace.failed();
                queue.push_front((block, attempts + 1));
            }
            Err(error) => {
                result = result.and(Err(error));
                // Those under way may arrive, and then a further run need not send them.
                queue.clear();
            }
        }
    }
}

/// The bytes of a block; what lies past the end of the disk is zeros.
fn read(disk: &Disk, block: Block) -> Result<Vec<u8>> {
    let len = usize::try_from(CHUNK_BYTES).expect("a small constant");
    let mut bytes = vec![0; len];
    let start = block.index * CHUNK_BYTES;
    let inside = disk
        .built
        .device
        .len()
        .saturating_sub(start)
        .min(CHUNK_BYTES);
    let inside = usize::try_from(inside).expect("within a chunk");
    disk.built.device.read_at(start, &mut bytes[..inside])?;
    Ok(bytes)
}

async fn put(aws: Aws, id: String, block: Block, bytes: Vec<u8>, attempts: u32) -> Tried {
    if attempts > 0 {
        sleep(pause_apart(attempts)).await;
    }
    let doing = format!("put block {} into {id}", block.index);
    let len = i32::try_from(bytes.len()).expect("512 KiB");
    // No volume has so many blocks; where one had, EBS says so.
    let index = i32::try_from(block.index).unwrap_or(i32::MAX);
    let sent = aws
        .ebs
        .put_snapshot_block()
        .snapshot_id(id)
        .block_index(index)
        .data_length(len)
        .checksum(BASE64.encode(block.digest.as_bytes()))
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .block_data(ByteStream::from(bytes))
        .send()
        .await;
    let result = sent
        .map(|answer| answer.checksum().map(ToOwned::to_owned))
        .map_err(failed(doing));
    (block, attempts, result)
}

/// Compares the checksum of what EBS has with that of what was sent.
fn check(id: &str, block: Block, found: Option<&str>) -> Result<()> {
    let expected = BASE64.encode(block.digest.as_bytes());
    match found {
        Some(found) if found != expected => Err(Error::Answer {
            what: format!("block {} of {id}", block.index),
            problem: format!("EBS has the checksum {found}, and the disk {expected}"),
        }),
        _ => Ok(()),
    }
}

async fn complete(aws: &Aws, id: &str, blocks: usize, checksum: Digest) -> Result<()> {
    let count = i32::try_from(blocks).unwrap_or(i32::MAX);
    let call = || {
        aws.ebs
            .complete_snapshot()
            .snapshot_id(id)
            .changed_blocks_count(count)
            .checksum(BASE64.encode(checksum.as_bytes()))
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
            .send()
    };
    until_known(format!("complete {id}"), call).await?;
    Ok(())
}
