//! An AMI of the same name, which makes room for the new one and comes back if that does not come
//! to be.
//!
//! Names are unique in an account and region, so that the old AMI has to go before the new one is
//! registered. Its snapshots stay, and all that is needed to register it again is kept in a file
//! before it is deregistered, so that a run that is killed loses nothing either.

use std::io;
use std::path::{Path, PathBuf};

use aws_sdk_ec2::types::ImageAttributeName;
use serde::{Deserialize, Serialize};

use super::connect::Aws;
use super::describe::{available, images, permissions, registration, seconds};
use super::pace::patiently;
use super::send;
use super::wait::Patience;
use crate::report::Report;
use crate::request::{
    EnableImageDeprecation, LaunchPermission, LaunchPermissions, ModifyImageAttribute,
    RegisterImage,
};
use crate::{Error, Result};
use imgasm_block::Output;
use imgasm_block::sidecar::Sidecar;

/// The most bytes of the file with what made room; one AMI is some thousands.
const LIMIT: u64 = 16 << 20;

/// An AMI as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Old {
    pub(super) region: String,
    pub(super) image_id: String,
    request: RegisterImage,
    permissions: Vec<LaunchPermission>,
    /// Seconds since 1970.
    deprecate_at: Option<i64>,
}

impl Old {
    /// The AMI that has a name in the region of `aws`; an error if it is protected.
    pub(super) async fn of_name(aws: &Aws, name: &str) -> Result<Option<Self>> {
        let Some(image) = images(aws, "name", name).await?.into_iter().next() else {
            return Ok(None);
        };
        let image_id = image.image_id().unwrap_or_default().to_owned();
        let protection = image.deregistration_protection().unwrap_or("disabled");
        if !matches!(protection, "" | "disabled") {
            return Err(Error::Protected {
                name: name.to_owned(),
                id: image_id,
                region: aws.region.clone(),
                why: format!("its deregistration protection is {protection}"),
            });
        }
        let permissions = permissions(aws, &image_id).await?;
        let mut request = registration(&image);
        let uses_uefi = image
            .boot_mode()
            .is_some_and(|mode| mode.as_str() != "legacy-bios");
        if uses_uefi {
            let call = aws.ec2.describe_image_attribute().image_id(&image_id);
            let doing = format!("ask for the UEFI variables of {image_id}");
            let call = call.attribute(ImageAttributeName::UefiData);
            let attribute = patiently(doing, || call.clone().send()).await?;
            let data = attribute.uefi_data().and_then(|data| data.value());
            request.uefi_data = data.filter(|data| !data.is_empty()).map(ToOwned::to_owned);
        }
        let deprecate_at = image.deprecation_time().map(|time| seconds(Some(time)));
        Ok(Some(Self {
            region: aws.region.clone(),
            image_id,
            request,
            permissions,
            deprecate_at,
        }))
    }

    /// Its snapshots.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let mappings = self.request.block_device_mappings.iter();
        mappings
            .filter_map(|mapping| mapping.ebs.as_ref()?.snapshot_id.clone())
            .collect()
    }

    /// Who else may launch it, in words; `None` if nobody may.
    pub(super) fn shared_with(&self) -> Option<String> {
        let words: Vec<&str> = self
            .permissions
            .iter()
            .map(|permission| match permission {
                LaunchPermission::Group(_) => "everybody",
                LaunchPermission::UserId(id) => id,
                LaunchPermission::OrganizationArn(arn)
                | LaunchPermission::OrganizationalUnitArn(arn) => arn,
            })
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Registers it again; gives its new id.
    async fn register(&self, aws: &Aws, patience: Patience) -> Result<String> {
        let id = send::register_image(aws, &self.request).await?;
        available(aws, &id, patience).await?;
        if !self.permissions.is_empty() {
            let request = ModifyImageAttribute {
                image_id: id.clone(),
                launch_permission: Some(LaunchPermissions {
                    add: self.permissions.clone(),
                    remove: Vec::new(),
                }),
                description: None,
            };
            send::modify_image(aws, &request).await?;
        }
        if let Some(deprecate_at) = self.deprecate_at {
            let request = EnableImageDeprecation {
                image_id: id.clone(),
                deprecate_at,
            };
            send::deprecate(aws, &request).await?;
        }
        Ok(id)
    }
}

/// The AMIs that have made room, in a file until the new one is there.
pub(super) struct Replaced {
    path: PathBuf,
    pub(super) all: Vec<Old>,
}

impl Replaced {
    /// Those of a run that was killed.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Journal {
            path: path.to_owned(),
            operation: "read",
            source,
        };
        let all = match Sidecar::open(path)? {
            Some(mut found) => {
                found.is_of_this_user()?;
                let json = found.read(LIMIT)?;
                serde_json::from_slice(&json).map_err(|error| failed(io::Error::other(error)))?
            }
            None => Vec::new(),
        };
        let path = path.to_owned();
        Ok(Self { path, all })
    }

    /// One that is about to be deregistered.
    pub(super) fn add(&mut self, old: Old) -> Result<()> {
        self.all.retain(|other| other.region != old.region);
        self.all.push(old);
        self.write()
    }

    /// The new AMI is there: they do not come back.
    pub(super) fn forget(&self) -> Result<()> {
        super::journal::remove(&self.path)
    }

    fn write(&self) -> Result<()> {
        if self.all.is_empty() {
            return self.forget();
        }
        let json = serde_json::to_vec_pretty(&self.all).expect("plain values are always JSON");
        Ok(Output::write(&self.path, &json)?)
    }

    /// Registers those again whose names are free, and reports it.
    pub(super) async fn restore(
        &mut self,
        aws: &Aws,
        patience: Patience,
        report: &dyn Report,
    ) -> Result<()> {
        let mut left = Vec::new();
        for old in std::mem::take(&mut self.all) {
            let there = aws.in_region(&old.region);
            let (name, id, region) = (&old.request.name, &old.image_id, &old.region);
            let again = match images(&there, "name", name).await {
                // It is there yet, or the new one is.
                Ok(named) if !named.is_empty() => continue,
                Ok(_) => old.register(&there, patience).await,
                Err(error) => Err(error),
            };
            match again {
                Ok(new) => report.warning(&format!(
                    "the new AMI did not come to be: {id} in {region}, which had made room for \
                     it, is registered again from its snapshots; its id is {new} now"
                )),
                Err(error) => {
                    report.warning(&format!(
                        "{id} in {region}, which had made room, is not registered again \
                         ({error}); its snapshots are {}, and the next run does it or makes the \
                         new one: {} has all of it",
                        old.snapshots().join(", "),
                        self.path.display()
                    ));
                    left.push(old);
                }
            }
        }
        self.all = left;
        self.write()
    }
}
