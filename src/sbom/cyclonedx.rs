//! A bill of materials as `CycloneDX` 1.5 (<https://cyclonedx.org/docs/1.5/json/>): a component for
//! each package, with its files in it, and one for each file that belongs to none.

use serde::Serialize;
use uuid::Uuid;

use super::ADDRESS;
use super::contents::{Contents, File, Listed};
use super::licence::Licence;
use crate::manifest::Manifest;

/// A document, with the properties that we use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    #[allow(clippy::struct_field_names, reason = "the format has this name")]
    bom_format: &'static str,
    spec_version: &'static str,
    /// The version of this document under its serial number.
    version: u32,
    /// A UUID of version 5.
    serial_number: String,
    metadata: Metadata,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Metadata {
    /// What the document is about.
    component: Component,
}

#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    classification: &'static str,
    /// Unique in the document.
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenseChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Self>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

/// One of the two forms in which the format has licences.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum LicenseChoice {
    Expression(String),
    License(Named),
}

#[derive(Serialize)]
struct Named {
    name: String,
}

impl Bom {
    /// The document of a built image.
    pub(super) fn new(manifest: &Manifest, contents: &Contents) -> Self {
        let digest = manifest.image.digest.to_string();
        let serial = Uuid::new_v5(
            &Uuid::NAMESPACE_URL,
            format!("{ADDRESS}{digest}").as_bytes(),
        );
        let image = Component {
            version: Some(digest),
            ..Component::new(
                "operating-system",
                manifest.image.file.clone(),
                manifest.name.clone(),
            )
        };
        let of = |places: &[usize]| -> Vec<Component> {
            places
                .iter()
                .map(|at| of_file(&contents.files[*at]))
                .collect()
        };
        let packages = contents.packages.iter();
        let packages = packages.map(|package| of_package(package, of(&package.files)));
        Self {
            bom_format: "CycloneDX",
            spec_version: "1.5",
            version: 1,
            serial_number: serial.urn().to_string(),
            metadata: Metadata { component: image },
            components: packages.chain(of(&contents.unowned)).collect(),
        }
    }
}

impl Component {
    fn new(classification: &'static str, bom_ref: String, name: String) -> Self {
        Self {
            classification,
            bom_ref,
            name,
            version: None,
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: None,
            components: Vec::new(),
        }
    }
}

fn of_package(listed: &Listed, files: Vec<Component>) -> Component {
    let licenses = match &listed.licence {
        None => Vec::new(),
        Some(Licence::Expression(text)) => vec![LicenseChoice::Expression(text.clone())],
        Some(Licence::Words(texts)) => {
            let named = texts.iter().cloned().map(|name| Named { name });
            named.map(LicenseChoice::License).collect()
        }
    };
    Component {
        version: Some(listed.package.full_version()),
        licenses,
        purl: Some(listed.url.clone()),
        components: files,
        ..Component::new("library", listed.url.clone(), listed.package.name.clone())
    }
}

fn of_file(file: &File) -> Component {
    let path = file.path.to_string();
    let hashes = file.digests.iter().map(|digests| Hash {
        alg: "SHA-256",
        content: digests.sha256.to_string(),
    });
    Component {
        hashes: hashes.collect(),
        ..Component::new("file", format!("file:{path}"), path)
    }
}
