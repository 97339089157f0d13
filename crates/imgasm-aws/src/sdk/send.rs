//! Requests as data to calls of the SDK.

use aws_sdk_ebs::types::Tag as EbsTag;
use aws_sdk_ec2::types;
use aws_sdk_ssm::types::ParameterType;
use aws_smithy_types::DateTime;

use super::connect::Aws;
use super::pace::{patiently, until_known};
use crate::request::{
    BlockDeviceMapping, CopyImage, CreateTags, CreateVolumePermission, DisableImageDeprecation,
    EnableFastSnapshotRestores, EnableImageDeprecation, EnableImageDeregistrationProtection,
    ImportSnapshot, LaunchPermission, ModifyImageAttribute, ModifySnapshotAttribute, PutParameter,
    RegisterImage, StartSnapshot, Tag, TagSpecification,
};
use crate::{Error, Result};

fn missing(what: &str) -> Error {
    Error::Answer {
        what: what.to_owned(),
        problem: "the answer has no id".to_owned(),
    }
}

fn tag(tag: &Tag) -> types::Tag {
    types::Tag::builder()
        .key(&tag.key)
        .value(&tag.value)
        .build()
}

fn specifications(all: &[TagSpecification]) -> Vec<types::TagSpecification> {
    let one = |specification: &TagSpecification| {
        types::TagSpecification::builder()
            .resource_type(specification.resource_type.as_str().into())
            .set_tags(Some(specification.tags.iter().map(tag).collect()))
            .build()
    };
    all.iter().map(one).collect()
}

fn mapping(mapping: &BlockDeviceMapping) -> types::BlockDeviceMapping {
    let ebs = mapping.ebs.as_ref().map(|ebs| {
        types::EbsBlockDevice::builder()
            .set_snapshot_id(ebs.snapshot_id.clone())
            .set_volume_size(ebs.volume_size)
            .set_volume_type(ebs.volume_type.as_deref().map(Into::into))
            .set_iops(ebs.iops)
            .set_throughput(ebs.throughput)
            .delete_on_termination(ebs.delete_on_termination)
            .set_encrypted(ebs.encrypted)
            .build()
    });
    types::BlockDeviceMapping::builder()
        .device_name(&mapping.device_name)
        .set_ebs(ebs)
        .set_virtual_name(mapping.virtual_name.clone())
        .set_no_device(mapping.no_device.clone())
        .build()
}

/// Registers an AMI; gives its id.
pub(super) async fn register_image(aws: &Aws, request: &RegisterImage) -> Result<String> {
    let mappings = request.block_device_mappings.iter().map(mapping).collect();
    let call = aws
        .ec2
        .register_image()
        .name(&request.name)
        .set_description(request.description.clone())
        .architecture(request.architecture.as_str().into())
        .virtualization_type(&request.virtualization_type)
        .root_device_name(&request.root_device_name)
        .set_block_device_mappings(Some(mappings))
        .ena_support(request.ena_support)
        .set_sriov_net_support(request.sriov_net_support.clone())
        .set_boot_mode(request.boot_mode.as_deref().map(Into::into))
        .set_tpm_support(request.tpm_support.as_deref().map(Into::into))
        .set_uefi_data(request.uefi_data.clone())
        .set_imds_support(request.imds_support.as_deref().map(Into::into))
        .set_tag_specifications(Some(specifications(&request.tag_specifications)));
    let doing = format!("register the AMI {:?}", request.name);
    let answer = until_known(doing, || call.clone().send()).await?;
    answer
        .image_id()
        .map(ToOwned::to_owned)
        .ok_or_else(|| missing("RegisterImage"))
}

/// Starts the import of an object as a snapshot; gives the id of the task. The same `token` does
/// not start it twice.
pub(super) async fn import_snapshot(
    aws: &Aws,
    request: &ImportSnapshot,
    token: &str,
) -> Result<String> {
    let bucket = types::UserBucket::builder()
        .s3_bucket(&request.disk_container.user_bucket.bucket)
        .s3_key(&request.disk_container.user_bucket.key)
        .build();
    let container = types::SnapshotDiskContainer::builder()
        .description(&request.disk_container.description)
        .format(request.disk_container.format)
        .user_bucket(bucket)
        .build();
    let call = aws
        .ec2
        .import_snapshot()
        .description(&request.description)
        .disk_container(container)
        .role_name(&request.role_name)
        .set_encrypted(request.encrypted)
        .set_kms_key_id(request.kms_key_id.clone())
        .set_tag_specifications(Some(specifications(&request.tag_specifications)))
        .client_token(token);
    let doing = "start the import of a snapshot";
    let answer = patiently(doing, || call.clone().send()).await?;
    answer
        .import_task_id()
        .map(ToOwned::to_owned)
        .ok_or_else(|| missing("ImportSnapshot"))
}

/// Starts a snapshot that blocks are written to; gives its id. The same `token` gives the same one.
pub(super) async fn start_snapshot(
    aws: &Aws,
    request: &StartSnapshot,
    token: &str,
) -> Result<String> {
    let tag = |tag: &Tag| EbsTag::builder().key(&tag.key).value(&tag.value).build();
    let call = || {
        aws.ebs
            .start_snapshot()
            .volume_size(request.volume_size)
            .set_parent_snapshot_id(request.parent_snapshot_id.clone())
            .description(&request.description)
            .set_encrypted(request.encrypted)
            .set_kms_key_arn(request.kms_key_arn.clone())
            .timeout(request.timeout)
            .set_tags(Some(request.tags.iter().map(tag).collect()))
            .client_token(token)
            .send()
    };
    let answer = patiently("start a snapshot", call).await?;
    answer
        .snapshot_id()
        .map(ToOwned::to_owned)
        .ok_or_else(|| missing("StartSnapshot"))
}

/// Starts a copy of an AMI in the region of `aws`; gives its id. The same `token` does not start it
/// twice.
pub(super) async fn copy_image(aws: &Aws, request: &CopyImage, token: &str) -> Result<String> {
    let call = aws
        .ec2
        .copy_image()
        .name(&request.name)
        .set_description(request.description.clone())
        .source_image_id(&request.source_image_id)
        .source_region(&request.source_region)
        .set_encrypted(request.encrypted)
        .set_kms_key_id(request.kms_key_id.clone())
        .set_snapshot_copy_completion_duration_minutes(
            request
                .snapshot_copy_completion_duration_minutes
                .map(i64::from),
        )
        .client_token(token)
        .set_tag_specifications(Some(specifications(&request.tag_specifications)));
    let doing = format!("copy {} to {}", request.source_image_id, aws.region);
    let answer = until_known(doing, || call.clone().send()).await?;
    answer
        .image_id()
        .map(ToOwned::to_owned)
        .ok_or_else(|| missing("CopyImage"))
}

/// Tags what was just made.
pub(super) async fn create_tags(aws: &Aws, request: &CreateTags) -> Result<()> {
    let call = aws
        .ec2
        .create_tags()
        .set_resources(Some(request.resources.clone()))
        .set_tags(Some(request.tags.iter().map(tag).collect()));
    let doing = format!("tag {}", request.resources.join(", "));
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Changes who may launch an AMI, or how it is described.
pub(super) async fn modify_image(aws: &Aws, request: &ModifyImageAttribute) -> Result<()> {
    let permission = |permission: &LaunchPermission| {
        let builder = types::LaunchPermission::builder();
        match permission {
            LaunchPermission::Group(name) => builder.group(name.as_str().into()),
            LaunchPermission::UserId(id) => builder.user_id(id),
            LaunchPermission::OrganizationArn(arn) => builder.organization_arn(arn),
            LaunchPermission::OrganizationalUnitArn(arn) => builder.organizational_unit_arn(arn),
        }
        .build()
    };
    let all = |all: &[LaunchPermission]| {
        (!all.is_empty()).then(|| all.iter().map(permission).collect::<Vec<_>>())
    };
    let changes = request.launch_permission.as_ref().map(|changes| {
        types::LaunchPermissionModifications::builder()
            .set_add(all(&changes.add))
            .set_remove(all(&changes.remove))
            .build()
    });
    let description = request.description.as_ref().map(|description| {
        types::AttributeValue::builder()
            .value(&description.value)
            .build()
    });
    let call = aws
        .ec2
        .modify_image_attribute()
        .image_id(&request.image_id)
        .set_launch_permission(changes)
        .set_description(description);
    let what = if request.description.is_some() {
        "describe"
    } else {
        "permit others to launch"
    };
    let doing = format!("{what} {}", request.image_id);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Permits others to make volumes of a snapshot.
pub(super) async fn modify_snapshot(aws: &Aws, request: &ModifySnapshotAttribute) -> Result<()> {
    let permission = |permission: &CreateVolumePermission| {
        let builder = types::CreateVolumePermission::builder();
        match permission {
            CreateVolumePermission::Group(name) => builder.group(name.as_str().into()),
            CreateVolumePermission::UserId(id) => builder.user_id(id),
        }
        .build()
    };
    let add = request.create_volume_permission.add.iter();
    let changes = types::CreateVolumePermissionModifications::builder()
        .set_add(Some(add.map(permission).collect()));
    let call = aws
        .ec2
        .modify_snapshot_attribute()
        .snapshot_id(&request.snapshot_id)
        .create_volume_permission(changes.build());
    let doing = format!("permit others to use {}", request.snapshot_id);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Makes volumes of snapshots fast from their first read on, in some zones.
pub(super) async fn restore_fast(aws: &Aws, request: &EnableFastSnapshotRestores) -> Result<()> {
    let call = aws
        .ec2
        .enable_fast_snapshot_restores()
        .set_availability_zones(Some(request.availability_zones.clone()))
        .set_source_snapshot_ids(Some(request.source_snapshot_ids.clone()));
    let doing = format!(
        "enable fast restores of {}",
        request.source_snapshot_ids.join(", ")
    );
    let answer = until_known(&doing, || call.clone().send()).await?;
    // The request succeeds where parts of it do not.
    let failures = answer.unsuccessful().iter();
    let all: Vec<String> = failures
        .flat_map(types::EnableFastSnapshotRestoreErrorItem::fast_snapshot_restore_state_errors)
        .map(|failure| {
            let zone = failure.availability_zone().unwrap_or_default();
            let error = failure.error();
            let code = error.and_then(|error| error.code()).unwrap_or_default();
            let message = error.and_then(|error| error.message()).unwrap_or_default();
            format!("{zone}: {code}: {message}")
        })
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    Err(Error::Answer {
        what: format!("cannot {doing}"),
        problem: all.join("; "),
    })
}

/// An AMI is not out of date.
pub(super) async fn undeprecate(aws: &Aws, request: &DisableImageDeprecation) -> Result<()> {
    let call = aws
        .ec2
        .disable_image_deprecation()
        .image_id(&request.image_id);
    let doing = format!("take the deprecation off {}", request.image_id);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Says when an AMI is out of date.
pub(super) async fn deprecate(aws: &Aws, request: &EnableImageDeprecation) -> Result<()> {
    let call = aws
        .ec2
        .enable_image_deprecation()
        .image_id(&request.image_id)
        .deprecate_at(DateTime::from_secs(request.deprecate_at));
    let doing = format!("deprecate {}", request.image_id);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Keeps an AMI from being deregistered.
pub(super) async fn protect(
    aws: &Aws,
    request: &EnableImageDeregistrationProtection,
) -> Result<()> {
    let call = aws
        .ec2
        .enable_image_deregistration_protection()
        .image_id(&request.image_id)
        .with_cooldown(request.with_cooldown);
    let doing = format!("protect {}", request.image_id);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}

/// Writes an AMI's id into a parameter.
pub(super) async fn put_parameter(aws: &Aws, request: &PutParameter) -> Result<()> {
    let call = aws
        .ssm
        .put_parameter()
        .name(&request.name)
        .value(&request.value)
        .r#type(ParameterType::from(request.r#type))
        .data_type(request.data_type)
        .overwrite(request.overwrite);
    let doing = format!("set the parameter {}", request.name);
    until_known(doing, || call.clone().send()).await?;
    Ok(())
}
