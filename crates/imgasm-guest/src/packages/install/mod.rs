//! Installing RPM files, all of a request together.
//!
//! - [`candidate`]: a package file that is to be installed.
//! - [`world`]: the packages that are installed, before and after; [`folders`]: where their files lie.
//! - [`requirements`]: whether dependencies are met and files agree.
//! - [`order`], [`tsort`]: which package comes before which.
//! - [`course`]: what happens when, from the first script to the last.
//! - [`content`], [`ways`]: laying the files.
//! - [`omissions`]: the files that the image's own configuration leaves out.
//! - [`plan`], [`fate`]: what becomes of those that are there; [`existing`]: which those are.
//! - [`accounts`]: the users and groups that a package brings.
//! - [`scriptlets`], [`shell`]: scripts, carried out without running them.
//! - [`triggers`]: those that run because of other packages.
//! - [`deferred`]: those that wait for the first boot.

mod accounts;
pub mod candidate;
mod content;
mod course;
mod deferred;
mod existing;
pub mod fate;
mod folders;
mod omissions;
mod order;
mod plan;
mod requirements;
mod scriptlets;
mod shell;
mod triggers;
mod tsort;
mod ways;
mod world;

use std::path::PathBuf;

use candidate::Candidate;
use course::Course;
use omissions::Omissions;
use scriptlets::Scripts;
pub use scriptlets::{Override, Script, Scriptlets, Verdict};
pub(super) use world::World;

use super::database::{Database, Record};
use super::digests::Algorithm;
use super::file_list::states;
use super::header::{Header, Value};
use super::history::{self, Reason};
use super::signature::KeyFile;
use super::{Error, Package, tags};
use crate::{Arch, Facts};
use imgasm_block::Digest;
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// The colour of transactions where programs of 32 and of 64 bit may be installed, which RPM's
/// macros set for `x86_64`.
const BOTH: u32 = 3;

/// A package file that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where it is on the host.
    pub path: PathBuf,
    /// The digest that it must have.
    pub sha256: Digest,
    /// Which package it must be, as [`Package::nevra`] names it, if that was announced.
    pub nevra: Option<String>,
    /// The files with the public keys of which one must have signed it; without any, nobody need
    /// have.
    pub keyrings: Vec<KeyFile>,
    /// The file with their signature over the whole file; without it, the package holds one.
    pub signature: Option<PathBuf>,
    /// The broken digest algorithms that its signature and the keys may rest on all the same.
    pub weak_digests: Vec<Algorithm>,
    /// Whether its dependencies are not looked at.
    pub nodeps: bool,
    /// What is done about scripts that cannot be carried out.
    pub scriptlets: Scriptlets,
    /// Why it is installed.
    pub reason: Reason,
    /// The name of the repository that it is from.
    pub repository: Option<String>,
}

/// What is wished for, beside packages that are to be installed.
#[derive(Clone, Copy, Default)]
pub struct Wishes<'w> {
    /// The installed packages that are to go, as [`Package::nevra`] names them.
    pub remove: &'w [String],
    /// Whether an older version may take the place of a newer one.
    pub allows_older: bool,
    /// What is done about scripts of the packages that go that cannot be carried out.
    pub scriptlets: Scriptlets,
    /// What is done in the place of scripts.
    pub overrides: &'w [Override<'w>],
}

/// What became of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// The packages that were to be installed, in order.
    pub installed: Vec<Outcome>,
    /// Those that went, and that nothing took the place of.
    pub removed: Vec<Removed>,
    /// The scripts, in the order in which they ran.
    pub scripts: Vec<Script>,
}

/// A package that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The package.
    pub package: Package,
    /// What RPM would have done that was not done, one line each.
    pub skipped: Vec<String>,
}

/// What to do where the image's database cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unwritable {
    /// Nothing is installed.
    #[default]
    Refuse,
    /// The packages are recorded in a file of their own.
    SideFile,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The package.
    pub package: Package,
    /// The digest of its file.
    pub sha256: Digest,
    /// Whether no key had to have signed it.
    pub unsigned: bool,
    /// Whether it was there already, so that nothing was done.
    pub was_present: bool,
    /// What RPM would have done that was not done, one line each.
    pub skipped: Vec<String>,
}

/// Installs packages, with `now` as the time of their installation. Those that are installed
/// already, in the same build, are left alone; older versions are replaced.
pub fn install(
    editor: &mut Editor<'_>,
    facts: &Facts,
    now: Timestamp,
    requests: &[Request],
    unwritable: Unwritable,
) -> Result<Vec<Outcome>, Error> {
    let wishes = Wishes::default();
    transact(editor, facts, now, requests, &wishes, unwritable).map(|done| done.installed)
}

/// As [`install`], and removes packages, all in one transaction.
pub fn transact(
    editor: &mut Editor<'_>,
    facts: &Facts,
    now: Timestamp,
    requests: &[Request],
    wishes: &Wishes<'_>,
    unwritable: Unwritable,
) -> Result<Done, Error> {
    let candidates = requests.iter().map(Candidate::open);
    let candidates = candidates.collect::<Result<Vec<_>, _>>()?;
    let database = Database::read(editor.fs())?.ok_or(Error::NoDatabase)?;
    let (present, mut new): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| {
        let mut records = database.records.iter();
        records.any(|record| candidate.is_recorded_as(&record.header))
    });
    let present: Vec<_> = present
        .iter()
        .map(|candidate| candidate.outcome(true, Vec::new()))
        .collect();
    let is_present = |name: &str| present.iter().any(|one| one.package.name == name);
    let mut done = Done::default();
    if !new.is_empty() || !wishes.remove.is_empty() {
        if !database.kind.is_writable() && unwritable == Unwritable::Refuse {
            return Err(Error::UnwritableDatabase {
                path: database.path,
                kind: database.kind,
            });
        }
        let omissions = Omissions::read(editor.fs())?;
        for candidate in &mut new {
            candidate.states = omissions.states(candidate);
        }
        let mut world = World::of(&database.records, &new, wishes)?;
        world.learn(editor.fs())?;
        let outcolored = match color(&database.records, facts.arch) {
            BOTH => requirements::outcolored(editor.fs(), &world)?,
            _ => Vec::new(),
        };
        if !outcolored.is_empty() {
            for (number, file) in outcolored {
                new[number].states[file] = states::WRONG_COLOR;
            }
            world = World::of(&database.records, &new, wishes)?;
            world.learn(editor.fs())?;
        }
        requirements::check_architectures(facts, &new)?;
        requirements::check_dependencies(&world)?;
        requirements::check_files(editor.fs(), &world)?;
        content::check_room(editor.fs(), &new)?;
        let recorded = new
            .iter()
            .map(|candidate| record(candidate, &database.records, facts.arch, now))
            .collect::<Result<Vec<_>, _>>()?;
        let scripts = Scripts::new(now, wishes.overrides);
        let order = order::install_order(&world);
        let course = Course::new(
            editor,
            &world,
            (&new, &recorded, &order),
            scripts,
            wishes.scriptlets,
            &omissions,
        );
        done = course.run(now, &is_present)?;
        let replaced: Vec<_> = world.replaced().collect();
        // The database has them in the order in which they came.
        let recorded: Vec<_> = order.iter().map(|number| &recorded[*number]).collect();
        database.update(editor, &replaced, &recorded)?;
        history::record(editor, facts, now, &database, &world)?;
    } else {
        Scripts::new(now, wishes.overrides).finish(editor, &is_present)?;
    }
    done.installed.splice(..0, present);
    Ok(done)
}

/// Which of 32 and 64 bit may be installed, which is the same in the whole system.
fn color(installed: &[Record], arch: Option<Arch>) -> u32 {
    let colors = installed
        .iter()
        .find_map(|record| record.header.number(tags::INSTALL_COLOR));
    colors
        .and_then(|color| u32::try_from(color).ok())
        .unwrap_or(if arch == Some(Arch::X86_64) { BOTH } else { 0 })
}

/// The header of an installed package as RPM would record it.
fn record(
    candidate: &Candidate,
    others: &[Record],
    arch: Option<Arch>,
    now: Timestamp,
) -> Result<Header, Error> {
    // RPM counts its times in 32 bits without a sign.
    let time = u32::try_from(now.seconds.max(0)).unwrap_or(u32::MAX);
    let color = color(others, arch);
    let mut values = candidate.rpm.recorded();
    values.push((tags::INSTALL_TIME, Value::Int32(time)));
    values.push((tags::INSTALL_COLOR, Value::Int32(color)));
    values.push((tags::INSTALL_TID, Value::Int32(time)));
    let prefixes = scriptlets::prefixes(&candidate.rpm.header);
    if !prefixes.is_empty() {
        let prefixes = prefixes.iter().map(|prefix| prefix.to_vec()).collect();
        values.push((tags::INST_PREFIXES, Value::Texts(prefixes)));
    }
    if !candidate.files.is_empty() {
        // They are numbers of eight bits.
        let states = candidate.states.iter();
        let states = states.map(|state| u8::try_from(*state).unwrap_or_default());
        let states = states.collect();
        values.push((tags::FILE_STATES, Value::Chars(states)));
    }
    let header = candidate.rpm.header.with(&values);
    header.map_err(|error| Error::Unsound {
        path: candidate.request.path.clone(),
        problem: error.to_string(),
    })
}
