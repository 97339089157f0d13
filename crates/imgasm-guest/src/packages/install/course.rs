//! The course of a transaction, in RPM's order: every package is installed with its scripts, then
//! what is replaced goes, then what goes by wish.

use super::super::database::Record;
use super::super::file_list::PackagedFile;
use super::super::header::Header;
use super::super::{Error, Package};
use super::candidate::Candidate;
use super::omissions::Omissions;
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
    /// How many of its name are left.
    left: usize,
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
    order: Vec<usize>,
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
        new: &'a [Candidate],
        recorded: &'a [Header],
        scripts: Scripts<'a>,
        policy: Scriptlets,
        omissions: &'a Omissions,
    ) -> Self {
        let order = order::install_order(world);
        let mut leaving = Vec::new();
        for &number in order.iter().rev() {
            for record in world.replaced_by(&new[number]) {
                // If the name changes, none of the old name stays.
                let is_update = Package::of(&record.header).name == new[number].package.name;
                leaving.push(Leaving {
                    record,
                    replaced_by: Some(number),
                    left: usize::from(is_update),
                    skipped: Vec::new(),
                });
            }
        }
        leaving.extend(world.removed().map(|record| Leaving {
            record,
            replaced_by: None,
            left: world.left(&Package::of(&record.header)),
            skipped: Vec::new(),
        }));
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
        let order = self.order.clone();
        for &number in &order {
            self.script(number, Moment::PreTrans)?;
        }
        let records = self.leaving.iter().map(|leaving| leaving.record);
        let going: Vec<_> = records.map(|record| &record.header).collect();
        self.triggers(self.triggers.before_transaction(&going))?;
        for &number in &order {
            self.install(number)?;
        }
        let present = existing::present(self.editor.fs(), self.world)?;
        for number in 0..self.leaving.len() {
            let record = self.leaving[number].record;
            let files = existing::going(
                self.editor.fs(),
                self.world,
                record,
                &present,
                self.omissions,
            )?;
            self.remove(number, &files)?;
        }
        for &number in &order {
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
    fn install(&mut self, number: usize) -> Result<(), Error> {
        let header = &self.recorded[number];
        self.triggers(self.triggers.on_package(header, Occasion::PreIn))?;
        self.script(number, Moment::Pre)?;
        content::lay(self.editor, &self.new[number], self.world)?;
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
    fn remove(&mut self, number: usize, files: &[PackagedFile]) -> Result<(), Error> {
        let (record, left) = (self.leaving[number].record, self.leaving[number].left);
        let header = &record.header;
        let paths: Vec<_> = files
            .iter()
            .map(|file| file.path.as_bytes().to_vec())
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
        existing::remove_files(self.editor, record, files)?;
        self.triggers(on_files(self, Occasion::PostUn, true))?;
        script(self, Moment::PostUn)?;
        self.triggers(self.triggers.on_package(header, Occasion::PostUn))?;
        self.triggers(on_files(self, Occasion::PostUn, false))?;
        self.triggers.remove(header);
        Ok(())
    }

    /// Carries out the script of a new package for a moment.
    fn script(&mut self, number: usize, moment: Moment) -> Result<(), Error> {
        let instances = self.world.instances(&self.new[number].package);
        let header = &self.recorded[number];
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
