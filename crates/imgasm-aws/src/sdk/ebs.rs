//! A disk to a snapshot, block by block (EBS direct APIs).
//!
//! Only blocks that hold data are sent, or those that differ from a parent; where blocks that are
//! left out would not read as zeros, all of them. What EBS has taken is in a journal, with which a
//! further run goes on.

use std::collections::VecDeque;
use std::path::Path;

use aws_sdk_ebs::error::SdkError;
use aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockError;
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
use super::made::{Made, Things};
use super::pace::{Pace, goes_on, is_passing, patiently, pause};
use super::send;
use super::wait::{Patience, State, until};
use crate::blocks::{self, Block, linear_checksum};
use crate::plan::{Disk, Plan};
use crate::preview::Parent;
use crate::report::Report;
use crate::{Error, Result};
use imgasm_block::{BlockDevice, CHUNK_BYTES, Digest};

/// What an upload makes, for its journal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    account: String,
    region: String,
    disk: Digest,
    parent: Option<String>,
    /// EBS's checksum over the blocks that are sent.
    checksum: Digest,
}

/// What is sent.
struct Blocks {
    parent: Option<String>,
    blocks: Vec<Block>,
}

/// The upload of a disk.
pub(super) struct Upload<'a> {
    pub(super) aws: &'a Aws,
    pub(super) plan: &'a Plan,
    pub(super) disk: &'a Disk,
    /// A snapshot that may hold most of it already.
    pub(super) parent: Option<&'a Parent<'a>>,
    /// Where the journal is.
    pub(super) journal: &'a Path,
    pub(super) report: &'a dyn Report,
    pub(super) patience: Patience,
}

impl Upload<'_> {
    /// Uploads the disk; gives its snapshot once EBS has it whole.
    pub(super) async fn run(&self, things: &mut Things) -> Result<String> {
        let &Self {
            aws,
            plan,
            disk,
            journal: journal_path,
            report,
            patience,
            ..
        } = self;
        let Blocks { parent, blocks } = choose(aws, disk, self.parent, report).await?;
        let checksum = linear_checksum(&blocks);
        let intent = Intent {
            account: aws.account.clone(),
            region: aws.region.clone(),
            disk: disk.built.digest(),
            parent: parent.clone(),
            checksum,
        };
        let mut journal = Journal::open(journal_path, &intent)?;
        if let Some(id) = &journal.id {
            match state(aws, id).await? {
                Some(SnapshotState::Pending) => {}
                // The run was killed when all was done.
                Some(SnapshotState::Completed) => return finish(id.clone(), journal_path),
                _ => journal = Journal::begin(journal_path, &intent)?,
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
            let request = plan.start_snapshot(disk, parent.as_deref())?;
            let id = send::start_snapshot(aws, &request, &journal.token).await?;
            journal.begun(&id)?;
            id
        };
        things.add(Made::Snapshot(id.clone()));
        let sent = put_blocks(aws, disk, &id, &blocks, &mut journal, report).await?;
        let file = &disk.built.file;
        let all = blocks.len();
        report.note(
            "uploaded",
            &format!("{file} as {id}, {sent} of {all} blocks sent"),
        );
        complete(aws, &id, all, checksum).await?;
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
        finish(id, journal_path)
    }
}

/// The snapshot is complete, and its journal of no further use.
fn finish(id: String, journal: &Path) -> Result<String> {
    journal::remove(journal)?;
    Ok(id)
}

/// Which blocks are sent, and upon what.
async fn choose(
    aws: &Aws,
    disk: &Disk,
    parent: Option<&Parent<'_>>,
    report: &dyn Report,
) -> Result<Blocks> {
    let map = &disk.built.chunk_map;
    let asked = aws.ec2.get_ebs_encryption_by_default().send().await;
    let asked = asked.map_err(failed("ask whether snapshots are encrypted by default"))?;
    let by_default = asked.ebs_encryption_by_default().unwrap_or(false);
    if by_default || disk.encrypted == Some(true) {
        let why = if by_default {
            "the account encrypts all snapshots"
        } else {
            "the recipe wants the snapshot encrypted"
        };
        report.warning(&format!(
            "{}: all of the disk is sent, zeros too: {why}, and blocks that are left out of an \
             encrypted snapshot do not read as zeros; --via s3 sends less",
            disk.built.file
        ));
        return Ok(Blocks {
            parent: None,
            blocks: blocks::every(map),
        });
    }
    let full = |parent: &Parent<'_>, why: &str| {
        let (file, id) = (&disk.built.file, parent.snapshot_id);
        report.warning(&format!(
            "{file}: all of its data is sent, not what differs from {id}: {why}"
        ));
    };
    if let Some(parent) = parent {
        match unusable(aws, parent.snapshot_id, disk).await? {
            None => {
                return Ok(Blocks {
                    parent: Some(parent.snapshot_id.to_owned()),
                    blocks: blocks::delta(map, parent.chunk_map),
                });
            }
            Some(why) => full(parent, &why),
        }
    }
    Ok(Blocks {
        parent: None,
        blocks: blocks::full(map),
    })
}

/// Why nothing can be built upon a snapshot; `None` where it can.
async fn unusable(aws: &Aws, id: &str, disk: &Disk) -> Result<Option<String>> {
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
    let asked = aws.ec2.describe_snapshots().snapshot_ids(id).send().await;
    match asked.map_err(failed(format!("look at {id}"))) {
        Ok(answer) => Ok(answer.snapshots().first().cloned()),
        Err(Error::Service {
            code: Some(code), ..
        }) if code == "InvalidSnapshot.NotFound" => Ok(None),
        Err(error) => Err(error),
    }
}

async fn state(aws: &Aws, id: &str) -> Result<Option<SnapshotState>> {
    let snapshot = describe(aws, id).await?;
    Ok(snapshot.and_then(|snapshot| snapshot.state().cloned()))
}

/// What became of one try to send a block.
type Tried = (
    Block,
    u32,
    std::result::Result<Option<String>, SdkError<PutSnapshotBlockError>>,
);

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
            Err(error) if result.is_ok() && is_passing(&error) && goes_on(attempts + 1) => {
                tracing::debug!(block = block.index, attempts, %error, "once more");
                pace.failed();
                queue.push_front((block, attempts + 1));
            }
            Err(error) => {
                let doing = format!("put block {} into {id}", block.index);
                result = result.and(Err(failed(doing)(error)));
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
        sleep(pause(attempts)).await;
    }
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
    let result = sent.map(|answer| answer.checksum().map(ToOwned::to_owned));
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
    patiently(&format!("complete {id}"), call).await?;
    Ok(())
}
