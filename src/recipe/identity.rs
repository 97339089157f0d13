//! What tells one recipe from another.

use sha2::{Digest as _, Sha256};

use super::Volume;
use super::volume::Content;
use crate::config::given::keyed_digest;
use crate::config::{Source, Variables};
use crate::overlay::Overlay;
use imgasm_block::Digest;

/// The identity of a recipe with its lock, the name of its image, and what it extends.
pub(super) fn with_composed(
    mut digest: Digest,
    lock: Option<Digest>,
    image: Option<&str>,
    source: &Source,
) -> Digest {
    let mut also = |bytes: &[u8]| {
        digest = Digest::of(&[digest.as_bytes().as_slice(), bytes].concat());
    };
    if let Some(lock) = lock {
        also(lock.as_bytes());
    }
    if let Some(image) = image {
        also(image.as_bytes());
    }
    let mut extended = source.extended();
    while let Some(source) = extended {
        also(source.text().as_bytes());
        extended = source.extended();
    }
    digest
}

/// The identity of a recipe, for the image of this name, with everything that it was given.
pub(super) fn digest(
    source: &Source,
    image: &str,
    variables: &Variables,
    (overlays, overlay_digests): (&[Overlay], &[Digest]),
    volumes: &[Volume],
) -> Digest {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let mut fields = |variables: &Variables| {
        for (name, value) in variables.plain() {
            field(name.as_bytes());
            field(value.to_string().as_bytes());
        }
        field(b"");
        for (name, value) in variables.sensitive() {
            field(name.as_bytes());
            field(keyed_digest(value, image, name).as_bytes());
        }
    };
    fields(variables);
    for overlay in overlays {
        fields(&overlay.variables);
    }
    field(source.text().as_bytes());
    for (overlay, digest) in overlays.iter().zip(overlay_digests) {
        field(overlay.name.as_bytes());
        field(digest.as_bytes());
    }
    for volume in volumes {
        if let Content::Filesystem(filesystem) = &volume.content
            && let Some(sha256) = filesystem.files.as_ref().and_then(|files| files.sha256)
        {
            field(sha256.as_bytes());
        }
    }
    Digest::finish(hasher)
}
