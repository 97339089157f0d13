//! The tags that a recipe gives.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

/// Tags of a resource (EC2 user guide, "Tag restrictions").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(pub BTreeMap<String, String>);

/// The tags that AWS and imgasm itself give begin so.
const RESERVED: [&str; 2] = ["aws:", "imgasm:"];

/// 50 are allowed; imgasm has its own besides.
const TAGS_LIMIT: usize = 40;

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tags = BTreeMap::<String, String>::deserialize(deserializer)?;
        if tags.len() > TAGS_LIMIT {
            let problem = format!("{} tags are too many: {TAGS_LIMIT} at most", tags.len());
            return Err(de::Error::custom(problem));
        }
        for (key, value) in &tags {
            let lower = key.to_ascii_lowercase();
            let problem = if key.is_empty() || key.chars().count() > 128 {
                "the key of a tag has 1 to 128 characters"
            } else if value.chars().count() > 256 {
                "the value of a tag has 256 characters at most"
            } else if RESERVED.iter().any(|prefix| lower.starts_with(prefix)) {
                "tags that begin with `aws:` and `imgasm:` are reserved"
            } else {
                continue;
            };
            return Err(de::Error::custom(format!("tag {key:?}: {problem}")));
        }
        Ok(Self(tags))
    }
}
