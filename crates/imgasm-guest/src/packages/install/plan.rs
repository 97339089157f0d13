//! What becomes of each file, decided before the first package is installed, as RPM does it
//! (`checkInstalledFiles`, `handleOverlappedFiles`): what scripts change after that does not count.

use std::collections::BTreeMap;

use super::super::Error;
use super::super::database::Record;
use super::super::file_list::{PackagedFile, flags, states};
use super::candidate::Candidate;
use super::existing::{OldFiles, found};
use super::fate::{self, Farewell, Fate};
use super::omissions::Omissions;
use super::world::World;
use imgasm_fs::FileSystem;

/// The files of a package that go with it, in the order of their paths.
pub(super) type Going = Vec<(PackagedFile, Farewell)>;

/// What is decided.
pub(super) struct Planner<'p> {
    fs: &'p dyn FileSystem,
    world: &'p World<'p>,
    old_files: OldFiles,
}

impl<'p> Planner<'p> {
    pub(super) fn new(fs: &'p dyn FileSystem, world: &'p World<'p>) -> Self {
        Self {
            fs,
            world,
            old_files: OldFiles::default(),
        }
    }

    /// What becomes of each file of the new packages, which are installed in this order; by their
    /// numbers.
    pub(super) fn fates(
        &mut self,
        new: &[Candidate],
        order: &[usize],
    ) -> Result<Vec<Vec<Fate>>, Error> {
        let first = self.world.members.len() - new.len();
        let turns: BTreeMap<_, _> = order.iter().copied().zip(0_usize..).collect();
        let mut fates: Vec<Vec<Fate>> = new.iter().map(|_| Vec::new()).collect();
        for &number in order {
            let candidate = &new[number];
            for (index, file) in candidate.files.iter().enumerate() {
                if candidate.is_left_out(index) || file.is(flags::GHOST) {
                    fates[number].push(Fate::Keep);
                    continue;
                }
                let at = self.world.at(self.fs, &file.path)?;
                let decided = self.of_installed(candidate, index, &at)?;
                // Those that have their fate already; what is left out counts for nobody.
                let before = at.iter().filter_map(|(other, index)| {
                    let other = other.checked_sub(first)?;
                    let fate = *fates[other].get(*index)?;
                    let is_left_out = new[other].is_left_out(*index);
                    (!is_left_out).then_some((turns.get(&other), *index, fate))
                });
                let before = before.max_by_key(|(turn, index, _)| (*turn, *index));
                let before = before.map(|(.., fate)| fate);
                fates[number].push(self.settled(candidate, index, decided, before)?);
            }
        }
        Ok(fates)
    }

    /// The fate of a file because of those of installed packages at its place: the last says so, and
    /// what is to be kept is kept.
    fn of_installed(
        &mut self,
        candidate: &Candidate,
        index: usize,
        at: &[(usize, usize)],
    ) -> Result<Option<Fate>, Error> {
        let file = &candidate.files[index];
        let mut decided = None;
        for (number, index) in at {
            let Some(record) = self.world.members[*number].record else {
                continue;
            };
            let package = self.old_files.of(*number, record)?;
            let Some(old) = package.files.get(*index) else {
                continue;
            };
            let is_config = file.is(flags::CONFIG) || old.is(flags::CONFIG);
            let is_absent = package.state(*index) == states::NOT_INSTALLED;
            if decided == Some(Fate::Keep) || is_absent || !is_config {
                continue;
            }
            let (own, theirs) = (Some(candidate.algorithm), package.algorithm);
            let found = found(self.fs, (file, own), Some((old, theirs)))?;
            let is_same = own == theirs && old.digest == file.digest && old.target == file.target;
            decided = Some(fate::decide(file, found.as_ref(), (old, is_same)));
        }
        Ok(decided)
    }

    /// The fate of a file, of which something may be `decided`, and of which another new package, or
    /// this one by another path, may have taken care `before`.
    fn settled(
        &self,
        candidate: &Candidate,
        index: usize,
        decided: Option<Fate>,
        before: Option<Fate>,
    ) -> Result<Fate, Error> {
        let file = &candidate.files[index];
        if decided == Some(Fate::Keep) || before.is_some_and(|before| before != Fate::Keep) {
            return Ok(Fate::Keep);
        }
        if let (Some(decided), None) = (decided, before) {
            return Ok(decided);
        }
        let found = if file.is(flags::CONFIG) {
            found(self.fs, (file, Some(candidate.algorithm)), None)?
        } else {
            None
        };
        let fate = fate::of_unknown(file, found.as_ref(), before.is_some());
        Ok(decided.filter(|_| fate == Fate::Create).unwrap_or(fate))
    }

    /// What becomes of the files of the packages that go, in the order in which they go.
    pub(super) fn farewells(
        &mut self,
        leaving: &[&Record],
        omissions: &Omissions,
    ) -> Result<Vec<Going>, Error> {
        let members = self.world.members.iter().enumerate();
        let numbers: BTreeMap<_, _> = members
            .filter_map(|(number, member)| Some((std::ptr::from_ref(member.record?), number)))
            .collect();
        let numbers: Vec<_> = leaving
            .iter()
            .filter_map(|record| numbers.get(&std::ptr::from_ref(*record)).copied())
            .collect();
        let turns: BTreeMap<_, _> = numbers.iter().copied().zip(0_usize..).collect();
        let mut all: Vec<Vec<Farewell>> = Vec::new();
        for (&number, record) in numbers.iter().zip(leaving) {
            let count = self.old_files.of(number, record)?.files.len();
            all.push(Vec::with_capacity(count));
            for index in 0..count {
                let file = self.old_files.of(number, record)?.files[index].clone();
                let at = self.world.at(self.fs, &file.path)?;
                let is_shared = omissions.is_net_shared(file.path.as_bytes());
                let is_absent = self.old_files.of(number, record)?.state(index) != states::NORMAL;
                let earlier = at.iter().filter_map(|(other, index)| {
                    let turn = *turns.get(other)?;
                    Some((turn, *index, *all.get(turn)?.get(*index)?))
                });
                let earlier = earlier.max_by_key(|(turn, index, _)| (*turn, *index));
                let farewell = match earlier {
                    _ if is_shared || self.is_of_another(&at)? => Farewell::Keep,
                    Some((.., Farewell::Keep | Farewell::Save)) => Farewell::Keep,
                    _ => {
                        // Of several packages that go, the last takes it with it.
                        if let Some((turn, index, _)) = earlier {
                            all[turn][index] = Farewell::Keep;
                        }
                        self.farewell(number, record, &file, is_absent)?
                    }
                };
                if let Some(own) = all.last_mut() {
                    own.push(farewell);
                }
            }
        }
        let mut going = Vec::new();
        for ((farewells, number), record) in all.into_iter().zip(numbers).zip(leaving) {
            let files = self.old_files.of(number, record)?.files.iter().cloned();
            let mut files: Going = files.zip(farewells).collect();
            files.retain(|(_, farewell)| *farewell != Farewell::Keep);
            files.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
            going.push(files);
        }
        Ok(going)
    }

    /// What becomes of a file that no other package has.
    fn farewell(
        &mut self,
        number: usize,
        record: &Record,
        file: &PackagedFile,
        is_absent: bool,
    ) -> Result<Farewell, Error> {
        if is_absent {
            return Ok(Farewell::Keep);
        }
        if !file.is(flags::CONFIG) {
            return Ok(Farewell::Erase);
        }
        let algorithm = self.old_files.of(number, record)?.algorithm;
        let found = found(self.fs, (file, algorithm), None)?;
        Ok(if fate::is_changed(file, found.as_ref()) {
            Farewell::Save
        } else {
            Farewell::Erase
        })
    }

    /// Whether one of these files is of a new package, or of one that is installed and stays.
    fn is_of_another(&mut self, at: &[(usize, usize)]) -> Result<bool, Error> {
        for (number, index) in at {
            let member = &self.world.members[*number];
            let is_it = match member.record {
                Some(record) if member.stays() => {
                    self.old_files.of(*number, record)?.state(*index) == states::NORMAL
                }
                Some(_) => false,
                None => member.candidate.is_some_and(|new| !new.is_left_out(*index)),
            };
            if is_it {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
