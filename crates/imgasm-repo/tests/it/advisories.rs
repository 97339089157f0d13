//! Which advisories tell of what becomes newer, held against dnf.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_block::Digest;
use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_repo::metadata::Loaded;
use imgasm_repo::metadata::updateinfo::{Advisory, Change, Kind, read};
use imgasm_repo::{Pool, Transport};
use imgasm_testkit::command::run;
use imgasm_testkit::guest_tree;
use imgasm_testkit::rng::{Rng, rounds};

use crate::modules::{RELEASE, default, state, stream};
use crate::support::world::{World, dnf_says, repository};

/// What is installed, in the versions from which it becomes newer.
const INSTALLED: [(&str, &str); 6] = [
    ("plain.noarch", "2-1"),
    ("epoch.noarch", "1:2-1"),
    ("lib.x86_64", "2-1"),
    ("lib.i686", "1-1"),
    ("kernel.x86_64", "2-1"),
    ("web.noarch", "1-1"),
];

fn world() -> Option<World> {
    let mut world = World::new()?;
    for package in [
        "plain-2",
        "epoch-1:2",
        "lib-2.x86_64",
        "lib-1.i686",
        "kernel-1.x86_64",
        "kernel-2.x86_64",
        "web-1",
    ] {
        world.install(package, "");
    }
    for package in ["web-1", "web-2", "web-3", "dep-1"] {
        world.add(package, "");
    }
    world.finish(&[]);
    Some(world)
}

/// A system, what each repository has, and the versions that packages come to.
struct Case {
    name: String,
    files: Vec<(String, String)>,
    /// `updateinfo.xml`, and `modules.yaml`.
    repositories: Vec<(String, String)>,
    ends: Vec<(&'static str, String)>,
}

impl Case {
    fn new(name: &str, updates: &str) -> Self {
        let ends = INSTALLED.iter();
        Self {
            name: name.to_owned(),
            files: vec![(RELEASE.0.to_owned(), RELEASE.1.to_owned())],
            repositories: vec![(whole(updates), String::new())],
            ends: ends.map(|(name, _)| (*name, "9:9-9".to_owned())).collect(),
        }
    }

    fn files(&self) -> Vec<(&str, &str)> {
        let files = self.files.iter();
        files
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect()
    }

    /// Writes it down; gives the root and the repositories.
    fn lay(&self, world: &World, number: usize) -> (PathBuf, Vec<PathBuf>) {
        let folder = world.folder.path().join(format!("case{number}"));
        fs::create_dir(&folder).unwrap();
        let copy = |from: PathBuf, to: &Path| run(Command::new("cp").arg("-r").arg(from).arg(to));
        let root = folder.join("root");
        copy(world.root(), &root);
        guest_tree::on_host(&root, &self.files());
        let places = self.repositories.iter().zip(0..);
        let places = places.map(|((updates, modules), number)| {
            let place = folder.join(format!("repository{number}"));
            copy(world.repository(), &place);
            for (name, kind, text) in [
                ("updateinfo.xml", "updateinfo", updates),
                ("modules.yaml", "modules", modules),
            ] {
                if text.is_empty() {
                    continue;
                }
                let file = folder.join(name);
                fs::write(&file, text).unwrap();
                let compress = ["gz", "xz"][number % 2];
                let mut command = Command::new("modifyrepo_c");
                command.arg(format!("--mdtype={kind}"));
                command.arg(format!("--compress-type={compress}")).arg(file);
                run(command.arg(place.join("repodata")));
            }
            place
        });
        let places = places.collect();
        (root, places)
    }

    /// What we say; `None` if what a repository has cannot be read.
    fn ours(&self, places: &[PathBuf]) -> Option<Vec<String>> {
        let fs = guest_tree::in_memory(&self.files());
        let modules = Modules::read(&fs).unwrap();
        let (pool, loaded) = load(places, &modules);
        let is_active = |module: &str, stream: &str, context: &str| {
            pool.modules.is_active(module, stream, context)
        };
        let changes: Vec<_> = self
            .ends
            .iter()
            .map(|(name, to)| change(name, to))
            .collect();
        let mut found = Vec::new();
        for one in &loaded {
            let advisories = one.advisories(&Transport::default(), &changes, &is_active);
            for (advisory, numbers) in advisories.ok()? {
                let names = numbers.iter().map(|number| self.ends[*number].0);
                found.extend(names.map(|name| format!("{name}={}", advisory.id)));
            }
        }
        found.sort();
        found.dedup();
        Some(found)
    }
}

fn load(places: &[PathBuf], modules: &Modules) -> (Pool, Vec<Loaded>) {
    let one = |place: &PathBuf| repository(&format!("file:{}", place.display()));
    let repositories: Vec<_> = places.iter().map(one).collect();
    let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), false);
    let loaded = pool.add(&repositories, &Transport::default(), &[], modules);
    let loaded = loaded.unwrap();
    (pool, loaded)
}

/// A package that comes to this version.
fn change(package: &str, to: &str) -> Change {
    let (name, arch) = package.split_once('.').unwrap();
    let mut installed = INSTALLED.iter();
    let (_, from) = installed.find(|(other, _)| *other == package).unwrap();
    Change {
        name: name.to_owned(),
        arch: arch.to_owned(),
        from: (*from).to_owned(),
        to: to.to_owned(),
    }
}

fn whole(updates: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>{updates}</updates>\n")
}

/// An advisory, with these collections.
fn update(id: &str, kind: &str, collections: &[String]) -> String {
    format!(
        "<update from='x' status='final' type='{kind}' version='1.4'><id>{id}</id>\
         <title>t</title><severity>Important</severity><issued date='2025-01-02 03:04:05'/>\
         <references><reference href='x' id='CVE-1' title='c' type='cve'/></references>\
         <description>a &lt;id&gt; &amp; more</description><pkglist>{}</pkglist></update>",
        collections.concat()
    )
}

/// A collection for these streams (`MODULE:STREAM:CONTEXT`), with these packages.
fn collection(modules: &[&str], packages: &[&str]) -> String {
    let mut text = String::from("<collection short='c'><name>C</name>");
    for module in modules {
        let names: Vec<_> = module.split(':').collect();
        let [name, stream, context] = names[..] else {
            panic!("{module}")
        };
        write!(
            text,
            "<module name='{name}' stream='{stream}' version='9' context='{context}' arch='x86_64'/>"
        )
        .unwrap();
    }
    for package in packages {
        text += &named(package);
    }
    text + "</collection>"
}

/// A package of an advisory: `NAME.ARCH=[EPOCH:]VERSION[-RELEASE]`.
fn named(package: &str) -> String {
    let (name, version) = package.split_once('=').unwrap();
    let mut text = String::from("<package");
    let (name, arch) = name.split_once('.').unwrap_or((name, ""));
    let (epoch, version) = match version.split_once(':') {
        Some((epoch, version)) => (Some(epoch), version),
        None => (None, version),
    };
    let (version, release) = match version.split_once('-') {
        Some((version, release)) => (version, Some(release)),
        None => (version, None),
    };
    for (key, value) in [
        ("name", Some(name)),
        ("arch", Some(arch).filter(|arch| !arch.is_empty())),
        ("epoch", epoch),
        ("version", Some(version)),
        ("release", release),
        ("src", Some("x.src.rpm")),
    ] {
        if let Some(value) = value {
            write!(text, " {key}='{value}'").unwrap();
        }
    }
    text + "><filename>x.rpm</filename><reboot_suggested>True</reboot_suggested></package>"
}

fn agree(world: &World, cases: &[Case], start: usize) {
    let laid = cases.iter().zip(start..);
    let laid: Vec<_> = laid.map(|(case, number)| case.lay(world, number)).collect();
    let lines = cases.iter().zip(&laid).map(|(case, (root, places))| {
        let ends = case.ends.iter().map(|(name, to)| format!("{name}={to}"));
        let ends = ends.collect::<Vec<_>>().join(" ");
        let places = places.iter().map(|place| format!("\t{}", place.display()));
        format!("{}\t{ends}{}", root.display(), places.collect::<String>())
    });
    let said = dnf_says("advisories.py", &[], &lines.collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for ((case, (_, places)), theirs) in cases.iter().zip(&laid).zip(said) {
        let ours = match case.ours(places) {
            Some(found) => ["ok".to_owned()]
                .into_iter()
                .chain(found)
                .collect::<Vec<_>>()
                .join(" "),
            None => "broken".to_owned(),
        };
        if ours != theirs {
            let (name, texts) = (&case.name, &case.repositories);
            wrong.push(format!(
                "{name}: {ours}\n  dnf: {theirs}\n{texts:?}\n{:?}",
                case.ends
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Versions, architectures and identifiers.
fn plain() -> Vec<Case> {
    let one = |packages: &[&str]| collection(&[], packages);
    let many = [
        update("OLD", "bugfix", &[one(&["plain.noarch=1-1"])]),
        update("SAME", "bugfix", &[one(&["plain.noarch=2-1"])]),
        update("NEXT", "security", &[one(&["plain.noarch=2-2"])]),
        update("LATER", "unheard", &[one(&["plain.noarch=10-1"])]),
        update("RC", "enhancement", &[one(&["plain.noarch=2~rc-1"])]),
    ];
    vec![
        Case::new("versions", &many.concat()),
        Case::new("nothing", ""),
        Case::new(
            "epochs",
            &[
                update("E0", "security", &[one(&["epoch.noarch=0:9-1"])]),
                update("NONE", "security", &[one(&["epoch.noarch=9-1"])]),
                update("E1", "security", &[one(&["epoch.noarch=1:3-1"])]),
                update("E2", "security", &[one(&["epoch.noarch=2:0-1"])]),
                update("EMPTY", "security", &[one(&["plain.noarch=:3-1"])]),
            ]
            .concat(),
        ),
        Case::new(
            "architectures",
            &[
                update("A", "security", &[one(&["lib.x86_64=2-2", "lib.i686=1-1"])]),
                update("B", "security", &[one(&["lib.i686=1-2"])]),
                update(
                    "C",
                    "security",
                    &[one(&["lib.noarch=3-1", "lib.s390x=3-1"])],
                ),
                update("D", "security", &[one(&["lib=3-1"])]),
                update("E", "security", &[one(&["other.noarch=3-1"])]),
            ]
            .concat(),
        ),
        Case::new(
            "several installed",
            &[
                update("K2", "security", &[one(&["kernel.x86_64=2-1"])]),
                update("K3", "security", &[one(&["kernel.x86_64=3-1"])]),
            ]
            .concat(),
        ),
        Case::new(
            "the same twice",
            &[
                update("A", "security", &[one(&["plain.noarch=3-1"])]),
                update(
                    "A",
                    "bugfix",
                    &[one(&["plain.noarch=3-1", "plain.noarch=3-1"])],
                ),
            ]
            .concat(),
        ),
        Case::new(
            "no release",
            &update("A", "security", &[one(&["plain.noarch=3", "lib.x86_64=2"])]),
        ),
        Case::new(
            "elsewhere",
            &update("A", "security", &[one(&["plain.noarch=3-1"])])
                .replace("<pkglist>", "<x><pkglist>")
                .replace("</pkglist>", "</pkglist></x>"),
        ),
    ]
}

/// Advisories of streams.
fn modular() -> Vec<Case> {
    let mut cases = Vec::new();
    let texts = [
        stream("web", "1", 1, "web-0:1-1.noarch", &[]),
        stream("web", "2", 1, "web-0:2-1.noarch", &["dep:1"]),
        stream("dep", "1", 1, "dep-0:1-1.noarch", &[]),
        default("web", Some("1"), None),
    ];
    let updates = [
        update(
            "ONE",
            "security",
            &[collection(&["web:1:c0"], &["web.noarch=2-1"])],
        ),
        update(
            "TWO",
            "security",
            &[collection(&["web:2:c5"], &["web.noarch=3-1"])],
        ),
        update(
            "DEP",
            "security",
            &[collection(&["dep:1:c0"], &["plain.noarch=3-1"])],
        ),
        update(
            "GONE",
            "security",
            &[collection(&["gone:1:c0"], &["web.noarch=3-1"])],
        ),
        update("ANY", "security", &[collection(&[], &["web.noarch=3-1"])]),
        update(
            "BOTH",
            "security",
            &[
                collection(&["web:1:c0"], &["web.noarch=4-1"]),
                collection(&["web:2:c5"], &["lib.x86_64=4-1"]),
                collection(&[], &["plain.noarch=4-1"]),
            ],
        ),
        update(
            "EITHER",
            "security",
            &[collection(&["web:1:c0", "web:2:c5"], &["plain.noarch=5-1"])],
        ),
        update(
            "EMPTY",
            "security",
            &[collection(&["web::c0"], &["plain.noarch=5-1"])],
        ),
    ];
    for (name, states) in [
        ("by default", vec![]),
        ("enabled", vec![state("web", "enabled", "1")]),
        ("another enabled", vec![state("web", "enabled", "2")]),
        ("disabled", vec![state("web", "disabled", "")]),
        ("enabled and gone", vec![state("gone", "enabled", "1")]),
    ] {
        for has_modules in [true, false] {
            let mut case = Case::new(name, &updates.concat());
            case.files.extend(states.clone());
            if has_modules {
                case.repositories[0].1 = texts.concat();
            }
            cases.push(case);
        }
    }
    cases
}

#[test]
fn what_becomes_newer_has_the_advisories_of_dnf() {
    let Some(world) = world() else { return };
    let mut two = Case::new("two repositories", &plain()[0].repositories[0].0);
    two.repositories = [0, 3]
        .map(|number| plain()[number].repositories[0].clone())
        .into();
    two.repositories.push((String::new(), String::new()));
    two.ends[0].1 = "2-2".to_owned();
    let cases: Vec<_> = plain().into_iter().chain(modular()).chain([two]).collect();
    agree(&world, &cases, 0);
}

/// Advisories, and what packages come to, from a seed.
fn random(rng: &mut Rng, number: usize) -> Case {
    let mut case = Case::new(&format!("random {number}"), "");
    let version = |rng: &mut Rng| {
        let epoch = ["", "", "0:", "1:", "2:", ":"][rng.index(6)];
        let version = ["0", "1", "2", "2~a", "2^a", "2.1", "3", "3a"][rng.index(8)];
        let release = ["", "-1", "-1", "-2", "-1.1", "-0"][rng.index(6)];
        format!("{epoch}{version}{release}")
    };
    case.repositories.clear();
    for _ in 0..=rng.index(3) {
        let mut updates = String::new();
        for _ in 0..rng.index(8) {
            let mut collections = Vec::new();
            for _ in 0..rng.index(4) {
                let modules = ["web:1:c0", "web:2:c5", "dep:1:c0", "web:1:c1", "web::c0"];
                let modules: Vec<_> = (0..rng.index(5).saturating_sub(2))
                    .map(|_| modules[rng.index(5)])
                    .collect();
                let packages = (0..rng.index(6)).map(|_| {
                    let names = ["plain", "epoch", "lib", "kernel", "web", "nobody"];
                    let arches = [".noarch", ".x86_64", ".i686", ".s390x", ""];
                    let (name, arch) = (names[rng.index(6)], arches[rng.index(10) % 5]);
                    format!("{name}{arch}={}", version(rng))
                });
                let packages: Vec<_> = packages.collect();
                let packages: Vec<_> = packages.iter().map(String::as_str).collect();
                collections.push(collection(&modules, &packages));
            }
            let id = format!("A{}", rng.index(6));
            let kinds = ["security", "bugfix", "newpackage", "x"];
            updates += &update(&id, kinds[rng.index(4)], &collections);
        }
        let modules = [
            stream("web", "1", 1, "web-0:1-1.noarch", &[]),
            stream("web", "2", 1, "web-0:2-1.noarch", &["dep:1"]),
            stream("dep", "1", 1, "dep-0:1-1.noarch", &[]),
            default("dep", Some("1"), None),
        ];
        let modules = if rng.index(4) == 0 {
            String::new()
        } else {
            modules.concat()
        };
        case.repositories.push((whole(&updates), modules));
    }
    match rng.index(4) {
        0 => case.files.push(state("web", "enabled", "1")),
        1 => case.files.push(state("web", "enabled", "2")),
        2 => case.files.push(state("dep", "disabled", "")),
        _ => {}
    }
    for (_, to) in &mut case.ends {
        if rng.index(3) > 0 {
            *to = version(rng);
            if to.starts_with(':') {
                to.remove(0);
            }
            if !to.contains('-') {
                *to += "-1";
            }
        }
    }
    case
}

#[test]
fn random_advisories_are_those_of_dnf() {
    let Some(world) = world() else { return };
    let more = rounds("IMGASM_ADVISORIES_SEED", "IMGASM_ADVISORIES_ROUNDS");
    for (mut rng, round) in std::iter::once(Rng::new(0)).chain(more).zip(0..) {
        let cases: Vec<_> = (0..40).map(|number| random(&mut rng, number)).collect();
        agree(&world, &cases, 100 * round);
    }
}

/// Reads a text, in which `plain` becomes newer.
fn parsed(text: &str) -> Result<Vec<(Advisory, Vec<usize>)>, String> {
    let changes = [change("plain.noarch", "9-1")];
    read(text.as_bytes(), &changes, &|_, _, _| true)
}

#[test]
fn an_advisory_says_what_it_is_about() {
    let text = update("A", "security", &[collection(&[], &["plain.noarch=3-1"])]);
    let [(advisory, numbers)] = &parsed(&whole(&text)).unwrap()[..] else {
        panic!("one is wanted")
    };
    assert_eq!(
        (advisory.kind, numbers.as_slice()),
        (Kind::Security, &[0][..])
    );
    assert_eq!(advisory.to_string(), "A security important");
    let plain = text
        .replace("type='security'", "")
        .replace("Important", " ");
    let (advisory, _) = &parsed(&whole(&plain)).unwrap()[0];
    assert_eq!(advisory.to_string(), "A");
}

#[test]
fn hostile_advisories_end_in_an_error() {
    let package = named("plain.noarch=3-1");
    let with = |id: &str, packages: &str| {
        let collection = format!("<collection>{packages}</collection>");
        whole(&update(id, "x", &[collection]))
    };
    for (text, problem) in [
        (String::new(), "cut short"),
        ("x".to_owned(), "cut short"),
        ("<x/>".to_owned(), "begins with"),
        ("<updates><update>".to_owned(), "cut short"),
        ("<updates>".to_owned() + &"<a>".repeat(100_000), "deep"),
        (with("", &package), "no `id`"),
        (with(&"i".repeat(300), &package), "`id`"),
        (with(&"i".repeat(2 << 20), &package), "bytes"),
        (with("A", &package.repeat(100_001)), "more than 100000"),
        (with("&unknown;", &package), "not known"),
    ] {
        let error = parsed(&text).unwrap_err();
        assert!(error.contains(problem), "{text:.60}: {error}");
    }
    // What tells of nothing here may be as long as it likes.
    let other = named("other.noarch=3-1").repeat(200_000);
    assert_eq!(parsed(&with("A", &other)), Ok(Vec::new()));
}

#[test]
fn a_damaged_file_is_named() {
    let Some(world) = world() else { return };
    let text = update("A", "security", &[collection(&[], &["plain.noarch=3-1"])]);
    // dnf takes what it has read until then, and says nothing.
    let broken = [
        ("cut short", "</updates>", ""),
        ("crossed", "</collection>", "</update>"),
        ("an entity", "<title>t", "<title>&nbsp;"),
    ];
    for (number, (name, from, to)) in broken.into_iter().enumerate() {
        let mut case = Case::new(name, &text);
        case.repositories[0].0 = case.repositories[0].0.replace(from, to);
        let (_, places) = case.lay(&world, number);
        assert_eq!(case.ours(&places), None, "{name}");
    }
    let (_, places) = Case::new("sound", &text).lay(&world, broken.len());
    let mut files = fs::read_dir(places[0].join("repodata")).unwrap();
    let file = files.find_map(|file| {
        let path = file.unwrap().path();
        path.to_string_lossy()
            .contains("updateinfo")
            .then_some(path)
    });
    let file = file.unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let wanted = Digest::of(&bytes);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let (_, loaded) = load(&places, &Modules::default());
    let changes = [change("plain.noarch", "9-1")];
    let error = loaded[0].advisories(&Transport::default(), &changes, &|_, _, _| true);
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&wanted.to_string()), "{error}");
}
