//! The tags by which imgasm knows its own.

use std::collections::BTreeMap;

use crate::built::Built;
use crate::request::{Tag, TagSpecification};
use crate::wish::Tags;
use imgasm_block::Digest;

/// On an AMI: the identity of all that makes it what it is, as [`crate::plan::Plan::identity`].
pub const IDENTITY: &str = "imgasm:identity";
/// On an AMI: its name, or what it would be at any other time where the name has the time in it. An
/// AMI is the one that is asked for only if this is so, for a name cannot be changed.
pub const NAMED: &str = "imgasm:named";
/// On an AMI: the digest of the image.
pub const IMAGE: &str = "imgasm:image";
/// On an AMI: the digest of the base.
pub const BASE: &str = "imgasm:base";
/// On an AMI: the digest of the recipe.
pub const RECIPE: &str = "imgasm:recipe";
/// On snapshots and the tasks that make them: the digest of the disk.
pub const DISK: &str = "imgasm:disk";
/// On a task: where its object lies, as `BUCKET/KEY`.
pub const OBJECT: &str = "imgasm:object";
/// On everything: the recipe's name for the image, or what was pulled.
pub const NAME: &str = "imgasm:name";
/// On a copy that `pull` has made: the AMI that it is of.
pub const PULLED: &str = "imgasm:pulled";

/// The tag of an AMI that names the AMI which its base came from, as the reference has it.
pub const SOURCE_AMI: &str = "SourceAMI";

/// The tags of the AMI. What the recipe says counts first.
pub fn of_image(
    own: &Tags,
    built: &Built,
    source_ami: Option<&str>,
    identity: Digest,
    named: &str,
) -> Vec<Tag> {
    let mut tags = own.0.clone();
    if let Some(id) = source_ami {
        tags.entry(SOURCE_AMI.to_owned()).or_insert(id.to_owned());
    }
    let mut set = |key: &str, value: String| tags.insert(key.to_owned(), value);
    set(IDENTITY, identity.to_string());
    set(NAMED, named.to_owned());
    set(IMAGE, built.root.digest().to_string());
    set(BASE, built.base.to_string());
    set(RECIPE, built.recipe.to_string());
    set(NAME, built.name.clone());
    list(&tags)
}

/// The tags of a snapshot, and of the task that makes it.
pub fn of_snapshot(own: &Tags, name: &str, disk: Digest) -> Vec<Tag> {
    let mut tags = own.0.clone();
    tags.insert(DISK.to_owned(), disk.to_string());
    tags.insert(NAME.to_owned(), name.to_owned());
    list(&tags)
}

/// The tags that all snapshots of a copy have.
pub fn of_copied_snapshots(own: &Tags, name: &str) -> Vec<Tag> {
    let mut tags = own.0.clone();
    tags.insert(NAME.to_owned(), name.to_owned());
    list(&tags)
}

/// Tags as requests have them.
pub fn list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: key.clone(),
        value: value.clone(),
    };
    tags.iter().map(tag).collect()
}

/// Tags for the one kind of thing that a request makes.
pub fn specification(resource_type: &str, tags: Vec<Tag>) -> Vec<TagSpecification> {
    vec![TagSpecification {
        resource_type: resource_type.to_owned(),
        tags,
    }]
}
