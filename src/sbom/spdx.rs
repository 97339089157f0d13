//! A bill of materials as SPDX 2.3 (<https://spdx.github.io/spdx-spec/v2.3/>): a package for the image,
//! one for each package in it, and a file for each of the files.

#![allow(clippy::struct_field_names, reason = "the format has these names")]

use serde::Serialize;
use sha1::{Digest as _, Sha1};

use super::contents::{Contents, Listed};
use super::licence::Licence;
use super::{ADDRESS, Error};
use crate::manifest::Manifest;

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const UNKNOWN: &str = "NOASSERTION";

/// A document, with the properties that we use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    files: Vec<File>,
    relationships: Vec<Relationship>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<ExtractedLicense>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    version_info: String,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_verification_code: Option<VerificationCode>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationCode {
    package_verification_code_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "SPDXID")]
    id: String,
    file_name: String,
    checksums: [Checksum; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// Words of a licence that the format has no name for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtractedLicense {
    license_id: String,
    extracted_text: String,
    name: String,
}

impl Document {
    /// The document of a built image.
    ///
    /// # Errors
    /// [`Error::Time`] if the image's time is none that the format can hold.
    pub(super) fn new(manifest: &Manifest, contents: &Contents) -> Result<Self, Error> {
        let time = jiff::Timestamp::from_second(manifest.source_date_epoch);
        let digest = manifest.image.digest.to_string();
        let mut licences = Licences::default();
        let image = Package {
            primary_package_purpose: Some("OPERATING-SYSTEM"),
            ..package(IMAGE.to_owned(), &manifest.name, digest.clone())
        };
        let mut packages = vec![with_files(image, contents, &contents.unowned)];
        for (number, listed) in contents.packages.iter().enumerate() {
            let package = of_package(number, listed, &mut licences);
            packages.push(with_files(package, contents, &listed.files));
        }
        let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
        for package in &packages[1..] {
            relationships.push(relationship(IMAGE, "CONTAINS", &package.id));
        }
        let lists = contents.packages.iter().map(|listed| &listed.files);
        let lists = std::iter::once(&contents.unowned).chain(lists);
        for (package, places) in packages.iter().zip(lists) {
            let known = places
                .iter()
                .filter(|at| contents.files[**at].digests.is_some());
            let contains = known.map(|at| relationship(&package.id, "CONTAINS", &file_id(*at)));
            relationships.extend(contains);
        }
        let files = contents.files.iter().enumerate();
        let files = files.filter_map(|(number, file)| {
            let digests = file.digests.as_ref()?;
            let checksum = |algorithm, value: &dyn ToString| Checksum {
                algorithm,
                checksum_value: value.to_string(),
            };
            Some(File {
                id: file_id(number),
                file_name: format!(".{}", file.path),
                checksums: [
                    checksum("SHA1", &digests.sha1),
                    checksum("SHA256", &digests.sha256),
                ],
            })
        });
        Ok(Self {
            spdx_version: "SPDX-2.3",
            data_license: "CC0-1.0",
            id: DOCUMENT,
            name: manifest.name.clone(),
            document_namespace: format!("{ADDRESS}{digest}"),
            creation_info: CreationInfo {
                created: time.map_err(Error::Time)?.to_string(),
                creators: vec![concat!("Tool: imgasm-", env!("CARGO_PKG_VERSION")).to_owned()],
            },
            packages,
            files: files.collect(),
            relationships,
            has_extracted_licensing_infos: licences.extracted(),
        })
    }
}

fn file_id(number: usize) -> String {
    format!("SPDXRef-File-{number}")
}

fn relationship(from: &str, kind: &'static str, to: &str) -> Relationship {
    Relationship {
        spdx_element_id: from.to_owned(),
        relationship_type: kind,
        related_spdx_element: to.to_owned(),
    }
}

/// A package of which only the names are known.
fn package(id: String, name: &str, version_info: String) -> Package {
    Package {
        id,
        name: name.to_owned(),
        version_info,
        download_location: UNKNOWN,
        files_analyzed: false,
        package_verification_code: None,
        license_concluded: UNKNOWN,
        license_declared: UNKNOWN.to_owned(),
        copyright_text: UNKNOWN,
        primary_package_purpose: None,
        external_refs: Vec::new(),
    }
}

fn of_package(number: usize, listed: &Listed, licences: &mut Licences) -> Package {
    let declared = match &listed.licence {
        None => UNKNOWN.to_owned(),
        Some(Licence::Expression(text)) => text.clone(),
        Some(Licence::Words(texts)) => licences.expression(texts),
    };
    let id = format!("SPDXRef-Package-{number}");
    Package {
        license_declared: declared,
        external_refs: vec![ExternalRef {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: listed.url.clone(),
        }],
        ..package(id, &listed.package.name, listed.package.full_version())
    }
}

/// The package with these files, if it has some: then a code stands for all of them.
fn with_files(package: Package, contents: &Contents, places: &[usize]) -> Package {
    let files = places.iter().map(|at| &contents.files[*at]);
    let digests = files.filter_map(|file| Some(file.digests.as_ref()?.sha1.as_str()));
    let mut digests: Vec<&str> = digests.collect();
    if digests.is_empty() {
        return package;
    }
    digests.sort_unstable();
    let code = Sha1::digest(digests.concat());
    Package {
        files_analyzed: true,
        package_verification_code: Some(VerificationCode {
            package_verification_code_value: hex::encode(code),
        }),
        ..package
    }
}

/// The words of licences, each of which gets a name of its own in the document.
#[derive(Default)]
struct Licences {
    words: Vec<String>,
}

impl Licences {
    /// The expression of several such words.
    fn expression(&mut self, texts: &[String]) -> String {
        let names = texts.iter().map(|text| self.name(text));
        names.collect::<Vec<_>>().join(" AND ")
    }

    fn name(&mut self, text: &str) -> String {
        let known = self.words.iter().position(|word| word == text);
        let place = known.unwrap_or_else(|| {
            self.words.push(text.to_owned());
            self.words.len() - 1
        });
        format!("LicenseRef-{place}")
    }

    fn extracted(self) -> Vec<ExtractedLicense> {
        let words = self.words.into_iter().enumerate();
        let extracted = words.map(|(place, text)| ExtractedLicense {
            license_id: format!("LicenseRef-{place}"),
            extracted_text: text.clone(),
            name: text,
        });
        extracted.collect()
    }
}
