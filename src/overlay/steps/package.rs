//! `package`: RPM files that are to be installed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Context, Error};
use crate::config::{self, Boundary, ProjectPath};
use imgasm_block::Digest;
use imgasm_guest::packages::digests::Algorithm;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::signature::KeyFile;
use imgasm_guest::packages::{self, Request, Scriptlets, Unwritable};

/// What is wrong with a `signature` without `keyring`.
pub const SIGNATURE_OF_NOBODY: &str = "is a signature, and no `keyring` says whose it has to be";

/// Installs RPM files, all of the list together, and records them in the image's database.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Packages(Vec<PackageFile>);

/// An RPM file as it is named: by an overlay, or by a recipe, which can name more kinds of places and
/// leave the digest to the lock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile<P = ProjectPath, D = Digest> {
    /// Where it is.
    pub path: P,
    /// The digest that it must have.
    pub sha256: D,
    /// A file with armoured public keys, one of which must have signed it.
    keyring: Option<ProjectPath>,
    /// A file with their signature over all of it, if it holds none itself.
    pub signature: Option<P>,
    /// The broken digest algorithms that its signature and the keys may use all the same.
    #[serde(default)]
    weak_digests: Vec<WeakDigest>,
    /// Whether its dependencies are ignored.
    #[serde(default)]
    pub nodeps: bool,
    /// What is done about scripts that cannot be carried out.
    #[serde(default)]
    scriptlets: Scriptlets,
    #[serde(default)]
    database: Database,
}

/// A digest algorithm that signatures must not use, unless it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WeakDigest {
    Md5,
    Sha1,
}

/// What is done if the database cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Database {
    /// Nothing is installed.
    #[default]
    Refuse,
    /// It is recorded in a file beside the database.
    SideFile,
}

impl Database {
    /// The same in the words of those who install.
    pub fn unwritable(self) -> Unwritable {
        match self {
            Self::Refuse => Unwritable::Refuse,
            Self::SideFile => Unwritable::SideFile,
        }
    }
}

impl<P, D> PackageFile<P, D> {
    /// What it asks for, if it is this file with this signature; its keys are relative to `folder`.
    pub fn request_for(
        &self,
        folder: &Path,
        path: PathBuf,
        sha256: Digest,
        signature: Option<PathBuf>,
    ) -> Request {
        Request {
            path,
            sha256,
            keyrings: self
                .keyring(folder)
                .map(KeyFile::Host)
                .into_iter()
                .collect(),
            signature,
            weak_digests: self
                .weak_digests
                .iter()
                .map(|weak| match weak {
                    WeakDigest::Md5 => Algorithm::MD5,
                    WeakDigest::Sha1 => Algorithm::SHA1,
                })
                .collect(),
            nodeps: self.nodeps,
            scriptlets: self.scriptlets,
            reason: Reason::User,
            repository: None,
        }
    }

    /// The file with the keys of which one must have signed it.
    pub fn keyring(&self, folder: &Path) -> Option<PathBuf> {
        let keyring = self.keyring.as_ref()?;
        Some(folder.join(keyring.as_path()))
    }

    /// What it wants done if the database cannot be written.
    pub fn unwritable(&self) -> Unwritable {
        self.database.unwritable()
    }
}

impl PackageFile {
    /// What it asks for; its paths are relative to `folder`.
    fn request(&self, folder: &Path) -> Request {
        let signature = self.signature.as_ref();
        let signature = signature.map(|signature| folder.join(signature.as_path()));
        let path = folder.join(self.path.as_path());
        self.request_for(folder, path, self.sha256, signature)
    }

    /// The files that it names.
    fn files(&self) -> impl Iterator<Item = &ProjectPath> {
        let beside = self.keyring.iter().chain(&self.signature);
        std::iter::once(&self.path).chain(beside)
    }

    /// Makes sure that its files lie inside and are files.
    ///
    /// # Errors
    /// As [`Boundary::check_file`], and for a signature without keys.
    fn check(&self, folder: &Path, boundary: &Boundary) -> config::Result<()> {
        for file in self.files() {
            boundary.check_file(&folder.join(file.as_path()))?;
        }
        match &self.signature {
            Some(signature) if self.keyring.is_none() => Err(config::Error::Unusable {
                path: folder.join(signature.as_path()),
                problem: SIGNATURE_OF_NOBODY.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Packages {
    /// The digests of those that nobody has to have signed.
    pub(crate) fn unsigned(&self) -> Vec<Digest> {
        let unsigned = self.0.iter().filter(|file| file.keyring.is_none());
        unsigned.map(|file| file.sha256).collect()
    }

    /// The RPM files, the keys and the signatures.
    pub(super) fn host_files(&self) -> impl Iterator<Item = &Path> {
        let files = self.0.iter().flat_map(PackageFile::files);
        files.map(ProjectPath::as_path)
    }

    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let boundary = Boundary::of_folder(context.folder)?;
        for file in &self.0 {
            file.check(context.folder, &boundary)?;
        }
        let requests = self.0.iter().map(|file| file.request(context.folder));
        let requests: Vec<_> = requests.collect();
        let unwritable = self.0.iter().map(PackageFile::unwritable).min();
        let outcomes = packages::install(
            context.editor,
            context.facts,
            context.now,
            &requests,
            unwritable.unwrap_or_default(),
        )?;
        context.packages.extend(outcomes);
        Ok(())
    }
}
