//! A bill of materials: the packages that are installed in an image, as CycloneDX 1.5
//! (<https://cyclonedx.org/docs/1.5/json/>).
//!
//! It is made from the image alone, without the time: equal images have equal documents.

use std::collections::BTreeMap;

use purl::{GenericPurlBuilder, ParseError};
use serde::Serialize;
use uuid::Uuid;

use crate::manifest::Manifest;
use imgasm_fs::FileSystem;
use imgasm_guest::OsRelease;
use imgasm_guest::packages::{self, Package};

/// Serial numbers are UUIDs of version 5 below this address, followed by the image's digest.
const SERIAL_NUMBERS: &str = "https://github.com/imgasm/imgasm/image/";

/// Why a bill of materials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database of packages cannot be read.
    #[error("cannot say which packages are in the image")]
    Packages(#[from] packages::Error),
    /// The root filesystem could not be looked at.
    #[error(transparent)]
    Root(#[from] imgasm_fs::tree::Error),
    /// The image has no database of packages.
    #[error("the image has no database of packages, neither RPM's nor dpkg's")]
    NoDatabase,
    /// A package has a name or version that a package URL cannot hold.
    #[error("the package {package} has no package URL")]
    PackageUrl {
        /// The package.
        package: String,
        /// Why not.
        source: ParseError,
    },
    /// The document could not be written.
    #[error("cannot write the bill of materials")]
    Document(#[from] serde_json::Error),
}

/// The kind of packages in a database: the type of their package URLs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rpm,
    Deb,
}

/// A document, with the properties that we use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    #[allow(clippy::struct_field_names, reason = "the format has this name")]
    bom_format: &'static str,
    spec_version: &'static str,
    /// The version of this document under its serial number.
    version: u32,
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
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

/// The document of a built image with this root filesystem, as JSON.
///
/// # Errors
/// [`Error::NoDatabase`] if the image does not record its packages.
pub fn document(manifest: &Manifest, root: &dyn FileSystem) -> Result<Vec<u8>, Error> {
    let (kind, packages) = match packages::open_rpm(root)? {
        Some(packages) => (Kind::Rpm, packages),
        None => match packages::open_dpkg(root)? {
            Some(packages) => (Kind::Deb, packages),
            None => return Err(Error::NoDatabase),
        },
    };
    let distribution = OsRelease::read(root)?;
    let distribution = distribution.as_ref().map_or("", OsRelease::id);
    // By reference: each may occur only once.
    let mut components = BTreeMap::new();
    for package in &packages {
        let component = component(kind, distribution, package)?;
        components.insert(component.bom_ref.clone(), component);
    }
    let digest = manifest.image.digest.to_string();
    let serial_number = Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        format!("{SERIAL_NUMBERS}{digest}").as_bytes(),
    );
    let image = Component {
        classification: "operating-system",
        bom_ref: manifest.image.file.clone(),
        name: manifest.name.clone(),
        version: digest,
        purl: None,
    };
    let bom = Bom {
        bom_format: "CycloneDX",
        spec_version: "1.5",
        version: 1,
        serial_number: serial_number.urn().to_string(),
        metadata: Metadata { component: image },
        components: components.into_values().collect(),
    };
    let mut json = serde_json::to_vec_pretty(&bom)?;
    json.push(b'\n');
    Ok(json)
}

/// A package, with its package URL (the package-url specification, types `deb` and `rpm`: an RPM
/// package's epoch is a qualifier, a Debian package's belongs to its version).
fn component(kind: Kind, distribution: &str, package: &Package) -> Result<Component, Error> {
    let failed = |source| Error::PackageUrl {
        package: package.to_string(),
        source,
    };
    let full_version = package.full_version();
    let (url_type, version, epoch) = match kind {
        Kind::Rpm => ("rpm", package.version_and_release(), package.epoch),
        Kind::Deb => ("deb", full_version.clone(), None),
    };
    let arch = package.arch.clone().unwrap_or_default();
    let epoch = epoch.map_or_else(String::new, |epoch| epoch.to_string());
    // An empty part is left out.
    let url = GenericPurlBuilder::new(url_type.to_owned(), package.name.as_str())
        .with_namespace(distribution)
        .with_version(version)
        .with_qualifier("arch", arch)
        .and_then(|url| url.with_qualifier("epoch", epoch))
        .and_then(GenericPurlBuilder::build)
        .map_err(failed)?
        .to_string()
        // The specification encodes it, the crate does not.
        .replace('+', "%2B");
    Ok(Component {
        classification: "library",
        bom_ref: url.clone(),
        name: package.name.clone(),
        version: full_version,
        purl: Some(url),
    })
}
