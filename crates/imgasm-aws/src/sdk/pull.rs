//! An AMI's root disk as a base: read from its snapshot, with a file that says where it came from.
//!
//! The snapshots of other accounts cannot be read, whoever may launch their AMIs: such an AMI is
//! copied into the account, and the copy is removed afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_ec2::types::{Filter, Image, ImageState, StateReason};
use aws_sdk_ssm::types::Parameter;
use serde::{Deserialize, Serialize};

use super::connect::Aws;
use super::describe::{images_of, mapping, seconds};
use super::fetch::fetch;
use super::interrupt::unless_interrupted;
use super::journal::{self, Journal};
use super::made::Made;
use super::pace::patiently;
use super::send;
use super::wait::{Patience, State, until};
use crate::blocks::zero_digest;
use crate::origin::Origin;
use crate::outlook::Outlook;
use crate::report::Report;
use crate::request::CopyImage;
use crate::{Error, Result, tags};
use imgasm_block::{ChunkMap, Digest, FileDevice, Output};
use imgasm_container::{OutputFormat, write_file};

/// What is pulled, and where to.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The AMI.
    pub source: Source,
    /// The file.
    pub target: PathBuf,
    /// The format of the file.
    pub format: OutputFormat,
    /// Whether a copy that had to be made stays, so that uploads can build upon its snapshot.
    pub keep_copy: bool,
    /// How long to wait for a copy.
    pub patience: Patience,
}

/// Which AMI.
#[derive(Debug, Clone)]
pub enum Source {
    /// `ami-…`, or `ssm:` and the name of a parameter that names one.
    Named(String),
    /// The one that these filters of `DescribeImages` find.
    Filter {
        /// Accounts, `amazon` or `self`.
        owners: Vec<String>,
        /// Names and values.
        filters: Vec<(String, String)>,
        /// Whether the newest of several is meant.
        most_recent: bool,
    },
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
    let result = unless_interrupted(&aws.interrupts, work).await;
    if let Some(copy) = journal.id.clone().filter(|_| !is_own && !pull.keep_copy) {
        let made = Made::Copy {
            region: None,
            id: copy,
        };
        match super::remove::remove(aws, &made).await {
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
async fn resolve(aws: &Aws, source: &Source) -> Result<String> {
    let source = match source {
        Source::Named(name) => name,
        Source::Filter {
            owners,
            filters,
            most_recent,
        } => return search(aws, owners, filters, *most_recent).await,
    };
    let Some(name) = source.strip_prefix("ssm:") else {
        if source.starts_with("ami-") {
            return Ok(source.to_owned());
        }
        return Err(Error::Source(format!(
            "{source:?} is no AMI: write ami-…, or ssm: and the name of a parameter, as \
             ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended, or say which with \
             --owner and --filter"
        )));
    };
    let call = aws.ssm.get_parameter().name(name);
    let doing = format!("read the parameter {name}");
    let answer = patiently(doing, || call.clone().send()).await?;
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

/// The id of the one AMI, or of the newest, that filters find.
async fn search(
    aws: &Aws,
    owners: &[String],
    filters: &[(String, String)],
    most_recent: bool,
) -> Result<String> {
    let filters: Vec<Filter> = filters
        .iter()
        .map(|(name, value)| Filter::builder().name(name).values(value).build())
        .collect();
    let mut found = images_of(aws, owners, &filters).await?;
    found.retain(|image| image.state() == Some(&ImageState::Available));
    found.sort_by_key(|image| {
        let id = image.image_id().unwrap_or_default().to_owned();
        (seconds(image.creation_date()), id)
    });
    let newest = found.last().and_then(Image::image_id);
    match (newest, found.len()) {
        (Some(id), 1) => Ok(id.to_owned()),
        (Some(id), _) if most_recent => Ok(id.to_owned()),
        (Some(id), many) => Err(Error::Source(format!(
            "{many} AMIs fit the filters in {}, the newest {id}: --most-recent takes that one",
            aws.region
        ))),
        (None, _) => Err(Error::Source(format!(
            "no AMI of {} in {} fits the filters",
            owners.join(", "),
            aws.region
        ))),
    }
}

async fn describe(aws: &Aws, id: &str) -> Result<Image> {
    let call = aws.ec2.describe_images().image_ids(id);
    let answer = patiently(format!("look at {id}"), || call.clone().send()).await?;
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
    let mut client_token = journal.token.clone();
    if let Some(id) = &journal.id
        && describe(aws, id).await.is_err()
    {
        // It was removed; with the same token EC2 would name it once more.
        client_token = Digest::of(format!("{client_token} after {id}").as_bytes()).to_string();
        journal.id = None;
    }
    let id = if let Some(id) = journal.id.clone() {
        id
    } else {
        let mark = tags::list(&[(tags::PULLED.to_owned(), source.to_owned())].into());
        let mut specifications = tags::specification("image", mark.clone());
        specifications.extend(tags::specification("snapshot", mark));
        let request = CopyImage {
            name: format!("imgasm pull {source} {}", &client_token[..12]),
            description: None,
            source_image_id: source.to_owned(),
            source_region: aws.region.clone(),
            encrypted: None,
            kms_key_id: None,
            snapshot_copy_completion_duration_minutes: None,
            tag_specifications: specifications,
        };
        let id = send::copy_image(aws, &request, &client_token).await?;
        journal.begun(&id)?;
        report.note("copying", &format!("{source} into the account as {id}"));
        id
    };
    until(&format!("the copy {id}"), pull.patience, || async {
        let image = match describe(aws, &id).await {
            // It takes a moment until all of EC2 knows of it.
            Err(error) if error.outlook() == Outlook::NotFound => {
                return Ok(State::Pending("not known yet".to_owned()));
            }
            image => image?,
        };
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

/// Gives the file its name and form, once it has just the blocks that were received.
fn finish(pull: &Pull, partial: &Path, journal: &Journal, report: &dyn Report) -> Result<ChunkMap> {
    let failed = |operation| move |e| imgasm_block::Error::file(partial, operation, e);
    let device = FileDevice::open(partial).map_err(failed("open"))?;
    let chunk_map = ChunkMap::compute(&device)?;
    if let Some(index) = difference(&chunk_map, &journal.done) {
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
        let output = Output::create(&pull.target)?;
        write_file(&device, &chunk_map, pull.format, output, &progress)?;
        fs::remove_file(partial).map_err(failed("remove"))?;
    }
    Ok(chunk_map)
}

/// The first block of a disk that is not as it was received, or that is not zeros and was not
/// received.
fn difference(disk: &ChunkMap, received: &BTreeMap<u64, Digest>) -> Option<u64> {
    let zero = zero_digest();
    let there = disk.chunks().iter();
    let mut strange = there.filter(|chunk| received.get(&chunk.index) != Some(&chunk.digest));
    let mut received = received.iter();
    let lost = received.find(|(index, digest)| disk.get(**index).unwrap_or(zero) != **digest);
    let strange = strange.next().map(|chunk| chunk.index);
    strange.or(lost.map(|(index, _)| *index))
}

fn origin(aws: &Aws, image: &Image, snapshot_id: Option<String>, digest: Digest) -> Origin {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let tags = image.tags().iter();
    Origin {
        ami_id: text(image.image_id()),
        name: text(image.name()),
        owner_id: image.owner_id().map(ToOwned::to_owned),
        account_id: Some(aws.account.clone()),
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
