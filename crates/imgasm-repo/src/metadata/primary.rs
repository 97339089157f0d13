//! `primary.xml`: the packages of a repository, and what they depend on.

use std::borrow::Cow;
use std::io::BufRead;

use super::xml::{self, Attributes, Visitor};
use crate::names::{Id, Names};
use crate::package::{Available, Package, Relation, Relations};
use imgasm_block::Digest;
use imgasm_guest::packages::version::sense;

/// The most packages that a repository may have.
const MAX_PACKAGES: usize = 1_000_000;

/// Reads the packages of the repository with this number.
///
/// # Errors
/// What is wrong with the file.
pub fn read(
    reader: impl BufRead,
    names: &mut Names,
    repository: usize,
) -> Result<Vec<Package>, String> {
    let mut primary = Primary {
        names,
        repository,
        packages: Vec::new(),
        draft: None,
        list: None,
        is_sha256: false,
    };
    xml::read(reader, "metadata", &mut primary)?;
    Ok(primary.packages)
}

/// Whether the file names all packages that have a file at this path: only such paths are in it.
pub fn lists(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

/// The attributes of a version.
const VERSION: [&str; 3] = ["epoch", "ver", "rel"];

/// `[epoch:]version[-release]`, without an epoch of 0.
pub(super) fn full_version(attributes: &Attributes<'_>) -> Result<String, String> {
    Ok(joined(attributes.all(VERSION)?))
}

/// An epoch, a version and a release as one text.
pub(super) fn joined([epoch, version, release]: [Option<Cow<'_, str>>; 3]) -> String {
    let mut text = String::new();
    if let Some(epoch) = epoch.filter(|epoch| epoch != "0" && !epoch.is_empty()) {
        text.push_str(&epoch);
        text.push(':');
    }
    text.push_str(&version.unwrap_or_default());
    if let Some(release) = release.filter(|release| !release.is_empty()) {
        text.push('-');
        text.push_str(&release);
    }
    text
}

struct Primary<'n> {
    names: &'n mut Names,
    repository: usize,
    packages: Vec<Package>,
    draft: Option<Draft>,
    list: Option<List>,
    is_sha256: bool,
}

/// A package as far as it has been read.
#[derive(Default)]
struct Draft {
    name: Option<Id>,
    version: Option<Id>,
    arch: Option<Id>,
    relations: Relations,
    files: Vec<Id>,
    location: Option<String>,
    sha256: Option<Digest>,
    size: Option<u64>,
    source: String,
}

/// The lists of relations that are read.
#[derive(Clone, Copy)]
enum List {
    Requires,
    Provides,
    Conflicts,
    Obsoletes,
    Recommends,
    Supplements,
}

impl List {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "requires" => Self::Requires,
            "provides" => Self::Provides,
            "conflicts" => Self::Conflicts,
            "obsoletes" => Self::Obsoletes,
            "recommends" => Self::Recommends,
            "supplements" => Self::Supplements,
            _ => return None,
        })
    }

    fn of(self, relations: &mut Relations) -> &mut Vec<Relation> {
        match self {
            Self::Requires => &mut relations.requires,
            Self::Provides => &mut relations.provides,
            Self::Conflicts => &mut relations.conflicts,
            Self::Obsoletes => &mut relations.obsoletes,
            Self::Recommends => &mut relations.recommends,
            Self::Supplements => &mut relations.supplements,
        }
    }
}

impl Primary<'_> {
    fn relation(&mut self, attributes: &Attributes<'_>) -> Result<Relation, String> {
        let [name, flags, epoch, version, release] =
            attributes.all(["name", "flags", VERSION[0], VERSION[1], VERSION[2]])?;
        let flags = match flags.as_deref() {
            Some("EQ") => sense::EQUAL,
            Some("LT") => sense::LESS,
            Some("GT") => sense::GREATER,
            Some("LE") => sense::LESS | sense::EQUAL,
            Some("GE") => sense::GREATER | sense::EQUAL,
            None | Some("") => 0,
            Some(other) => return Err(format!("`{other}` compares no versions")),
        };
        let version = if flags == 0 {
            Id::EMPTY
        } else {
            self.names.intern(&joined([epoch, version, release]))
        };
        let name = name.ok_or("an element has no `name`")?;
        Ok(Relation {
            name: self.names.intern(&name),
            flags: u8::try_from(flags).unwrap_or_default(),
            version,
        })
    }

    fn finish(&mut self, draft: Draft) -> Result<(), String> {
        let whole = || {
            Some(Package {
                name: draft.name?,
                version: draft.version?,
                arch: draft.arch?,
                relations: draft.relations,
                files: draft.files,
                available: Some(Available {
                    repository: Some(self.repository),
                    location: draft.location?,
                    sha256: draft.sha256?,
                    size: draft.size?,
                    source: draft.source,
                }),
            })
        };
        let package = whole()
            .ok_or("a package lacks its name, version, architecture, location, size or SHA-256")?;
        if self.names.text(package.arch) != "src" {
            self.packages.push(package);
        }
        if self.packages.len() > MAX_PACKAGES {
            return Err(format!("it has more than {MAX_PACKAGES} packages"));
        }
        Ok(())
    }
}

impl Visitor for Primary<'_> {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        if name == "package" {
            self.draft = Some(Draft::default());
        } else if let Some(list) = List::named(name) {
            self.list = Some(list);
        } else if name == "entry" {
            if let Some(list) = self.list {
                let relation = self.relation(attributes)?;
                if let Some(draft) = &mut self.draft {
                    list.of(&mut draft.relations).push(relation);
                }
            }
        } else if let Some(draft) = &mut self.draft {
            match name {
                "version" => {
                    draft.version = Some(self.names.intern(&full_version(attributes)?));
                }
                "checksum" => self.is_sha256 = attributes.get("type")?.as_deref() == Some("sha256"),
                "size" => {
                    let size = attributes.wanted("package")?;
                    let size = size.parse();
                    draft.size = Some(size.map_err(|_| "the size of a package is no number")?);
                }
                "location" => {
                    let place = attributes.wanted("href")?;
                    draft.location = Some(match attributes.get("base")? {
                        Some(base) => crate::transport::join(&base, &place),
                        None => place.into_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, name: &str, text: &str) -> Result<(), String> {
        if List::named(name).is_some() {
            self.list = None;
            return Ok(());
        }
        let Some(draft) = &mut self.draft else {
            return Ok(());
        };
        match name {
            "name" => draft.name = Some(self.names.intern(text)),
            "arch" => draft.arch = Some(self.names.intern(text)),
            "checksum" if self.is_sha256 => {
                let digest = text.trim().parse();
                draft.sha256 = Some(digest.map_err(|_| format!("`{text}` is no SHA-256"))?);
            }
            "sourcerpm" => text.clone_into(&mut draft.source),
            "file" => draft.files.push(self.names.intern(text)),
            "package" => {
                if let Some(draft) = self.draft.take() {
                    self.finish(draft)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
