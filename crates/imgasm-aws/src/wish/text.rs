//! The texts that AWS has rules for.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A text that EC2 has rules for.
macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $rule:expr, $what:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let rule: fn(&str) -> bool = $rule;
                if rule(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(format!(concat!("{:?} is not ", $what), text))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

checked_text!(
    /// The name of an AMI (EC2 API reference, `RegisterImage`, `Name`).
    AmiName,
    |text| (3..=128).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c)),
    "the name of an AMI: 3 to 128 letters, digits, spaces and ()[]./-'@_"
);
checked_text!(
    /// A region, as `eu-central-1`.
    Region,
    |text| text.contains('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
    "a region, as eu-central-1"
);
checked_text!(
    /// An availability zone, as `eu-central-1a`.
    Zone,
    |text| text.contains('-')
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
    "an availability zone, as eu-central-1a"
);
checked_text!(
    /// The number of an account.
    AccountId,
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()),
    "an account, which has 12 digits"
);
checked_text!(
    /// The name of a resource of AWS.
    Arn,
    |text| text.starts_with("arn:") && text.split(':').count() >= 6,
    "an ARN, as arn:aws:organizations::123456789012:organization/o-1234567890"
);
checked_text!(
    /// The name of an SSM parameter (Systems Manager API reference, `PutParameter`, `Name`).
    ParameterName,
    |text| !text.is_empty()
        && text.len() <= 1011
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)),
    "the name of a parameter: letters, digits and _.-/"
);
checked_text!(
    /// The name of a bucket (S3 user guide, "Bucket naming rules").
    BucketName,
    |text| (3..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)),
    "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"
);
checked_text!(
    /// A point in time as RFC 3339 has it.
    Time,
    |text| text.parse::<jiff::Timestamp>().is_ok(),
    "a time, as 2030-01-31T00:00:00Z"
);

impl Time {
    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        let time = self.0.parse::<jiff::Timestamp>();
        time.expect("checked when it was read").as_second()
    }
}
