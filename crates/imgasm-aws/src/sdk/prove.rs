//! Whether a snapshot is a disk: its blocks are read back and compared.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::connect::Aws;
use super::fetch::{list, read_blocks};
use crate::Result;
use crate::blocks::zero_digest;
use crate::proof::{Proof, Question};
use crate::report::Report;
use imgasm_block::{CHUNK_BYTES, Digest};

/// Compares a snapshot with a disk of this file's; gives what differs, if anything does.
pub(super) async fn difference(
    aws: &Aws,
    snapshot: &str,
    file: &str,
    question: &Question<'_>,
    proof: Proof,
    report: &dyn Report,
) -> Result<Option<String>> {
    if proof == Proof::Off {
        return Ok(None);
    }
    let mut blocks = list(aws, snapshot, true).await?.blocks;
    let listed: BTreeSet<u64> = blocks.keys().copied().collect();
    if let Some(index) = question.missing(&listed) {
        let text =
            format!("block {index} of the disk holds data, and the snapshot does not have it");
        return Ok(Some(text));
    }
    let chosen = question.to_read(proof, &listed, Uuid::new_v4().as_bytes());
    blocks.retain(|index, _| chosen.contains(index));
    let count = blocks.len();
    let in_bytes = |blocks: usize| u64::try_from(blocks).unwrap_or(0) * CHUNK_BYTES;
    let zero = zero_digest();
    let mut wrong: BTreeSet<u64> = BTreeSet::new();
    read_blocks(aws, snapshot, blocks, |index, data, left| {
        if Digest::of(data) != question.expected(index).unwrap_or(zero) {
            wrong.insert(index);
        }
        let what = format!("comparing {snapshot}");
        report.progress(&what, in_bytes(count - left), in_bytes(count));
        Ok(())
    })
    .await?;
    let Some(first) = wrong.first() else {
        let all = listed.len();
        let text = format!("{snapshot} with {file}: {count} of {all} blocks are read and right");
        report.note("compared", &text);
        return Ok(None);
    };
    let many = wrong.len();
    Ok(Some(format!(
        "{many} of {count} blocks that were read are not those of the disk, the first at byte {}",
        first * CHUNK_BYTES
    )))
}
