//! Kinds of volumes, and what each of them has.

use super::Found;
use crate::request::{BlockDeviceMapping, EbsBlockDevice};
use crate::wish::VolumeType;

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

/// What EC2 would refuse of a mapping.
pub(super) fn check(mapping: &BlockDeviceMapping, is_root: bool) -> Found {
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
        check(&mapping, false)
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
}
