//! `imgasm lock`

use std::collections::BTreeMap;

use super::download::{DownloadArgs, Downloads, explained};
use super::failure::Failure;
use super::output::Output;
use super::progress::Bars;
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine, image};
use crate::build::{self, Bases};
use crate::environment::Environment;
use crate::lock::file::{LockedPackage, verdicts};
use crate::lock::make::{self, Base, Made};
use crate::lock::{Lock, Store};
use crate::recipe::Recipe;
use crate::recipe::packages;
use imgasm_repo::Transport;
use imgasm_repo::metadata::updateinfo::{Advisory, Kind};

/// The most advisories that are shown of a package.
const MAX_ADVISORIES: usize = 3;

/// Write to imgasm.lock exactly which packages the recipe's wishes come to.
///
/// Packages that are locked already stay as they are, unless they are to be updated. The packages are
/// fetched, and their installation is tried: what it comes to belongs to the lock.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Take newer versions of these packages where there are some; of all, if none is named.
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with = "check")]
    update: Option<Vec<String>>,
    /// Write nothing, and fail with status 1 where the lock would change.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    download: DownloadArgs,
}

/// Makes sure that there is something to lock.
fn check_needed(recipe: &Recipe) -> Result<(), Failure> {
    if recipe.needs_lock() {
        return Ok(());
    }
    Err(Failure::new("the recipe wishes for no packages")
        .with_hint("`[packages]` with `install = [\"NAME\"]` does"))
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Done;
    let load = || recipe::load_all(&args.recipe, environment);
    for recipe in &confine::apart(confine::anything(), environment, load)? {
        recipe::announce(recipe, output);
        if let Outcome::Differs = lock(args, recipe, environment, output)? {
            outcome = Outcome::Differs;
        }
    }
    Ok(outcome)
}

fn lock(
    args: &Args,
    recipe: &Recipe,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    check_needed(recipe)?;
    let path = packages::lock_path(&recipe.source, recipe.image.as_deref());
    let old = Lock::read(&path)?;
    let transport = Transport::new(environment.proxies.clone(), recipe.boundary.opener());
    let downloads = Downloads {
        args: &args.download,
        recipe,
        transport: &transport,
        environment,
        into_vendor: false,
    };
    downloads.base()?;
    let kept = old
        .clone()
        .and_then(|old| kept(old, args.update.as_deref()));
    let cache = image::cache(environment)?;
    let store = Store::new(recipe, cache.folder());
    let pinned = recipe.packages.iter().map(|named| {
        let (pinned, _) = downloads.package(&store, named, kept.as_ref())?;
        Ok(pinned)
    });
    let pinned = pinned.collect::<Result<Vec<_>, Failure>>()?;
    let bars = Bars::new();
    let needs = || confine::reading(confine::of_recipe(recipe));
    let bases = Bases::new(cache.clone());
    let (base, named) = confine::apart(needs(), environment, || {
        let root = build::base_root(recipe, &bases, &bars.reading("base"))?;
        let base = Base::read(recipe, root.as_ref()).map_err(explained)?;
        let named = pinned.iter().map(|pinned| pinned.open(&store));
        let named = named.collect::<Result<Vec<_>, _>>().map_err(explained)?;
        Ok((base, named))
    })?;
    bars.finish();
    let made = make::make(recipe, &named, base, &transport, kept.as_ref());
    let Made {
        mut lock,
        notes,
        advisories,
    } = made.map_err(explained)?;
    for note in &notes {
        output.warning(note);
    }
    for package in lock.of_repositories() {
        let fetched = store.fetch(&lock, package, false, &transport);
        fetched.map_err(explained)?;
    }
    let scripts = confine::apart(needs(), environment, || {
        Ok(build::rehearse(
            recipe,
            &lock,
            &bases,
            &bars.reading("base"),
        )?)
    })?;
    bars.finish();
    for script in scripts.iter().filter(|script| script.verdict.is_partial()) {
        output.warning(script);
    }
    lock.scripts = verdicts(&scripts);
    let changes = changes(old.as_ref(), &lock, &advisories);
    for change in &changes {
        output.line(change)?;
    }
    if old.as_ref() == Some(&lock) {
        output.note(
            "locked",
            format_args!("{} packages, as before", lock.packages.len()),
        );
        return Ok(Outcome::Done);
    }
    if args.check {
        output.note("lock", format_args!("{} would change", path.display()));
        return Ok(Outcome::Differs);
    }
    lock.write(&path)?;
    output.note("locked", format_args!("{} packages", lock.packages.len()));
    Ok(Outcome::Done)
}

/// What of a lock is to stay: without the packages of these names, and nothing if none is named.
fn kept(mut old: Lock, update: Option<&[String]>) -> Option<Lock> {
    match update {
        Some([]) => return None,
        Some(names) => old
            .packages
            .retain(|package| !names.contains(&package.name)),
        None => {}
    }
    Some(old)
}

/// What differs between two locks, a line each: `+` comes, `-` goes.
fn changes(old: Option<&Lock>, new: &Lock, advisories: &BTreeMap<String, Advisory>) -> Vec<String> {
    let lines = |lock: &Lock| -> Vec<Line> {
        let packages = lock.packages.iter().map(|package| Line {
            text: install(package, advisories),
            // Not all of them may be in the line.
            advisories: package.advisories.clone(),
        });
        let removals = lock.removals.iter();
        let removals = removals.map(|package| format!("remove {}", package.nevra()));
        let scripts = lock.scripts.iter();
        let scripts = scripts.map(|(script, verdict)| format!("script {script}: {verdict}"));
        let others = removals.chain(scripts).map(|text| Line {
            text,
            advisories: Vec::new(),
        });
        packages.chain(others).collect()
    };
    let old = old.map(lines).unwrap_or_default();
    let new = lines(new);
    let gone = old.iter().filter(|line| !new.contains(line));
    let come = new.iter().filter(|line| !old.contains(line));
    gone.map(|line| format!("- {}", line.text))
        .chain(come.map(|line| format!("+ {}", line.text)))
        .collect()
}

/// Something in a lock.
#[derive(PartialEq, Eq)]
struct Line {
    text: String,
    advisories: Vec<String>,
}

/// The line of a package: with what it replaces, and the advisories that tell of it, the gravest first.
fn install(package: &LockedPackage, advisories: &BTreeMap<String, Advisory>) -> String {
    let replaced = package.replaces.as_deref();
    let mut more: Vec<_> = replaced
        .map(|old| format!("replaces {old}"))
        .into_iter()
        .collect();
    let mut named: Vec<_> = package.advisories.iter().collect();
    // An advisory of an older lock may be none any more.
    named.sort_by_key(|id| {
        let known = advisories.get(*id);
        known.map_or(usize::MAX, gravity)
    });
    let shown = named.iter().take(MAX_ADVISORIES).map(|id| {
        let known = advisories.get(*id);
        known.map_or_else(|| (*id).clone(), Advisory::to_string)
    });
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if let Some(rest @ 1..) = named.len().checked_sub(MAX_ADVISORIES) {
        shown = format!("{shown} and {rest} more");
    }
    more.extend((!shown.is_empty()).then_some(shown));
    if more.is_empty() {
        return format!("install {}", package.nevra());
    }
    format!("install {} ({})", package.nevra(), more.join("; "))
}

/// How far an advisory stands behind others; less is graver.
fn gravity(advisory: &Advisory) -> usize {
    let severities = ["critical", "important", "moderate", "medium", "low"];
    match (advisory.kind, advisory.severity.as_deref()) {
        (Kind::Security, severity) => {
            let known = severities.iter().position(|one| Some(*one) == severity);
            known.unwrap_or(severities.len())
        }
        _ => severities.len() + 1,
    }
}
