//! The volumes of an AMI, by the names that Packer has for their parts.

use serde::{Deserialize, Deserializer, de};

use imgasm_block::ByteSize;

/// The device and the kind of a volume beside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSettings {
    /// The device of the mapping, as `/dev/xvdcy`.
    pub device_name: DeviceName,
    /// Whether the volume is deleted with the instance.
    pub delete_on_termination: bool,
    /// The kind of EBS volume.
    pub volume_type: VolumeType,
    /// Provisioned operations per second.
    pub iops: Option<u32>,
    /// Provisioned MiB per second.
    pub throughput: Option<u32>,
    /// Whether it is encrypted; the account's default if this is not given.
    pub encrypted: Option<bool>,
    /// The key that it is encrypted with.
    pub kms_key_id: Option<String>,
}

/// The device of a block device mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName(String);

impl DeviceName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = text.strip_prefix("/dev/").unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let problem = format!("{text:?} is not a device name, as /dev/xvdcy");
            return Err(de::Error::custom(problem));
        }
        Ok(Self(text))
    }
}

/// The kinds of EBS volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are Amazon's own")]
pub enum VolumeType {
    Gp2,
    Gp3,
    Io1,
    Io2,
    St1,
    Sc1,
    Standard,
}

impl VolumeType {
    /// The name, as EC2 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}

/// The size of a volume: as [`ByteSize`], but a plain number means GiB, as it does for Packer.
/// EBS volumes are whole numbers of GiB, so these are too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeSize(ByteSize);

impl VolumeSize {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0.0
    }

    /// The number of GiB.
    pub fn gib(self) -> u64 {
        self.bytes() >> 30
    }
}

impl<'de> Deserialize<'de> for VolumeSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = ByteSize::deserialize_in(1 << 30, deserializer)?;
        if size.0 == 0 || !size.0.is_multiple_of(1 << 30) {
            return Err(de::Error::custom(format!(
                "the size of a volume is a whole number of GiB, and {size} is not"
            )));
        }
        Ok(Self(size))
    }
}

/// What EC2 refuses (EC2 API reference, `EbsBlockDevice`).
pub fn check_performance(
    volume_type: VolumeType,
    iops: Option<u32>,
    throughput: Option<u32>,
) -> Result<(), String> {
    use VolumeType::{Gp3, Io1, Io2};
    let name = volume_type.name();
    match (iops, volume_type) {
        (Some(_), Gp3 | Io1 | Io2) | (None, _) => {}
        (Some(_), _) => return Err(format!("a `{name}` volume takes no `iops`")),
    }
    if iops.is_none() && matches!(volume_type, Io1 | Io2) {
        return Err(format!("a `{name}` volume needs `iops`"));
    }
    if throughput.is_some() && volume_type != Gp3 {
        return Err(format!("a `{name}` volume takes no `throughput`"));
    }
    Ok(())
}
