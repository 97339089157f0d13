//! `package`: packages that are to be installed, by their files or by name, or removed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::{Context, Error};
use crate::config::readings::Readings;
use crate::config::{self, Boundary, ProjectPath};
use crate::overlay::files::{Named, named};
use imgasm_block::Digest;
use imgasm_guest::packages::digests::Algorithm;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::signature::KeyFile;
use imgasm_guest::packages::{self, Request, Scriptlets, Unwritable};

/// What is wrong with a `sha256` or a `signature` of a pattern.
const DIGEST_OF_MANY: &str =
    "is a pattern, and `sha256` and `signature` are those of one file; `keyring` fits all";

/// What is wrong with a `signature` without `keyring`.
pub const SIGNATURE_OF_NOBODY: &str = "is a signature, and no `keyring` says whose it has to be";

/// Installs packages, and removes others.
///
/// The files of a step are installed where the step is, all together. What it names goes into the lock
/// of the recipe, with what the recipe itself wishes for, and comes and goes before the overlays.
#[derive(Debug, Clone)]
pub struct Packages {
    install: Vec<Item>,
    remove: Vec<String>,
}

/// A package that is to be installed.
#[derive(Debug, Clone)]
pub enum Item {
    /// One that is wished for, in the words of `[packages] install`.
    Name(String),
    /// Its file, or a pattern of files.
    File(PackageFile),
}

/// The step with what is to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    #[serde(default)]
    install: Vec<Item>,
    #[serde(default)]
    remove: Vec<String>,
}

impl<'de> Deserialize<'de> for Packages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrTable;

        impl<'de> Visitor<'de> for ListOrTable {
            type Value = Packages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of packages, or a table with `install` and `remove`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Packages, A::Error> {
                let install = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                let remove = Vec::new();
                Ok(Packages { install, remove })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Packages, A::Error> {
                let Keys { install, remove } =
                    Keys::deserialize(MapAccessDeserializer::new(table))?;
                Ok(Packages { install, remove })
            }
        }

        deserializer.deserialize_any(ListOrTable)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrFile;

        impl<'de> Visitor<'de> for NameOrFile {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a package, or a table with the `path` of its file")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Item, E> {
                Ok(Item::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Item, A::Error> {
                PackageFile::deserialize(MapAccessDeserializer::new(table)).map(Item::File)
            }
        }

        deserializer.deserialize_any(NameOrFile)
    }
}

/// An RPM file as it is named: by an overlay, or by a recipe, which can name more kinds of places.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFile<P = ProjectPath> {
    /// Where it is.
    pub path: P,
    /// The digest that it must have, if it is given.
    pub sha256: Option<Digest>,
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

impl<P> PackageFile<P> {
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
            nevra: None,
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
    /// The files that it names.
    fn files(&self) -> impl Iterator<Item = &ProjectPath> {
        let beside = self.keyring.iter().chain(&self.signature);
        std::iter::once(&self.path).chain(beside)
    }

    /// What it asks for: one file, or all that its pattern matches. Its paths are relative to `folder`.
    ///
    /// # Errors
    /// If its files are missing, are no files or lie outside; for a signature without keys; and for a
    /// pattern with a digest or a signature, which are those of one file.
    fn requests(
        &self,
        folder: &Path,
        boundary: &Boundary,
        readings: &Readings,
    ) -> Result<Vec<Request>, Error> {
        let unusable = |path: &Path, problem: &str| config::Error::Unusable {
            path: folder.join(path),
            problem: problem.to_owned(),
        };
        let path = self.path.as_path();
        let signature = self.signature.as_ref().map(ProjectPath::as_path);
        if let Some(signature) = signature.filter(|_| self.keyring.is_none()) {
            return Err(unusable(signature, SIGNATURE_OF_NOBODY).into());
        }
        let beside = [
            self.keyring(folder),
            signature.map(|path| folder.join(path)),
        ];
        let files = match named(folder, path, readings)? {
            Named::One(file) => vec![file],
            Named::Matching(_) if self.sha256.is_some() || signature.is_some() => {
                return Err(unusable(path, DIGEST_OF_MANY).into());
            }
            Named::Matching(files) => files,
        };
        for file in files.iter().chain(beside.iter().flatten()) {
            boundary.check_file(file)?;
        }
        let [_, signature] = beside;
        let request = |file: PathBuf| {
            let sha256 = match self.sha256 {
                Some(sha256) => sha256,
                None => config::digest::file(boundary, &file)?,
            };
            // A package is hashed once more as it is unpacked.
            readings.whole(&file, sha256);
            Ok(self.request_for(folder, file, sha256, signature.clone()))
        };
        files.into_iter().map(request).collect()
    }
}

impl Packages {
    /// What is wished for by name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.install.iter().filter_map(|item| match item {
            Item::Name(name) => Some(name.as_str()),
            Item::File(_) => None,
        })
    }

    /// The names of what is to go.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &str> {
        self.remove.iter().map(String::as_str)
    }

    fn files(&self) -> impl Iterator<Item = &PackageFile> {
        self.install.iter().filter_map(|item| match item {
            Item::Name(_) => None,
            Item::File(file) => Some(file),
        })
    }

    /// The RPM files, the keys and the signatures.
    pub(super) fn host_files(&self) -> impl Iterator<Item = &Path> {
        let files = self.files().flat_map(PackageFile::files);
        files.map(ProjectPath::as_path)
    }

    /// Installs the files. What is named is there already.
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let boundary = Boundary::of_folder(context.folder)?;
        let mut requests = Vec::new();
        for file in self.files() {
            requests.extend(file.requests(context.folder, &boundary, context.readings)?);
        }
        let Some(unwritable) = self.files().map(PackageFile::unwritable).min() else {
            return Ok(());
        };
        let (editor, facts, now) = (&mut *context.editor, context.facts, context.now);
        let outcomes = packages::install(editor, facts, now, &requests, unwritable)?;
        context.packages.extend(outcomes);
        Ok(())
    }
}
