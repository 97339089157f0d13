//! Whether the AMI, its copies, their snapshots and their permissions are what was asked for: they are
//! described once more, and compared with the wish.

use std::time::Duration;

use aws_sdk_ec2::types::{Image, Snapshot, SnapshotState};

use super::Run;
use crate::compare::{differences, lacking, others};
use crate::request::RegisterImage;
use crate::sdk::connect::Aws;
use crate::sdk::describe::{
    images, own_tags, permissions, registration, seconds, snapshots_of, volume_permissions,
};
use crate::sdk::wait::{Patience, State, until};
use crate::wish::Time;
use crate::{Error, Result, tags};

/// How long EC2 may describe something as it was before.
const STALE: Patience = Patience {
    pause: Duration::from_secs(5),
    limit: Duration::from_mins(1),
};

/// EC2 keeps the time of a deprecation to the minute (`EnableImageDeprecation`).
const DEPRECATION_SECONDS: i64 = 60;

impl Run<'_> {
    /// Compares all that there is with the wish; an error names what differs.
    pub(super) async fn check(&self) -> Result<()> {
        for (region, id) in &self.images {
            let there = self.there(region);
            let what = format!("the AMI {id} in {region}");
            let checked = until(&what, STALE, || async {
                let differences = self.differences(&there, id).await?;
                if differences.is_empty() {
                    return Ok(State::Done(()));
                }
                Ok(State::Pending(differences.join("; ")))
            });
            match checked.await {
                Err(Error::TimeOut { what, state, .. }) => {
                    return Err(Error::Differs {
                        what,
                        differences: vec![state],
                    });
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn differences(&self, there: &Aws, id: &str) -> Result<Vec<String>> {
        let region = &there.region;
        let found = images(there, "image-id", id).await?;
        let Some(image) = found.first() else {
            return Ok(vec!["it is not there".to_owned()]);
        };
        let mut all = differences(&self.wished(region, image), &registration(image));
        // What is there for its copies alone is nobody's to launch.
        if *region == self.aws.region && !self.plan.stays_in(region) {
            return Ok(all);
        }
        let (too_many, too_few) = others(&self.plan.permissions(), &permissions(there, id).await?);
        let many = too_many.iter().map(|it| format!("{it:?} may launch it"));
        let few = too_few.iter().map(|it| format!("{it:?} may not launch it"));
        all.extend(many.chain(few));
        let is = image.deprecation_time().map(|time| seconds(Some(time)));
        let wished = self.plan.ami.deprecate_at.as_ref().map(Time::seconds);
        match (wished, is) {
            (None, None) => {}
            (Some(wished), Some(is)) if (wished - is).abs() < DEPRECATION_SECONDS => {}
            _ => all.push(format!("it is deprecated at {is:?}, not {wished:?}")),
        }
        all.extend(self.differences_of_snapshots(there, image).await?);
        Ok(all)
    }

    /// What the AMI in a region should be described as.
    fn wished(&self, region: &str, image: &Image) -> RegisterImage {
        let is_home = *region == self.aws.region;
        let is_made = is_home && !self.found_images.contains(region);
        let known = |index: usize| self.snapshots[index].clone().unwrap_or_default();
        let mut wished = self.plan.register_image(known);
        if self.found_images.contains(region) {
            image
                .name()
                .unwrap_or_default()
                .clone_into(&mut wished.name);
        }
        for mapping in &mut wished.block_device_mappings {
            let mut disks = self.plan.disks.iter();
            let is_disk = disks.any(|disk| disk.device_name == mapping.device_name);
            // A copy has snapshots of its own, and one that was found those that it has.
            if let Some(ebs) = &mut mapping.ebs
                && !is_made
                && (is_disk || !is_home)
            {
                ebs.snapshot_id = None;
            }
        }
        wished
    }

    async fn differences_of_snapshots(&self, there: &Aws, image: &Image) -> Result<Vec<String>> {
        let snapshot_of = |device: &str| {
            let mut mappings = image.block_device_mappings().iter();
            let mapping = mappings.find(|mapping| mapping.device_name() == Some(device));
            mapping?.ebs()?.snapshot_id().map(ToOwned::to_owned)
        };
        let disks = self.plan.disks.iter();
        let ids: Vec<_> = disks.map(|disk| snapshot_of(&disk.device_name)).collect();
        let known: Vec<String> = ids.iter().flatten().cloned().collect();
        let described = snapshots_of(there, known).await?;
        let mut all = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let device = &self.plan.disks[index].device_name;
            let mut described = described.iter();
            let Some(snapshot) = described.find(|it| it.snapshot_id() == id.as_deref()) else {
                all.push(format!("{device} has no snapshot of this account"));
                continue;
            };
            let named = |what: String| format!("{device}: {what}");
            let found = self.differences_of_snapshot(there, index, snapshot);
            all.extend(found.into_iter().map(named));
            if !self.plan.volume_permissions().is_empty() {
                let may = volume_permissions(there, snapshot.snapshot_id().unwrap_or_default());
                let may = may.await?;
                let wished = self.plan.volume_permissions().into_iter();
                let too_few = wished.filter(|one| !may.contains(one));
                all.extend(too_few.map(|it| named(format!("{it:?} may not use its snapshot"))));
            }
        }
        Ok(all)
    }

    fn differences_of_snapshot(
        &self,
        there: &Aws,
        index: usize,
        snapshot: &Snapshot,
    ) -> Vec<String> {
        let disk = &self.plan.disks[index];
        let mut all = Vec::new();
        let gib = snapshot.volume_size();
        if gib.and_then(|gib| u64::try_from(gib).ok()) != Some(disk.built.gib()) {
            let wished = disk.built.gib();
            all.push(format!("its snapshot has {gib:?} GiB, not {wished}"));
        }
        if snapshot.state() != Some(&SnapshotState::Completed) {
            all.push(format!("its snapshot is {:?}", snapshot.state()));
        }
        let encrypted = snapshot.encrypted() == Some(true);
        let key = snapshot.kms_key_id();
        let is_home = there.region == self.aws.region;
        let fits = if is_home {
            disk.encrypted.is_none() || disk.fits_encryption(self.encrypts, encrypted, key)
        } else {
            let mut keys = self.plan.ami.region_kms_key_ids.iter();
            let wished = keys.find(|(region, _)| region.as_str() == there.region);
            encrypted || wished.is_none() && disk.encrypted != Some(true)
        };
        // EC2 says which key it is by its ARN, and a recipe may name it otherwise.
        let is_named_otherwise = disk
            .kms_key_id
            .as_ref()
            .is_some_and(|key| !key.starts_with("arn:"));
        let is_right = fits || is_named_otherwise && encrypted;
        if !is_right {
            all.push(format!(
                "its snapshot is encrypted: {encrypted}, with {key:?}"
            ));
        }
        let wished = self.plan.snapshot_tags(disk);
        let own: Vec<_> = wished
            .into_iter()
            .filter(|tag| tag.key == tags::DISK)
            .collect();
        all.extend(lacking(&own, &own_tags(snapshot.tags())));
        all
    }
}
