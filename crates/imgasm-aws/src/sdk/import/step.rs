//! Sending the requests of the list.

use super::{Pending, Run, journal_path, token};
use crate::plan::Via;
use crate::plan::steps::{Situation, Step, Subject, blocks};
use crate::request::{CreateMultipartUpload, Parameters};
use crate::sdk::ebs::{self, Begun};
use crate::sdk::made::{Made, Place};
use crate::sdk::replace::Old;
use crate::sdk::{remove, s3, send, task};
use crate::{Error, Result};

impl Run<'_> {
    /// Whether what a request would make is there already, or what it is about is not.
    pub(super) fn leaves_out(&self, step: &Step) -> bool {
        let region = match &step.subject {
            Subject::Copy(region) => region,
            _ => &self.aws.region,
        };
        let is_found = self.found_images.contains(region);
        match (&step.subject, &step.request.parameters) {
            (Subject::Disk(index), Parameters::DeleteObject(_)) => !self.objects.contains(index),
            (Subject::Disk(index), _) => is_found || self.found_disks.contains(index),
            (_, Parameters::RegisterImage(_) | Parameters::CopyImage(_)) => is_found,
            (_, Parameters::DeregisterImage(_)) => !self.taken.contains_key(region),
            _ => false,
        }
    }

    /// Sends a request of the list.
    pub(super) async fn send(&mut self, step: Step, situation: &Situation<'_>) -> Result<()> {
        let parameters = step.request.parameters;
        match step.subject {
            Subject::Disk(index) => self.send_of_disk(index, parameters, situation).await,
            Subject::Image => {
                self.send_of_image(&self.aws.region.clone(), parameters)
                    .await
            }
            Subject::Copy(region) => self.send_of_image(&region, parameters).await,
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
                if let Some(task) = task::find(aws, disk).await? {
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
                    let id = upload.complete(aws, self.options.patience).await?;
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
                };
                remove::delete_object(aws, &place).await?;
                self.things.forget_object(&place);
            }
            _ => return Err(misplaced(&parameters)),
        }
        Ok(())
    }

    /// Sends a request about the AMI in a region.
    async fn send_of_image(&mut self, region: &str, parameters: Parameters) -> Result<()> {
        let there = self.there(region);
        match parameters {
            Parameters::DeregisterImage(_) => self.make_room(&there).await?,
            Parameters::RegisterImage(request) => self.register(request).await?,
            Parameters::CopyImage(request) => self.copy(&there, request).await?,
            Parameters::ModifyImageAttribute(mut request) => {
                request.image_id = self.usable(region).await?;
                send::permit(&there, &request).await?;
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
        };
        self.objects.insert(index);
        let digest = self.plan.disks[index].built.digest();
        let upload = match s3::find(self.aws, &place, digest).await? {
            s3::Found::Object => {
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
        self.snapshots[index] = Some(id.clone());
        Ok(id)
    }
}

/// A request that is about something else than the list says.
fn misplaced(parameters: &Parameters) -> Error {
    Error::Answer {
        what: parameters.operation().1.to_owned(),
        problem: "it is not where it belongs on the list".to_owned(),
    }
}
