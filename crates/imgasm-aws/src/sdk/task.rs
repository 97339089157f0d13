//! An object to a snapshot: the import service's task.

use aws_sdk_ec2::types::{ImportSnapshotTask, SnapshotTaskDetail};

use super::connect::Aws;
use super::pace::patiently;
use super::wait::{Patience, State, until};
use crate::outlook::Outlook;
use crate::plan::Disk;
use crate::report::Report;
use crate::{Error, Result, tags};

/// The import of a disk from this object that an earlier run has started, if it is under way and
/// comes to a snapshot as it is wanted.
pub(super) async fn find(
    aws: &Aws,
    disk: &Disk,
    object: &str,
    by_default: bool,
) -> Result<Option<String>> {
    let digest = disk.built.digest().to_string();
    let all = tasks(aws).await?;
    let fits = |task: &&ImportSnapshotTask| {
        let detail = task.snapshot_task_detail();
        // What the account encrypts without being asked, the task does not say.
        let encrypted = detail.and_then(SnapshotTaskDetail::encrypted) == Some(true) || by_default;
        let key = detail.and_then(SnapshotTaskDetail::kms_key_id);
        status(task) == "active"
            && tag(task, tags::DISK) == Some(&digest)
            && tag(task, tags::OBJECT) == Some(object)
            && disk.fits_encryption(by_default, encrypted, key)
    };
    let mut active = all.iter().filter(fits);
    let id = active.find_map(ImportSnapshotTask::import_task_id);
    Ok(id.map(ToOwned::to_owned))
}

/// Waits for a task; gives its snapshot.
pub(super) async fn wait(
    aws: &Aws,
    id: &str,
    file: &str,
    patience: Patience,
    report: &dyn Report,
) -> Result<String> {
    until(&format!("the import of {file}"), patience, || async {
        let Some(task) = &describe(aws, id).await? else {
            return Ok(State::Pending("not known yet".to_owned()));
        };
        let detail = task.snapshot_task_detail();
        let message = detail
            .and_then(SnapshotTaskDetail::status_message)
            .unwrap_or_default();
        match status(task) {
            "completed" => match snapshot(task) {
                Some(snapshot) => Ok(State::Done(snapshot.to_owned())),
                None => Err(Error::Import {
                    file: file.to_owned(),
                    message: "it is completed, and has no snapshot".to_owned(),
                }),
            },
            "deleting" | "deleted" | "cancelling" | "cancelled" => Err(Error::Import {
                file: file.to_owned(),
                message: match message {
                    "" => {
                        "the task was deleted without a word; it may have been cancelled".to_owned()
                    }
                    message => message.to_owned(),
                },
            }),
            other => {
                let done = detail.and_then(SnapshotTaskDetail::progress);
                let done = done.and_then(|done| done.parse().ok()).unwrap_or(0);
                report.waiting(&format!("importing {file}: {message}"), done);
                Ok(State::Pending(format!("{other}, {done} %, {message}")))
            }
        }
    })
    .await
}

/// A task as EC2 knows it, where it does.
pub(super) async fn describe(aws: &Aws, id: &str) -> Result<Option<ImportSnapshotTask>> {
    let call = aws.ec2.describe_import_snapshot_tasks();
    let call = call.import_task_ids(id);
    let asked = patiently(format!("ask for the import {id}"), || call.clone().send()).await;
    let answer = match asked {
        Err(error) if error.outlook() == Outlook::NotFound => return Ok(None),
        answer => answer?,
    };
    Ok(answer.import_snapshot_tasks().first().cloned())
}

/// The status of a task: `active`, `completed`, `deleting`, `deleted`.
pub(super) fn status(task: &ImportSnapshotTask) -> &str {
    let detail = task.snapshot_task_detail();
    detail
        .and_then(SnapshotTaskDetail::status)
        .unwrap_or_default()
}

/// The snapshot of a task that is done.
pub(super) fn snapshot(task: &ImportSnapshotTask) -> Option<&str> {
    task.snapshot_task_detail()?.snapshot_id()
}

/// The value of a tag of a task.
pub(super) fn tag<'a>(task: &'a ImportSnapshotTask, key: &str) -> Option<&'a str> {
    let mut tags = task.tags().iter();
    tags.find(|tag| tag.key() == Some(key))
        .and_then(|tag| tag.value())
}

/// Imgasm's own tasks. EC2 documents no filter by tags here, and forgets tasks seven days after
/// their end.
pub(super) async fn tasks(aws: &Aws) -> Result<Vec<ImportSnapshotTask>> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let call = aws.ec2.describe_import_snapshot_tasks();
        let call = call.set_next_token(token.clone());
        let page = patiently("list the imports of snapshots", || call.clone().send()).await?;
        let own = page.import_snapshot_tasks().iter();
        all.extend(own.filter(|task| tag(task, tags::DISK).is_some()).cloned());
        match page.next_token() {
            Some(next) if !next.is_empty() && token.as_deref() != Some(next) => {
                token = Some(next.to_owned());
            }
            _ => return Ok(all),
        }
    }
}
