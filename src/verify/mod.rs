//! Whether an image is what it should be. Everything except `live` is found out without starting
//! it.
//!
//! - [`consistency`]: whether a filesystem agrees with itself.
//! - [`boot`]: whether the machine can start and what it starts is there.
//! - [`expect`]: what a recipe expects of the image.
//! - [`live`]: what it expects of the running machine.
//!
//! Each gives a list of [`CheckResult`]s; nothing is printed here.

pub mod boot;
pub mod consistency;
pub mod expect;
pub mod live;

use serde::Serialize;

use imgasm_fs::text::chain;
use imgasm_fs::tree;

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub check: String,
    /// What was found.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Passed,
    /// Something is wrong, but does not make the image unusable.
    Warned {
        /// What.
        message: String,
    },
    /// The image is not what it should be.
    Failed {
        /// In which way.
        message: String,
    },
    /// There was nothing to check.
    Skipped {
        /// Why not.
        message: String,
    },
}

impl CheckResult {
    /// Whether this makes the image unusable.
    pub fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed { .. })
    }
}

/// How many problems of one check are said, and how many warnings: nobody reads more.
const MOST_FINDINGS: usize = 1000;

/// What a check has found, before it becomes results.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
    skipped: Option<String>,
    /// How many problems and warnings are not said.
    more: [u64; 2],
}

impl Findings {
    fn skipped(reason: &str) -> Self {
        Self {
            skipped: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        match self.problems.len() {
            ..MOST_FINDINGS => self.problems.push(problem.into()),
            _ => self.more[0] += 1,
        }
    }

    fn warning(&mut self, warning: impl Into<String>) {
        match self.warnings.len() {
            ..MOST_FINDINGS => self.warnings.push(warning.into()),
            _ => self.more[1] += 1,
        }
    }

    /// One result for each problem and warning, or one that says that there are none.
    fn results(mut self, check: &str) -> Vec<CheckResult> {
        let said = [&mut self.problems, &mut self.warnings];
        for (said, more) in said.into_iter().zip(self.more) {
            said.extend((more > 0).then(|| format!("and {more} more")));
        }
        let failed = self
            .problems
            .into_iter()
            .map(|message| Verdict::Failed { message });
        let warned = self
            .warnings
            .into_iter()
            .map(|message| Verdict::Warned { message });
        let mut verdicts: Vec<_> = failed.chain(warned).collect();
        if verdicts.is_empty() {
            verdicts.push(match self.skipped {
                Some(message) => Verdict::Skipped { message },
                None => Verdict::Passed,
            });
        }
        let result = |verdict| CheckResult {
            check: check.to_owned(),
            verdict,
        };
        verdicts.into_iter().map(result).collect()
    }
}

/// The results of a check, or a result that says that the image could not be read.
fn results(check: &str, findings: Result<Findings, impl std::error::Error>) -> Vec<CheckResult> {
    let findings = findings.unwrap_or_else(|error| Findings {
        problems: vec![chain(&error)],
        ..Findings::default()
    });
    findings.results(check)
}

/// Why a check could not look at the image.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Tree(#[from] tree::Error),
    #[error(transparent)]
    Service(#[from] imgasm_guest::services::Error),
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    #[error("{0}")]
    Path(#[from] imgasm_fs::path::PathError),
    #[error("there is more configuration than is looked at: many links may lead to one large file")]
    TooMuch,
}
