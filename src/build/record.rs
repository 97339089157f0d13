//! What a build writes to its manifest.

use crate::config::Variables;
use crate::config::given::keyed_digest;
use crate::manifest::{self, Manifest};
use crate::overlay::{ChangedPath, Report};
use crate::recipe::volume::Content;
use crate::recipe::{Recipe, Volume};
use crate::volume::FormattedVolume;
use imgasm_aws::wish::VolumeSize;
use imgasm_block::BlockDevice;
use imgasm_fs::text::name_text;
use imgasm_guest::packages::{Outcome, Removed};

/// Everything that is recorded about a build.
pub(super) fn manifest(
    recipe: &Recipe,
    base: manifest::Base,
    image: manifest::Image,
    volumes: &[(String, FormattedVolume)],
    report: &Report,
    changed_paths: &[ChangedPath],
) -> Manifest {
    let values = |variables: &Variables| {
        let plain = variables.plain();
        plain
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    };
    let digests = |variables: &Variables| {
        let digest = |name: &str, value| keyed_digest(value, &recipe.name, name);
        let sensitive = variables.sensitive();
        sensitive
            .map(|(name, value)| (name.to_owned(), digest(name, value)))
            .collect()
    };
    let mut formatted = volumes.iter();
    Manifest {
        imgasm_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: recipe.name.clone(),
        source_date_epoch: recipe.source_date_epoch,
        base,
        recipe_sha256: recipe.digest,
        variables: values(&recipe.variables),
        sensitive_variables: digests(&recipe.variables),
        overlays: recipe
            .overlays
            .iter()
            .zip(&recipe.overlay_digests)
            .map(|(overlay, digest)| manifest::Overlay {
                name: overlay.name.clone(),
                sha256: *digest,
                variables: values(&overlay.variables),
                sensitive_variables: digests(&overlay.variables),
            })
            .collect(),
        packages: report.packages.iter().map(package).collect(),
        removed_packages: report.removed_packages.iter().map(removed).collect(),
        image,
        volumes: recipe
            .volumes
            .iter()
            .map(|volume| self::volume(volume, &mut formatted))
            .collect(),
        changes: changed_paths.iter().map(change).collect(),
        builds: Vec::new(),
        last_run_uuid: None,
    }
}

fn volume<'a>(
    volume: &Volume,
    formatted: &mut impl Iterator<Item = &'a (String, FormattedVolume)>,
) -> manifest::Volume {
    let (volume_size, filesystem) = match &volume.content {
        Content::None => (None, None),
        Content::Empty { size } => (Some(size.gib()), None),
        Content::Snapshot { size, .. } => (size.map(VolumeSize::gib), None),
        Content::Filesystem(filesystem) => {
            let made = formatted
                .next()
                .map(|(file, made)| manifest::VolumeFilesystem {
                    file: file.clone(),
                    size: made.delta.len(),
                    digest: made.chunk_map.digest(),
                    kind: filesystem.kind.name().to_owned(),
                    label: filesystem.label.as_str().to_owned(),
                    files_sha256: filesystem.files.as_ref().and_then(|files| files.sha256),
                    uuid: made.uuid.to_string(),
                    mount: filesystem
                        .mount
                        .as_ref()
                        .map(|mount| mount.as_str().to_owned()),
                });
            (Some(filesystem.size.gib()), made)
        }
    };
    manifest::Volume {
        device_name: volume.settings.device_name.as_str().to_owned(),
        volume_size,
        volume_type: volume.settings.volume_type.name().to_owned(),
        delete_on_termination: volume.settings.delete_on_termination,
        filesystem,
    }
}

/// A package in the manifest's form.
fn package(outcome: &Outcome) -> manifest::Package {
    let Outcome {
        package,
        sha256,
        unsigned,
        was_present,
        skipped,
    } = outcome;
    manifest::Package {
        name: package.name.clone(),
        version: package.full_version(),
        arch: package.arch.clone(),
        sha256: *sha256,
        unsigned: *unsigned,
        was_present: *was_present,
        skipped: skipped.clone(),
    }
}

/// A package that went, in the words of the manifest.
fn removed(removed: &Removed) -> manifest::RemovedPackage {
    let Removed { package, skipped } = removed;
    manifest::RemovedPackage {
        name: package.name.clone(),
        version: package.full_version(),
        arch: package.arch.clone(),
        skipped: skipped.clone(),
    }
}

/// A changed path in the manifest's form.
pub fn change(changed: &ChangedPath) -> manifest::Change {
    manifest::Change {
        path: name_text(changed.path.as_bytes()),
        overlay: changed.overlay.clone(),
        step: changed.step,
        kind: changed.kind.to_owned(),
        r#type: changed
            .file_type
            .map(|file_type| file_type.name().to_owned()),
        sha256: changed.sha256,
    }
}
