//! What AWS says there is, in our own words.

use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping as Described, EbsBlockDevice as DescribedEbs, Filter,
    Image, ImageAttributeName, ImageState, LaunchPermission as Permission, Snapshot,
    SnapshotAttributeName, StateReason, Tag as DescribedTag, VirtualizationType,
};

use super::connect::Aws;
use super::pace::{patiently, until_known};
use super::wait::{Patience, State, until};
use crate::origin::Mapping;
use crate::request::{
    BlockDeviceMapping, CreateVolumePermission, EbsBlockDevice, LaunchPermission, RegisterImage,
    Tag,
};
use crate::{Error, Result, tags};

/// A time as EC2 writes it, in seconds since 1970; 0 where it is none.
pub(super) fn seconds(time: Option<&str>) -> i64 {
    let time = time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_second)
}

/// The account's own AMIs that a filter finds.
pub(super) async fn images(aws: &Aws, filter: &str, value: &str) -> Result<Vec<Image>> {
    let filter = Filter::builder().name(filter).values(value).build();
    images_of(aws, &["self".to_owned()], &[filter]).await
}

/// All of the account's own AMIs.
pub(super) async fn all_images(aws: &Aws) -> Result<Vec<Image>> {
    images_of(aws, &["self".to_owned()], &[]).await
}

/// The AMIs of these owners that all filters find.
pub(super) async fn images_of(
    aws: &Aws,
    owners: &[String],
    filters: &[Filter],
) -> Result<Vec<Image>> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        // A disabled AMI has its name and holds its snapshots as any other.
        let call = aws.ec2.describe_images().set_owners(Some(owners.to_vec()));
        let call = call
            .include_disabled(true)
            .set_filters((!filters.is_empty()).then(|| filters.to_vec()))
            .set_next_token(token.clone());
        let page = patiently("look for AMIs", || call.clone().send()).await?;
        all.extend(page.images().iter().cloned());
        match page.next_token() {
            Some(next) if !next.is_empty() && token.as_deref() != Some(next) => {
                token = Some(next.to_owned());
            }
            _ => return Ok(all),
        }
    }
}

/// The account's own snapshots that a filter finds.
pub(super) async fn snapshots(aws: &Aws, filter: Filter) -> Result<Vec<Snapshot>> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let call = aws.ec2.describe_snapshots().owner_ids("self");
        let call = call.filters(filter.clone()).set_next_token(token.clone());
        let page = patiently("look for snapshots", || call.clone().send()).await?;
        all.extend(page.snapshots().iter().cloned());
        match page.next_token() {
            Some(next) if !next.is_empty() && token.as_deref() != Some(next) => {
                token = Some(next.to_owned());
            }
            _ => return Ok(all),
        }
    }
}

/// The account's own snapshots of these ids.
pub(super) async fn snapshots_of(aws: &Aws, ids: Vec<String>) -> Result<Vec<Snapshot>> {
    let filter = Filter::builder().name("snapshot-id").set_values(Some(ids));
    snapshots(aws, filter.build()).await
}

/// Who else may launch an AMI.
pub(super) async fn permissions(aws: &Aws, id: &str) -> Result<Vec<LaunchPermission>> {
    let call = aws.ec2.describe_image_attribute().image_id(id);
    let call = call.attribute(ImageAttributeName::LaunchPermission);
    let doing = format!("ask who may launch {id}");
    let attribute = until_known(doing, || call.clone().send()).await?;
    let permissions = attribute.launch_permissions().iter();
    Ok(permissions.filter_map(permission).collect())
}

fn permission(permission: &Permission) -> Option<LaunchPermission> {
    let user = permission.user_id();
    let user = user.map(|id| LaunchPermission::UserId(id.to_owned()));
    let group = permission.group();
    let group = group.map(|group| LaunchPermission::Group(group.as_str().to_owned()));
    let organisation = permission.organization_arn();
    let organisation = organisation.map(|arn| LaunchPermission::OrganizationArn(arn.to_owned()));
    let unit = permission.organizational_unit_arn();
    let unit = unit.map(|arn| LaunchPermission::OrganizationalUnitArn(arn.to_owned()));
    user.or(group).or(organisation).or(unit)
}

/// Who else may make volumes of a snapshot.
pub(super) async fn volume_permissions(aws: &Aws, id: &str) -> Result<Vec<CreateVolumePermission>> {
    let call = aws.ec2.describe_snapshot_attribute().snapshot_id(id);
    let call = call.attribute(SnapshotAttributeName::CreateVolumePermission);
    let doing = format!("ask who may use {id}");
    let attribute = until_known(doing, || call.clone().send()).await?;
    let permissions = attribute.create_volume_permissions().iter();
    let own = permissions.filter_map(|permission| {
        let user = permission.user_id();
        let user = user.map(|id| CreateVolumePermission::UserId(id.to_owned()));
        let group = permission.group();
        let group = group.map(|group| CreateVolumePermission::Group(group.as_str().to_owned()));
        user.or(group)
    });
    Ok(own.collect())
}

/// Tags that are not AWS's own.
pub(super) fn own_tags(tags: &[DescribedTag]) -> Vec<Tag> {
    let own = tags.iter().filter_map(|tag| {
        let (key, value) = (tag.key()?, tag.value().unwrap_or_default());
        (!key.starts_with("aws:")).then(|| Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    });
    own.collect()
}

/// Waits until an AMI can be used.
pub(super) async fn available(aws: &Aws, id: &str, patience: Patience) -> Result<Image> {
    until(&format!("AMI {id}"), patience, || async {
        let call = aws.ec2.describe_images().image_ids(id);
        let doing = format!("look at {id}");
        let answer = until_known(doing, || call.clone().send()).await?;
        let Some(image) = answer.images().first() else {
            return Ok(State::Pending("not known yet".to_owned()));
        };
        match image.state() {
            Some(ImageState::Available) => Ok(State::Done(image.clone())),
            Some(state @ (ImageState::Failed | ImageState::Error | ImageState::Invalid)) => {
                let reason = image.state_reason().and_then(StateReason::message);
                Err(Error::Answer {
                    what: format!("AMI {id}"),
                    problem: format!("it is {state}: {}", reason.unwrap_or("no reason given")),
                })
            }
            state => Ok(State::Pending(
                state.map_or_else(|| "in no state".to_owned(), ToString::to_string),
            )),
        }
    })
    .await
}

/// A mapping as EC2 describes it.
pub(super) fn mapping(mapping: &Described) -> Mapping {
    let ebs = mapping.ebs();
    Mapping {
        device_name: mapping.device_name().unwrap_or_default().to_owned(),
        snapshot_id: ebs
            .and_then(DescribedEbs::snapshot_id)
            .map(ToOwned::to_owned),
        volume_size: ebs.and_then(DescribedEbs::volume_size),
        volume_type: ebs
            .and_then(DescribedEbs::volume_type)
            .map(|kind| kind.as_str().to_owned()),
        iops: ebs.and_then(DescribedEbs::iops),
        throughput: ebs.and_then(DescribedEbs::throughput),
        delete_on_termination: ebs.and_then(DescribedEbs::delete_on_termination),
        encrypted: ebs.and_then(DescribedEbs::encrypted),
        virtual_name: mapping.virtual_name().map(ToOwned::to_owned),
    }
}

/// The request that registers an AMI as this one is described.
pub(super) fn registration(image: &Image) -> RegisterImage {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let own = own_tags(image.tags());
    let tag_specifications = if own.is_empty() {
        Vec::new()
    } else {
        tags::specification("image", own)
    };
    RegisterImage {
        name: text(image.name()),
        description: image
            .description()
            .filter(|description| !description.is_empty())
            .map(ToOwned::to_owned),
        architecture: text(image.architecture().map(ArchitectureValues::as_str)),
        virtualization_type: text(image.virtualization_type().map(VirtualizationType::as_str)),
        root_device_name: text(image.root_device_name()),
        block_device_mappings: image
            .block_device_mappings()
            .iter()
            .map(request_mapping)
            .collect(),
        ena_support: image.ena_support().unwrap_or(false),
        sriov_net_support: image.sriov_net_support().map(ToOwned::to_owned),
        boot_mode: image.boot_mode().map(|mode| mode.as_str().to_owned()),
        tpm_support: image.tpm_support().map(|tpm| tpm.as_str().to_owned()),
        uefi_data: None,
        imds_support: image.imds_support().map(|imds| imds.as_str().to_owned()),
        tag_specifications,
    }
}

fn request_mapping(described: &Described) -> BlockDeviceMapping {
    let ebs = described.ebs().map(|ebs| {
        let kind = ebs.volume_type().map(|kind| kind.as_str().to_owned());
        // EC2 tells them of kinds that do not take them, too.
        let takes_iops = matches!(kind.as_deref(), Some("gp3" | "io1" | "io2"));
        EbsBlockDevice {
            snapshot_id: ebs.snapshot_id().map(ToOwned::to_owned),
            volume_size: ebs.volume_size(),
            iops: ebs.iops().filter(|_| takes_iops),
            throughput: ebs.throughput().filter(|_| kind.as_deref() == Some("gp3")),
            volume_type: kind,
            delete_on_termination: ebs.delete_on_termination().unwrap_or(true),
            // With a snapshot, encryption is the snapshot's own.
            encrypted: ebs.encrypted().filter(|_| ebs.snapshot_id().is_none()),
        }
    });
    BlockDeviceMapping {
        device_name: described.device_name().unwrap_or_default().to_owned(),
        ebs,
        virtual_name: described.virtual_name().map(ToOwned::to_owned),
        no_device: None,
    }
}
