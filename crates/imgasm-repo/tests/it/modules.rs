//! Which packages modules hide, held against dnf.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_repo::metadata::Repository;
use imgasm_repo::{Pool, Transport};
use imgasm_testkit::command::run;
use imgasm_testkit::guest_tree;
use imgasm_testkit::rng::{Rng, rounds};

use crate::support::world::{World, dnf_says, repository};

/// A stream of a module, as `modules.yaml` has it.
pub(crate) fn stream(
    name: &str,
    stream: &str,
    version: u64,
    artifacts: &str,
    requires: &[&str],
) -> String {
    let mut text = format!(
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: \"{stream}\"\n  \
         version: {version}\n  context: c{}\n  arch: x86_64\n  summary: x\n  description: >-\n    \
         x\n  license:\n    module: [MIT]\n  dependencies:\n",
        requires.concat().len()
    );
    for block in requires.iter().filter(|block| !block.is_empty()) {
        let mut lines = String::new();
        for need in block.split_whitespace() {
            let (module, streams) = need.split_once(':').unwrap();
            writeln!(lines, "      {module}: [{streams}]").unwrap();
        }
        write!(text, "  - requires:\n{lines}").unwrap();
    }
    text += "  artifacts:\n    rpms:\n";
    for artifact in artifacts.split_whitespace() {
        writeln!(text, "    - {artifact}").unwrap();
    }
    text.replace("  dependencies:\n  artifacts", "  artifacts") + "...\n"
}

pub(crate) fn default(module: &str, stream: Option<&str>, modified: Option<u64>) -> String {
    let stream = stream.map_or(String::new(), |stream| format!("  stream: \"{stream}\"\n"));
    let modified = modified.map_or(String::new(), |time| format!("  modified: {time}\n"));
    format!(
        "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {module}\n{modified}{stream}...\n"
    )
}

pub(crate) const RELEASE: (&str, &str) = ("/etc/os-release", "ID=x\nPLATFORM_ID=\"platform:p1\"\n");

pub(crate) fn state(module: &str, state: &str, stream: &str) -> (String, String) {
    (
        format!("/etc/dnf/modules.d/{module}.module"),
        format!("[{module}]\nname={module}\nstream={stream}\nprofiles=\nstate={state}\n"),
    )
}

/// A system, and what each repository says of modules.
struct Case {
    name: String,
    files: Vec<(String, String)>,
    repositories: Vec<String>,
    /// Whether the first repository is one that nothing is hidden of.
    is_hotfix: bool,
}

/// The packages; where several repositories are, all have the same.
fn world() -> Option<World> {
    let world = World::new()?;
    for package in [
        "web-1", "web-2", "web-3", "dep-1", "dep-2", "dep-3", "lib-1", "lib-2", "other-1",
    ] {
        world.add(package, "");
    }
    world.add("weblike-1", "provides:web=9");
    world.add("webby-1", "requires:web");
    world.finish(&[]);
    Some(world)
}

impl Case {
    fn new(name: &str, state: &[(String, String)], modules: &[String]) -> Self {
        let release = (RELEASE.0.to_owned(), RELEASE.1.to_owned());
        Self {
            name: name.to_owned(),
            files: state.iter().cloned().chain([release]).collect(),
            repositories: vec![modules.concat()],
            is_hotfix: false,
        }
    }

    /// Writes it down; gives the root and the repositories.
    fn lay(&self, world: &World, number: usize) -> (PathBuf, Vec<PathBuf>) {
        let folder = world.folder.path().join(format!("case{number}"));
        let root = folder.join("root");
        guest_tree::on_host(&root, &self.files());
        let repositories = self.repositories.iter().zip(0..).map(|(modules, number)| {
            let place = folder.join(format!("repository{number}"));
            run(Command::new("cp")
                .arg("-r")
                .arg(world.repository())
                .arg(&place));
            let file = folder.join("modules.yaml");
            fs::write(&file, modules).unwrap();
            let mut command = Command::new("modifyrepo_c");
            command.arg("--mdtype=modules").arg(file);
            run(command.arg(place.join("repodata")));
            place
        });
        let repositories = repositories.collect();
        (root, repositories)
    }

    fn files(&self) -> Vec<(&str, &str)> {
        let files = self.files.iter();
        files
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect()
    }

    /// What we see; `None` if the modules cannot be had.
    fn ours(&self, places: &[PathBuf]) -> Option<Vec<String>> {
        let fs = guest_tree::in_memory(&self.files());
        let modules = Modules::read(&fs).unwrap();
        let repositories = places.iter().zip(0..).map(|(place, number)| Repository {
            id: format!("r{number}"),
            module_hotfixes: self.is_hotfix && number == 0,
            ..repository(&format!("file:{}", place.display()))
        });
        let repositories: Vec<_> = repositories.collect();
        let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), false);
        pool.add(&repositories, &Transport::default(), &[], &modules)
            .ok()?;
        let all = 0..pool.packages.len();
        let mut found: Vec<_> = all.map(|number| pool.nevra(number)).collect();
        found.sort();
        Some(found)
    }
}

/// What dnf sees, and whether it saw no problem.
fn theirs(cases: &[(PathBuf, Vec<String>)]) -> Vec<(bool, Vec<String>)> {
    let lines = cases
        .iter()
        .map(|(root, places)| format!("{}\t{}", root.display(), places.join("\t")));
    let said = dnf_says("visible.py", &[], &lines.collect::<Vec<_>>());
    let found = said.iter().map(|line| {
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().as_deref() == Some("ok"), words.collect())
    });
    found.collect()
}

/// Compares. Where an enabled stream cannot be had, we refuse, and dnf tells of a problem. So it does of
/// defaults that cannot be had together, of which it may drop more; `strictly` that is wrong, too.
fn agree(world: &World, cases: &[Case], strictly: bool) {
    let laid: Vec<_> = cases
        .iter()
        .zip(0..)
        .map(|(case, number)| case.lay(world, number))
        .collect();
    let asked: Vec<_> = cases
        .iter()
        .zip(&laid)
        .map(|(case, (root, places))| {
            let places = places.iter().zip(0..).map(|(place, number)| {
                let mark = if case.is_hotfix && number == 0 {
                    "!"
                } else {
                    ""
                };
                format!("{mark}{}", place.display())
            });
            (root.clone(), places.collect())
        })
        .collect();
    let mut wrong = Vec::new();
    for ((case, (_, places)), (is_fine, theirs)) in cases.iter().zip(&laid).zip(theirs(&asked)) {
        match case.ours(places) {
            Some(ours) if ours == theirs => {}
            None if !is_fine => {}
            Some(_) if !is_fine && !strictly => {}
            ours => wrong.push(format!(
                "{}: {ours:?}\n  dnf (fine: {is_fine}): {theirs:?}\n{:?}\n{}",
                case.name,
                case.files,
                case.repositories.concat()
            )),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The two streams of a module.
fn both() -> [String; 2] {
    let one = stream("web", "1", 1, "web-0:1-1.noarch", &[]);
    let two = stream("web", "2", 1, "web-0:2-1.noarch", &[]);
    [one, two]
}

/// The same, the first of which is the default.
fn by_default() -> [String; 3] {
    let [one, two] = both();
    [one, two, default("web", Some("1"), None)]
}

/// A module that is the default and needs others, which are there.
fn needing(requires: &[&str], more: &[String]) -> Vec<String> {
    let needing = [
        stream("web", "s", 1, "web-0:1-1.noarch", requires),
        default("web", Some("s"), None),
        stream("dep", "1", 1, "dep-0:1-1.noarch", &[]),
        stream("dep", "2", 1, "dep-0:2-1.noarch", &[]),
    ];
    [&needing, more].concat()
}

/// What the system has chosen.
fn states() -> Vec<Case> {
    let (both, by_default) = (both(), by_default());
    vec![
        Case::new("none chosen", &[], &both),
        Case::new("a default", &[], &by_default),
        Case::new("enabled", &[state("web", "enabled", "2")], &by_default),
        Case::new("disabled", &[state("web", "disabled", "")], &by_default),
        Case::new("state unknown", &[state("web", "", "2")], &by_default),
        Case::new("not there", &[state("web", "enabled", "9")], &by_default),
        Case::new(
            "no profiles",
            &[(
                "/etc/dnf/modules.d/web.module".to_owned(),
                "[web]\nstream=2\nstate=1\n".to_owned(),
            )],
            &by_default,
        ),
        Case::new(
            "old form",
            &[(
                "/etc/dnf/modules.d/web.module".to_owned(),
                "[web]\nstream=2\nprofiles=\nenabled=1\n".to_owned(),
            )],
            &by_default,
        ),
        Case::new(
            "kept",
            &[
                state("web", "enabled", "9"),
                (
                    "/var/lib/dnf/modulefailsafe/web:9:x86_64.yaml".to_owned(),
                    stream("web", "9", 1, "web-0:9-1.noarch", &[]),
                ),
            ],
            &by_default,
        ),
        Case::new(
            "the system's default",
            &[(
                "/etc/dnf/modules.defaults.d/w.yaml".to_owned(),
                default("web", Some("2"), None),
            )],
            &by_default,
        ),
        Case::new(
            "the system has no default",
            &[(
                "/etc/dnf/modules.defaults.d/w.yaml".to_owned(),
                default("web", None, None),
            )],
            &by_default,
        ),
    ]
}

/// What a module needs.
fn needs() -> Vec<Case> {
    let dep_2 = [default("dep", Some("2"), None)];
    vec![
        Case::new("needs one", &[], &needing(&["dep:1"], &[])),
        Case::new("needs any", &[], &needing(&["dep:"], &[])),
        Case::new(
            "needs another than the default",
            &[],
            &needing(&["dep:1"], &dep_2),
        ),
        Case::new("needs one of two", &[], &needing(&["dep:1,2"], &dep_2)),
        Case::new("needs none of", &[], &needing(&["dep:-1"], &[])),
        Case::new("needs both", &[], &needing(&["dep:1", "dep:2"], &[])),
        Case::new(
            "needs a disabled",
            &[state("dep", "disabled", "")],
            &needing(&["dep:1"], &[]),
        ),
        Case::new(
            "enabled against each other",
            &[state("web", "enabled", "s"), state("dep", "enabled", "2")],
            &needing(&["dep:1"], &[]),
        ),
        Case::new("platform", &[], &needing(&["platform:p1"], &[])),
        Case::new("another platform", &[], &needing(&["platform:p2"], &[])),
        Case::new("not this platform", &[], &needing(&["platform:-p1"], &[])),
    ]
}

/// Versions, architectures, and what several repositories say.
fn versions() -> Vec<Case> {
    let ([one, _], both, s) = (both(), both(), Some("s"));
    let mut cases = vec![
        Case::new(
            "several versions",
            &[],
            &[
                stream("web", "s", 1, "web-0:1-1.noarch", &[]),
                stream("web", "s", 2, "web-0:2-1.noarch", &[]),
                default("web", s, None),
            ],
        ),
        Case::new(
            "of several architectures",
            &[],
            &[
                stream(
                    "web",
                    "s",
                    1,
                    "web-0:1-1.noarch other-0:7-1.s390x lib-0:7-1.src",
                    &[],
                ),
                default("web", s, None),
            ],
        ),
        Case::new(
            "for another architecture",
            &[],
            &[
                one.replace("x86_64", "s390x"),
                default("web", Some("1"), None),
            ],
        ),
    ];
    for (times, seen) in [
        ([None, None], "1 2"),
        ([Some(201_912_120_000), Some(202_012_120_000)], "1 2"),
        ([Some(202_012_120_000), Some(201_912_120_000)], "1 2"),
        ([None, None], "1 -"),
        ([None, None], "- 2"),
    ] {
        let mut case = Case::new(&format!("{seen} {times:?}"), &[], &both);
        let streams: Vec<_> = seen
            .split(' ')
            .map(|one| Some(one).filter(|one| *one != "-"))
            .collect();
        case.repositories[0] += &default("web", streams[0], times[0]);
        case.repositories.push(default("web", streams[1], times[1]));
        cases.push(case);
    }
    let mut hotfix = Case::new("hotfix", &[], &by_default());
    hotfix.is_hotfix = true;
    cases.push(hotfix);
    let mut quoted = Case::new(
        "platform without quotes",
        &[],
        &needing(&["platform:p1"], &[]),
    );
    quoted.files.pop();
    let release = ("/etc/os-release", "PLATFORM_ID=platform:p1\n");
    quoted
        .files
        .push((release.0.to_owned(), release.1.to_owned()));
    cases.push(quoted);
    cases
}

#[test]
fn what_modules_hide_is_what_dnf_hides() {
    let Some(world) = world() else { return };
    let cases: Vec<_> = [states(), needs(), versions()]
        .into_iter()
        .flatten()
        .collect();
    agree(&world, &cases, true);
}

/// Modules with what they need, and choices, from a seed.
fn random(rng: &mut Rng, number: usize) -> Case {
    let modules = ["dep", "lib", "web"];
    let mut texts = Vec::new();
    let mut states = Vec::new();
    for module in modules {
        let streams = 1 + rng.next() % 2;
        for number in 1..=streams {
            let mut needs = Vec::new();
            for other in modules.iter().filter(|other| **other != module) {
                match rng.next() % 6 {
                    0 => needs.push(format!("{other}:{}", 1 + rng.next() % 2)),
                    1 => needs.push(format!("{other}:1,2")),
                    _ => {}
                }
            }
            let needs = needs.join(" ");
            let artifacts = format!("{module}-0:{number}-1.noarch");
            texts.push(stream(
                module,
                &number.to_string(),
                1,
                &artifacts,
                &[&needs],
            ));
        }
        let stream = (1 + rng.next() % streams).to_string();
        match rng.next() % 5 {
            0 | 1 => texts.push(default(module, Some(&stream), None)),
            2 => states.push(state(module, "enabled", &stream)),
            3 => states.push(state(module, "disabled", "")),
            _ => {}
        }
    }
    Case::new(&format!("random {number}"), &states, &texts)
}

#[test]
fn random_modules_hide_what_dnf_hides() {
    let Some(world) = world() else { return };
    let more = rounds("IMGASM_MODULES_SEED", "IMGASM_MODULES_ROUNDS");
    for mut rng in std::iter::once(Rng::new(0)).chain(more) {
        let cases: Vec<_> = (0..60).map(|number| random(&mut rng, number)).collect();
        agree(&world, &cases, false);
    }
}
