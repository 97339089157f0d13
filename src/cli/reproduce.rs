//! What `imgasm build` says about whether the same inputs give the same bytes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::Output;
use super::recipe;
use super::{Outcome, image};
use crate::config::given::PREFIX;
use crate::environment::Environment;
use crate::lock::store;
use crate::manifest::Manifest;
use crate::recipe::Recipe;
use crate::reproduce::{self, Again};

/// The most differences that are named.
const MOST_NAMED: usize = 10;

/// Builds a recipe again and compares.
pub(super) fn check(
    recipe: &Recipe,
    environment: &Environment,
    out: &Path,
    paths: &[PathBuf],
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let mut command = vec![std::env::current_exe()?.into_os_string(), "build".into()];
    let file = fs::canonicalize(recipe.source.name())?;
    command.extend(["--file".into(), file.into_os_string()]);
    // The manifest records it.
    let trusts_cache = environment.trusts_cache;
    command.push(format!("--trust-cache={trusts_cache}").into());
    if !environment.confines {
        command.push("--no-sandbox".into());
    }
    for allowed in recipe.boundary.allowed() {
        command.extend(["--allow-outside".into(), allowed.clone().into_os_string()]);
    }
    command.extend(recipe::settings(recipe).map(OsString::from));
    let cache = image::cache(environment)?;
    let packages = store::packages_in(cache.folder());
    let differences = reproduce::check(&Again {
        command: &command,
        packages: Some(packages.as_path()).filter(|folder| folder.is_dir()),
        source_date_epoch: recipe.source_date_epoch,
        environment: &recipe
            .variables
            .sensitive()
            .map(|(name, value)| (format!("{PREFIX}{name}"), value.to_string()))
            .collect::<Vec<_>>(),
        out,
        outputs: paths,
    })?;
    for difference in &differences {
        output.warning(format_args!(
            "{} is not reproducible: {} bytes differ in a second build",
            difference.path.display(),
            difference.bytes
        ));
    }
    if differences.is_empty() {
        output.note("reproduced", "a second build gave the same bytes");
        return Ok(Outcome::Done);
    }
    Ok(Outcome::Differs)
}

/// The failure for a build that differs from what a manifest records.
pub(super) fn not_the_recorded(recorded: &Manifest, now: &Manifest) -> Failure {
    let mut lines = reproduce::not_as_recorded(recorded, now);
    let more = lines.len().saturating_sub(MOST_NAMED);
    lines.truncate(MOST_NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let lines: Vec<_> = lines.iter().map(|line| format!("\n  {line}")).collect();
    Failure::new(format!(
        "these inputs do not give what the manifest records:{}",
        lines.concat()
    ))
    .with_hint("use the recipe, the base and the version of imgasm that the manifest was made with")
}
