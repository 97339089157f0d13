//! What runs that were killed have left behind, by imgasm's own tags and its own place in a bucket,
//! and old AMIs of a recipe.
//!
//! Nothing else is looked at: a snapshot without the tag is nobody's business here, one that an AMI
//! uses is not left behind, and an object that was to stay is not either.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Image, Tag};
use aws_smithy_types::DateTime;

use super::connect::{Aws, failed};
use super::describe::{all_images, seconds, snapshots, snapshots_of};
use super::made::{Made, Place};
use super::{remove, s3, task};
use crate::plan::KEY_PREFIX;
use crate::{Report, Result, tags};

/// Where to look, and for what.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Regions besides that of the connection.
    pub regions: BTreeSet<String>,
    /// Buckets besides those that imports were made from.
    pub buckets: BTreeSet<String>,
    /// The account that the buckets must be of, if one is named.
    pub bucket_owner: Option<String>,
    /// Old AMIs, if they are to be looked for.
    pub old: Option<OldImages>,
}

/// Which AMIs of a recipe are old.
#[derive(Debug, Clone)]
pub struct OldImages {
    /// The recipe's name for the image.
    pub name: String,
    /// How many of the newest are not, in each region.
    pub keep_last: usize,
    /// Days for which they must have been deprecated, if that matters.
    pub deprecated_for: Option<u32>,
    /// Seconds since 1970.
    pub now: i64,
}

/// Something that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    made: Made,
    /// The region that it is in.
    pub region: String,
    /// Since when it is there, in seconds since 1970, where that is known.
    pub since: Option<i64>,
    /// What it was for.
    pub name: String,
}

impl Leftover {
    /// What it is: `object`, `upload`, `import-task`, `snapshot` or `image`.
    pub fn kind(&self) -> &'static str {
        match self.made {
            Made::Object(_) => "object",
            Made::Upload { .. } => "upload",
            Made::Task(_) => "import-task",
            Made::Snapshot(_) => "snapshot",
            Made::Image(_) | Made::Copy { .. } => "image",
        }
    }

    /// Its id; that of an object, or of the upload of one, is its `s3://` address.
    pub fn id(&self) -> String {
        match &self.made {
            Made::Object(place) | Made::Upload { place, .. } => place.to_string(),
            Made::Task(id) | Made::Snapshot(id) | Made::Image(id) | Made::Copy { id, .. } => {
                id.clone()
            }
        }
    }
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.made.fmt(f)?;
        write!(f, " in {}", self.region)
    }
}

/// Looks for what was left behind in the account.
pub async fn find(aws: &Aws, search: &Search, report: &dyn Report) -> Result<Vec<Leftover>> {
    let mut all = Vec::new();
    let others = search.regions.iter().filter(|it| **it != aws.region);
    let there = others.map(|region| aws.in_region(region));
    for (number, aws) in std::iter::once(aws.clone()).chain(there).enumerate() {
        // The buckets are those of the connection's region.
        let own = (number == 0).then_some(&search.buckets);
        let buckets = own.cloned().unwrap_or_default();
        all.extend(in_region(&aws, buckets, search, report).await?);
    }
    Ok(all)
}

async fn in_region(
    aws: &Aws,
    mut buckets: BTreeSet<String>,
    search: &Search,
    report: &dyn Report,
) -> Result<Vec<Leftover>> {
    let mut all = Vec::new();
    let leftover = |made, since, name: &str| Leftover {
        made,
        region: aws.region.clone(),
        since,
        name: name.to_owned(),
    };
    // The snapshots of imports, which may not have got their tags.
    let mut imported = BTreeMap::new();
    for task in task::tasks(aws).await? {
        let place = task::tag(&task, tags::OBJECT).and_then(|object| object.split_once('/'));
        let place = place.map(|(bucket, key)| Place {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            owner: None,
        });
        buckets.extend(place.iter().map(|place| place.bucket.clone()));
        let Some(id) = task.import_task_id() else {
            continue;
        };
        match (task::status(&task), task::snapshot(&task)) {
            ("active", _) => {
                // EC2 does not say since when it is there: its object does.
                let since = match &place {
                    Some(place) => s3::look(aws, place).await?.and_then(|it| it.modified),
                    None => None,
                };
                let name = task::tag(&task, tags::NAME).unwrap_or_default();
                all.push(leftover(Made::Task(id.to_owned()), since, name));
            }
            ("completed", Some(snapshot)) => {
                imported.insert(snapshot.to_owned(), id.to_owned());
            }
            _ => {}
        }
    }
    let images = all_images(aws).await?;
    let in_use: BTreeSet<&str> = images
        .iter()
        .flat_map(Image::block_device_mappings)
        .filter_map(|mapping| mapping.ebs()?.snapshot_id())
        .collect();
    let old = search.old.as_ref().map(|old| old_images(&images, old));
    let pulled = images.iter().filter(|it| has(it.tags(), tags::PULLED));
    for image in pulled.chain(old.into_iter().flatten()) {
        let id = image.image_id().unwrap_or_default().to_owned();
        let made = Made::Copy { region: None, id };
        let name = image.name().unwrap_or_default();
        let name = match image.last_launched_time() {
            Some(time) => format!("{name}, launched last at {time}"),
            None => name.to_owned(),
        };
        all.push(leftover(made, Some(seconds(image.creation_date())), &name));
    }
    let ours = Filter::builder().name("tag-key");
    let ours = ours.values(tags::DISK).values(tags::NAME);
    let ours = ours.values(tags::PULLED).build();
    let mut found = snapshots(aws, ours).await?;
    let known: BTreeSet<&str> = found.iter().filter_map(|it| it.snapshot_id()).collect();
    let unknown = imported.keys().filter(|id| !known.contains(id.as_str()));
    let unknown: Vec<String> = unknown.cloned().collect();
    if !unknown.is_empty() {
        found.extend(snapshots_of(aws, unknown).await?);
    }
    for snapshot in found {
        let id = snapshot.snapshot_id().unwrap_or_default();
        if in_use.contains(id) {
            continue;
        }
        // One without tags is known by its import, and taken away through it.
        let made = match imported
            .get(id)
            .filter(|_| !has(snapshot.tags(), tags::NAME))
        {
            Some(task) => Made::Task(task.clone()),
            None => Made::Snapshot(id.to_owned()),
        };
        let since = snapshot.start_time().map(DateTime::secs);
        let name = snapshot.description().unwrap_or_default();
        all.push(leftover(made, since, name));
    }
    for bucket in &buckets {
        match in_bucket(aws, bucket, search.bucket_owner.clone()).await {
            Ok(found) => all.extend(found),
            Err(error) => report.warning(&format!("{bucket} is not looked at: {error}")),
        }
    }
    Ok(all)
}

/// Removes what was found; says of each whether it is gone.
pub async fn remove(aws: &Aws, all: &[Leftover], report: &dyn Report) -> Vec<bool> {
    let mut removed = Vec::with_capacity(all.len());
    for leftover in all {
        let there = aws.in_region(&leftover.region);
        match remove::remove(&there, &leftover.made).await {
            Ok(()) => {
                removed.push(true);
                report.note("removed", &leftover.to_string());
            }
            Err(error) => {
                removed.push(false);
                report.warning(&format!("{leftover} is still there: {error}"));
            }
        }
    }
    removed
}

fn has(tags: &[Tag], key: &str) -> bool {
    tags.iter().any(|tag| tag.key() == Some(key))
}

/// The old ones among AMIs. One that is protected is wanted.
fn old_images<'a>(images: &'a [Image], old: &OldImages) -> Vec<&'a Image> {
    let is_of_recipe = |image: &&Image| {
        let mut tags = image.tags().iter();
        tags.any(|tag| tag.key() == Some(tags::NAME) && tag.value() == Some(&old.name))
            && has(image.tags(), tags::IMAGE)
    };
    let mut all: Vec<&Image> = images.iter().filter(is_of_recipe).collect();
    all.sort_by_key(|image| std::cmp::Reverse((seconds(image.creation_date()), image.image_id())));
    let is_old = |image: &&Image| match (old.deprecated_for, image.deprecation_time()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(days), Some(time)) => {
            let since = old.now.saturating_sub(seconds(Some(time)));
            since >= i64::from(days) * 24 * 60 * 60
        }
    };
    let is_free = |image: &&Image| {
        let protection = image.deregistration_protection().unwrap_or_default();
        matches!(protection, "" | "disabled")
    };
    let rest = all.into_iter().skip(old.keep_last);
    rest.filter(is_old).filter(is_free).collect()
}

/// Objects and unfinished uploads under our prefix.
async fn in_bucket(aws: &Aws, bucket: &str, owner: Option<String>) -> Result<Vec<Leftover>> {
    let mut all = Vec::new();
    let place = |key: &str| Place {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        owner: owner.clone(),
    };
    let leftover = |made, since: Option<&DateTime>| Leftover {
        made,
        region: aws.region.clone(),
        since: since.map(DateTime::secs),
        name: String::new(),
    };
    let call = aws.s3.list_objects_v2().bucket(bucket).prefix(KEY_PREFIX);
    let call = call.set_expected_bucket_owner(owner.clone());
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed(format!("list the objects of {bucket}")))?;
        for object in page.contents() {
            let place = place(object.key().unwrap_or_default());
            let is_kept = s3::look(aws, &place).await?.is_some_and(|it| it.is_kept());
            if !is_kept {
                all.push(leftover(Made::Object(place), object.last_modified()));
            }
        }
    }
    for upload in s3::uploads(aws, &place(KEY_PREFIX)).await? {
        let place = place(upload.key().unwrap_or_default());
        let id = upload.upload_id().unwrap_or_default().to_owned();
        all.push(leftover(Made::Upload { place, id }, upload.initiated()));
    }
    Ok(all)
}
