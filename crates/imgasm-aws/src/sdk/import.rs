//! From a plan to an AMI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_ec2::types::{
    EbsBlockDevice, Filter, Image, ImageState, Snapshot, SnapshotState, StateReason,
};
use uuid::Uuid;

use super::connect::{Aws, failed};
use super::describe::{images, mapping, seconds};
use super::ebs;
use super::interrupt::unless_interrupted;
use super::made::{Made, Place, Things};
use super::remove::{deregister, remove_all, remove_objects};
use super::s3;
use super::wait::{Patience, State, until};
use super::{send, task};
use crate::artifact::{Artifact, ArtifactData};
use crate::origin::Mapping;
use crate::plan::{Disk, Plan, S3, Via};
use crate::preview::Parent;
use crate::report::Report;
use crate::request::RegisterImage;
use crate::{Error, Result, tags};

/// Namespace of the identities of runs.
const NAMESPACE: Uuid = Uuid::from_u128(0x2d1f_55f3_8f0c_5a4e_9c55_7d3b_b3a4_6f01);

/// What becomes of what a run has made when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is removed.
    Cleanup,
    /// It stays, for a further run to go on with.
    Keep,
}

/// How an import goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for journals.
    pub dir: PathBuf,
    /// Whether an AMI or a snapshot of the same content is made again.
    pub force: bool,
    /// Whether an AMI of the same name makes room.
    pub force_deregister: bool,
    /// Whether objects stay in the bucket.
    pub keep: bool,
    /// What becomes of what was made when something fails.
    pub on_error: OnError,
    /// How long to wait for what takes time.
    pub patience: Patience,
}

/// Makes the AMI of a plan, or finds it; gives it and its copies, its own region first.
pub async fn import(
    aws: &Aws,
    plan: &Plan,
    parent: Option<&Parent<'_>>,
    options: &Options,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<Vec<Artifact>> {
    let mut run = Run {
        aws,
        plan,
        options,
        report,
        things: Things::default(),
    };
    let result = unless_interrupted(Box::pin(run.all(parent))).await;
    let (things, report) = (&mut run.things, &**report);
    match &result {
        Ok(_) if options.keep => {}
        Ok(_) => remove_objects(things, aws, report).await,
        Err(_) if options.on_error == OnError::Cleanup => {
            if options.keep {
                things.keep_objects();
            }
            // With what could not be removed, a further run goes on.
            if remove_all(things, aws, report).await {
                remove_journals(plan, &options.dir)?;
            }
        }
        Err(_) => {}
    }
    result
}

/// The journal of a disk's upload.
fn journal_path(dir: &Path, disk: &Disk) -> PathBuf {
    dir.join(format!(".{}.upload", disk.built.file))
}

fn remove_journals(plan: &Plan, dir: &Path) -> Result<()> {
    let mut disks = plan.disks.iter();
    disks.try_for_each(|disk| super::journal::remove(&journal_path(dir, disk)))
}

struct Run<'a> {
    aws: &'a Aws,
    plan: &'a Plan,
    options: &'a Options,
    report: &'a Arc<dyn Report + Send + Sync>,
    things: Things,
}

impl Run<'_> {
    async fn all(&mut self, parent: Option<&Parent<'_>>) -> Result<Vec<Artifact>> {
        let found = if self.options.force {
            None
        } else {
            self.find(self.aws).await?
        };
        let image = if let Some(image) = found {
            let what = format!("{} of the same image", name_of(&image));
            self.report.note("found", &what);
            image
        } else {
            self.make(parent).await?
        };
        self.finish(image).await
    }

    /// An AMI of the same identity.
    async fn find(&self, aws: &Aws) -> Result<Option<Image>> {
        let identity = self.plan.identity.to_string();
        let mut images = images(aws, &format!("tag:{}", tags::IDENTITY), &identity).await?;
        images.retain(|image| {
            matches!(
                image.state(),
                Some(ImageState::Available | ImageState::Pending)
            )
        });
        // The oldest, so that repeats agree.
        images.sort_by(|one, other| one.creation_date().cmp(&other.creation_date()));
        Ok(images.into_iter().next())
    }

    async fn make(&mut self, parent: Option<&Parent<'_>>) -> Result<Image> {
        let (aws, plan) = (self.aws, self.plan);
        let request = plan.register_image(|_| String::new());
        let taken = images(aws, "name", &request.name).await?;
        let may_replace = self.options.force_deregister || plan.ami.force_deregister;
        if let (Some(other), false) = (taken.first(), may_replace) {
            return Err(Error::NameTaken {
                name: request.name,
                id: other.image_id().unwrap_or_default().to_owned(),
            });
        }
        let snapshots = match &plan.via {
            Via::S3(s3) => self.through_bucket(s3).await?,
            Via::Ebs => self.block_by_block(parent).await?,
        };
        for other in &taken {
            let id = other.image_id().unwrap_or_default();
            let keep = plan.ami.force_delete_snapshot.then_some(&*snapshots);
            deregister(aws, id, keep).await?;
            self.report
                .note("deregistered", &format!("{id}, which had the name"));
        }
        let request = plan.register_image(|index| snapshots[index].clone());
        let id = match send::register_image(aws, &request).await {
            // The answer to the first try was lost, and its AMI has the name.
            Err(Error::Service {
                code: Some(code), ..
            }) if code == "InvalidAMIName.Duplicate" => self.registered(&request).await?,
            other => other?,
        };
        self.things.add(Made::Image {
            region: None,
            id: id.clone(),
        });
        self.report
            .note("registered", &format!("{id} {:?}", request.name));
        self.available(aws, &id).await
    }

    /// The AMI that a request has registered, by its name and its snapshots.
    async fn registered(&self, request: &RegisterImage) -> Result<String> {
        let mappings = &request.block_device_mappings;
        let snapshot = mappings[0]
            .ebs
            .as_ref()
            .and_then(|ebs| ebs.snapshot_id.as_deref());
        let named = images(self.aws, "name", &request.name).await?;
        let ours = named.iter().find(|image| {
            let mut mappings = image.block_device_mappings().iter();
            mappings.any(|mapping| mapping.ebs().and_then(EbsBlockDevice::snapshot_id) == snapshot)
        });
        let id = ours
            .or(named.first())
            .and_then(Image::image_id)
            .unwrap_or_default();
        match ours {
            Some(_) => Ok(id.to_owned()),
            None => Err(Error::NameTaken {
                name: request.name.clone(),
                id: id.to_owned(),
            }),
        }
    }

    /// Waits until an AMI can be used.
    async fn available(&self, aws: &Aws, id: &str) -> Result<Image> {
        until(&format!("AMI {id}"), self.options.patience, || async {
            let asked = aws.ec2.describe_images().image_ids(id).send().await;
            let answer = match asked.map_err(failed(format!("look at {id}"))) {
                // It takes a moment until all of EC2 knows of it.
                Err(Error::Service {
                    code: Some(code), ..
                }) if code == "InvalidAMIID.NotFound" => {
                    return Ok(State::Pending("not known yet".to_owned()));
                }
                answer => answer?,
            };
            let Some(image) = answer.images().first() else {
                return Ok(State::Pending("not known yet".to_owned()));
            };
            match image.state() {
                Some(ImageState::Available) => Ok(State::Done(image.clone())),
                Some(state @ (ImageState::Failed | ImageState::Error | ImageState::Invalid)) => {
                    let reason = image.state_reason().and_then(StateReason::message);
                    Err(Error::Answer {
                        what: format!("AMI {id}"),
                        problem: format!("it is {state}: {}", reason.unwrap_or("no reason given")),
                    })
                }
                state => Ok(State::Pending(
                    state.map_or_else(|| "in no state".to_owned(), ToString::to_string),
                )),
            }
        })
        .await
    }

    /// A complete snapshot of a disk that an earlier run has left, with the encryption that is
    /// wanted.
    async fn find_snapshot(&self, disk: &Disk) -> Result<Option<String>> {
        if self.options.force {
            return Ok(None);
        }
        let digest = disk.built.digest().to_string();
        let filter = Filter::builder()
            .name(format!("tag:{}", tags::DISK))
            .values(digest);
        let asked = self
            .aws
            .ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(filter.build())
            .send()
            .await;
        let answer = asked.map_err(failed("look for snapshots of the same disk"))?;
        let mut fitting = answer.snapshots().iter().filter(|snapshot| {
            let encryption_fits = match disk.encrypted {
                // Which key it has is not told by the name that the recipe has for it.
                Some(true) => snapshot.encrypted() == Some(true) && disk.kms_key_id.is_none(),
                Some(false) => snapshot.encrypted() != Some(true),
                None => true,
            };
            snapshot.state() == Some(&SnapshotState::Completed) && encryption_fits
        });
        let found = fitting.find_map(Snapshot::snapshot_id);
        if let Some(id) = found {
            self.report
                .note("found", &format!("{id} of the same {}", disk.built.file));
        }
        Ok(found.map(ToOwned::to_owned))
    }

    async fn through_bucket(&mut self, s3: &S3) -> Result<Vec<String>> {
        let (aws, plan) = (self.aws, self.plan);
        s3::check_bucket(aws, &s3.bucket).await?;
        let mut under_way = Vec::new();
        for disk in &plan.disks {
            if let Some(snapshot) = self.find_snapshot(disk).await? {
                under_way.push(Ok(snapshot));
                continue;
            }
            let place = Place {
                bucket: s3.bucket.clone(),
                key: plan.key(disk, s3.format),
            };
            let things = &mut self.things;
            s3::upload(aws, disk, s3.format, &place, things, self.report).await?;
            let id = task::start(aws, plan, disk, s3, things, &**self.report).await?;
            under_way.push(Err(id));
        }
        let mut snapshots = Vec::new();
        for (disk, state) in plan.disks.iter().zip(under_way) {
            let snapshot = match state {
                Ok(snapshot) => snapshot,
                Err(id) => {
                    let (file, patience) = (&disk.built.file, self.options.patience);
                    let snapshot = task::wait(aws, &id, file, patience, &**self.report).await?;
                    send::create_tags(aws, &snapshot, &plan.snapshot_tags(disk)).await?;
                    self.report
                        .note("imported", &format!("{file} as {snapshot}"));
                    snapshot
                }
            };
            snapshots.push(snapshot);
        }
        Ok(snapshots)
    }

    async fn block_by_block(&mut self, parent: Option<&Parent<'_>>) -> Result<Vec<String>> {
        let mut snapshots = Vec::new();
        for (index, disk) in self.plan.disks.iter().enumerate() {
            if let Some(snapshot) = self.find_snapshot(disk).await? {
                snapshots.push(snapshot);
                continue;
            }
            let upload = ebs::Upload {
                aws: self.aws,
                plan: self.plan,
                disk,
                // The base is the root's.
                parent: parent.filter(|_| index == 0),
                journal: &journal_path(&self.options.dir, disk),
                report: &**self.report,
                patience: self.options.patience,
            };
            snapshots.push(upload.run(&mut self.things).await?);
        }
        Ok(snapshots)
    }

    /// Makes the AMI usable by others, and copies it; all of it can be done again.
    async fn finish(&mut self, image: Image) -> Result<Vec<Artifact>> {
        let (aws, plan) = (self.aws, self.plan);
        let id = image.image_id().unwrap_or_default().to_owned();
        let mut copies = Vec::new();
        for region in &plan.ami.ami_regions {
            let region = region.as_str();
            if region == aws.region {
                continue;
            }
            let there = aws.in_region(region);
            let copy = if let Some(copy) = self.find(&there).await? {
                copy.image_id().unwrap_or_default().to_owned()
            } else {
                let request = plan.copy_image(&id, &aws.region, region);
                let copy = send::copy_image(&there, &request).await?;
                self.things.add(Made::Image {
                    region: Some(region.to_owned()),
                    id: copy.clone(),
                });
                let what = format!("{id} to {region} as {copy}");
                self.report.note("copying", &what);
                copy
            };
            copies.push((there, copy));
        }
        let mut artifacts = vec![self.settled(aws, &id).await?];
        for (there, copy) in &copies {
            artifacts.push(self.settled(there, copy).await?);
        }
        Ok(artifacts)
    }

    async fn settled(&self, aws: &Aws, id: &str) -> Result<Artifact> {
        let image = self.available(aws, id).await?;
        for request in self.plan.settle(id, None) {
            send::settle(aws, &request.parameters).await?;
        }
        Ok(self.artifact(aws, &image))
    }

    fn artifact(&self, aws: &Aws, image: &Image) -> Artifact {
        let id = image.image_id().unwrap_or_default();
        let mappings: Vec<Mapping> = image.block_device_mappings().iter().map(mapping).collect();
        let snapshot = |mapping: &Mapping| {
            let snapshot = mapping.snapshot_id.clone()?;
            Some((mapping.device_name.clone(), snapshot))
        };
        let snapshots: BTreeMap<_, _> = mappings.iter().filter_map(snapshot).collect();
        let run = format!("{} {} {}", aws.account, self.aws.region, self.plan.identity);
        Artifact {
            name: self.plan.name.clone(),
            builder_type: "imgasm".to_owned(),
            build_time: seconds(image.creation_date()),
            files: None,
            artifact_id: format!("{}:{id}", aws.region),
            packer_run_uuid: Uuid::new_v5(&NAMESPACE, run.as_bytes()).to_string(),
            custom_data: ArtifactData {
                ami_name: image.name().unwrap_or_default().to_owned(),
                image_digest: self.plan.image,
                snapshots,
                block_device_mappings: mappings,
            },
        }
    }
}

fn name_of(image: &Image) -> String {
    let (id, name) = (image.image_id(), image.name());
    format!("{} {:?}", id.unwrap_or_default(), name.unwrap_or_default())
}
