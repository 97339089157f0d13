//! Modules: which streams are active in a system, and which packages they hide, as dnf has it.
//!
//! Streams are wanted that the system has enabled, or that are the default of a module of which it
//! says nothing. They are active, with what they need, where that can be; of what a stream was built
//! for, one is. Then packages are hidden that belong to other streams, and those that are called like
//! one of an active stream, or provide that name, and are none of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::metadata::modules::{Default, Modules, Stream};
use crate::oracle::{Literal, Oracle};
use imgasm_guest::dnf::modules::{self as guest, State};

/// The most streams of one module, with all that they were built for.
const MAX_GROUPS: usize = 500;
/// The most that is said of what needs or excludes what.
const MAX_LITERALS: usize = 5_000_000;

/// What of the packages in repositories is hidden.
#[derive(Debug, Default)]
pub struct Filter {
    /// The packages of active streams.
    shown: HashSet<String>,
    /// The packages of the other streams.
    hidden: HashSet<String>,
    /// The names of the packages of active streams.
    names: HashSet<String>,
    /// The active streams: module, stream, and what it was built for, each of the last two also empty.
    active: HashSet<[String; 3]>,
}

impl Filter {
    /// The filter for a system that says this of modules, with what repositories say of them.
    /// `platform` is what a package of the system says that it is, and `fits` whether modules of an
    /// architecture are for it.
    ///
    /// # Errors
    /// If a stream that the system has enabled cannot be had, or its own files are damaged: what is
    /// wrong.
    pub fn new(
        mut all: Modules,
        system: &guest::Modules,
        platform: Option<(String, String)>,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        add_kept(&mut all, system)?;
        for text in &system.defaults {
            all.defaults.extend(Modules::parse(text)?.defaults);
        }
        let platform = platform.or_else(|| system.platform.clone());
        let choice = Choice::new(&all, system, platform, &fits)?;
        let active = choice.active()?;
        let mut filter = Self::default();
        for stream in &all.streams {
            let is_active = choice
                .of(stream)
                .is_some_and(|group| active.contains(&group));
            if is_active {
                filter.add_active(stream);
            }
            for artifact in &stream.artifacts {
                let artifact = artifact.replacen("-0:", "-", 1);
                if !is_active {
                    filter.hidden.insert(artifact);
                    continue;
                }
                let arch = artifact.rsplit('.').next();
                let is_source = matches!(arch, Some("src" | "nosrc"));
                if let Some(name) = artifact.rsplitn(3, '-').nth(2).filter(|_| !is_source) {
                    filter.names.insert(name.to_owned());
                }
                filter.shown.insert(artifact);
            }
        }
        Ok(filter)
    }

    /// Whether it hides a package that is called so and provides this.
    pub fn hides<'n>(&self, nevra: &str, mut provides: impl Iterator<Item = &'n str>) -> bool {
        let is_named = |name: &str| self.names.contains(name);
        !self.shown.contains(nevra) && (self.hidden.contains(nevra) || provides.any(is_named))
    }

    fn add_active(&mut self, stream: &Stream) {
        let none = String::new();
        let context = stream.context.as_ref().unwrap_or(&none);
        for name in [&stream.stream, &none] {
            for context in [context, &none] {
                let one = [&stream.module, name, context].map(Clone::clone);
                self.active.insert(one);
            }
        }
    }

    /// Whether a stream is active that was built for this context. As dnf has it, what is empty may be
    /// anything.
    pub fn is_active(&self, module: &str, stream: &str, context: &str) -> bool {
        self.active
            .contains(&[module, stream, context].map(str::to_owned))
    }

    /// Whether it hides nothing.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty() && self.names.is_empty()
    }
}

/// Adds what a system has kept of enabled streams that no repository has.
fn add_kept(all: &mut Modules, system: &guest::Modules) -> Result<(), String> {
    for (module, state) in &system.states {
        let State::Enabled(stream) = state else {
            continue;
        };
        let is_it = |one: &Stream| one.module == *module && one.stream == *stream;
        if all.streams.iter().any(is_it) {
            continue;
        }
        let start = format!("{module}:{stream}:");
        let kept = system
            .kept
            .iter()
            .filter(|(name, _)| name.starts_with(&start));
        for (_, text) in kept {
            all.streams.extend(Modules::parse(text)?.streams);
        }
    }
    Ok(())
}

/// What tells groups apart: module, stream, and what it was built for.
type Key<'m> = (&'m str, &'m str, String);

/// A module, and one of its streams.
type Named<'n> = (&'n str, &'n str);

/// Streams, of which some are to be chosen.
struct Choice<'m> {
    /// Of the versions of a stream that need the same the newest, in the order in which they are tried
    /// if nothing else says which is better.
    groups: Vec<&'m Stream>,
    numbers: BTreeMap<Key<'m>, usize>,
    by_module: BTreeMap<&'m str, Vec<usize>>,
    states: &'m BTreeMap<String, State>,
    defaults: &'m BTreeMap<String, Default>,
    platform: Option<(String, String)>,
}

fn key(stream: &Stream) -> Key<'_> {
    let context = stream.context.clone().filter(|_| stream.is_static);
    let built_for = context.unwrap_or_else(|| {
        let needs = stream.requires.iter();
        // What was built for several platforms is one.
        let needs = needs.filter(|(module, _)| module != "platform");
        let mut needs: Vec<_> = needs.map(|need| format!("{need:?}")).collect();
        needs.sort();
        needs.concat()
    });
    (&stream.module, &stream.stream, built_for)
}

impl<'m> Choice<'m> {
    fn new(
        all: &'m Modules,
        system: &'m guest::Modules,
        platform: Option<(String, String)>,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let mut newest: BTreeMap<Key<'m>, &Stream> = BTreeMap::new();
        for stream in &all.streams {
            let is_disabled = system.states.get(&stream.module) == Some(&State::Disabled);
            if is_disabled || !stream.arch.as_deref().is_none_or(fits) {
                continue;
            }
            let known = newest.entry(key(stream)).or_insert(stream);
            if stream.version > known.version {
                *known = stream;
            }
        }
        let mut ordered: Vec<_> = newest.into_iter().collect();
        ordered.sort_by(|(a, one), (b, other)| {
            let by_stream = (a.0, a.1).cmp(&(b.0, b.1));
            by_stream
                .then(other.version.cmp(&one.version))
                .then(a.2.cmp(&b.2))
        });
        let mut by_module: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, (_, stream)) in ordered.iter().enumerate() {
            let of_module = by_module.entry(&stream.module).or_default();
            of_module.push(number);
            if of_module.len() > MAX_GROUPS {
                let module = &stream.module;
                return Err(format!(
                    "the module `{module}` has more than {MAX_GROUPS} streams"
                ));
            }
        }
        Ok(Self {
            groups: ordered.iter().map(|(_, newest)| *newest).collect(),
            numbers: ordered.into_iter().map(|(key, _)| key).zip(0..).collect(),
            by_module,
            states: &system.states,
            defaults: &all.defaults,
            platform,
        })
    }

    /// The group of a stream.
    fn of(&self, stream: &Stream) -> Option<usize> {
        self.numbers.get(&key(stream)).copied()
    }

    /// The groups of a module, of one of its streams if one is named.
    fn groups_of(&self, module: &str, stream: Option<&str>) -> Vec<usize> {
        let of_module = self.by_module.get(module).into_iter().flatten().copied();
        let is_it = |number: &usize| stream.is_none_or(|one| self.groups[*number].stream == one);
        of_module.filter(is_it).collect()
    }

    /// The streams that are wanted: those that must be had, then those that are had if that can be.
    fn wanted(&self) -> (Vec<Named<'_>>, Vec<Named<'_>>) {
        let mut enabled = Vec::new();
        for (module, state) in self.states {
            if let State::Enabled(stream) = state
                && !self.groups_of(module, Some(stream)).is_empty()
            {
                enabled.push((module.as_str(), stream.as_str()));
            }
        }
        let defaults = self.defaults.iter().filter_map(|(module, default)| {
            let stream = default.stream.as_deref()?;
            let is_free = !self.states.contains_key(module);
            let is_there = !self.groups_of(module, Some(stream)).is_empty();
            (is_free && is_there).then_some((module.as_str(), stream))
        });
        (enabled, defaults.collect())
    }

    /// The groups that are active.
    fn active(&self) -> Result<BTreeSet<usize>, String> {
        let mut oracle = self.oracle()?;
        let (enabled, defaults) = self.wanted();
        // The assumption that a wanted stream is had has a number after those of the groups.
        let (mut assumed, mut pending) = (Vec::new(), Vec::new());
        for (index, (module, stream)) in enabled.iter().chain(&defaults).enumerate() {
            let number = self.groups.len() + index;
            let candidates = self.groups_of(module, Some(stream));
            oracle.declare(number, false);
            let yes = candidates.iter().copied().map(Literal::yes);
            let clause: Vec<_> = std::iter::once(Literal::no(number)).chain(yes).collect();
            oracle.add(&clause);
            assumed.push(Literal::yes(number));
            if oracle.allows(&assumed) {
                pending.push(candidates);
                continue;
            }
            assumed.pop();
            check_patience(&oracle)?;
            if index < enabled.len() {
                return Err(format!(
                    "the stream `{stream}` of the module `{module}` is enabled, and cannot be had \
                     with what it needs"
                ));
            }
        }
        let mut active = BTreeSet::new();
        pending.reverse();
        while let Some(candidates) = pending.pop() {
            if candidates.iter().any(|one| active.contains(one)) {
                continue;
            }
            let chosen = candidates.into_iter().find(|one| {
                assumed.push(Literal::yes(*one));
                let is_allowed = oracle.allows(&assumed);
                if !is_allowed {
                    assumed.pop();
                }
                is_allowed
            });
            let Some(chosen) = chosen else { continue };
            active.insert(chosen);
            if oracle.has_given_up() {
                return Err(
                    "what their streams need of each other is too much to be solved".to_owned(),
                );
            }
            let needs = self.groups[chosen].requires.iter();
            pending.extend(needs.filter_map(|need| self.candidates(need)));
        }
        check_patience(&oracle)?;
        Ok(active)
    }

    /// The groups that meet a need; `None` if the platform does.
    fn candidates(&self, (module, streams): &(String, Vec<String>)) -> Option<Vec<usize>> {
        let wanted: Vec<_> = streams
            .iter()
            .filter(|stream| !is_unwanted(stream))
            .collect();
        if let Some((name, stream)) = &self.platform
            && name == module
            && (wanted.is_empty() || wanted.contains(&stream))
        {
            return None;
        }
        if wanted.is_empty() {
            return Some(self.groups_of(module, None));
        }
        let of = |stream: &String| self.groups_of(module, Some(stream));
        Some(wanted.into_iter().flat_map(of).collect())
    }

    /// What must hold of groups.
    fn oracle(&self) -> Result<Oracle, String> {
        let mut oracle = Oracle::new();
        for number in 0..self.groups.len() {
            oracle.declare(number, false);
        }
        let mut literals = 0;
        let mut add = |clause: &[Literal]| {
            literals += clause.len();
            oracle.add(clause);
            let is_much = literals > MAX_LITERALS;
            let problem = "their streams need too many others to be solved";
            (!is_much).then_some(()).ok_or(problem)
        };
        for (number, one) in self.groups.iter().enumerate() {
            for other in self.groups_of(&one.module, None) {
                if self.groups[other].stream != one.stream {
                    add(&[Literal::no(number), Literal::no(other)])?;
                }
            }
            for need in &one.requires {
                if let Some(candidates) = self.candidates(need) {
                    let mut clause = vec![Literal::no(number)];
                    clause.extend(candidates.into_iter().map(Literal::yes));
                    add(&clause)?;
                }
                let (module, streams) = need;
                for stream in streams.iter().filter(|stream| is_unwanted(stream)) {
                    let stream: String = stream.chars().skip(1).collect();
                    if self.platform.as_ref() == Some(&(module.clone(), stream.clone())) {
                        add(&[Literal::no(number)])?;
                    }
                    for other in self.groups_of(module, Some(&stream)) {
                        add(&[Literal::no(number), Literal::no(other)])?;
                    }
                }
            }
        }
        Ok(oracle)
    }
}

/// Makes sure that what was not allowed is impossible.
fn check_patience(oracle: &Oracle) -> Result<(), String> {
    let problem = "what their streams need of each other is too much to be solved";
    (!oracle.has_given_up())
        .then_some(())
        .ok_or_else(|| problem.to_owned())
}

/// Whether a stream is named as one that must not be there. That a `-` elsewhere says so too is dnf's.
fn is_unwanted(stream: &str) -> bool {
    stream.contains('-')
}
