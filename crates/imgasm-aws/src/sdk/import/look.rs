//! What is there already: the AMI, its name, snapshots of the same disks, the base.

use aws_sdk_ec2::types::{Filter, Image, ImageState, Snapshot, SnapshotState};

use super::Run;
use super::image::name_of;
use crate::plan::steps::Parent;
use crate::plan::{Disk, Via};
use crate::sdk::connect::Aws;
use crate::sdk::describe::images;
use crate::sdk::ebs;
use crate::sdk::pace::patiently;
use crate::sdk::replace::Old;
use crate::{Error, Result, tags};

impl Run<'_> {
    /// Looks for the AMI in a region, and whether its name is free.
    pub(super) async fn look_around(&mut self, region: &str) -> Result<()> {
        let there = self.there(region);
        if !self.options.force
            && let Some(image) = self.find(&there).await?
        {
            let what = format!("{} of the same image in {region}", name_of(&image));
            self.report.note("found", &what);
            let id = image.image_id().unwrap_or_default().to_owned();
            self.images.insert(region.to_owned(), id);
            self.found_images.insert(region.to_owned());
            return Ok(());
        }
        let name = self.plan.ami.ami_name.to_string();
        let Some(old) = Old::of_name(&there, &name).await? else {
            return Ok(());
        };
        if !self.replaces() {
            return Err(Error::NameTaken {
                name,
                id: old.image_id,
                region: region.to_owned(),
            });
        }
        if let Some(others) = old.shared_with() {
            let id = &old.image_id;
            let text = format!("{id} in {region}, which makes room, may be launched by {others}");
            self.report.warning(&text);
        }
        self.taken.insert(region.to_owned(), old);
        Ok(())
    }

    /// An AMI of the same identity.
    pub(super) async fn find(&self, aws: &Aws) -> Result<Option<Image>> {
        let identity = self.plan.identity.to_string();
        let mut images = images(aws, &format!("tag:{}", tags::IDENTITY), &identity).await?;
        images.retain(|image| {
            matches!(
                image.state(),
                Some(ImageState::Available | ImageState::Pending)
            )
        });
        // The oldest, so that repeats agree.
        images.sort_by(|one, other| {
            let key = |image: &Image| {
                let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
                (text(image.creation_date()), text(image.image_id()))
            };
            key(one).cmp(&key(other))
        });
        Ok(images.into_iter().next())
    }

    /// What the root's snapshot can be built upon, and whether the account encrypts all snapshots.
    pub(super) async fn base<'a>(
        &self,
        parent: Option<&'a Parent<'a>>,
    ) -> Result<(Option<&'a Parent<'a>>, bool)> {
        let (aws, disks) = (self.aws, &self.plan.disks);
        if self.plan.via != Via::Ebs || self.found_images.contains(&aws.region) {
            return Ok((None, false));
        }
        let encrypts = ebs::encrypts(aws).await?;
        for disk in disks {
            let why = if encrypts {
                "the account encrypts all snapshots"
            } else if disk.encrypted == Some(true) {
                "the recipe wants the snapshot encrypted"
            } else {
                continue;
            };
            self.report.warning(&format!(
                "{}: all of the disk is sent, zeros too: {why}, and blocks that are left out of \
                 an encrypted snapshot do not read as zeros; --via s3 sends less",
                disk.built.file
            ));
        }
        let root = &disks[0];
        let Some(parent) = parent.filter(|_| !encrypts && root.encrypted != Some(true)) else {
            return Ok((None, encrypts));
        };
        let Some(why) = ebs::unusable(aws, parent.snapshot_id, root).await? else {
            return Ok((Some(parent), encrypts));
        };
        self.report.warning(&format!(
            "{}: all of its data is sent, not what differs from {}: {why}",
            root.built.file, parent.snapshot_id
        ));
        Ok((None, encrypts))
    }

    /// A complete snapshot of a disk that an earlier run has left, with the encryption that is
    /// wanted.
    pub(super) async fn find_snapshot(&self, disk: &Disk) -> Result<Option<String>> {
        if self.options.force {
            return Ok(None);
        }
        let digest = disk.built.digest().to_string();
        let filter = Filter::builder()
            .name(format!("tag:{}", tags::DISK))
            .values(digest);
        let call = self.aws.ec2.describe_snapshots().owner_ids("self");
        let call = call.filters(filter.build());
        let doing = "look for snapshots of the same disk";
        let answer = patiently(doing, || call.clone().send()).await?;
        let mut fitting = answer.snapshots().iter().filter(|snapshot| {
            let encryption_fits = match disk.encrypted {
                // Which key it has does not follow from the name that the recipe has for it.
                Some(true) => snapshot.encrypted() == Some(true) && disk.kms_key_id.is_none(),
                Some(false) => snapshot.encrypted() != Some(true),
                None => true,
            };
            let gib = snapshot
                .volume_size()
                .and_then(|gib| u64::try_from(gib).ok());
            snapshot.state() == Some(&SnapshotState::Completed)
                && encryption_fits
                && gib == Some(disk.built.gib())
        });
        let found = fitting.find_map(Snapshot::snapshot_id);
        if let Some(id) = found {
            self.report
                .note("found", &format!("{id} of the same {}", disk.built.file));
        }
        Ok(found.map(ToOwned::to_owned))
    }
}
