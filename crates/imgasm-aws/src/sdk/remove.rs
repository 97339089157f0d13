//! Taking away what a run has made.

use super::connect::{Aws, failed};
use super::made::{Made, Place, Things};
use super::{s3, task};
use crate::report::Report;
use crate::{Error, Result};

/// Removes everything, the last first; gives whether all of it is gone. What cannot be removed
/// is told, and the rest goes on.
pub(super) async fn remove_all(things: &mut Things, aws: &Aws, report: &dyn Report) -> bool {
    let mut is_gone = true;
    while let Some(made) = things.all.pop() {
        match remove(aws, &made).await {
            Ok(()) => report.note("removed", &made.to_string()),
            Err(error) => {
                is_gone = false;
                report.warning(&format!(
                    "{made} is left behind ({error}): `imgasm gc` finds it"
                ));
            }
        }
    }
    is_gone
}

/// Removes the objects alone, which nobody needs once they are imported.
pub(super) async fn remove_objects(things: &mut Things, aws: &Aws, report: &dyn Report) {
    let is_object = |made: &Made| matches!(made, Made::Object(_) | Made::Upload { .. });
    let objects = things.all.extract_if(.., |made| is_object(made)).collect();
    let mut objects = Things { all: objects };
    remove_all(&mut objects, aws, report).await;
}

/// Removes one thing. What is not there is removed already.
pub(super) async fn remove(aws: &Aws, made: &Made) -> Result<()> {
    let removed = match made {
        Made::Object(place) => delete_object(aws, place).await,
        Made::Upload { place, id } => abort(aws, place, id).await,
        Made::Task(id) => cancel(aws, id).await,
        Made::Snapshot(id) => delete_snapshot(aws, id).await,
        Made::Image { region: None, id } => deregister(aws, id, Some(&[])).await,
        Made::Image {
            region: Some(region),
            id,
        } => deregister(&aws.in_region(region), id, Some(&[])).await,
    };
    match removed {
        Err(Error::Service {
            code: Some(code), ..
        }) if is_gone(&code) => Ok(()),
        other => other,
    }
}

/// The codes by which a service says that something is not there.
fn is_gone(code: &str) -> bool {
    matches!(
        code,
        "NoSuchKey"
            | "NoSuchUpload"
            | "InvalidSnapshot.NotFound"
            | "InvalidAMIID.NotFound"
            | "InvalidAMIID.Unavailable"
            | "InvalidConversionTaskId"
            | "InvalidConversionTaskId.Malformed"
            | "InvalidTaskId.NotFound"
    )
}

/// Deletes an object, and aborts uploads that were to become it: an answer that was lost may have
/// named one.
async fn delete_object(aws: &Aws, place: &Place) -> Result<()> {
    for upload in s3::uploads(aws, &place.bucket, &place.key).await? {
        if upload.key() == Some(&place.key) {
            abort(aws, place, upload.upload_id().unwrap_or_default()).await?;
        }
    }
    let call = aws.s3.delete_object().bucket(&place.bucket).key(&place.key);
    call.send()
        .await
        .map_err(failed(format!("delete {place}")))?;
    Ok(())
}

async fn abort(aws: &Aws, place: &Place, id: &str) -> Result<()> {
    let call = aws.s3.abort_multipart_upload();
    let call = call.bucket(&place.bucket).key(&place.key).upload_id(id);
    let sent = call.send().await;
    sent.map_err(failed(format!("abort the upload of {place}")))?;
    Ok(())
}

/// Cancels a task, or removes the snapshot that it has made.
async fn cancel(aws: &Aws, id: &str) -> Result<()> {
    let Some(task) = task::describe(aws, id).await? else {
        return Ok(());
    };
    match task::status(&task) {
        "completed" => match task::snapshot(&task) {
            Some(snapshot) => Box::pin(remove(aws, &Made::Snapshot(snapshot.to_owned()))).await,
            None => Ok(()),
        },
        "deleted" | "deleting" => Ok(()),
        _ => {
            let call = aws.ec2.cancel_import_task().import_task_id(id);
            call.send().await.map_err(failed(format!("cancel {id}")))?;
            Ok(())
        }
    }
}

async fn delete_snapshot(aws: &Aws, id: &str) -> Result<()> {
    let call = aws.ec2.delete_snapshot().snapshot_id(id);
    call.send().await.map_err(failed(format!("delete {id}")))?;
    Ok(())
}

/// Deregisters an AMI. With `keep`, its snapshots go too, but for these and those that other AMIs
/// use.
pub(super) async fn deregister(aws: &Aws, id: &str, keep: Option<&[String]>) -> Result<()> {
    let asked = aws.ec2.describe_images().image_ids(id).send().await;
    let answer = asked.map_err(failed(format!("ask for {id}")))?;
    let mut snapshots = Vec::new();
    for image in answer.images() {
        let mappings = image.block_device_mappings().iter();
        let ids = mappings.filter_map(|mapping| mapping.ebs()?.snapshot_id());
        snapshots.extend(ids.map(ToOwned::to_owned));
    }
    let call = aws.ec2.deregister_image().image_id(id);
    let sent = call.send().await;
    sent.map_err(failed(format!("deregister {id}")))?;
    let Some(keep) = keep else { return Ok(()) };
    for snapshot in snapshots {
        if keep.contains(&snapshot) {
            continue;
        }
        match Box::pin(remove(aws, &Made::Snapshot(snapshot))).await {
            Err(Error::Service {
                code: Some(code), ..
            }) if code == "InvalidSnapshot.InUse" => {}
            other => other?,
        }
    }
    Ok(())
}
