//! `updateinfo.xml`: advisories, which say why there are newer packages. It is long, and only those are
//! kept that tell of a package which becomes newer.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

use super::primary::joined;
use super::xml::{self, Attributes, Visitor};
use imgasm_guest::packages::version::compare;

/// The most bytes of what an advisory is called by.
const MAX_ID: usize = 256;
/// The most bytes of a severity; the words that distributions have for it are shorter.
const MAX_SEVERITY: usize = 20;
/// The most that advisories tell of the packages of one system. In years, distributions have a tenth of it.
const MAX_FOUND: usize = 100_000;

/// A package that becomes newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The architecture that the new one is for.
    pub arch: String,
    /// `[epoch:]version-release` that is installed.
    pub from: String,
    /// `[epoch:]version-release` that it becomes.
    pub to: String,
}

/// What an advisory is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A weakness that somebody could use.
    Security,
    /// Something that was wrong.
    Bugfix,
    /// Something that can be done now.
    Enhancement,
    /// A package that there was not.
    NewPackage,
    /// Whatever else.
    Unknown,
}

/// An advisory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// What it is called by.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// How much that matters, in a word of the distribution's.
    pub severity: Option<String>,
}

/// `ID KIND SEVERITY`.
impl fmt::Display for Advisory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.kind {
            Kind::Security => f.write_str(" security")?,
            Kind::Bugfix => f.write_str(" bugfix")?,
            Kind::Enhancement => f.write_str(" enhancement")?,
            Kind::NewPackage => f.write_str(" newpackage")?,
            Kind::Unknown => {}
        }
        match &self.severity {
            Some(severity) => write!(f, " {severity}"),
            None => Ok(()),
        }
    }
}

/// Whether a stream of a module is active, by the names of both and what it was built for.
pub type IsActive<'m> = dyn Fn(&str, &str, &str) -> bool + 'm;

/// Reads which advisories tell of these changes: each with the numbers of the changes, in the order of
/// the file.
///
/// # Errors
/// What is wrong with the file.
pub fn read(
    reader: impl BufRead,
    changes: &[Change],
    is_active: &IsActive<'_>,
) -> Result<Vec<(Advisory, Vec<usize>)>, String> {
    let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
    for (number, change) in changes.iter().enumerate() {
        let name = (change.name.as_str(), change.arch.as_str());
        by_name.entry(name).or_default().push(number);
    }
    let mut updates = Updates {
        changes,
        by_name,
        is_active,
        path: Vec::new(),
        draft: Draft::default(),
        collection: Collection::default(),
        found: Vec::new(),
        count: 0,
    };
    xml::read(reader, "updates", &mut updates)?;
    Ok(updates.found)
}

/// The elements that count, each in the one before it that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Updates,
    Update,
    Id,
    Severity,
    PackageList,
    Collection,
    Module,
    Package,
    /// What counts nowhere, with all that is in it.
    Other,
}

impl Element {
    fn within(parent: Option<Self>, name: &str) -> Self {
        match (parent, name) {
            (None, "updates") => Self::Updates,
            (Some(Self::Updates), "update") => Self::Update,
            (Some(Self::Update), "id") => Self::Id,
            (Some(Self::Update), "severity") => Self::Severity,
            (Some(Self::Update), "pkglist") => Self::PackageList,
            (Some(Self::PackageList), "collection") => Self::Collection,
            (Some(Self::Collection), "module") => Self::Module,
            (Some(Self::Collection), "package") => Self::Package,
            _ => Self::Other,
        }
    }
}

/// An advisory as far as it has been read.
#[derive(Default)]
struct Draft {
    id: String,
    kind: Option<Kind>,
    severity: Option<String>,
    changes: Vec<usize>,
}

/// Packages that an advisory tells of together.
#[derive(Default)]
struct Collection {
    changes: Vec<usize>,
    /// Whether it is for streams of modules.
    is_modular: bool,
    /// Whether one of these is active.
    is_active: bool,
}

struct Updates<'c> {
    changes: &'c [Change],
    by_name: HashMap<(&'c str, &'c str), Vec<usize>>,
    is_active: &'c IsActive<'c>,
    /// The elements that are open.
    path: Vec<Element>,
    draft: Draft,
    collection: Collection,
    found: Vec<(Advisory, Vec<usize>)>,
    /// How much has been found.
    count: usize,
}

impl Updates<'_> {
    /// Notes the changes that bring this package, or a newer one.
    fn package(&mut self, attributes: &Attributes<'_>) -> Result<(), String> {
        let [name, arch, epoch, version, release] =
            attributes.all(["name", "arch", "epoch", "version", "release"])?;
        let name = (&*name.unwrap_or_default(), &*arch.unwrap_or_default());
        let Some(numbers) = self.by_name.get(&name) else {
            return Ok(());
        };
        let version = joined([epoch, version, release]);
        for number in numbers {
            let Change { from, to, .. } = &self.changes[*number];
            if compare(&version, from).is_gt() && compare(&version, to).is_le() {
                self.count += 1;
                self.collection.changes.push(*number);
            }
        }
        if self.count > MAX_FOUND {
            return Err(format!(
                "its advisories tell of more than {MAX_FOUND} packages"
            ));
        }
        Ok(())
    }

    fn finish(&mut self, draft: Draft) -> Result<(), String> {
        let Draft {
            id,
            kind,
            severity,
            mut changes,
        } = draft;
        if changes.is_empty() {
            return Ok(());
        }
        if id.is_empty() {
            return Err("an advisory has no `id`".to_owned());
        }
        changes.sort_unstable();
        changes.dedup();
        let kind = kind.unwrap_or(Kind::Unknown);
        self.found.push((Advisory { id, kind, severity }, changes));
        Ok(())
    }
}

impl Visitor for Updates<'_> {
    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        let element = Element::within(self.path.last().copied(), name);
        self.path.push(element);
        match element {
            Element::Update => {
                let kind = attributes.get("type")?;
                self.draft = Draft {
                    kind: kind.as_deref().and_then(kind_named),
                    ..Draft::default()
                };
            }
            Element::Collection => self.collection = Collection::default(),
            Element::Module => {
                let names = attributes.all(["name", "stream", "context"])?;
                self.collection.is_modular = true;
                if let [Some(name), Some(stream), Some(context)] = names {
                    self.collection.is_active |= (self.is_active)(&name, &stream, &context);
                }
            }
            Element::Package => self.package(attributes)?,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &str, text: &str) -> Result<(), String> {
        match self.path.pop() {
            Some(Element::Id) => {
                text.trim().clone_into(&mut self.draft.id);
                if self.draft.id.len() > MAX_ID {
                    return Err(format!(
                        "the `id` of an advisory has more than {MAX_ID} bytes"
                    ));
                }
            }
            Some(Element::Severity) => {
                let severity = text.trim().to_lowercase();
                let is_one = !severity.is_empty() && severity.len() <= MAX_SEVERITY;
                self.draft.severity = is_one.then_some(severity);
            }
            Some(Element::Collection) => {
                let Collection {
                    changes,
                    is_modular,
                    is_active,
                } = std::mem::take(&mut self.collection);
                if is_active || !is_modular {
                    self.draft.changes.extend(changes);
                }
            }
            Some(Element::Update) => {
                let draft = std::mem::take(&mut self.draft);
                self.finish(draft)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn kind_named(text: &str) -> Option<Kind> {
    Some(match text {
        "security" => Kind::Security,
        "bugfix" => Kind::Bugfix,
        "enhancement" => Kind::Enhancement,
        "newpackage" => Kind::NewPackage,
        _ => return None,
    })
}
