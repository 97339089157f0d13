//! An object to a snapshot: the import service's task.

use aws_sdk_ec2::types::{Filter, ImportSnapshotTask, SnapshotTaskDetail};

use super::connect::{Aws, failed};
use super::made::{Made, Things};
use super::send;
use super::wait::{Patience, State, until};
use crate::plan::{Disk, Plan, S3};
use crate::report::Report;
use crate::{Error, Result, tags};
use imgasm_block::Digest;

/// Starts the import of a disk's object, or finds that of an earlier run; gives the task's id.
pub(super) async fn start(
    aws: &Aws,
    plan: &Plan,
    disk: &Disk,
    s3: &S3,
    things: &mut Things,
    report: &dyn Report,
) -> Result<String> {
    let digest = disk.built.digest();
    let before = tasks(aws, tags::DISK, Some(&digest.to_string())).await?;
    let active = before.iter().filter(|task| status(task) == "active");
    let mut active = active.filter_map(ImportSnapshotTask::import_task_id);
    if let Some(id) = active.next() {
        report.note(
            "found",
            &format!("the import {id} of {} under way", disk.built.file),
        );
        things.add(Made::Task(id.to_owned()));
        return Ok(id.to_owned());
    }
    // Those that came to an end do not count for the next try.
    let token = format!("{digest} {} {}", plan.identity, before.len());
    let token = Digest::of(token.as_bytes()).to_string();
    let id = send::import_snapshot(aws, &plan.import_snapshot(disk, s3), &token).await?;
    things.add(Made::Task(id.clone()));
    report.note("importing", &format!("{} as {id}", disk.built.file));
    Ok(id)
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
            "deleting" | "deleted" => Err(Error::Import {
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
                report.progress(&format!("importing {file}: {message}"), done, 100);
                Ok(State::Pending(format!("{other}, {done} %, {message}")))
            }
        }
    })
    .await
}

/// A task as EC2 knows it, where it does.
pub(super) async fn describe(aws: &Aws, id: &str) -> Result<Option<ImportSnapshotTask>> {
    let asked = aws
        .ec2
        .describe_import_snapshot_tasks()
        .import_task_ids(id)
        .send()
        .await;
    let answer = asked.map_err(failed(format!("ask for the import {id}")))?;
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

/// The tasks with a tag, of any value or of one.
pub(super) async fn tasks(
    aws: &Aws,
    tag: &str,
    value: Option<&str>,
) -> Result<Vec<ImportSnapshotTask>> {
    let filter = match value {
        Some(value) => Filter::builder().name(format!("tag:{tag}")).values(value),
        None => Filter::builder().name("tag-key").values(tag),
    };
    let mut pages = aws
        .ec2
        .describe_import_snapshot_tasks()
        .filters(filter.build())
        .into_paginator()
        .send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed("list the imports of snapshots"))?;
        all.extend(page.import_snapshot_tasks().iter().cloned());
    }
    Ok(all)
}
