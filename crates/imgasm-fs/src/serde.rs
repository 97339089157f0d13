//! Paths in configuration and manifests: as text, or as bytes in binary forms.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::path::ImagePath;

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let text = std::str::from_utf8(self.as_bytes()).map_err(S::Error::custom)?;
            serializer.serialize_str(text)
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for ImagePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.into_bytes()
        } else {
            Vec::deserialize(deserializer)?
        };
        Self::parse(path).map_err(D::Error::custom)
    }
}
