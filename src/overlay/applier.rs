//! Applies overlays to a filesystem.

use super::files;
use super::model::{Overlay, Step};
use super::report::{OverlayReport, Report, StepReport};
use super::script::ScriptSteps;
use super::steps::{self, Context};
use crate::config::{Diagnostic, Source};
use imgasm_fs::text::chain;
use imgasm_fs::tree::{self, Editor, Touch};
use imgasm_fs::{FileSystem, Timestamp};
use imgasm_guest::selinux::Labeller;
use imgasm_guest::{Facts, packages};

/// Why overlays could not be applied. The filesystem is then half edited and must not be flushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root filesystem could not be looked at.
    #[error(transparent)]
    Guest(Box<tree::Error>),
    /// The `files/` tree of an overlay could not be copied.
    #[error("overlay `{overlay}`: its files cannot be copied")]
    Files {
        /// The overlay.
        overlay: String,
        /// Why.
        source: Box<steps::Error>,
    },
    /// A step could not be done.
    #[error("{place}")]
    Step {
        /// What was to be done where, and why that was not possible, with the step's place.
        place: Box<Diagnostic>,
        /// Why; the message has it already.
        #[source]
        reason: Box<steps::Error>,
    },
    /// An overlay names packages, and there is no lock that knows which ones it means.
    #[error("{place}")]
    Unlocked {
        /// What is wrong where, with the step's place.
        place: Box<Diagnostic>,
    },
    /// Packages that no overlay brings could not be installed.
    #[error("{reason}{}", hint_line(reason.hint()))]
    Packages {
        /// Why; the message has it already.
        #[source]
        reason: Box<packages::Error>,
    },
    /// An edit that comes from no overlay could not be done.
    #[error("{origin}: {reason}")]
    Edit {
        /// What the edit belongs to.
        origin: String,
        /// Why.
        reason: String,
    },
}

/// Applies overlays to one filesystem, one after the other, and keeps the report.
pub struct Applier<'a> {
    editor: Editor<'a>,
    facts: Facts,
    report: Report,
    labeller: Labeller,
    now: Timestamp,
}

impl<'a> Applier<'a> {
    /// Looks at the root filesystem `fs` to find out which system it is. `now` is the day on which
    /// passwords of new users are set.
    pub fn new(fs: &'a mut dyn FileSystem, now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            facts: Facts::detect(fs).map_err(|e| Error::Guest(Box::new(e)))?,
            editor: Editor::new(fs),
            report: Report::default(),
            labeller: Labeller::default(),
            now,
        })
    }

    /// Which system it is.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Copies the overlay's files and does its steps.
    pub fn apply(&mut self, overlay: &Overlay) -> Result<(), Error> {
        let mut done = Vec::with_capacity(overlay.steps.len() + 1);
        let mut context = Context {
            editor: &mut self.editor,
            facts: &self.facts,
            folder: &overlay.folder,
            readings: &overlay.readings,
            variables: &overlay.variables,
            now: self.now,
            packages: &mut self.report.packages,
        };
        let laid = files::lay(&mut context, &overlay.files)
            .and_then(|()| take_labelled(&mut self.labeller, context.editor));
        done.push(StepReport {
            number: 0,
            kind: "files",
            done: true,
            touched: laid.map_err(|source| Error::Files {
                overlay: overlay.name.clone(),
                source: Box::new(source),
            })?,
        });
        for (index, step) in overlay.steps.iter().enumerate() {
            let number = index + 1;
            let run = run(step, &mut context).and_then(|done| {
                let touched = take_labelled(&mut self.labeller, context.editor)?;
                Ok((done, touched))
            });
            let (is_done, touched) =
                run.map_err(|reason| failure(overlay, number, step, reason))?;
            if !is_done {
                let (name, kind) = (&overlay.name, step.action.kind());
                tracing::info!(
                    "overlay `{name}`, step {number} (`{kind}`): passed over by its guard"
                );
            }
            done.push(StepReport {
                number,
                kind: step.action.kind(),
                done: is_done,
                touched,
            });
        }
        self.report.overlays.push(OverlayReport {
            name: overlay.name.clone(),
            steps: done,
        });
        Ok(())
    }

    /// Makes sure that no overlay wishes for packages by name on this system, since there is no lock.
    ///
    /// # Errors
    /// [`Error::Unlocked`] if one does.
    pub fn check_wishless(&self, overlays: &[Overlay]) -> Result<(), Error> {
        let steps = overlays.iter().flat_map(|overlay| {
            overlay
                .wishing_steps()
                .map(move |(step, _)| (overlay, step))
        });
        for (overlay, step) in steps {
            let due = step.is_due(&self.facts, self.editor.fs(), &overlay.variables);
            if due.map_err(|error| Error::Guest(Box::new(error)))? {
                let name = &overlay.name;
                let message = format!("overlay `{name}` names packages, which only a lock knows");
                let place = overlay.source.error(step.span.clone(), message);
                let hint = "`imgasm build` with a recipe has a lock; a package can also be given as a \
                            file, as in `package = [{ path = \"NAME.rpm\" }]`";
                return Err(Error::Unlocked {
                    place: Box::new(place.with_hint(hint)),
                });
            }
        }
        Ok(())
    }

    /// Does an edit that comes from no overlay, and reports it under the name of `origin` as a
    /// step of this kind.
    pub fn edit<E: std::error::Error>(
        &mut self,
        origin: &str,
        kind: &'static str,
        edit: impl FnOnce(&mut Editor<'a>, &Facts) -> Result<(), E>,
    ) -> Result<(), Error> {
        let failed = |error: &dyn std::error::Error| Error::Edit {
            origin: origin.to_owned(),
            reason: chain(error),
        };
        edit(&mut self.editor, &self.facts).map_err(|error| failed(&error))?;
        let touched = take_labelled(&mut self.labeller, &mut self.editor);
        let step = StepReport {
            number: 1,
            kind,
            done: true,
            touched: touched.map_err(|error| failed(&error))?,
        };
        self.report.overlays.push(OverlayReport {
            name: origin.to_owned(),
            steps: vec![step],
        });
        Ok(())
    }

    /// The filesystem as it is now.
    pub fn fs(&self) -> &dyn FileSystem {
        self.editor.fs()
    }

    /// Installs packages that no overlay brings, and removes others, with steps in the place of some
    /// of their scripts. Gives what became of the scripts.
    pub fn install(
        &mut self,
        requests: &[packages::Request],
        wishes: &packages::Wishes<'_>,
        unwritable: packages::Unwritable,
        instead: &[ScriptSteps],
    ) -> Result<Vec<packages::Script>, Error> {
        let (editor, facts, now) = (&mut self.editor, &self.facts, self.now);
        let acts = instead.iter();
        let acts: Vec<_> = acts
            .map(|steps| move |editor: &mut Editor<'_>| steps.apply(editor, facts, now))
            .collect();
        let overrides = instead.iter().zip(&acts);
        let overrides: Vec<_> = overrides
            .map(|(steps, act)| packages::Override {
                package: &steps.package,
                script: &steps.script,
                act,
            })
            .collect();
        let wishes = packages::Wishes {
            overrides: &overrides,
            ..*wishes
        };
        let done = packages::transact(editor, facts, now, requests, &wishes, unwritable);
        let done = done.map_err(|error| Error::Packages {
            reason: Box::new(error),
        })?;
        self.report.packages.extend(done.installed);
        self.report.removed_packages.extend(done.removed);
        let origin = "packages";
        self.edit(origin, "package", |_, _| Ok::<_, packages::Error>(()))?;
        Ok(done.scripts)
    }

    /// What was done.
    pub fn finish(self) -> Report {
        self.report
    }
}

/// Advice as a line of its own.
pub(crate) fn hint_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\n  hint: {hint}"))
}

/// What was touched, after labelling what is new.
fn take_labelled(
    labeller: &mut Labeller,
    editor: &mut Editor<'_>,
) -> Result<Vec<Touch>, steps::Error> {
    let mut touched = editor.take_touched();
    labeller.label_created(editor, &touched)?;
    touched.extend(editor.take_touched());
    Ok(touched)
}

/// Does a step, unless its guard says otherwise; gives whether it was done.
pub(super) fn run(step: &Step, context: &mut Context<'_, '_>) -> Result<bool, steps::Error> {
    if !step.is_due(context.facts, context.editor.fs(), context.variables)? {
        return Ok(false);
    }
    step.action.apply(context)?;
    Ok(true)
}

fn failure(overlay: &Overlay, number: usize, step: &Step, reason: steps::Error) -> Error {
    let (name, kind) = (&overlay.name, step.action.kind());
    let what = format!("overlay `{name}`, step {number} (`{kind}`)");
    Error::Step {
        place: Box::new(step_failure(&overlay.source, step, &what, &reason)),
        reason: Box::new(reason),
    }
}

/// Why a step, called `what`, could not be done, at its place.
pub(super) fn step_failure(
    source: &Source,
    step: &Step,
    what: &str,
    reason: &steps::Error,
) -> Diagnostic {
    let message = format!("{what}: {}", chain(reason));
    let place = source.error(step.span.clone(), message);
    match reason.hint() {
        Some(hint) => place.with_hint(hint),
        None => place,
    }
}
