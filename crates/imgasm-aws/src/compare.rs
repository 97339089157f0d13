//! Whether an AMI is what was asked for.

use crate::request::{BlockDeviceMapping, LaunchPermission, RegisterImage, Tag};

/// How an AMI differs from the request that has made it, in words. What was not asked for is EC2's
/// to choose.
pub fn differences(wished: &RegisterImage, found: &RegisterImage) -> Vec<String> {
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
        let wished = wished?;
        let found = found.unwrap_or_else(|| "missing".to_owned());
        (wished != found).then(|| format!("its {what} is {found}, not {wished}"))
    };
    let mut differences: Vec<String> = all.into_iter().filter_map(differs).collect();
    let tags = |request: &RegisterImage| -> Vec<Tag> {
        let specifications = request.tag_specifications.iter();
        specifications.flat_map(|it| it.tags.clone()).collect()
    };
    differences.extend(lacking(&tags(wished), &tags(found)));
    differences
}

/// Which tags are not there, or have another value.
pub fn lacking(wished: &[Tag], found: &[Tag]) -> Vec<String> {
    let lacks = wished.iter().filter(|tag| !found.contains(tag));
    lacks
        .map(|tag| {
            let mut there = found.iter().filter(|other| other.key == tag.key);
            match there.next() {
                Some(other) => format!(
                    "its tag {} is {:?}, not {:?}",
                    tag.key, other.value, tag.value
                ),
                None => format!("its tag {} is missing", tag.key),
            }
        })
        .collect()
}

/// Who may launch an AMI and should not, and who should and may not.
pub fn others(
    wished: &[LaunchPermission],
    found: &[LaunchPermission],
) -> (Vec<LaunchPermission>, Vec<LaunchPermission>) {
    let without = |all: &[LaunchPermission], but: &[LaunchPermission]| {
        let left = all.iter().filter(|one| !but.contains(one));
        left.cloned().collect()
    };
    (without(found, wished), without(wished, found))
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
        assert_eq!(differences(&wished, &found), Vec::<String>::new());
        found.imds_support = None;
        found.block_device_mappings[0]
            .ebs
            .as_mut()
            .unwrap()
            .snapshot_id = None;
        let wished = RegisterImage {
            tag_specifications: crate::tags::specification("image", vec![tag("a", "b")]),
            ..wished
        };
        let differences = differences(&wished, &found).join("; ");
        for word in [
            "IMDS support is missing",
            "snapshot is missing, not snap-1",
            "tag a is missing",
        ] {
            assert!(differences.contains(word), "{differences}");
        }
    }

    fn tag(key: &str, value: &str) -> Tag {
        Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn who_is_too_much_and_who_is_too_few() {
        let user = |id: &str| LaunchPermission::UserId(id.to_owned());
        let (too_much, too_few) = others(&[user("1"), user("2")], &[user("2"), user("3")]);
        assert_eq!((too_much, too_few), (vec![user("3")], vec![user("1")]));
    }
}
