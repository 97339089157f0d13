//! Whether expectations hold.

use std::cell::OnceCell;

use super::super::{CheckResult, Error, Findings, results};
use super::{Expectation, PackageVersion, PathExpectation};
use crate::config::Account;
use imgasm_fs::tree::{self, LastLink, Place, locate, read_file};
use imgasm_fs::{FileSystem, FileType, Metadata, digest};
use imgasm_guest::keyfile;
use imgasm_guest::packages::{self, Package};
use imgasm_guest::{Accounts, services};

/// The largest file whose content is looked at, in bytes.
const CONTENT_LIMIT: u64 = 64 << 20;

/// Where the versions of packages come from.
pub trait Packages {
    /// The version of an installed package, with its release behind a `-` if it has one; `None` if
    /// it is not installed.
    ///
    /// # Errors
    /// Why it is unknown.
    fn version(&self, name: &str) -> Result<Option<String>, String>;
}

/// The packages in an image's own database, which is read when it is first needed.
pub struct InstalledPackages<'a> {
    fs: &'a dyn FileSystem,
    packages: OnceCell<Result<Vec<Package>, String>>,
}

impl<'a> InstalledPackages<'a> {
    /// The packages of the system with this root filesystem.
    pub fn of(fs: &'a dyn FileSystem) -> Self {
        let packages = OnceCell::new();
        Self { fs, packages }
    }
}

impl Packages for InstalledPackages<'_> {
    /// Of several installed versions, the newest counts.
    fn version(&self, name: &str) -> Result<Option<String>, String> {
        let packages = self.packages.get_or_init(|| match packages::open(self.fs) {
            Ok(Some(packages)) => Ok(packages),
            Ok(None) => Err("the image has no database of packages".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        let packages = packages.as_ref().map_err(Clone::clone)?;
        let named = packages.iter().filter(|package| package.name == name);
        let newest = named.max_by(|one, other| one.compare(other));
        Ok(newest.map(Package::version_and_release))
    }
}

/// Checks expectations of one image.
pub struct Evaluator<'a> {
    /// Its root filesystem.
    pub fs: &'a dyn FileSystem,
    /// Its packages.
    pub packages: &'a dyn Packages,
}

impl Evaluator<'_> {
    /// Whether `expectation` holds.
    pub fn check(&self, expectation: &Expectation) -> Vec<CheckResult> {
        let findings = match expectation {
            Expectation::Path(expected) => self.path(expected),
            Expectation::Service { name, state } => self.service(name, state),
            Expectation::Package { name, version } => Ok(self.package(name, version)),
        };
        results(&expectation.to_string(), findings)
    }

    fn service(&self, name: &str, expected: &str) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        let state = services::state(self.fs, name)?.to_string();
        if state != expected {
            findings.problem(format!("it is {state}"));
        }
        Ok(findings)
    }

    fn package(&self, name: &str, expected: &PackageVersion) -> Findings {
        let mut findings = Findings::default();
        match (self.packages.version(name), expected) {
            (Err(problem), _) => findings.problem(problem),
            (Ok(None), PackageVersion::Absent) | (Ok(Some(_)), PackageVersion::Any) => {}
            (Ok(None), _) => findings.problem("it is not installed"),
            (Ok(Some(version)), PackageVersion::Is(expected)) => {
                let without_release = version.rsplit_once('-').map(|(version, _)| version);
                if version != *expected && without_release != Some(expected) {
                    findings.problem(format!("it has version {version}"));
                }
            }
            (Ok(Some(version)), PackageVersion::Absent) => {
                findings.problem(format!("version {version} is installed"));
            }
        }
        findings
    }

    fn path(&self, expected: &PathExpectation) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        let is_link_meant =
            expected.target.is_some() || expected.file_type == Some(FileType::Symlink);
        // What must not be there must not be a dangling link either.
        let last = if is_link_meant || !expected.is_there {
            LastLink::Keep
        } else {
            LastLink::Follow
        };
        let place = match locate(self.fs, &expected.path, last) {
            Ok(place) => Some(place),
            Err(tree::Error::NotFound { .. } | tree::Error::WrongType { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let found = place.and_then(|place| place.node.map(|node| (place, node)));
        let (place, node) = match (found, expected.is_there) {
            (None, false) => return Ok(findings),
            (Some(_), false) => {
                findings.problem("it exists");
                return Ok(findings);
            }
            (None, true) => {
                findings.problem("it does not exist");
                return Ok(findings);
            }
            (Some(found), true) => found,
        };
        let failed = |source| tree::Error::FileSystem {
            action: "read",
            path: place.path.clone(),
            source,
        };
        let metadata = self.fs.metadata(node).map_err(failed)?;
        self.attributes(expected, &metadata, &mut findings)?;
        if let Some(target) = &expected.target {
            if metadata.file_type == FileType::Symlink {
                let found = self.fs.read_link(node).map_err(failed)?;
                if found != target.as_bytes() {
                    let found = String::from_utf8_lossy(&found).into_owned();
                    findings.problem(format!("it leads to {found}"));
                }
            } else {
                findings.problem(format!("it is {}", metadata.file_type.article_and_name()));
            }
        }
        self.content(expected, &place, &mut findings)?;
        Ok(findings)
    }

    fn attributes(
        &self,
        expected: &PathExpectation,
        metadata: &Metadata,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if expected
            .file_type
            .is_some_and(|kind| kind != metadata.file_type)
        {
            findings.problem(format!("it is {}", metadata.file_type.article_and_name()));
        }
        if expected
            .mode
            .is_some_and(|mode| mode.0 != metadata.permissions)
        {
            findings.problem(format!("it has mode {:04o}", metadata.permissions));
        }
        if expected.size.is_some_and(|size| size != metadata.size) {
            findings.problem(format!("it has {} bytes", metadata.size));
        }
        let accounts = Accounts::read(self.fs)?;
        let wanted = [
            (&expected.owner, metadata.uid, "owner"),
            (&expected.group, metadata.gid, "group"),
        ];
        for (account, found, kind) in wanted {
            let number = match account {
                None => continue,
                Some(Account::Number(number)) => Some(*number),
                Some(Account::Name(name)) if kind == "owner" => {
                    accounts.user(name).map(|user| user.uid)
                }
                Some(Account::Name(name)) => accounts.group(name).map(|group| group.gid),
            };
            match number {
                None => findings.problem(format!("the image has no such {kind}")),
                Some(number) if number != found => {
                    findings.problem(format!("it has the {kind} {found}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn content(
        &self,
        expected: &PathExpectation,
        place: &Place,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if let (Some(digest), Some(node)) = (&expected.sha256, place.node) {
            let found = digest::sha256(self.fs, node, &place.path)?.to_string();
            if !found.eq_ignore_ascii_case(digest) {
                findings.problem(format!("its SHA-256 is {found}"));
            }
        }
        let key = expected.key.as_ref();
        if expected.contains.is_none() && expected.matches.is_none() && key.is_none() {
            return Ok(());
        }
        let content = read_file(self.fs, &place.path, CONTENT_LIMIT)?;
        if let Some(text) = &expected.contains
            && !is_within(text.as_bytes(), &content)
        {
            findings.problem("it does not contain that");
        }
        if let Some(regex) = &expected.matches
            && !regex.is_match(&content)
        {
            findings.problem("it does not match");
        }
        if let Some(key) = key {
            // A key has the value already if setting it changes nothing.
            match keyfile::set(key.format, &content, &key.key, &key.value) {
                Ok(same) if same == content => {}
                Ok(_) => findings.problem("the key is missing or has another value"),
                Err(error) => findings.problem(error.to_string()),
            }
        }
        Ok(())
    }
}

fn is_within(text: &[u8], content: &[u8]) -> bool {
    text.is_empty() || content.windows(text.len()).any(|window| window == text)
}
