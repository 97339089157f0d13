//! The course of a transaction, in RPM's order: every package is installed with its scripts, then what
//! is replaced, and what is not wanted any more, goes.

use super::super::database::Record;
use super::super::header::Header;
use super::super::{Error, Package};
use super::candidate::Candidate;
use super::fate::Fate;
use super::omissions::Omissions;
use super::plan::{Going, Planner};
use super::scriptlets::{self, Moment, Scriptlets, Scripts};
use super::triggers::{self, Occasion, Triggers};
use super::world::World;
use super::{Done, Removed, accounts, content, existing, order};
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// A package that goes.
struct Leaving<'a> {
    record: &'a Record,
    /// The number of the candidate that takes its place.
    replaced_by: Option<usize>,
    /// What RPM would have done that was not done.
    skipped: Vec<String>,
}

/// A transaction that is being carried out.
pub(super) struct Course<'a, 'fs> {
    editor: &'a mut Editor<'fs>,
    world: &'a World<'a>,
    new: &'a [Candidate],
    /// Their headers as they are recorded.
    recorded: &'a [Header],
    /// The numbers of the new ones, in the order of their installation.
    order: &'a [usize],
    leaving: Vec<Leaving<'a>>,
    triggers: Triggers<'a>,
    scripts: Scripts<'a>,
    /// What is done about scripts of packages that go by wish.
    policy: Scriptlets,
    omissions: &'a Omissions,
    /// For each new package what RPM would have done that was not done.
    skipped: Vec<Vec<String>>,
}

impl<'a, 'fs> Course<'a, 'fs> {
    pub(super) fn new(
        editor: &'a mut Editor<'fs>,
        world: &'a World<'a>,
        (new, recorded, order): (&'a [Candidate], &'a [Header], &'a [usize]),
        scripts: Scripts<'a>,
        policy: Scriptlets,
        omissions: &'a Omissions,
    ) -> Self {
        let leaving = order::removal_order(world).into_iter();
        let leaving = leaving.filter_map(|number| {
            let member = &world.members[number];
            Some(Leaving {
                record: member.record?,
                replaced_by: member.replaced_by,
                skipped: Vec::new(),
            })
        });
        let leaving = leaving.collect();
        let installed = world.members.iter().filter_map(|member| member.record);
        Self {
            editor,
            world,
            new,
            recorded,
            order,
            leaving,
            triggers: Triggers::new(installed.map(|record| &record.header)),
            scripts,
            policy,
            omissions,
            skipped: new.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Carries it out. `is_known` says which packages are there already that were asked for.
    pub(super) fn run(
        mut self,
        now: Timestamp,
        is_known: &dyn Fn(&str) -> bool,
    ) -> Result<Done, Error> {
        for candidate in self.new {
            accounts::apply_sysusers(self.editor, candidate, now)?;
        }
        let order = self.order;
        for &number in order {
            self.script(number, Moment::PreTrans)?;
        }
        let records: Vec<_> = self.leaving.iter().map(|leaving| leaving.record).collect();
        let mut planner = Planner::new(self.editor.fs(), self.world);
        let fates = planner.fates(self.new, order)?;
        let farewells = planner.farewells(&records, self.omissions)?;
        let going: Vec<_> = records.iter().map(|record| &record.header).collect();
        self.triggers(self.triggers.before_transaction(&going))?;
        for &number in order {
            self.install(number, &fates[number])?;
        }
        for (number, files) in farewells.iter().enumerate() {
            self.remove(number, files)?;
        }
        for &number in order {
            self.script(number, Moment::PostTrans)?;
        }
        let came = order.iter().map(|number| &self.recorded[*number]);
        let came: Vec<_> = came.collect();
        self.triggers(self.triggers.after_transaction(&came))?;
        let removed = self.leaving.into_iter();
        let removed = removed.filter(|leaving| leaving.replaced_by.is_none());
        Ok(Done {
            installed: self
                .new
                .iter()
                .zip(self.skipped)
                .map(|(candidate, skipped)| candidate.outcome(false, skipped))
                .collect(),
            removed: removed
                .map(|leaving| Removed {
                    package: Package::of(&leaving.record.header),
                    skipped: leaving.skipped,
                })
                .collect(),
            scripts: self.scripts.finish(self.editor, is_known)?,
        })
    }

    /// Installs a package.
    fn install(&mut self, number: usize, fates: &[Fate]) -> Result<(), Error> {
        let header = &self.recorded[number];
        self.triggers(self.triggers.on_package(header, Occasion::PreIn))?;
        self.script(number, Moment::Pre)?;
        content::lay(self.editor, &self.new[number], fates)?;
        self.triggers.add(header);
        let files = triggers::installed_paths(header);
        let on_files = |course: &Self, is_urgent| {
            let triggers = &course.triggers;
            triggers.on_files(header, &files, Occasion::In, is_urgent)
        };
        self.triggers(on_files(self, true))?;
        self.script(number, Moment::Post)?;
        self.triggers(self.triggers.on_package(header, Occasion::In))?;
        self.triggers(on_files(self, false))
    }

    /// Takes a package away, with these of its files.
    fn remove(&mut self, number: usize, files: &Going) -> Result<(), Error> {
        let header = &self.leaving[number].record.header;
        let left = self.triggers.count(&Package::of(header)).saturating_sub(1);
        let paths: Vec<_> = files
            .iter()
            .map(|(file, _)| file.path.as_bytes().to_vec())
            .collect();
        let on_files = |course: &Self, occasion, is_urgent| {
            let triggers = &course.triggers;
            triggers.on_files(header, &paths, occasion, is_urgent)
        };
        let script = |course: &mut Self, moment| {
            let due = scriptlets::Due::of(header, moment, left);
            due.map_or(Ok(()), |due| course.carry_out(&due, header))
        };
        self.triggers(on_files(self, Occasion::Un, true))?;
        self.triggers(self.triggers.on_package(header, Occasion::Un))?;
        script(self, Moment::PreUn)?;
        self.triggers(on_files(self, Occasion::Un, false))?;
        existing::remove_files(self.editor, files)?;
        self.triggers(on_files(self, Occasion::PostUn, true))?;
        script(self, Moment::PostUn)?;
        self.triggers(self.triggers.on_package(header, Occasion::PostUn))?;
        self.triggers(on_files(self, Occasion::PostUn, false))?;
        self.triggers.remove(header);
        Ok(())
    }

    /// Carries out the script of a new package for a moment, and tells it of how many packages of its
    /// name there are (RPM's `rpmpsmNew`).
    fn script(&mut self, number: usize, moment: Moment) -> Result<(), Error> {
        let header = &self.recorded[number];
        let has_replaced = || {
            let mut leaving = self.leaving.iter();
            leaving.any(|leaving| leaving.replaced_by == Some(number))
        };
        let counted = self.triggers.count(&self.new[number].package);
        let instances = match moment {
            Moment::PostTrans => counted + usize::from(has_replaced()),
            // It is counted already.
            Moment::Post => counted,
            _ => counted + 1,
        };
        let due = scriptlets::Due::of(header, moment, instances);
        due.map_or(Ok(()), |due| self.carry_out(&due, header))
    }

    /// Carries out triggers.
    fn triggers(&mut self, due: Vec<triggers::Due<'a>>) -> Result<(), Error> {
        for trigger in due {
            let cause = trigger.cause;
            if let Some(due) = scriptlets::Due::of_trigger(trigger) {
                self.carry_out(&due, cause)?;
            }
        }
        Ok(())
    }

    /// Carries out a script. What is said of the package that is the cause of it (its own, or for a
    /// trigger the one that set it off) decides what is done if it cannot be.
    fn carry_out(&mut self, due: &scriptlets::Due<'_>, cause: &Header) -> Result<(), Error> {
        let is_cause = |header: &Header| std::ptr::eq(header, cause);
        let leaving = self
            .leaving
            .iter_mut()
            .find(|leaving| is_cause(&leaving.record.header));
        let replacing = leaving.as_ref().and_then(|leaving| leaving.replaced_by);
        let new = replacing.or_else(|| self.recorded.iter().position(is_cause));
        let (policy, notes) = match (new, leaving) {
            (Some(new), _) => (self.new[new].request.scriptlets, &mut self.skipped[new]),
            (None, Some(leaving)) => (self.policy, &mut leaving.skipped),
            // Every script has a package that comes or goes as its cause.
            (None, None) => return Ok(()),
        };
        self.scripts.run(self.editor, due, policy, notes)
    }
}
