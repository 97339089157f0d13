//! A bill of materials: the packages that are installed in an image, as CycloneDX 1.5.
//!
//! It is made of the image alone, without the time: equal images have equal documents.

use std::collections::BTreeMap;

use cyclonedx_bom::models::component::Classification;
use cyclonedx_bom::prelude::{Bom, Component, Components, Metadata, UrnUuid};
use purl::{GenericPurlBuilder, ParseError};
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
    /// The packages cannot be told.
    #[error("cannot tell which packages are in the image")]
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
    Document(#[from] cyclonedx_bom::errors::JsonWriteError),
}

/// Which kind of packages a database records: the type of their package URLs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rpm,
    Deb,
}

/// The document of a built image with this root filesystem, as JSON.
///
/// # Errors
/// [`Error::NoDatabase`] where the image does not record its packages.
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
    // By their references, each of which may be there once only.
    let mut components = BTreeMap::new();
    for package in &packages {
        let component = component(kind, distribution, package)?;
        components.insert(component.bom_ref.clone(), component);
    }
    let digest = manifest.image.digest.to_string();
    let image = Component::new(
        Classification::OperatingSystem,
        &manifest.name,
        &digest,
        Some(manifest.image.file.clone()),
    );
    let serial_number = Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        format!("{SERIAL_NUMBERS}{digest}").as_bytes(),
    );
    let bom = Bom {
        serial_number: Some(UrnUuid::from(serial_number)),
        metadata: Some(Metadata {
            component: Some(image),
            ..Metadata::default()
        }),
        components: Some(Components(components.into_values().collect())),
        ..Bom::default()
    };
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json)?;
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
        // The crate leaves it as it is, and the specification does not.
        .replace('+', "%2B");
    let mut component = Component::new(
        Classification::Library,
        &package.name,
        &full_version,
        Some(url.clone()),
    );
    component.purl = url.parse().ok();
    Ok(component)
}
