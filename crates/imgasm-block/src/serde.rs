//! Sizes and digests in configuration and manifests: as text, and digests as bytes in binary forms.

use serde::{Deserialize, Deserializer, de};
#[cfg(feature = "digest")]
use serde::{Serialize, Serializer};

use crate::ByteSize;
#[cfg(feature = "digest")]
use crate::Digest;

#[cfg(feature = "digest")]
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.as_bytes().serialize(serializer)
        }
    }
}

#[cfg(feature = "digest")]
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Deserialize::deserialize(deserializer).map(Self::from_bytes);
        }
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_in(1, deserializer)
    }
}

impl ByteSize {
    /// Reads a number of so many bytes each, or a text, in which a plain number means the same.
    ///
    /// # Errors
    /// If it is neither, or too large.
    pub fn deserialize_in<'de, D: Deserializer<'de>>(
        unit: u64,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a number that is not negative, or a text"
        )]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        let number = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => number,
            NumberOrText::Text(text) => match text.parse::<u64>() {
                Ok(number) => number,
                Err(_) => return text.parse().map_err(de::Error::custom),
            },
        };
        let size = number.checked_mul(unit).map(Self);
        size.ok_or_else(|| {
            let one = Self(unit).to_string();
            let name = one.trim_start_matches('1');
            de::Error::custom(format!("{number} {name} is too large"))
        })
    }
}
