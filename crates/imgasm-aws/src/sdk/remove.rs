//! Taking away what a run has made.

use aws_sdk_ec2::types::ImportSnapshotTask;

use super::connect::{Aws, failed};
use super::describe::snapshots_of;
use super::interrupt::unless_interrupted;
use super::made::{Made, Place, Things};
use super::pace::patiently;
use super::{s3, send, task};
use crate::outlook::Outlook;
use crate::report::Report;
use crate::request::CreateTags;
use crate::{Error, Result, tags};

/// Removes everything, the last first; gives whether all of it is gone. What cannot be removed is
/// reported, and the rest goes on. If the user stops this, what is left is reported.
pub(super) async fn remove_all(things: &mut Things, aws: &Aws, report: &dyn Report) -> bool {
    let mut is_gone = true;
    while let Some(made) = things.all.last().cloned() {
        match unless_interrupted(&aws.interrupts, Box::pin(remove(aws, &made))).await {
            Ok(()) => report.note("removed", &made.to_string()),
            Err(Error::Interrupted) => {
                for made in &things.all {
                    report.warning(&format!("{made} is left behind: `imgasm gc` finds it"));
                }
                return false;
            }
            Err(error) => {
                is_gone = false;
                report.warning(&format!(
                    "{made} is left behind ({error}): `imgasm gc` finds it"
                ));
            }
        }
        things.all.pop();
    }
    is_gone
}

/// Removes one thing. What is not there is removed already.
pub(super) async fn remove(aws: &Aws, made: &Made) -> Result<()> {
    let removed = match made {
        Made::Object(place) => delete_object(aws, place).await,
        Made::Upload { place, id } => abort(aws, place, id).await,
        Made::Task(id) => cancel(aws, id).await,
        Made::Snapshot(id) => delete_snapshot(aws, id).await,
        Made::Image(id) => deregister(aws, id).await,
        Made::Copy { region: None, id } => deregister_with_snapshots(aws, id).await,
        Made::Copy {
            region: Some(region),
            id,
        } => deregister_with_snapshots(&aws.in_region(region), id).await,
    };
    match removed {
        Err(error) if error.outlook() == Outlook::NotFound => Ok(()),
        other => other,
    }
}

/// Deletes an object, and aborts uploads that were to become it: an answer that was lost may have
/// named one.
pub(super) async fn delete_object(aws: &Aws, place: &Place) -> Result<()> {
    for upload in s3::uploads(aws, place).await? {
        if upload.key() == Some(&place.key) {
            abort(aws, place, upload.upload_id().unwrap_or_default()).await?;
        }
    }
    // In a bucket with versions, only the deletion of the version frees its room.
    let head = aws.s3.head_object().bucket(&place.bucket).key(&place.key);
    let head = head.set_expected_bucket_owner(place.owner.clone());
    let version = match s3::head(|| head.clone().send()).await {
        Ok(found) => found.version_id().map(ToOwned::to_owned),
        Err(error) => match error.raw_response().map(|raw| raw.status().as_u16()) {
            Some(403 | 404) => None,
            _ => return Err(failed(format!("look for {place}"))(error)),
        },
    };
    let call = aws.s3.delete_object().bucket(&place.bucket).key(&place.key);
    let call = call
        .set_expected_bucket_owner(place.owner.clone())
        .set_version_id(version.filter(|version| version != "null"));
    patiently(format!("delete {place}"), || call.clone().send()).await?;
    Ok(())
}

async fn abort(aws: &Aws, place: &Place, id: &str) -> Result<()> {
    let call = aws.s3.abort_multipart_upload();
    let call = call
        .bucket(&place.bucket)
        .key(&place.key)
        .upload_id(id)
        .set_expected_bucket_owner(place.owner.clone());
    let doing = format!("abort the upload of {place}");
    patiently(doing, || call.clone().send()).await?;
    Ok(())
}

/// Cancels a task, or removes the snapshot that it has made.
async fn cancel(aws: &Aws, id: &str) -> Result<()> {
    let Some(task) = task::describe(aws, id).await? else {
        return Ok(());
    };
    match task::status(&task) {
        "completed" => remove_imported(aws, &task).await,
        "deleted" | "deleting" | "cancelled" | "cancelling" => Ok(()),
        _ => {
            let call = aws.ec2.cancel_import_task().import_task_id(id);
            patiently(format!("cancel {id}"), || call.clone().send()).await?;
            // It may have come to its end in between: then its snapshot is there.
            match task::describe(aws, id).await? {
                Some(task) if task::status(&task) == "completed" => {
                    remove_imported(aws, &task).await
                }
                _ => Ok(()),
            }
        }
    }
}

/// Removes the snapshot of a task. It is marked first: the import service leaves it without tags, and
/// the policy allows the removal of what is marked as imgasm's own.
async fn remove_imported(aws: &Aws, task: &ImportSnapshotTask) -> Result<()> {
    let Some(snapshot) = task::snapshot(task) else {
        return Ok(());
    };
    if snapshots_of(aws, vec![snapshot.to_owned()])
        .await?
        .is_empty()
    {
        return Ok(());
    }
    let name = task::tag(task, tags::NAME).unwrap_or_default();
    let mark = CreateTags {
        resources: vec![snapshot.to_owned()],
        tags: tags::list(&[(tags::NAME.to_owned(), name.to_owned())].into()),
    };
    send::create_tags(aws, &mark).await?;
    delete_snapshot(aws, snapshot).await
}

/// Deletes a snapshot. One that an AMI uses by now stays: that is no leftover.
pub(super) async fn delete_snapshot(aws: &Aws, id: &str) -> Result<()> {
    let call = aws.ec2.delete_snapshot().snapshot_id(id);
    match patiently(format!("delete {id}"), || call.clone().send()).await {
        Err(Error::Service {
            code: Some(code), ..
        }) if code == "InvalidSnapshot.InUse" => Ok(()),
        Err(error) if error.outlook() == Outlook::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Deregisters an AMI; its snapshots stay. One that is not there is deregistered already.
pub(super) async fn deregister(aws: &Aws, id: &str) -> Result<()> {
    let call = aws.ec2.deregister_image().image_id(id);
    match patiently(format!("deregister {id}"), || call.clone().send()).await {
        Err(error) if error.outlook() == Outlook::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Deregisters an AMI, and deletes its snapshots but for those that other AMIs use.
async fn deregister_with_snapshots(aws: &Aws, id: &str) -> Result<()> {
    let call = aws
        .ec2
        .describe_images()
        .image_ids(id)
        .include_disabled(true);
    let answer = patiently(format!("ask for {id}"), || call.clone().send()).await?;
    let mut snapshots = Vec::new();
    for image in answer.images() {
        let mappings = image.block_device_mappings().iter();
        let ids = mappings.filter_map(|mapping| mapping.ebs()?.snapshot_id());
        snapshots.extend(ids.map(ToOwned::to_owned));
    }
    deregister(aws, id).await?;
    for snapshot in snapshots {
        delete_snapshot(aws, &snapshot).await?;
    }
    Ok(())
}
