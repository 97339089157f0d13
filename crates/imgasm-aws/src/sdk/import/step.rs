//! Sending the requests of the list.

use std::collections::BTreeSet;

use super::{Pending, Run, journal_path, token};
use crate::plan::Via;
use crate::plan::steps::{IF_FOUND, Situation, Step, Subject, blocks};
use crate::proof::Proof;
use crate::request::{CreateMultipartUpload, Parameters};
use crate::sdk::ebs::{self, Begun};
use crate::sdk::made::{Made, Place};
use crate::sdk::replace::Old;
use crate::sdk::{remove, s3, send, task};
use crate::{Error, Result};

impl Run<'_> {
    /// Whether what a request would make is there already, or what it is about is not.
    pub(super) fn leaves_out(&self, step: &Step) -> bool {
        let is_home = !matches!(step.subject, Subject::Copy(_));
        let region = match &step.subject {
            Subject::Copy(region) => region,
            _ => &self.aws.region,
        };
        let is_found = self.found_images.contains(region);
        if is_home && !self.is_home_needed || step.request.when == Some(IF_FOUND) && !is_found {
            return true;
        }
        match (&step.subject, &step.request.parameters) {
            (Subject::Disk(index), Parameters::DeleteObject(_)) => !self.objects.contains(index),
            (Subject::Disk(index), _) => is_found || self.found_disks.contains(index),
            (_, Parameters::RegisterImage(_) | Parameters::CopyImage(_)) => is_found,
            // What was found stays, whatever it is for.
            (Subject::Source, Parameters::DeleteSnapshot(_)) => {
                let index = step.disk.unwrap_or_default();
                is_found || self.found_disks.contains(&index)
            }
            (Subject::Source, _) => is_found,
            (_, Parameters::DeregisterImage(_)) => !self.taken.contains_key(region),
            _ => false,
        }
    }

    /// Sends a request of the list.
    pub(super) async fn send(&mut self, step: Step, situation: &Situation<'_>) -> Result<()> {
        let parameters = step.request.parameters;
        let region = match step.subject {
            Subject::Disk(index) => {
                return self.send_of_disk(index, parameters, situation).await;
            }
            Subject::Source => return self.drop_source(step.disk, parameters).await,
            Subject::Copy(region) => region,
            Subject::Image => self.aws.region.clone(),
        };
        if step.request.when == Some(IF_FOUND) {
            return self.update(&region, step.disk, parameters).await;
        }
        self.send_of_image(&region, step.disk, parameters).await
    }

    /// Takes away the AMI that is there for its copies alone, or one of its snapshots.
    async fn drop_source(&mut self, disk: Option<usize>, parameters: Parameters) -> Result<()> {
        let home = self.aws.region.clone();
        self.commit().await?;
        match (parameters, disk) {
            (Parameters::DeregisterImage(_), _) => {
                let id = self.usable(&home).await?;
                remove::deregister(self.aws, &id).await
            }
            (Parameters::DeleteSnapshot(_), Some(index)) => {
                let id = self.snapshot(index).await?;
                remove::delete_snapshot(self.aws, &id).await
            }
            (other, _) => Err(misplaced(&other)),
        }
    }

    /// Sends a request on the way from a disk to its snapshot.
    async fn send_of_disk(
        &mut self,
        index: usize,
        parameters: Parameters,
        situation: &Situation<'_>,
    ) -> Result<()> {
        let (aws, plan, shared) = (self.aws, self.plan, self.report);
        let (disk, report) = (&plan.disks[index], &**shared);
        match parameters {
            Parameters::CreateMultipartUpload(request) => {
                let object = format!("{}/{}", request.bucket, request.key);
                if let Some(task) = task::find(aws, disk, &object, self.encrypts).await? {
                    let file = &disk.built.file;
                    report.note("found", &format!("the import {task} of {file} under way"));
                    self.pending.insert(index, Pending::Task(task));
                    self.objects.insert(index);
                    return Ok(());
                }
                self.begin_object(index, &request).await?;
            }
            Parameters::UploadPart(_) => {
                let (Via::S3(s3), Some(Pending::Object(upload))) =
                    (&plan.via, self.pending.get_mut(&index))
                else {
                    return Ok(());
                };
                s3::send_parts(aws, upload, disk, s3.format, shared).await?;
            }
            Parameters::CompleteMultipartUpload(_) => {
                let Some(Pending::Object(upload)) = self.pending.get(&index) else {
                    return Ok(());
                };
                s3::complete(aws, upload, disk.built.digest()).await?;
                self.things.forget_upload(&upload.id);
                self.things.add(Made::Object(upload.place.clone()));
                self.pending.remove(&index);
            }
            Parameters::ImportSnapshot(request) => {
                if self.pending.contains_key(&index) {
                    return Ok(());
                }
                let id = send::import_snapshot(aws, &request, &token()).await?;
                self.things.add(Made::Task(id.clone()));
                report.note("importing", &format!("{} as {id}", disk.built.file));
                self.pending.insert(index, Pending::Task(id));
            }
            Parameters::StartSnapshot(request) => {
                let blocks = blocks(disk, index, situation);
                let journal = journal_path(&self.options.dir, disk);
                match ebs::begin(aws, disk, &request, blocks, &journal, report).await? {
                    Begun::Upload(upload) => {
                        self.things.add(Made::Snapshot(upload.id.clone()));
                        self.pending.insert(index, Pending::Blocks(upload));
                    }
                    Begun::Done(id) => self.snapshots[index] = Some(id),
                }
            }
            Parameters::PutSnapshotBlock(_) => {
                if let Some(Pending::Blocks(upload)) = self.pending.get_mut(&index) {
                    upload.put(aws, disk, report).await?;
                }
            }
            Parameters::CompleteSnapshot(_) => {
                if let Some(Pending::Blocks(upload)) = self.pending.remove(&index) {
                    let proven = upload.indices();
                    let id = upload.complete(aws, self.options.patience).await?;
                    // What was not sent is what the parent has.
                    if situation.parent.is_some_and(|_| index == 0)
                        || self.options.proof == Proof::Full
                    {
                        self.prove(index, &id, &proven).await?;
                    }
                    self.snapshots[index] = Some(id);
                }
            }
            Parameters::CreateTags(mut request) => {
                request.resources = vec![self.snapshot(index).await?];
                send::create_tags(aws, &request).await?;
            }
            Parameters::DeleteObject(request) => {
                let place = Place {
                    bucket: request.bucket,
                    key: request.key,
                    owner: request.expected_bucket_owner,
                };
                remove::delete_object(aws, &place).await?;
                self.things.forget_object(&place);
            }
            _ => return Err(misplaced(&parameters)),
        }
        Ok(())
    }

    /// Sends a request about the AMI in a region.
    async fn send_of_image(
        &mut self,
        region: &str,
        disk: Option<usize>,
        parameters: Parameters,
    ) -> Result<()> {
        let there = self.there(region);
        match parameters {
            Parameters::DeregisterImage(_) => self.make_room(&there).await?,
            Parameters::RegisterImage(request) => self.register(request).await?,
            Parameters::CopyImage(request) => self.copy(&there, request).await?,
            Parameters::CreateTags(mut request) => {
                request.resources = vec![self.snapshot_in(region, disk).await?];
                send::create_tags(&there, &request).await?;
            }
            Parameters::ModifyImageAttribute(mut request) => {
                request.image_id = self.usable(region).await?;
                send::modify_image(&there, &request).await?;
            }
            Parameters::ModifySnapshotAttribute(mut request) => {
                request.snapshot_id = self.snapshot_in(region, disk).await?;
                send::modify_snapshot(&there, &request).await?;
            }
            Parameters::EnableFastSnapshotRestores(mut request) => {
                request.source_snapshot_ids.clear();
                for index in 0..self.plan.disks.len() {
                    let id = self.snapshot_in(region, Some(index)).await?;
                    request.source_snapshot_ids.push(id);
                }
                send::restore_fast(&there, &request).await?;
            }
            Parameters::EnableImageDeprecation(mut request) => {
                request.image_id = self.usable(region).await?;
                send::deprecate(&there, &request).await?;
            }
            Parameters::PutParameter(mut request) => {
                self.commit().await?;
                request.value = self.usable(region).await?;
                send::put_parameter(&there, &request).await?;
            }
            Parameters::EnableImageDeregistrationProtection(mut request) => {
                self.commit().await?;
                request.image_id = self.usable(region).await?;
                send::protect(&there, &request).await?;
            }
            Parameters::DeleteSnapshot(_) => {
                self.commit().await?;
                let old = self.replaced.all.iter().filter(|old| old.region == region);
                for snapshot in old.flat_map(Old::snapshots) {
                    if !self.snapshots.contains(&Some(snapshot.clone())) {
                        remove::delete_snapshot(&there, &snapshot).await?;
                    }
                }
            }
            _ => return Err(misplaced(&parameters)),
        }
        Ok(())
    }

    /// Begins the upload of an object, or finds what an earlier run has left of it.
    pub(super) async fn begin_object(
        &mut self,
        index: usize,
        request: &CreateMultipartUpload,
    ) -> Result<()> {
        let place = Place {
            bucket: request.bucket.clone(),
            key: request.key.clone(),
            owner: request.expected_bucket_owner.clone(),
        };
        let digest = self.plan.disks[index].built.digest();
        let upload = match s3::find(self.aws, &place, digest).await? {
            s3::Found::Object { is_kept } => {
                // One that is to stay is not this run's to delete.
                if !is_kept {
                    self.objects.insert(index);
                }
                self.report
                    .note("found", &format!("{place} from an earlier run"));
                return Ok(());
            }
            s3::Found::Upload(upload) => {
                let count = upload.count();
                self.report
                    .note("resuming", &format!("{place}, {count} parts are there"));
                upload
            }
            s3::Found::Nothing => {
                let upload = s3::begin(self.aws, request).await?;
                let id = upload.id.clone();
                self.things.add(Made::Upload { place, id });
                upload
            }
        };
        self.objects.insert(index);
        self.pending.insert(index, Pending::Object(upload));
        Ok(())
    }

    /// The snapshot of a disk, once its import is done.
    pub(super) async fn snapshot(&mut self, index: usize) -> Result<String> {
        if let Some(id) = &self.snapshots[index] {
            return Ok(id.clone());
        }
        let plan = self.plan;
        let file = &plan.disks[index].built.file;
        let Some(Pending::Task(task)) = self.pending.get(&index) else {
            return Err(Error::Answer {
                what: file.clone(),
                problem: "it has no snapshot".to_owned(),
            });
        };
        let (patience, report) = (self.options.patience, &**self.report);
        let id = task::wait(self.aws, task, file, patience, report).await?;
        report.note("imported", &format!("{file} as {id}"));
        self.prove(index, &id, &BTreeSet::new()).await?;
        self.snapshots[index] = Some(id.clone());
        Ok(id)
    }

    /// Makes sure that a snapshot which was made is the disk; `proven` are the blocks that need no
    /// look.
    async fn prove(&self, index: usize, id: &str, proven: &BTreeSet<u64>) -> Result<()> {
        match self.differs(index, id, proven).await? {
            None => Ok(()),
            Some(problem) => Err(Error::Content {
                snapshot: id.to_owned(),
                file: self.plan.disks[index].built.file.clone(),
                problem,
            }),
        }
    }

    /// The snapshot of a disk in a region.
    pub(super) async fn snapshot_in(
        &mut self,
        region: &str,
        disk: Option<usize>,
    ) -> Result<String> {
        self.usable(region).await?;
        let device = disk.and_then(|index| self.plan.disks.get(index));
        let device = device.map_or("", |disk| &disk.device_name);
        let image = self.available.get(region);
        let found = image.and_then(|image| {
            let mut mappings = image.block_device_mappings().iter();
            let mapping = mappings.find(|mapping| mapping.device_name() == Some(device));
            mapping?.ebs()?.snapshot_id().map(ToOwned::to_owned)
        });
        found.ok_or_else(|| Error::Answer {
            what: format!("the AMI in {region}"),
            problem: format!("{device} has no snapshot"),
        })
    }
}

/// A request that is about something else than the list says.
fn misplaced(parameters: &Parameters) -> Error {
    Error::Answer {
        what: parameters.operation().1.to_owned(),
        problem: "it is not where it belongs on the list".to_owned(),
    }
}
