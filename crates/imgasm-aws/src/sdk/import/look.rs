//! What is there already: the AMI, its name, snapshots of the same disks, the base.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, Image, ImageState, Snapshot, SnapshotState};

use super::Run;
use super::image::name_of;
use crate::plan::steps::Parent;
use crate::plan::{Disk, Via};
use crate::proof::Question;
use crate::sdk::connect::Aws;
use crate::sdk::describe::{images, own_tags, snapshots};
use crate::sdk::replace::Old;
use crate::sdk::uses::users;
use crate::sdk::{ebs, prove};
use crate::wish::ParameterName;
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
        let own = self.plan.ami.ssm_parameter.as_ref();
        let own = own.map(ParameterName::as_str);
        for user in users(&there, &old.image_id, own).await {
            let id = &old.image_id;
            let text = format!("{id} in {region}, which makes room, is named by {user}");
            self.report.warning(&text);
        }
        self.taken.insert(region.to_owned(), old);
        Ok(())
    }

    /// An AMI of the same identity, whose name is the one that is asked for or differs from it by the
    /// time alone.
    pub(super) async fn find(&self, aws: &Aws) -> Result<Option<Image>> {
        let identity = self.plan.identity.to_string();
        let mut images = images(aws, &format!("tag:{}", tags::IDENTITY), &identity).await?;
        images.retain(|image| {
            matches!(
                image.state(),
                Some(ImageState::Available | ImageState::Pending)
            ) && self.is_named_so(image)
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

    fn is_named_so(&self, image: &Image) -> bool {
        let tags = own_tags(image.tags());
        match tags.iter().find(|tag| tag.key == tags::NAMED) {
            Some(tag) => tag.value == self.plan.named,
            None => image.name() == Some(self.plan.ami.ami_name.as_str()),
        }
    }

    /// What the root's snapshot can be built upon.
    pub(super) async fn base<'a>(
        &self,
        parent: Option<&'a Parent<'a>>,
    ) -> Result<Option<&'a Parent<'a>>> {
        let (aws, disks) = (self.aws, &self.plan.disks);
        if self.plan.via != Via::Ebs || self.found_images.contains(&aws.region) {
            return Ok(None);
        }
        for disk in disks {
            let why = if self.encrypts {
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
        let Some(parent) = parent.filter(|_| !self.encrypts && root.encrypted != Some(true)) else {
            return Ok(None);
        };
        let Some(why) = ebs::unusable(aws, parent.snapshot_id, root).await? else {
            return Ok(Some(parent));
        };
        self.report.warning(&format!(
            "{}: all of its data is sent, not what differs from {}: {why}",
            root.built.file, parent.snapshot_id
        ));
        Ok(None)
    }

    /// A complete snapshot of a disk that an earlier run has left, with the encryption that is
    /// wanted. Its tag says so, and its blocks prove it.
    pub(super) async fn find_snapshot(&self, index: usize, disk: &Disk) -> Result<Option<String>> {
        if self.options.force {
            return Ok(None);
        }
        let digest = disk.built.digest().to_string();
        let filter = Filter::builder()
            .name(format!("tag:{}", tags::DISK))
            .values(digest);
        let all = snapshots(self.aws, filter.build()).await?;
        let fitting = all.iter().filter(|snapshot| {
            let gib = snapshot.volume_size();
            let gib = gib.and_then(|gib| u64::try_from(gib).ok());
            let encrypted = snapshot.encrypted() == Some(true);
            snapshot.state() == Some(&SnapshotState::Completed)
                && disk.fits_encryption(self.encrypts, encrypted, snapshot.kms_key_id())
                && gib == Some(disk.built.gib())
        });
        let file = &disk.built.file;
        for id in fitting.filter_map(Snapshot::snapshot_id) {
            let Some(why) = self.differs(index, id, &BTreeSet::new()).await? else {
                self.report
                    .note("found", &format!("{id} of the same {file}"));
                return Ok(Some(id.to_owned()));
            };
            self.report.warning(&format!(
                "{id} has the tag of {file} and is something else, so that it is not used: {why}"
            ));
        }
        Ok(None)
    }

    /// How a snapshot differs from a disk, if it does; `proven` are the blocks that need no look.
    pub(super) async fn differs(
        &self,
        index: usize,
        id: &str,
        proven: &BTreeSet<u64>,
    ) -> Result<Option<String>> {
        let disk = &self.plan.disks[index].built;
        let question = Question {
            disk: &disk.chunk_map,
            // The base is the root's.
            base: self.options.base.as_deref().filter(|_| index == 0),
            proven,
        };
        let (proof, report) = (self.options.proof, &**self.report);
        prove::difference(self.aws, id, &disk.file, &question, proof, report).await
    }
}
