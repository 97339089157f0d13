//! An AMI's root disk as a base: read block by block from its snapshot (EBS direct APIs), with a
//! file that says where it came from.
//!
//! The snapshots of other accounts cannot be read, whoever may launch their AMIs: such an AMI is
//! copied into the account, and the copy is removed afterwards.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_ebs::types::Block as Listed;
use aws_sdk_ec2::types::{Image, ImageState, StateReason};
use aws_sdk_ssm::types::Parameter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::{Aws, failed};
use super::import::{mapping, unless_interrupted};
use super::journal::{self, Journal};
use super::made::Made;
use super::pace::{Pace, goes_on, is_passing, patiently, pause};
use super::plan::zero_digest;
use super::report::Report;
use super::request::CopyImage;
use super::wait::{Patience, State, until};
use super::{Error, Result, send, tags};
use crate::block::{self, BlockDevice, CHUNK_BYTES, ChunkMap, Digest, FileDevice, Output};
use crate::container::{OutputFormat, write_file};
use crate::origin::Origin;

/// What is pulled, and where to.
#[derive(Debug, Clone)]
pub struct Pull {
    /// `ami-…`, or `ssm:` and the name of a parameter that names one.
    pub source: String,
    /// The file.
    pub target: PathBuf,
    /// The format of the file.
    pub format: OutputFormat,
    /// Whether a copy that had to be made stays, so that uploads can build upon its snapshot.
    pub keep_copy: bool,
    /// How long to wait for a copy.
    pub patience: Patience,
}

/// What a pull does, for its journal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    account: String,
    region: String,
    ami: String,
}

/// Pulls an AMI; gives where it came from.
pub async fn pull(
    aws: &Aws,
    pull: &Pull,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<Origin> {
    let report = &**report;
    let id = resolve(aws, &pull.source).await?;
    let image = describe(aws, &id).await?;
    let intent = Intent {
        account: aws.account.clone(),
        region: aws.region.clone(),
        ami: id.clone(),
    };
    let journal_path = beside(&pull.target, ".journal");
    let mut journal = Journal::open(&journal_path, &intent)?;
    let is_own = image.owner_id() == Some(aws.account.as_str());
    let work = run(aws, pull, &image, is_own, &mut journal, report);
    let result = unless_interrupted(work).await;
    if let Some(copy) = journal.id.clone().filter(|_| !is_own && !pull.keep_copy) {
        let made = Made::Image {
            region: None,
            id: copy,
        };
        match super::made::remove(aws, &made).await {
            Ok(()) => report.note("removed", &format!("{made}, which the blocks came from")),
            Err(error) => {
                report.warning(&format!(
                    "{made} is left behind ({error}): `imgasm gc` finds it"
                ));
            }
        }
    }
    if result.is_ok() {
        journal::remove(&journal_path)?;
    }
    result
}

/// A hidden name beside the target.
fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".pull");
    name.push(extension);
    target.with_file_name(name)
}

async fn run(
    aws: &Aws,
    pull: &Pull,
    image: &Image,
    is_own: bool,
    journal: &mut Journal,
    report: &dyn Report,
) -> Result<Origin> {
    let readable = if is_own {
        image.clone()
    } else {
        copy(aws, pull, image, journal, report).await?
    };
    let snapshot = root_snapshot(&readable)?;
    let partial = beside(&pull.target, ".raw");
    fetch(aws, &snapshot, &partial, journal, report).await?;
    let chunk_map = finish(pull, &partial, journal, report)?;
    let kept = is_own || pull.keep_copy;
    let origin = origin(aws, image, kept.then_some(snapshot), chunk_map.digest());
    Output::write(&Origin::path_of(&pull.target), origin.to_json().as_bytes())?;
    let mut chunks = pull.target.as_os_str().to_owned();
    chunks.push(".chunks");
    Output::write(Path::new(&chunks), &chunk_map.encode())?;
    Ok(origin)
}

/// The id of the AMI that is meant.
async fn resolve(aws: &Aws, source: &str) -> Result<String> {
    let Some(name) = source.strip_prefix("ssm:") else {
        if source.starts_with("ami-") {
            return Ok(source.to_owned());
        }
        return Err(Error::Source(format!(
            "{source:?} is no AMI: write ami-…, or ssm: and the name of a parameter, as \
             ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended"
        )));
    };
    let asked = aws.ssm.get_parameter().name(name).send().await;
    let answer = asked.map_err(failed(format!("read the parameter {name}")))?;
    let value = answer.parameter().and_then(Parameter::value);
    let value = value.unwrap_or_default().trim();
    if value.starts_with("ami-") {
        return Ok(value.to_owned());
    }
    // The recommended image of ECS comes with more about it.
    let json: Option<serde_json::Value> = serde_json::from_str(value).ok();
    let id = json.and_then(|json| Some(json.get("image_id")?.as_str()?.to_owned()));
    id.ok_or_else(|| {
        Error::Source(format!(
            "the parameter {name} names no AMI: its value is {value:?}"
        ))
    })
}

async fn describe(aws: &Aws, id: &str) -> Result<Image> {
    let asked = aws.ec2.describe_images().image_ids(id).send().await;
    let answer = asked.map_err(failed(format!("look at {id}")))?;
    answer
        .images()
        .first()
        .cloned()
        .ok_or_else(|| Error::Source(format!("there is no AMI {id} in {}", aws.region)))
}

/// The snapshot of an AMI's root device.
fn root_snapshot(image: &Image) -> Result<String> {
    let root = image.root_device_name().unwrap_or_default();
    let mut mappings = image.block_device_mappings().iter();
    let mapping = mappings.find(|mapping| mapping.device_name() == Some(root));
    let snapshot = mapping.and_then(|mapping| mapping.ebs()?.snapshot_id());
    snapshot.map(ToOwned::to_owned).ok_or_else(|| {
        let id = image.image_id().unwrap_or_default();
        Error::Source(format!("{id} has no snapshot of its root device {root:?}"))
    })
}

/// Copies an AMI into the account, or goes on with the copy of an earlier run.
async fn copy(
    aws: &Aws,
    pull: &Pull,
    image: &Image,
    journal: &mut Journal,
    report: &dyn Report,
) -> Result<Image> {
    let source = image.image_id().unwrap_or_default();
    if let Some(id) = &journal.id
        && describe(aws, id).await.is_err()
    {
        journal.id = None;
    }
    let id = if let Some(id) = journal.id.clone() {
        id
    } else {
        let mark = tags::list(&[(tags::PULLED.to_owned(), source.to_owned())].into());
        let mut specifications = tags::specification("image", mark.clone());
        specifications.extend(tags::specification("snapshot", mark));
        let request = CopyImage {
            name: format!("imgasm pull {source} {}", &journal.token[..12]),
            description: None,
            source_image_id: source.to_owned(),
            source_region: aws.region.clone(),
            encrypted: None,
            kms_key_id: None,
            client_token: journal.token.clone(),
            tag_specifications: specifications,
        };
        let id = send::copy_image(aws, &request).await?;
        journal.begun(&id)?;
        report.note("copying", &format!("{source} into the account as {id}"));
        id
    };
    until(&format!("the copy {id}"), pull.patience, || async {
        let image = describe(aws, &id).await?;
        match image.state() {
            Some(ImageState::Available) => Ok(State::Done(image)),
            Some(state @ (ImageState::Failed | ImageState::Error | ImageState::Invalid)) => {
                let reason = image.state_reason().and_then(StateReason::message);
                Err(Error::Answer {
                    what: format!("the copy {id}"),
                    problem: format!("it is {state}: {}", reason.unwrap_or("no reason given")),
                })
            }
            state => Ok(State::Pending(format!("{state:?}"))),
        }
    })
    .await
}

/// What a snapshot lists.
struct Listing {
    blocks: VecDeque<Listed>,
    bytes: u64,
}

async fn list(aws: &Aws, snapshot: &str) -> Result<Listing> {
    let mut listing = Listing {
        blocks: VecDeque::new(),
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
        let page = patiently(&format!("list the blocks of {snapshot}"), call).await?;
        if page.block_size().and_then(|size| u64::try_from(size).ok()) != Some(CHUNK_BYTES) {
            return Err(Error::Answer {
                what: snapshot.to_owned(),
                problem: format!("its blocks have {:?} bytes, not 524288", page.block_size()),
            });
        }
        let gib = page.volume_size().and_then(|gib| u64::try_from(gib).ok());
        listing.bytes = gib.unwrap_or(0).saturating_mul(1 << 30);
        listing.blocks.extend(page.blocks().iter().cloned());
        match page.next_token() {
            Some(next) if !next.is_empty() && token.as_deref() != Some(next) => {
                token = Some(next.to_owned());
            }
            _ => return Ok(listing),
        }
    }
}

/// What became of one try to get a block.
type Tried = (Listed, u32, std::result::Result<Vec<u8>, Failed>);

enum Failed {
    Passing(Error),
    Final(Error),
}

/// Gets the blocks that the journal does not have, and writes them.
async fn fetch(
    aws: &Aws,
    snapshot: &str,
    partial: &Path,
    journal: &mut Journal,
    report: &dyn Report,
) -> Result<()> {
    let Listing { blocks, bytes } = list(aws, snapshot).await?;
    let file = open(partial, bytes, journal)?;
    let index_of = |block: &Listed| {
        block
            .block_index()
            .and_then(|index| u64::try_from(index).ok())
    };
    let mut queue: VecDeque<(Listed, u32)> = blocks
        .into_iter()
        .filter(|block| index_of(block).is_none_or(|index| !journal.done.contains_key(&index)))
        .map(|block| (block, 0))
        .collect();
    let count = queue.len();
    if !journal.done.is_empty() {
        report.note(
            "resuming",
            &format!("{} blocks are there", journal.done.len()),
        );
    }
    let in_bytes = |blocks: usize| u64::try_from(blocks).unwrap_or(0) * CHUNK_BYTES;
    let zero = zero_digest();
    let mut pace = Pace::new();
    let mut getting: JoinSet<Tried> = JoinSet::new();
    loop {
        while getting.len() < pace.width()
            && let Some((block, attempts)) = queue.pop_front()
        {
            getting.spawn(get(aws.clone(), snapshot.to_owned(), block, attempts));
        }
        let Some(tried) = getting.join_next().await else {
            report.note("fetched", &format!("{count} blocks of {snapshot}"));
            return Ok(());
        };
        let (block, attempts, result) = match tried {
            Ok(tried) => tried,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::Interrupted),
        };
        let data = match result {
            Ok(data) => data,
            Err(Failed::Passing(_)) if goes_on(attempts + 1) => {
                pace.failed();
                queue.push_front((block, attempts + 1));
                continue;
            }
            Err(Failed::Passing(error) | Failed::Final(error)) => return Err(error),
        };
        pace.succeeded();
        let index = index_of(&block).unwrap_or(u64::MAX);
        let offset = index.saturating_mul(CHUNK_BYTES);
        if offset.saturating_add(CHUNK_BYTES) > bytes {
            return Err(Error::Answer {
                what: snapshot.to_owned(),
                problem: format!("block {index} lies past the end of its {bytes} bytes"),
            });
        }
        let digest = Digest::of(&data);
        if digest != zero {
            file.write_at(offset, &data)?;
        }
        journal.block(index, digest)?;
        let left = queue.len() + getting.len();
        report.progress("pulling", in_bytes(count - left), in_bytes(count));
    }
}

/// The file under way. Where it is not the one that the journal is about, all begins anew.
fn open(partial: &Path, bytes: u64, journal: &mut Journal) -> Result<FileDevice> {
    let failed = |operation| move |e| block::Error::file(partial, operation, e);
    let len = fs::metadata(partial).map(|metadata| metadata.len());
    if len.ok() != Some(bytes) {
        journal.done.clear();
        let file = File::create(partial).map_err(failed("make"))?;
        file.set_len(bytes).map_err(failed("make room for"))?;
    }
    let file = OpenOptions::new().read(true).write(true).open(partial);
    file.map_err(failed("open"))?;
    let device = FileDevice::open_writable(partial).map_err(failed("open"))?;
    Ok(device)
}

/// Gets a block, and compares its checksum.
async fn get(aws: Aws, snapshot: String, block: Listed, attempts: u32) -> Tried {
    if attempts > 0 {
        sleep(pause(attempts)).await;
    }
    let result = get_once(&aws, &snapshot, &block).await;
    (block, attempts, result)
}

async fn get_once(
    aws: &Aws,
    snapshot: &str,
    block: &Listed,
) -> std::result::Result<Vec<u8>, Failed> {
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
    let answer = asked.map_err(|error| {
        let passes = is_passing(&error);
        let error = failed(&*doing)(error);
        if passes {
            Failed::Passing(error)
        } else {
            Failed::Final(error)
        }
    })?;
    let expected = answer.checksum().unwrap_or_default().to_owned();
    let len = answer.data_length().and_then(|len| u64::try_from(len).ok());
    if len != Some(CHUNK_BYTES) {
        return Err(Failed::Final(Error::Answer {
            what: format!("block {index} of {snapshot}"),
            problem: format!("it has {len:?} bytes, not 524288"),
        }));
    }
    let broken = |message: String| {
        Failed::Passing(Error::Network {
            doing: doing.clone(),
            message,
        })
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

/// Gives the file its name and form, once it has just the blocks that were received.
fn finish(pull: &Pull, partial: &Path, journal: &Journal, report: &dyn Report) -> Result<ChunkMap> {
    let failed = |operation| move |e| block::Error::file(partial, operation, e);
    let device = FileDevice::open(partial).map_err(failed("open"))?;
    let chunk_map = ChunkMap::compute(&device)?;
    let zero = zero_digest();
    let mut received = journal.done.iter();
    let wrong = received.find(|(index, digest)| chunk_map.get(**index).unwrap_or(zero) != **digest);
    if let Some((index, _)) = wrong {
        fs::remove_file(partial).map_err(failed("remove"))?;
        return Err(Error::Answer {
            what: partial.display().to_string(),
            problem: format!("block {index} is not what was written; it was removed: pull again"),
        });
    }
    if pull.format == OutputFormat::Raw {
        device
            .file()
            .sync_all()
            .map_err(failed("bring to the disk"))?;
        fs::rename(partial, &pull.target).map_err(failed("rename"))?;
    } else {
        let progress = |done: u64, all: u64| report.progress("packing", done, all);
        write_file(&device, &chunk_map, pull.format, &pull.target, &progress)?;
        fs::remove_file(partial).map_err(failed("remove"))?;
    }
    Ok(chunk_map)
}

fn origin(aws: &Aws, image: &Image, snapshot_id: Option<String>, digest: Digest) -> Origin {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = image.tags().iter();
    Origin {
        ami_id: text(image.image_id()),
        name: text(image.name()),
        region: aws.region.clone(),
        snapshot_id,
        digest,
        architecture: image
            .architecture()
            .map(|arch| arch.as_str().to_owned())
            .unwrap_or_default(),
        boot_mode: image.boot_mode().map(|mode| mode.as_str().to_owned()),
        root_device_name: text(image.root_device_name()),
        block_device_mappings: image.block_device_mappings().iter().map(mapping).collect(),
        tags: tags
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .filter(|(key, _)| !key.starts_with("aws:"))
            .collect(),
    }
}
