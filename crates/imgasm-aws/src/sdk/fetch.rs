//! What a snapshot holds, block by block (EBS direct APIs), and a file of it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use aws_sdk_ebs::types::Block as Listed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::{Aws, failed};
use super::journal::Journal;
use super::pace::{Pace, again, goes_on, pause_apart};
use crate::blocks::zero_digest;
use crate::report::Report;
use crate::{Error, Result};
use imgasm_block::sidecar::Sidecar;
use imgasm_block::{BlockDevice, CHUNK_BYTES, Digest, FileDevice};

/// What a snapshot lists.
pub(super) struct Listing {
    pub(super) blocks: BTreeMap<u64, Listed>,
    pub(super) bytes: u64,
}

/// Lists the blocks of a snapshot that was `just_made` or is older.
pub(super) async fn list(aws: &Aws, snapshot: &str, just_made: bool) -> Result<Listing> {
    let wrong = |problem: String| Error::Answer {
        what: snapshot.to_owned(),
        problem,
    };
    let mut listing = Listing {
        blocks: BTreeMap::new(),
        bytes: 0,
    };
    let mut token: Option<String> = None;
    loop {
        let call = || {
            aws.ebs
                .list_snapshot_blocks()
                .snapshot_id(snapshot)
                .max_results(10_000)
                .set_next_token(token.clone())
                .send()
        };
        let doing = format!("list the blocks of {snapshot}");
        let page = again(&doing, just_made, call).await?;
        if page.block_size().and_then(|size| u64::try_from(size).ok()) != Some(CHUNK_BYTES) {
            let size = page.block_size();
            return Err(wrong(format!("its blocks have {size:?} bytes, not 524288")));
        }
        let gib = page.volume_size().and_then(|gib| u64::try_from(gib).ok());
        listing.bytes = gib.unwrap_or(0).saturating_mul(1 << 30);
        for block in page.blocks() {
            let index = block.block_index().and_then(|it| u64::try_from(it).ok());
            let inside = index.filter(|index| *index < listing.bytes / CHUNK_BYTES);
            let Some(index) = inside else {
                let (index, bytes) = (block.block_index(), listing.bytes);
                return Err(wrong(format!(
                    "block {index:?} lies past the end of its {bytes} bytes"
                )));
            };
            listing.blocks.insert(index, block.clone());
        }
        match page.next_token() {
            Some(next) if !next.is_empty() && token.as_deref() != Some(next) => {
                token = Some(next.to_owned());
            }
            _ => return Ok(listing),
        }
    }
}

/// What became of one try to get a block.
type Tried = ((u64, Listed), u32, Result<Vec<u8>>);

/// Gets blocks of a snapshot; each is given to `take` with the number of those that are left.
pub(super) async fn read_blocks(
    aws: &Aws,
    snapshot: &str,
    blocks: impl IntoIterator<Item = (u64, Listed)>,
    mut take: impl FnMut(u64, &[u8], usize) -> Result<()>,
) -> Result<()> {
    let mut queue: VecDeque<_> = blocks.into_iter().map(|block| (block, 0)).collect();
    let mut pace = Pace::new();
    let mut getting: JoinSet<Tried> = JoinSet::new();
    loop {
        while getting.len() < pace.width()
            && let Some((block, attempts)) = queue.pop_front()
        {
            getting.spawn(get(aws.clone(), snapshot.to_owned(), block, attempts));
        }
        let Some(tried) = getting.join_next().await else {
            return Ok(());
        };
        let (block, attempts, result) = match tried {
            Ok(tried) => tried,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Interrupted),
        };
        match result {
            Ok(data) => {
                pace.succeeded();
                take(block.0, &data, queue.len() + getting.len())?;
            }
            Err(error) if goes_on(&error, attempts + 1) => {
                pace.failed();
                queue.push_front((block, attempts + 1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gets the blocks that the journal does not have, and writes them.
pub(super) async fn fetch(
    aws: &Aws,
    snapshot: &str,
    partial: &Path,
    journal: &mut Journal,
    report: &dyn Report,
) -> Result<()> {
    let Listing { mut blocks, bytes } = list(aws, snapshot, false).await?;
    let file = open(partial, bytes, journal)?;
    if !journal.done.is_empty() {
        let count = journal.done.len();
        report.note("resuming", &format!("{count} blocks are there"));
    }
    blocks.retain(|index, _| !journal.done.contains_key(index));
    let count = blocks.len();
    let in_bytes = |blocks: usize| u64::try_from(blocks).unwrap_or(0) * CHUNK_BYTES;
    let zero = zero_digest();
    read_blocks(aws, snapshot, blocks, |index, data, left| {
        let digest = Digest::of(data);
        if digest != zero {
            file.write_at(index.saturating_mul(CHUNK_BYTES), data)?;
        }
        journal.block(index, digest)?;
        report.progress("pulling", in_bytes(count - left), in_bytes(count));
        Ok(())
    })
    .await?;
    report.note("fetched", &format!("{count} blocks of {snapshot}"));
    Ok(())
}

/// The file under way. If the journal is not about it, or about nothing in it, all begins anew: what an
/// earlier run for another snapshot has left must not show where this one has no blocks.
fn open(partial: &Path, bytes: u64, journal: &mut Journal) -> Result<FileDevice> {
    let failed = |operation| move |e| imgasm_block::Error::file(partial, operation, e);
    let file = Sidecar::open_own(partial)?;
    let len = file.metadata().map_err(failed("look at"))?.len();
    if len != bytes || journal.done.is_empty() {
        journal.done.clear();
        file.set_len(0).map_err(failed("empty"))?;
        file.set_len(bytes).map_err(failed("make room for"))?;
    }
    Ok(FileDevice::with(file, partial, true).map_err(failed("open"))?)
}

/// Gets a block, and compares its checksum.
async fn get(aws: Aws, snapshot: String, block: (u64, Listed), attempts: u32) -> Tried {
    if attempts > 0 {
        sleep(pause_apart(attempts)).await;
    }
    let result = get_once(&aws, &snapshot, &block.1).await;
    (block, attempts, result)
}

async fn get_once(aws: &Aws, snapshot: &str, block: &Listed) -> Result<Vec<u8>> {
    let index = block.block_index().unwrap_or_default();
    let doing = format!("get block {index} of {snapshot}");
    let asked = aws
        .ebs
        .get_snapshot_block()
        .snapshot_id(snapshot)
        .block_index(index)
        .block_token(block.block_token().unwrap_or_default())
        .send()
        .await;
    let answer = asked.map_err(failed(&*doing))?;
    let expected = answer.checksum().unwrap_or_default().to_owned();
    let len = answer.data_length().and_then(|len| u64::try_from(len).ok());
    if len != Some(CHUNK_BYTES) {
        return Err(Error::Answer {
            what: format!("block {index} of {snapshot}"),
            problem: format!("it has {len:?} bytes, not 524288"),
        });
    }
    let broken = |message: String| Error::Network {
        doing: doing.clone(),
        message,
    };
    let data = answer.block_data.collect().await;
    let data = data.map_err(|error| broken(error.to_string()))?.to_vec();
    let found = BASE64.encode(Digest::of(&data).as_bytes());
    if found == expected && u64::try_from(data.len()) == Ok(CHUNK_BYTES) {
        Ok(data)
    } else {
        Err(broken(format!(
            "{} bytes with the checksum {found} arrived, and EBS says {expected}",
            data.len()
        )))
    }
}
