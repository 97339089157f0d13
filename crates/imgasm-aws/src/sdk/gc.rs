//! What runs that were killed have left behind, by imgasm's own tags and its own place in a bucket.
//!
//! Nothing else is looked at: a snapshot without the tag is nobody's business here, and one that an
//! AMI uses is not left behind.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, Image};

use super::connect::{Aws, failed};
use super::describe::seconds;
use super::made::{Made, Place};
use super::task;
use super::{remove, s3};
use crate::plan::KEY_PREFIX;
use crate::{Report, Result, tags};

/// Something that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    made: Made,
    /// Since when it is there, in seconds since 1970, where that is known.
    pub since: Option<i64>,
    /// What it was for.
    pub name: String,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.made.fmt(f)
    }
}

/// Looks for what was left behind in the account and region, and in these buckets.
pub async fn find(aws: &Aws, buckets: &[String], report: &dyn Report) -> Result<Vec<Leftover>> {
    let mut all = Vec::new();
    let mut buckets: BTreeSet<String> = buckets.iter().cloned().collect();
    let mut snapshots = BTreeSet::new();
    for task in task::tasks(aws).await? {
        let tag = |key: &str| task::tag(&task, key);
        let place = tag(tags::OBJECT).and_then(|object| object.split_once('/'));
        buckets.extend(place.map(|(bucket, _)| bucket.to_owned()));
        match (task::status(&task), task.import_task_id()) {
            ("active", Some(id)) => all.push(Leftover {
                made: Made::Task(id.to_owned()),
                since: None,
                name: tag(tags::NAME).unwrap_or_default().to_owned(),
            }),
            // Its snapshot may not have got its tags.
            ("completed", _) => {
                snapshots.extend(task::snapshot(&task).map(ToOwned::to_owned));
            }
            _ => {}
        }
    }
    let images = own_images(aws).await?;
    let copies: Vec<&Image> = images
        .iter()
        .filter(|image| {
            image
                .tags()
                .iter()
                .any(|tag| tag.key() == Some(tags::PULLED))
        })
        .collect();
    let in_use: BTreeSet<&str> = images
        .iter()
        .flat_map(Image::block_device_mappings)
        .filter_map(|mapping| mapping.ebs()?.snapshot_id())
        .collect();
    all.extend(copies.iter().map(|image| Leftover {
        made: Made::Copy {
            region: None,
            id: image.image_id().unwrap_or_default().to_owned(),
        },
        since: Some(seconds(image.creation_date())),
        name: image.name().unwrap_or_default().to_owned(),
    }));
    for leftover in own_snapshots(aws, &snapshots).await? {
        let is_used = matches!(&leftover.made, Made::Snapshot(id) if in_use.contains(id.as_str()));
        if !is_used {
            all.push(leftover);
        }
    }
    for bucket in &buckets {
        match in_bucket(aws, bucket).await {
            Ok(found) => all.extend(found),
            Err(error) => report.warning(&format!("{bucket} is not looked at: {error}")),
        }
    }
    Ok(all)
}

/// Removes what was found; gives the number of things that could not be removed.
pub async fn remove(aws: &Aws, all: &[Leftover], report: &dyn Report) -> usize {
    let mut failures = 0;
    for leftover in all {
        match remove::remove(aws, &leftover.made).await {
            Ok(()) => report.note("removed", &leftover.to_string()),
            Err(error) => {
                failures += 1;
                report.warning(&format!("{leftover} is still there: {error}"));
            }
        }
    }
    failures
}

async fn own_images(aws: &Aws) -> Result<Vec<Image>> {
    // A disabled AMI holds its snapshots as any other.
    let call = aws
        .ec2
        .describe_images()
        .owners("self")
        .include_disabled(true);
    let mut pages = call.into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed("list the account's AMIs"))?;
        all.extend(page.images().iter().cloned());
    }
    Ok(all)
}

/// The account's snapshots that have our tags, and those that are known by their tasks.
async fn own_snapshots(aws: &Aws, known: &BTreeSet<String>) -> Result<Vec<Leftover>> {
    let ours = Filter::builder().name("tag-key").values(tags::DISK);
    let ours = ours.values(tags::PULLED).build();
    let mut filters = vec![ours];
    if !known.is_empty() {
        let known = known.iter().cloned().collect();
        let by_id = Filter::builder()
            .name("snapshot-id")
            .set_values(Some(known));
        filters.push(by_id.build());
    }
    let mut all: Vec<Leftover> = Vec::new();
    for filter in filters {
        let call = aws
            .ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(filter);
        let mut pages = call.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(failed("list the account's snapshots"))?;
            for snapshot in page.snapshots() {
                let made = Made::Snapshot(snapshot.snapshot_id().unwrap_or_default().to_owned());
                if all.iter().any(|other| other.made == made) {
                    continue;
                }
                all.push(Leftover {
                    made,
                    since: snapshot.start_time().map(aws_smithy_types::DateTime::secs),
                    name: snapshot.description().unwrap_or_default().to_owned(),
                });
            }
        }
    }
    Ok(all)
}

/// Objects and unfinished uploads under our prefix.
async fn in_bucket(aws: &Aws, bucket: &str) -> Result<Vec<Leftover>> {
    let mut all = Vec::new();
    let place = |key: Option<&str>| Place {
        bucket: bucket.to_owned(),
        key: key.unwrap_or_default().to_owned(),
    };
    let call = aws.s3.list_objects_v2().bucket(bucket).prefix(KEY_PREFIX);
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed(format!("list the objects of {bucket}")))?;
        all.extend(page.contents().iter().map(|object| Leftover {
            made: Made::Object(place(object.key())),
            since: object.last_modified().map(aws_smithy_types::DateTime::secs),
            name: String::new(),
        }));
    }
    for upload in s3::uploads(aws, bucket, KEY_PREFIX).await? {
        all.push(Leftover {
            made: Made::Upload {
                place: place(upload.key()),
                id: upload.upload_id().unwrap_or_default().to_owned(),
            },
            since: upload.initiated().map(aws_smithy_types::DateTime::secs),
            name: String::new(),
        });
    }
    Ok(all)
}
