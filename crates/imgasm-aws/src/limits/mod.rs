//! What the services would refuse, found before anything is sent.
//!
//! The numbers are those of the service models of EC2, EBS direct, S3 and Systems Manager as
//! botocore 1.44.5 has them (2026-11), and of the user guides that are named where they are used.
//!
//! - `volume`: kinds of volumes, and what each of them has.
//! - `places`: regions and keys.

mod places;
mod volume;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::plan::Plan;
use crate::plan::steps::Situation;
use crate::request::{
    CopyImage, CreateVolumePermission, ImportSnapshot, LaunchPermission, ModifyImageAttribute,
    ModifySnapshotAttribute, Parameters, PutParameter, RegisterImage, StartSnapshot, Tag,
    TagSpecification,
};
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

/// Checks every request of a plan, in this region if it is known. `now` is in seconds since 1970.
pub fn check(plan: &Plan, region: Option<&str>, now: i64) -> Result<()> {
    places::check(plan, region).map_err(Error::Limit)?;
    let situation = Situation {
        region,
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
            Parameters::ModifyImageAttribute(it) => launch(it, plan),
            Parameters::ModifySnapshotAttribute(it) => volumes_of(it, plan),
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

/// Minutes in which a copy can be had, in steps of so many (EBS user guide, "Time-based copies for
/// Amazon EBS snapshots and EBS-backed AMIs").
const COPY_MINUTES: std::ops::RangeInclusive<u32> = 15..=2880;
const COPY_MINUTES_STEP: u32 = 15;

/// What is encrypted is for accounts that are named, and that may use the key (EC2 user guide, "Share
/// an AMI"; EBS user guide, "Share an Amazon EBS snapshot").
fn for_everybody(plan: &Plan, what: &str) -> Found {
    let key = plan.disks.iter().find(|disk| disk.encrypted == Some(true));
    let is_copied = !plan.ami.region_kms_key_ids.is_empty();
    match key {
        Some(disk) => Err(format!(
            "{what} for everybody cannot have an encrypted snapshot, and {} has one",
            disk.device_name
        )),
        None if is_copied => Err(format!(
            "{what} for everybody cannot have an encrypted snapshot, and `region_kms_key_ids` \
             encrypts copies"
        )),
        None => Ok(()),
    }
}

fn launch(request: &ModifyImageAttribute, plan: &Plan) -> Found {
    if let Some(new) = &request.description {
        description(&new.value)?;
    }
    let add = request.launch_permission.as_ref().map(|it| &it.add[..]);
    let mut add = add.unwrap_or_default().iter();
    if add.any(|it| matches!(it, LaunchPermission::Group(_))) {
        for_everybody(plan, "an AMI")?;
    }
    Ok(())
}

fn volumes_of(request: &ModifySnapshotAttribute, plan: &Plan) -> Found {
    let mut add = request.create_volume_permission.add.iter();
    if add.any(|it| matches!(it, CreateVolumePermission::Group(_))) {
        for_everybody(plan, "a snapshot")?;
    }
    Ok(())
}

fn copy_image(request: &CopyImage) -> Found {
    if let Some(minutes) = request.snapshot_copy_completion_duration_minutes
        && !(COPY_MINUTES.contains(&minutes) && minutes % COPY_MINUTES_STEP == 0)
    {
        return Err(format!(
            "`snapshot_copy_duration_minutes` is {minutes}, and EC2 takes {} to {} in steps of \
             {COPY_MINUTES_STEP}",
            COPY_MINUTES.start(),
            COPY_MINUTES.end()
        ));
    }
    description(request.description.as_deref().unwrap_or_default())?;
    specifications(&request.tag_specifications)
}

fn register_image(request: &RegisterImage) -> Found {
    description(request.description.as_deref().unwrap_or_default())?;
    specifications(&request.tag_specifications)?;
    for mapping in &request.block_device_mappings {
        let is_root = mapping.device_name == request.root_device_name;
        volume::check(mapping, is_root)
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
