//! Steps in the place of a script of a package.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeValue;

use super::applier::step_failure;
use super::model::{self, Step};
use super::steps::Context;
use crate::config::decode::{self, Value};
use crate::config::{self, Source, Variables};
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;
use imgasm_guest::Facts;

/// The scripts that packages have.
const SCRIPTS: [&str; 16] = [
    "pretrans",
    "pre",
    "post",
    "preun",
    "postun",
    "posttrans",
    "triggerprein",
    "triggerin",
    "triggerun",
    "triggerpostun",
    "filetriggerin",
    "filetriggerun",
    "filetriggerpostun",
    "transfiletriggerin",
    "transfiletriggerun",
    "transfiletriggerpostun",
];

/// What is done instead of a script of a package.
#[derive(Debug, Clone)]
pub struct ScriptSteps {
    /// The name of the package.
    pub package: String,
    /// Which of its scripts: `post`.
    pub script: String,
    steps: Vec<Step>,
    source: Source,
    variables: Variables,
}

impl ScriptSteps {
    /// Reads the value of the key `override`: for each package, for each of its scripts, steps.
    pub fn decode(
        source: &Source,
        value: Value<'_>,
        variables: &Variables,
    ) -> config::Result<Vec<Self>> {
        let mut all = Vec::new();
        let span = value.span();
        let DeValue::Table(packages) = value.into_inner() else {
            let error = source.error(span, "`override` must be a table of packages");
            return Err(error.into());
        };
        for (package, value) in packages {
            let span = value.span();
            let DeValue::Table(scripts) = value.into_inner() else {
                let error = source.error(span, "what is overridden of a package must be a table");
                return Err(error.with_hint("such as `post = []`").into());
            };
            for (script, value) in scripts {
                if !SCRIPTS.contains(&script.get_ref().as_ref()) {
                    let message = format!("packages have no script `{script}`");
                    let hint =
                        decode::alternatives("script", "scripts", script.get_ref(), &SCRIPTS);
                    let error = source.error(script.span(), message);
                    return Err(error.with_hint(hint).into());
                }
                let key = format!("packages.override.{package}.{script}");
                all.push(Self {
                    package: package.get_ref().to_string(),
                    script: script.into_inner().into_owned(),
                    steps: steps(source, &key, value, variables)?,
                    source: source.clone(),
                    variables: variables.clone(),
                });
            }
        }
        Ok(all)
    }

    /// Does the steps.
    pub(super) fn apply(
        &self,
        editor: &mut Editor<'_>,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let mut context = Context {
            editor,
            facts,
            // No step here has files of its own.
            folder: Path::new(""),
            readings: &Arc::default(),
            variables: &self.variables,
            now,
            packages: &mut Vec::new(),
        };
        for (index, step) in self.steps.iter().enumerate() {
            super::applier::run(step, &mut context).map_err(|reason| {
                let number = index + 1;
                let kind = step.action.kind();
                let what = format!("step {number} (`{kind}`)");
                Box::new(step_failure(&self.source, step, &what, &reason))
            })?;
        }
        Ok(())
    }
}

/// Reads steps, none of which may install packages or have files of its own.
fn steps(
    source: &Source,
    key: &str,
    value: Value<'_>,
    variables: &Variables,
) -> config::Result<Vec<Step>> {
    let steps = model::steps(source, key, value, variables)?;
    for step in &steps {
        let kind = step.action.kind();
        let problem = if kind == "package" {
            "a script cannot be replaced by the installation of packages"
        } else if !step.action.host_files().is_empty() {
            "steps in the place of a script have no files of their own"
        } else {
            continue;
        };
        let error = source.error(step.span.clone(), problem);
        return Err(error.with_hint("a step of an overlay can do this").into());
    }
    Ok(steps)
}
