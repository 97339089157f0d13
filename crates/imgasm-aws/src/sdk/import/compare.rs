//! Whether an AMI that was registered is what was asked for.

use crate::request::{BlockDeviceMapping, RegisterImage};
use crate::{Error, Result};

/// Compares what EC2 says of an AMI with the request that has made it; names what differs.
pub(super) fn compare(id: &str, wished: &RegisterImage, found: &RegisterImage) -> Result<()> {
    let text = |text: &Option<String>| text.clone();
    let mut all = vec![
        ("name", Some(wished.name.clone()), Some(found.name.clone())),
        (
            "description",
            text(&wished.description),
            text(&found.description),
        ),
        (
            "architecture",
            Some(wished.architecture.clone()),
            Some(found.architecture.clone()),
        ),
        (
            "root device",
            Some(wished.root_device_name.clone()),
            Some(found.root_device_name.clone()),
        ),
        ("boot mode", text(&wished.boot_mode), text(&found.boot_mode)),
        (
            "TPM support",
            text(&wished.tpm_support),
            text(&found.tpm_support),
        ),
        (
            "IMDS support",
            text(&wished.imds_support),
            text(&found.imds_support),
        ),
        (
            "SR-IOV support",
            text(&wished.sriov_net_support),
            text(&found.sriov_net_support),
        ),
        (
            "ENA support",
            wished.ena_support.then(|| "true".to_owned()),
            Some(found.ena_support.to_string()),
        ),
    ];
    for mapping in &wished.block_device_mappings {
        let mut there = found.block_device_mappings.iter();
        let there = there.find(|other| other.device_name == mapping.device_name);
        all.extend(of_mapping(mapping, there));
    }
    let differs = |(what, wished, found): (&str, Option<String>, Option<String>)| {
        // What was not asked for is EC2's to choose.
        let wished = wished?;
        let found = found.unwrap_or_else(|| "missing".to_owned());
        (wished != found).then(|| format!("its {what} is {found}, not {wished}"))
    };
    let differences: Vec<String> = all.into_iter().filter_map(differs).collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Answer {
        what: format!("AMI {id} is not what was asked for"),
        problem: differences.join("; "),
    })
}

type Compared = (&'static str, Option<String>, Option<String>);

fn of_mapping(wished: &BlockDeviceMapping, found: Option<&BlockDeviceMapping>) -> Vec<Compared> {
    let Some(ebs) = &wished.ebs else {
        return Vec::new();
    };
    let there = found.and_then(|found| found.ebs.as_ref());
    let number = |number: Option<i32>| number.map(|number| number.to_string());
    let there_is = there.cloned().unwrap_or_default();
    vec![
        ("snapshot", ebs.snapshot_id.clone(), there_is.snapshot_id),
        (
            "volume size",
            number(ebs.volume_size),
            number(there_is.volume_size),
        ),
        ("volume type", ebs.volume_type.clone(), there_is.volume_type),
        ("iops", number(ebs.iops), number(there_is.iops)),
        (
            "throughput",
            number(ebs.throughput),
            number(there_is.throughput),
        ),
        (
            "delete on termination",
            Some(ebs.delete_on_termination.to_string()),
            there.map(|there| there.delete_on_termination.to_string()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::EbsBlockDevice;

    #[test]
    fn a_difference_is_named() {
        let mapping = BlockDeviceMapping {
            device_name: "/dev/xvda".to_owned(),
            ebs: Some(EbsBlockDevice {
                snapshot_id: Some("snap-1".to_owned()),
                ..EbsBlockDevice::default()
            }),
            ..BlockDeviceMapping::default()
        };
        let wished = RegisterImage {
            name: "one".to_owned(),
            description: None,
            architecture: "x86_64".to_owned(),
            virtualization_type: "hvm".to_owned(),
            root_device_name: "/dev/xvda".to_owned(),
            block_device_mappings: vec![mapping],
            ena_support: true,
            sriov_net_support: None,
            boot_mode: None,
            tpm_support: None,
            uefi_data: None,
            imds_support: Some("v2.0".to_owned()),
            tag_specifications: Vec::new(),
        };
        let mut found = wished.clone();
        // EC2 fills in what was not asked for.
        found.boot_mode = Some("legacy-bios".to_owned());
        compare("ami-1", &wished, &found).unwrap();
        found.imds_support = None;
        found.block_device_mappings[0]
            .ebs
            .as_mut()
            .unwrap()
            .snapshot_id = None;
        let error = compare("ami-1", &wished, &found).unwrap_err().to_string();
        for word in ["IMDS support is missing", "snapshot is missing, not snap-1"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
