//! Regions and keys: an AMI is copied within a partition, and a key is used in its own region.

use super::Found;
use crate::plan::Plan;
use crate::policy::partition;
use crate::wish::Region;

/// Checks the regions and keys of a plan, in this region if it is known.
pub(super) fn check(plan: &Plan, home: Option<&str>) -> Found {
    let regions = plan.ami.ami_regions.iter().map(Region::as_str);
    one_partition(home.into_iter().chain(regions))?;
    for disk in &plan.disks {
        if let Some(id) = &disk.kms_key_id {
            key(id, home).map_err(|problem| format!("{}: {problem}", disk.device_name))?;
        }
    }
    if let Some(id) = &plan.ami.s3_kms_key_id {
        key(id, home).map_err(|problem| format!("`s3_kms_key_id`: {problem}"))?;
    }
    for (region, id) in &plan.ami.region_kms_key_ids {
        key(id, Some(region.as_str()))
            .map_err(|problem| format!("`region_kms_key_ids`: {problem}"))?;
    }
    Ok(())
}

fn one_partition<'a>(mut regions: impl Iterator<Item = &'a str>) -> Found {
    let Some(first) = regions.next() else {
        return Ok(());
    };
    let of = |region| partition(Some(region));
    match regions.find(|region| of(region) != of(first)) {
        Some(other) => Err(format!(
            "{other} is of the partition {}, and {first} of {}: an AMI is copied within one",
            of(other),
            of(first)
        )),
        None => Ok(()),
    }
}

/// A key as EC2 and S3 take it (`CopyImage`, `KmsKeyId`): an id, an alias, or the ARN of either.
fn key(id: &str, region: Option<&str>) -> Found {
    let is_name = |name: &str| {
        let alias = name.strip_prefix("alias/").unwrap_or_default();
        let of_alias = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
        !alias.is_empty() && alias.chars().all(of_alias)
    };
    let is_id = |id: &str| {
        let digits = id.strip_prefix("mrk-").unwrap_or(id).replace('-', "");
        digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let parts: Vec<&str> = id.split(':').collect();
    let (is_key, its_region) = match parts[..] {
        ["arn", _, "kms", region, _, resource] => {
            let of_key = resource.strip_prefix("key/").is_some_and(is_id);
            (of_key || is_name(resource), Some(region))
        }
        [name] => (is_id(name) || is_name(name), None),
        _ => (false, None),
    };
    if !is_key {
        return Err(format!(
            "{id:?} is no key: it is an id, as 1234abcd-12ab-34cd-56ef-1234567890ab, an alias, as \
             alias/images, or the ARN of either"
        ));
    }
    match (its_region, region) {
        (Some(its), Some(wanted)) if its != wanted => Err(format!(
            "the key {id} is of {its}, and it is to be used in {wanted}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_all_their_names() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let arn = |rest: &str| format!("arn:aws:kms:eu-west-1:123456789012:{rest}");
        for name in [
            id.to_owned(),
            "mrk-1234abcd12ab34cd56ef1234567890ab".to_owned(),
            "alias/images".to_owned(),
            arn(&format!("key/{id}")),
            arn("alias/a/b"),
        ] {
            assert_eq!(key(&name, Some("eu-west-1")), Ok(()), "{name}");
        }
        for name in [
            "images".to_owned(),
            "alias/".to_owned(),
            "alias/a b".to_owned(),
            arn("key/images"),
            arn(id),
            format!("key/{id}"),
        ] {
            assert!(key(&name, None).is_err(), "{name}");
        }
        assert!(key(&arn("alias/a"), Some("eu-west-2")).is_err());
        assert_eq!(key(&arn("alias/a"), None), Ok(()));
    }

    #[test]
    fn regions_of_one_partition() {
        let check = |regions: &[&str]| one_partition(regions.iter().copied());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["eu-west-1", "us-east-1"]), Ok(()));
        assert_eq!(check(&["cn-north-1", "cn-northwest-1"]), Ok(()));
        assert!(check(&["eu-west-1", "cn-north-1"]).is_err());
        assert!(check(&["us-gov-west-1", "us-gov-east-1", "us-east-1"]).is_err());
    }
}
