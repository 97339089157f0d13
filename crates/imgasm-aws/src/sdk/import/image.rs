//! The AMI and its copies: from the request to what can be used.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Image;
use uuid::Uuid;

use super::{NAMESPACE, Run, token};
use crate::artifact::{Artifact, ArtifactData, RegionData};
use crate::compare::differences;
use crate::origin::Mapping;
use crate::request::{CopyImage, RegisterImage};
use crate::sdk::connect::Aws;
use crate::sdk::describe::{available, images, mapping, registration, seconds};
use crate::sdk::made::Made;
use crate::sdk::{remove, send};
use crate::{Error, Result};

impl Run<'_> {
    /// Deregisters what has the name in a region. Its snapshots and its description stay.
    pub(super) async fn make_room(&mut self, there: &Aws) -> Result<()> {
        let Some(old) = self.taken.get(&there.region) else {
            return Ok(());
        };
        let id = old.image_id.clone();
        self.replaced.add(old.clone())?;
        remove::deregister(there, &id).await?;
        let region = &there.region;
        self.report.note(
            "deregistered",
            &format!("{id} in {region}, which had the name"),
        );
        Ok(())
    }

    pub(super) async fn register(&mut self, mut request: RegisterImage) -> Result<()> {
        let (aws, plan) = (self.aws, self.plan);
        let mut snapshots = Vec::new();
        for index in 0..plan.disks.len() {
            snapshots.push(self.snapshot(index).await?);
        }
        let with_snapshots = plan.register_image(|index| snapshots[index].clone());
        request.block_device_mappings = with_snapshots.block_device_mappings;
        let id = match send::register_image(aws, &request).await {
            // The answer to a try was lost, or another run was quicker; either has the name.
            Err(Error::Service {
                code: Some(code), ..
            }) if code == "InvalidAMIName.Duplicate" => self.registered(&request).await?,
            other => other?,
        };
        let name = &request.name;
        self.report.note("registered", &format!("{id} {name:?}"));
        self.things.add(Made::Image(id.clone()));
        self.images.insert(aws.region.clone(), id.clone());
        self.usable(&aws.region).await?;
        if let Some(image) = self.available.get(&aws.region) {
            let differences = differences(&request, &registration(image));
            if !differences.is_empty() {
                let what = format!("the AMI {id}");
                return Err(Error::Differs { what, differences });
            }
        }
        // Of two runs at once, the AMI of one stays: the older.
        if !self.options.force
            && let Some(first) = self.find(aws).await?
            && let Some(first_id) = first.image_id()
            && first_id != id
        {
            let what = format!("{} of the same image, made meanwhile", name_of(&first));
            self.report.note("found", &what);
            let first_id = first_id.to_owned();
            self.available.remove(&aws.region);
            self.images.insert(aws.region.clone(), first_id);
            self.found_images.insert(aws.region.clone());
            remove::deregister(aws, &id).await?;
            for (index, snapshot) in self.snapshots.iter().enumerate() {
                if let Some(snapshot) = snapshot
                    && !self.found_disks.contains(&index)
                {
                    remove::delete_snapshot(aws, snapshot).await?;
                }
            }
            self.things.keep_images();
        }
        Ok(())
    }

    /// The AMI that a request has registered, by its name and its snapshots, or that of another run
    /// which is the same.
    pub(super) async fn registered(&self, request: &RegisterImage) -> Result<String> {
        let mappings = &request.block_device_mappings;
        let snapshot = mappings[0]
            .ebs
            .as_ref()
            .and_then(|ebs| ebs.snapshot_id.as_deref());
        let named = images(self.aws, "name", &request.name).await?;
        let ours = named.iter().find(|image| {
            let mut mappings = image.block_device_mappings().iter();
            mappings.any(|mapping| {
                mapping.ebs().and_then(|ebs| ebs.snapshot_id()) == snapshot && snapshot.is_some()
            })
        });
        let id = ours
            .or(named.first())
            .and_then(Image::image_id)
            .unwrap_or_default();
        match ours {
            Some(_) => Ok(id.to_owned()),
            None => Err(Error::NameTaken {
                name: request.name.clone(),
                id: id.to_owned(),
                region: self.aws.region.clone(),
            }),
        }
    }

    pub(super) async fn copy(&mut self, there: &Aws, mut request: CopyImage) -> Result<()> {
        let home = self.aws.region.clone();
        let id = self.usable(&home).await?;
        request.source_image_id.clone_from(&id);
        let copy = send::copy_image(there, &request, &token()).await?;
        let region = there.region.clone();
        self.things.add(Made::Copy {
            region: Some(region.clone()),
            id: copy.clone(),
        });
        let what = format!("{id} to {region} as {copy}");
        self.report.note("copying", &what);
        self.images.insert(region, copy);
        Ok(())
    }

    /// The id of the AMI in a region, once it can be used.
    pub(super) async fn usable(&mut self, region: &str) -> Result<String> {
        let id = self.images.get(region).cloned().unwrap_or_default();
        if !self.available.contains_key(region) {
            let there = self.there(region);
            let image = available(&there, &id, self.options.patience).await?;
            self.available.insert(region.to_owned(), image);
        }
        Ok(id)
    }

    /// The AMI and its copies are there: from here on nothing takes them away, and what made room
    /// for them does not come back.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let regions: Vec<String> = self.images.keys().cloned().collect();
        if self.is_committed {
            return Ok(());
        }
        for region in regions {
            self.usable(&region).await?;
        }
        self.check().await?;
        self.things.keep_images();
        self.is_committed = true;
        self.replaced.forget()
    }

    pub(super) fn artifact(&self, region: &str, image: &Image) -> Artifact {
        let id = image.image_id().unwrap_or_default();
        let mappings: Vec<Mapping> = image.block_device_mappings().iter().map(mapping).collect();
        let snapshot = |mapping: &Mapping| {
            let snapshot = mapping.snapshot_id.clone()?;
            Some((mapping.device_name.clone(), snapshot))
        };
        let snapshots: BTreeMap<_, _> = mappings.iter().filter_map(snapshot).collect();
        let run = format!(
            "{} {} {}",
            self.aws.account, self.aws.region, self.plan.identity
        );
        Artifact {
            name: self.plan.name.clone(),
            builder_type: "imgasm".to_owned(),
            build_time: seconds(image.creation_date()),
            files: None,
            artifact_id: format!("{region}:{id}"),
            packer_run_uuid: Uuid::new_v5(&NAMESPACE, run.as_bytes()).to_string(),
            custom_data: ArtifactData {
                ami_name: image.name().unwrap_or_default().to_owned(),
                image_digest: self.plan.image,
                regions: [(
                    region.to_owned(),
                    RegionData {
                        ami_id: id.to_owned(),
                        snapshots: snapshots.clone(),
                    },
                )]
                .into(),
                snapshots,
                block_device_mappings: mappings,
            },
        }
    }
}

/// An AMI for people: its id and its name.
pub(super) fn name_of(image: &Image) -> String {
    let (id, name) = (image.image_id(), image.name());
    format!("{} {:?}", id.unwrap_or_default(), name.unwrap_or_default())
}
