//! What AWS says there is, in our own words.

use aws_sdk_ec2::types::{EbsBlockDevice, Filter, Image};

use super::connect::{Aws, failed};
use crate::Result;
use crate::origin::Mapping;

/// A time as EC2 writes it, in seconds since 1970; 0 where it is none.
pub(super) fn seconds(time: Option<&str>) -> i64 {
    let time = time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_second)
}

/// The account's own AMIs that a filter finds.
pub(super) async fn images(aws: &Aws, filter: &str, value: &str) -> Result<Vec<Image>> {
    let filter = Filter::builder().name(filter).values(value).build();
    let call = aws.ec2.describe_images().owners("self").filters(filter);
    let answer = call.send().await.map_err(failed("look for AMIs"))?;
    Ok(answer.images().to_vec())
}

/// A mapping as EC2 describes it.
pub(super) fn mapping(mapping: &aws_sdk_ec2::types::BlockDeviceMapping) -> Mapping {
    let ebs = mapping.ebs();
    Mapping {
        device_name: mapping.device_name().unwrap_or_default().to_owned(),
        snapshot_id: ebs
            .and_then(EbsBlockDevice::snapshot_id)
            .map(ToOwned::to_owned),
        volume_size: ebs.and_then(EbsBlockDevice::volume_size),
        volume_type: ebs
            .and_then(EbsBlockDevice::volume_type)
            .map(|kind| kind.as_str().to_owned()),
        iops: ebs.and_then(EbsBlockDevice::iops),
        throughput: ebs.and_then(EbsBlockDevice::throughput),
        delete_on_termination: ebs.and_then(EbsBlockDevice::delete_on_termination),
        encrypted: ebs.and_then(EbsBlockDevice::encrypted),
        virtual_name: mapping.virtual_name().map(ToOwned::to_owned),
    }
}
