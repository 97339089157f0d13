//! Where an image comes from, as a statement that others can check and sign.
//!
//! An in-toto statement (`in-toto.io/Statement/v1`) whose predicate is SLSA provenance
//! (`slsa.dev/provenance/v1`). It is made only from the manifest and the bytes of the outputs, so
//! that equal builds give equal statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::config::Setting;
use crate::manifest::Manifest;
use crate::recipe::Base;
use imgasm_block::Digest;

/// The name of the kind of build that this program does.
const BUILD_TYPE: &str = "https://github.com/imgasm/imgasm/build/v1";
/// The builder.
const BUILDER: &str = "https://github.com/imgasm/imgasm";
/// The name of a digest over the digests of the chunks of a disk, as in manifests.
const CHUNKS: &str = "imgasmChunks512k";
/// The name of the identity of a folder or recipe.
const IDENTITY: &str = "imgasmIdentity";

/// A statement about the disks of a build.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Resource>,
    predicate_type: &'static str,
    predicate: Provenance,
}

/// Something with a digest.
#[derive(Debug, Serialize)]
struct Resource {
    name: String,
    digest: BTreeMap<&'static str, Digest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Provenance {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: &'static str,
    external_parameters: Parameters,
    resolved_dependencies: Vec<Resource>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    name: String,
    variables: BTreeMap<String, Setting>,
    /// The keyed digests of values that are not shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sensitive_variables: BTreeMap<String, Digest>,
    source_date_epoch: i64,
}

#[derive(Debug, Serialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Builder {
    id: &'static str,
    version: BTreeMap<&'static str, String>,
    #[serde(rename = "builderDependencies")]
    dependencies: Vec<Resource>,
}

impl Statement {
    /// The statement of a build from `base` whose disks are the files `disks`: the image, then the
    /// volumes. They are read for their digests, as is the program `tool` that made them.
    pub fn new(manifest: &Manifest, base: &Base, disks: &[&Path], tool: &Path) -> io::Result<Self> {
        let volumes = manifest.volumes.iter();
        let chunks = std::iter::once(manifest.image.digest)
            .chain(volumes.filter_map(|volume| Some(volume.filesystem.as_ref()?.digest)));
        let subject = disks.iter().zip(chunks).map(|(path, chunks)| {
            let name = path.file_name().unwrap_or_default();
            Ok(Resource {
                name: name.to_string_lossy().into_owned(),
                digest: BTreeMap::from([("sha256", sha256(path)?), (CHUNKS, chunks)]),
            })
        });
        let kind = match base {
            Base::File { .. } => "sha256",
            Base::Rootfs { .. } => IDENTITY,
        };
        let mut base = BTreeMap::from([(CHUNKS, manifest.base.digest)]);
        base.extend(manifest.base.sha256.map(|digest| (kind, digest)));
        let identified = |name: &str, digest| Resource {
            name: name.to_owned(),
            digest: BTreeMap::from([(IDENTITY, digest)]),
        };
        let mut dependencies = vec![
            Resource {
                name: format!("base {}", manifest.base.name),
                digest: base,
            },
            identified("recipe", manifest.recipe_sha256),
        ];
        for volume in &manifest.volumes {
            let filesystem = volume.filesystem.as_ref();
            if let Some((volume, digest)) =
                filesystem.and_then(|f| Some((&f.label, f.files_sha256?)))
            {
                dependencies.push(identified(&format!("files of volume {volume}"), digest));
            }
        }
        let overlays = manifest.overlays.iter();
        dependencies.extend(overlays.map(|o| identified(&format!("overlay {}", o.name), o.sha256)));
        let packages = manifest.packages.iter().map(|package| {
            let arch = package.arch.as_deref().unwrap_or("noarch");
            Resource {
                name: format!("package {}-{}.{arch}", package.name, package.version),
                digest: BTreeMap::from([("sha256", package.sha256)]),
            }
        });
        dependencies.extend(packages);
        Ok(Self {
            kind: "https://in-toto.io/Statement/v1",
            subject: subject.collect::<io::Result<_>>()?,
            predicate_type: "https://slsa.dev/provenance/v1",
            predicate: Provenance {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE,
                    external_parameters: Parameters {
                        name: manifest.name.clone(),
                        variables: manifest.variables.clone(),
                        sensitive_variables: manifest.sensitive_variables.clone(),
                        source_date_epoch: manifest.source_date_epoch,
                    },
                    resolved_dependencies: dependencies,
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: BUILDER,
                        version: BTreeMap::from([("imgasm", manifest.imgasm_version.clone())]),
                        dependencies: vec![Resource {
                            name: "imgasm".to_owned(),
                            digest: BTreeMap::from([("sha256", sha256(tool)?)]),
                        }],
                    },
                },
            },
        })
    }

    /// The file's content.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain values are always JSON");
        json.push('\n');
        json
    }
}

/// The SHA-256 of a file as any tool computes it.
fn sha256(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buf)?;
        if read == 0 {
            return Ok(Digest::finish(hasher));
        }
        hasher.update(&buf[..read]);
    }
}
