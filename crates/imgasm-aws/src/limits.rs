//! What the services would refuse, found before anything is sent.
//!
//! The numbers are those of the service models of EC2, EBS direct, S3 and Systems Manager as
//! botocore 1.44.5 has them (2026-11), and of the user guides that are named where they are used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::plan::Plan;
use crate::plan::steps::Situation;
use crate::request::{
    BlockDeviceMapping, CopyImage, EbsBlockDevice, ImportSnapshot, Parameters, PutParameter,
    RegisterImage, StartSnapshot, Tag, TagSpecification,
};
use crate::wish::VolumeType;
use crate::{Error, Result};

/// Characters of the description of an AMI, a snapshot or a task.
const DESCRIPTION_LIMIT: usize = 255;

/// Tags of a thing.
const TAGS_LIMIT: usize = 50;

/// Characters of the key and the value of a tag (EC2 user guide, "Tag restrictions").
const EC2_TAG: (usize, usize) = (128, 256);
/// The same of EBS direct (`StartSnapshot`, `Tag`).
const EBS_TAG: (usize, usize) = (127, 255);

/// Characters of `UefiData`.
const UEFI_DATA_LIMIT: usize = 64_000;

/// Characters of a role's name (IAM, `GetRole`).
const ROLE_LIMIT: usize = 64;

/// Levels of the name of a parameter (Systems Manager, `PutParameter`).
const PARAMETER_LEVELS: usize = 15;

const DAY: i64 = 24 * 60 * 60;

/// The longest until an AMI may be deprecated (`EnableImageDeprecation`, `DeprecateAt`): ten years,
/// two leap days among them.
const DEPRECATION_LIMIT: i64 = (10 * 365 + 2) * DAY;

/// What EC2 has of a kind of volume (`EbsBlockDevice`; EBS user guide, "Amazon EBS volume types").
struct Kind {
    volume_type: VolumeType,
    gib: (i32, i32),
    /// Of those that are provisioned.
    iops: Option<(i32, i32)>,
    /// Provisioned operations per GiB, at most; of `gp3` beyond those that every volume has.
    iops_per_gib: i32,
    /// Provisioned MiB per second.
    throughput: Option<(i32, i32)>,
    is_root: bool,
}

/// Operations of a `gp3` volume for which there is no ratio.
const GP3_BASELINE_IOPS: i32 = 3000;

/// Operations per provisioned MiB per second of `gp3`, at the least.
const GP3_IOPS_PER_MIB: i32 = 4;

/// MiB per second of a `gp3` volume for which there is no ratio.
const GP3_BASELINE_THROUGHPUT: i32 = 125;

const KINDS: [Kind; 7] = [
    kind(VolumeType::Gp2, (1, 16_384)),
    Kind {
        iops: Some((3_000, 80_000)),
        iops_per_gib: 500,
        throughput: Some((125, 2_000)),
        ..kind(VolumeType::Gp3, (1, 65_536))
    },
    Kind {
        iops: Some((100, 64_000)),
        iops_per_gib: 50,
        ..kind(VolumeType::Io1, (4, 16_384))
    },
    Kind {
        iops: Some((100, 256_000)),
        iops_per_gib: 1_000,
        ..kind(VolumeType::Io2, (4, 65_536))
    },
    Kind {
        is_root: false,
        ..kind(VolumeType::St1, (125, 16_384))
    },
    Kind {
        is_root: false,
        ..kind(VolumeType::Sc1, (125, 16_384))
    },
    kind(VolumeType::Standard, (1, 1_024)),
];

const fn kind(volume_type: VolumeType, gib: (i32, i32)) -> Kind {
    Kind {
        volume_type,
        gib,
        iops: None,
        iops_per_gib: 0,
        throughput: None,
        is_root: true,
    }
}

/// Checks every request of a plan. `now` is in seconds since 1970.
pub fn check(plan: &Plan, now: i64) -> Result<()> {
    let situation = Situation {
        region: None,
        parent: None,
        encrypts: false,
        replaces: true,
        keeps_objects: false,
    };
    for step in plan.steps(&situation)? {
        let request = step.request;
        let found = match &request.parameters {
            Parameters::ImportSnapshot(it) => import_snapshot(it),
            Parameters::StartSnapshot(it) => start_snapshot(it),
            Parameters::CreateTags(it) => tags(&it.tags, EC2_TAG),
            Parameters::RegisterImage(it) => register_image(it),
            Parameters::CopyImage(it) => copy_image(it),
            Parameters::EnableImageDeprecation(it) => deprecation(it.deprecate_at, now),
            Parameters::PutParameter(it) => parameter(it),
            _ => Ok(()),
        };
        found.map_err(|problem| Error::Limit(format!("{}: {problem}", request.operation)))?;
    }
    Ok(())
}

type Found = std::result::Result<(), String>;

fn description(text: &str) -> Found {
    let len = text.chars().count();
    if len > DESCRIPTION_LIMIT {
        return Err(format!(
            "the description has {len} characters, and EC2 takes {DESCRIPTION_LIMIT}: {text:?}"
        ));
    }
    Ok(())
}

fn tags(all: &[Tag], (key_limit, value_limit): (usize, usize)) -> Found {
    if all.len() > TAGS_LIMIT {
        return Err(format!(
            "there are {} tags with imgasm's own, and a thing has {TAGS_LIMIT} at most",
            all.len()
        ));
    }
    for Tag { key, value } in all {
        let (key_len, value_len) = (key.chars().count(), value.chars().count());
        if key_len == 0 || key_len > key_limit {
            return Err(format!(
                "the key of the tag {key:?} has {key_len} characters, not 1 to {key_limit}"
            ));
        }
        if value_len > value_limit {
            return Err(format!(
                "the value of the tag {key:?} has {value_len} characters, and {value_limit} are \
                 the most"
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(format!(
                "the tag {key:?} is of those that AWS keeps for itself"
            ));
        }
    }
    Ok(())
}

fn specifications(all: &[TagSpecification]) -> Found {
    all.iter().try_for_each(|one| tags(&one.tags, EC2_TAG))
}

fn import_snapshot(request: &ImportSnapshot) -> Found {
    description(&request.description)?;
    let role = &request.role_name;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if role.is_empty() || role.len() > ROLE_LIMIT || !role.chars().all(is_name) {
        return Err(format!(
            "{role:?} is not the name of a role: 1 to {ROLE_LIMIT} letters, digits and _+=,.@-"
        ));
    }
    specifications(&request.tag_specifications)
}

fn start_snapshot(request: &StartSnapshot) -> Found {
    description(&request.description)?;
    tags(&request.tags, EBS_TAG)
}

fn copy_image(request: &CopyImage) -> Found {
    description(request.description.as_deref().unwrap_or_default())?;
    specifications(&request.tag_specifications)
}

fn register_image(request: &RegisterImage) -> Found {
    description(request.description.as_deref().unwrap_or_default())?;
    specifications(&request.tag_specifications)?;
    for mapping in &request.block_device_mappings {
        let is_root = mapping.device_name == request.root_device_name;
        volume(mapping, is_root)
            .map_err(|problem| format!("{}: {problem}", mapping.device_name))?;
    }
    // AMIs for arm64 boot by UEFI whether they say so or not.
    let boot_mode = request.boot_mode.as_deref();
    let is_arm = request.architecture == "arm64";
    if is_arm && boot_mode == Some("legacy-bios") {
        return Err("`boot_mode` is `legacy-bios`, and arm64 has UEFI alone".to_owned());
    }
    let has_uefi = is_arm || matches!(boot_mode, Some("uefi" | "uefi-preferred"));
    if request.tpm_support.is_some() && !has_uefi {
        return Err(
            "`tpm_support` needs `boot_mode = \"uefi\"` or `\"uefi-preferred\"`".to_owned(),
        );
    }
    let Some(data) = &request.uefi_data else {
        return Ok(());
    };
    if !has_uefi {
        return Err("`uefi_data` needs `boot_mode = \"uefi\"` or `\"uefi-preferred\"`".to_owned());
    }
    if data.len() > UEFI_DATA_LIMIT || BASE64.decode(data).is_err() {
        return Err(format!(
            "`uefi_data` is not base64 of at most {UEFI_DATA_LIMIT} characters"
        ));
    }
    Ok(())
}

fn volume(mapping: &BlockDeviceMapping, is_root: bool) -> Found {
    let Some(ebs) = &mapping.ebs else {
        return Ok(());
    };
    if let Some(id) = &ebs.snapshot_id
        && !id.starts_with("{{")
        && !is_snapshot_id(id)
    {
        return Err(format!("{id:?} is not the id of a snapshot"));
    }
    let name = ebs.volume_type.as_deref().unwrap_or("standard");
    let Some(kind) = KINDS.iter().find(|kind| kind.volume_type.name() == name) else {
        return Err(format!("{name:?} is no kind of volume that EC2 has"));
    };
    if is_root && !kind.is_root {
        return Err(format!("a `{name}` volume cannot be the root"));
    }
    within("volume_size", ebs.volume_size, Some(kind.gib), name)?;
    within("iops", ebs.iops, kind.iops, name)?;
    within("throughput", ebs.throughput, kind.throughput, name)?;
    ratios(ebs, kind)
}

fn is_snapshot_id(id: &str) -> bool {
    let digits = id.strip_prefix("snap-").unwrap_or_default();
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn within(key: &str, number: Option<i32>, range: Option<(i32, i32)>, kind: &str) -> Found {
    match (number, range) {
        (Some(_), None) => Err(format!("a `{kind}` volume takes no `{key}`")),
        (Some(number), Some((least, most))) if !(least..=most).contains(&number) => Err(format!(
            "`{key}` is {number}, and a `{kind}` volume has {least} to {most}"
        )),
        _ => Ok(()),
    }
}

/// The ratios of what is provisioned.
fn ratios(ebs: &EbsBlockDevice, kind: &Kind) -> Found {
    let name = kind.volume_type.name();
    let is_gp3 = kind.volume_type == VolumeType::Gp3;
    if let (Some(iops), Some(gib)) = (ebs.iops, ebs.volume_size) {
        let free = if is_gp3 { GP3_BASELINE_IOPS } else { 0 };
        let most = gib.saturating_mul(kind.iops_per_gib).max(free);
        if iops > most {
            return Err(format!(
                "`iops` is {iops}, and a `{name}` volume of {gib} GiB has {most} at most"
            ));
        }
    }
    if let (true, Some(throughput)) = (is_gp3, ebs.throughput) {
        let iops = ebs.iops.unwrap_or(GP3_BASELINE_IOPS);
        let most = (iops / GP3_IOPS_PER_MIB).max(GP3_BASELINE_THROUGHPUT);
        if throughput > most {
            return Err(format!(
                "`throughput` is {throughput}, and a `gp3` volume with {iops} `iops` has {most} \
                 at most"
            ));
        }
    }
    Ok(())
}

fn deprecation(at: i64, now: i64) -> Found {
    let day = |seconds: i64| match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => seconds.to_string(),
    };
    if at <= now {
        return Err(format!("`deprecate_at` is {}, which is past", day(at)));
    }
    let last = now.saturating_add(DEPRECATION_LIMIT);
    if at > last {
        return Err(format!(
            "`deprecate_at` is {}, and EC2 takes ten years, until {}",
            day(at),
            day(last)
        ));
    }
    Ok(())
}

fn parameter(request: &PutParameter) -> Found {
    let name = &request.name;
    let no = |why: &str| Err(format!("{name:?} cannot be the name of a parameter: {why}"));
    let inside = name.strip_prefix('/').unwrap_or(name);
    let lower = inside.to_ascii_lowercase();
    if lower.starts_with("aws") || lower.starts_with("ssm") {
        return no("names that begin with `aws` or `ssm` are AWS's own");
    }
    if name.contains('/') && !name.starts_with('/') {
        return no("a name with levels begins with `/`");
    }
    if name.ends_with('/') || inside.split('/').any(str::is_empty) {
        return no("a level has no name");
    }
    if inside.split('/').count() > PARAMETER_LEVELS {
        return no("it has more than 15 levels");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ebs(volume_type: &str, gib: i32, iops: Option<i32>, throughput: Option<i32>) -> Found {
        let mapping = BlockDeviceMapping {
            device_name: "/dev/xvda".to_owned(),
            ebs: Some(EbsBlockDevice {
                volume_type: Some(volume_type.to_owned()),
                volume_size: Some(gib),
                iops,
                throughput,
                ..EbsBlockDevice::default()
            }),
            ..BlockDeviceMapping::default()
        };
        volume(&mapping, false)
    }

    #[test]
    fn volumes_as_ec2_has_them() {
        for (kind, gib, iops, throughput) in [
            ("gp3", 1, Some(3000), Some(125)),
            ("gp3", 1, None, Some(750)),
            ("gp3", 65_536, Some(80_000), Some(2_000)),
            ("io1", 4, Some(200), None),
            ("io2", 256, Some(256_000), None),
            ("st1", 125, None, None),
            ("standard", 1_024, None, None),
        ] {
            assert_eq!(ebs(kind, gib, iops, throughput), Ok(()), "{kind} {gib}");
        }
        for (kind, gib, iops, throughput, word) in [
            ("gp3", 65_537, None, None, "volume_size"),
            ("gp3", 8, Some(2_999), None, "iops"),
            ("gp3", 8, Some(4_001), None, "4000 at most"),
            ("gp3", 100, Some(80_001), None, "80000"),
            ("gp3", 100, None, Some(751), "750 at most"),
            ("gp3", 100, Some(16_000), Some(2_001), "throughput"),
            ("gp2", 100, Some(300), None, "no `iops`"),
            ("io1", 3, Some(100), None, "volume_size"),
            ("io1", 4, Some(201), None, "200 at most"),
            ("io2", 4, Some(4_001), None, "4000 at most"),
            ("sc1", 124, None, None, "volume_size"),
            ("standard", 1_025, None, None, "volume_size"),
            ("gp4", 1, None, None, "no kind"),
        ] {
            let problem = ebs(kind, gib, iops, throughput).unwrap_err();
            assert!(problem.contains(word), "{kind} {gib}: {problem}");
        }
    }

    #[test]
    fn tags_as_each_service_has_them() {
        let tag = |key: usize, value: usize| {
            [Tag {
                key: "k".repeat(key),
                value: "v".repeat(value),
            }]
        };
        assert_eq!(tags(&tag(128, 256), EC2_TAG), Ok(()));
        assert_eq!(tags(&tag(127, 255), EBS_TAG), Ok(()));
        for (key, value, limits) in [
            (129, 1, EC2_TAG),
            (1, 257, EC2_TAG),
            (128, 1, EBS_TAG),
            (1, 256, EBS_TAG),
            (0, 1, EC2_TAG),
        ] {
            assert!(tags(&tag(key, value), limits).is_err(), "{key} {value}");
        }
        assert!(tags(&vec![tag(1, 1)[0].clone(); 51], EC2_TAG).is_err());
    }

    #[test]
    fn parameters_and_times() {
        let put = |name: &str| {
            parameter(&PutParameter {
                name: name.to_owned(),
                value: String::new(),
                r#type: "String",
                data_type: "aws:ec2:image",
                overwrite: true,
            })
        };
        for name in ["images", "/images/ecs", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o"] {
            assert_eq!(put(name), Ok(()), "{name}");
        }
        for name in [
            "/aws/x",
            "ssm-x",
            "images/ecs",
            "/images/",
            "/images//ecs",
            "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p",
        ] {
            assert!(put(name).is_err(), "{name}");
        }
        assert_eq!(deprecation(2, 1), Ok(()));
        assert!(deprecation(1, 1).is_err());
        assert!(deprecation(11 * 365 * DAY, 1).is_err());
    }
}
