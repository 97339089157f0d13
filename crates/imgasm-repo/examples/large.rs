//! Makes a repository of many packages from a seed, with a system beside it, and times wishes.
//!
//! ```text
//! large make FOLDER [COUNT [SEED]]   writes FOLDER/repo and FOLDER/installed
//! large solve FOLDER WISH…           solves names of packages, or `upgrade` for all that is installed
//! ```
//!
//! Of the packages in the repository only those have files that the wishes of [`WISHES`] come to: so
//! many files would take longer to make than all else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use imgasm_block::Digest;
use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_guest::packages::rpm_file::RpmFile;
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::wish::Wishes;
use imgasm_repo::{Pool, Transport, solve};
use imgasm_testkit::rng::Rng;

/// As in the repositories of large distributions, a package has about so many of each.
const REQUIRED: usize = 12;
const PROVIDED: usize = 6;
const FILES: usize = 40;
/// How many packages the system has, in an older version.
const INSTALLED: usize = 600;
/// The last packages of the repository, by how far they are from its end, and all upgrades.
const WISHES: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// What a package is made of.
struct Plan {
    name: String,
    version: String,
    requires: Vec<String>,
}

impl Plan {
    fn provides(&self) -> impl Iterator<Item = String> {
        (0..PROVIDED).map(|index| format!("lib{}.so.{index}()(64bit)", self.name))
    }

    fn files(&self) -> impl Iterator<Item = String> {
        let program = std::iter::once(format!("/usr/bin/{}", self.name));
        let others = 1..FILES;
        program.chain(others.map(|index| format!("/usr/share/{}/part-{index}", self.name)))
    }

    /// A package file of it.
    fn build(&self, version: &str, path: &Path) {
        let plain = rpm::BuildConfig::default().compression(rpm::CompressionType::None);
        let mut builder =
            rpm::PackageBuilder::new(&self.name, version, "MIT", "x86_64", "A package of no use");
        builder.release("1.al").using_config(plain);
        for required in &self.requires {
            builder.requires(rpm::Dependency::any(required));
        }
        for provided in self.provides() {
            builder.provides(rpm::Dependency::any(provided));
        }
        for file in self.files() {
            let options = rpm::FileOptions::new(file);
            builder.with_file_contents("x", options).unwrap();
        }
        builder.build().unwrap().write_file(path).unwrap();
    }
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["make", folder, rest @ ..] => {
            let count = rest.first().map_or(60_000, |text| text.parse().unwrap());
            let seed = rest.get(1).map_or(1, |text| text.parse().unwrap());
            make(Path::new(folder), count, seed);
        }
        ["solve", folder, wishes @ ..] => {
            time(Path::new(folder), wishes);
        }
        _ => panic!("make FOLDER [COUNT [SEED]] or solve FOLDER WISH…"),
    }
}

/// The packages: one needs some of those with smaller numbers, most of them what all depend on.
fn plans(count: usize, seed: u64) -> Vec<Plan> {
    let mut rng = Rng::new(seed);
    let mut plan = |own: usize| {
        let mut requires = Vec::new();
        for _ in 0..REQUIRED.min(own) {
            let reach = if rng.chance(90) { own.min(500) } else { own };
            let (other, index) = (rng.index(reach), rng.index(PROVIDED));
            requires.push(if rng.chance(2) {
                // Only the list of all files has these.
                format!("/usr/share/p{other}/part-{}", 1 + index)
            } else {
                format!("libp{other}.so.{index}()(64bit)")
            });
        }
        Plan {
            name: format!("p{own}"),
            version: format!("{}.{}", 1 + rng.index(9), rng.index(30)),
            requires,
        }
    };
    (0..count).map(&mut plan).collect()
}

fn make(folder: &Path, count: usize, seed: u64) {
    let (repo, installed) = (folder.join("repo"), folder.join("installed"));
    let packages = repo.join("Packages");
    for folder in [&repo.join("repodata"), &packages, &installed] {
        fs::create_dir_all(folder).unwrap();
    }
    let plans = plans(count, seed);
    for plan in &plans[..INSTALLED.min(count)] {
        plan.build("0.1", &installed.join(format!("{}.rpm", plan.name)));
    }
    write(&repo, &plans, &BTreeMap::new());
    let wishes = WISHES.map(|last| format!("p{}", count - last));
    let mut wishes: Vec<_> = wishes.iter().map(String::as_str).collect();
    wishes.push("upgrade");
    let mut built = BTreeMap::new();
    for own in time(folder, &wishes) {
        let path = packages.join(format!("p{own}.rpm"));
        plans[own].build(&plans[own].version, &path);
        built.insert(own, fs::read(&path).unwrap());
    }
    write(&repo, &plans, &built);
}

/// Solves wishes; gives the numbers in the names of what arrives.
fn time(folder: &Path, wishes: &[&str]) -> Vec<usize> {
    let installed = fs::read_dir(folder.join("installed")).unwrap();
    let mut installed: Vec<PathBuf> = installed.map(|entry| entry.unwrap().path()).collect();
    installed.sort();
    let header = |path: &PathBuf| {
        let digest = Digest::of(&fs::read(path).unwrap());
        RpmFile::open(path, digest).unwrap().header
    };
    let headers: Vec<_> = installed.iter().map(header).collect();
    let start = Instant::now();
    let mut pool = Pool::of_installed(headers.iter(), Some(Arch::X86_64), true);
    let repository = Repository {
        id: "large".to_owned(),
        location: Location::Places(vec![format!("file:{}", folder.join("repo").display())]),
        prefer: None,
        keyring: None,
        priority: 99,
        cost: 1000,
        excludes: Vec::new(),
        includes: Vec::new(),
        module_hotfixes: false,
    };
    let transport = Transport::default();
    let loaded = pool
        .add(&[repository], &transport, &[], &Modules::default())
        .unwrap();
    println!("{} packages: {:?}", pool.packages.len(), start.elapsed());
    let mut wanted = Wishes {
        weak: true,
        ..Wishes::default()
    };
    for wish in wishes {
        match *wish {
            "upgrade" => wanted.upgrade.push("*".to_owned()),
            name => wanted.install.push(name.to_owned()),
        }
    }
    let solution = solve(&mut pool, &wanted, &loaded, &transport).unwrap();
    let (arriving, leaving) = (&solution.arriving, solution.leaving.len());
    println!("+{} -{leaving}: {:?}", arriving.len(), start.elapsed());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or_default());
    let name = |number: &usize| pool.names.text(pool.packages[*number].name)[1..].parse();
    arriving
        .iter()
        .map(|number| name(number).unwrap())
        .collect()
}

/// Writes the metadata; packages that have no file have a digest of nothing.
fn write(repo: &Path, plans: &[Plan], built: &BTreeMap<usize, Vec<u8>>) {
    let mut primary = format!("<metadata packages=\"{}\">", plans.len());
    let mut filelists = format!("<filelists packages=\"{}\">", plans.len());
    for (own, plan) in plans.iter().enumerate() {
        let (name, version) = (&plan.name, &plan.version);
        let (digest, size) = match built.get(&own) {
            Some(bytes) => (Digest::of(bytes), bytes.len()),
            None => (Digest::of(name.as_bytes()), 1000),
        };
        let entries = |entries: &mut dyn Iterator<Item = String>| {
            entries.fold(String::new(), |mut text, name| {
                write!(text, "<rpm:entry name=\"{name}\"/>").unwrap();
                text
            })
        };
        writeln!(
            primary,
            "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch>\
             <version epoch=\"0\" ver=\"{version}\" rel=\"1.al\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\
             <summary>A package of no use</summary><description>{}</description>\
             <size package=\"{size}\"/><location href=\"Packages/{name}.rpm\"/><format>\
             <rpm:sourcerpm>{name}.src.rpm</rpm:sourcerpm><rpm:provides>{}\
             <rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"{version}\" rel=\"1.al\"/>\
             </rpm:provides><rpm:requires>{}</rpm:requires>\
             <file>/usr/bin/{name}</file></format></package>",
            "It says much of itself. ".repeat(20),
            entries(&mut plan.provides()),
            entries(&mut plan.requires.iter().cloned()),
        )
        .unwrap();
        write!(
            filelists,
            "<package pkgid=\"{digest}\" name=\"{name}\" arch=\"x86_64\">\
             <version epoch=\"0\" ver=\"{version}\" rel=\"1.al\"/>"
        )
        .unwrap();
        for file in plan.files() {
            write!(filelists, "<file>{file}</file>").unwrap();
        }
        filelists.push_str("</package>\n");
    }
    primary.push_str("</metadata>");
    filelists.push_str("</filelists>");
    let mut repomd = String::from("<repomd>");
    for (kind, xml) in [("primary", primary), ("filelists", filelists)] {
        let packed = zstd::encode_all(xml.as_bytes(), 3).unwrap();
        let file = format!("repodata/{kind}.xml.zst");
        write!(
            repomd,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum>\
             <location href=\"{file}\"/><size>{}</size></data>",
            Digest::of(&packed),
            packed.len()
        )
        .unwrap();
        fs::write(repo.join(file), packed).unwrap();
    }
    fs::write(repo.join("repodata/repomd.xml"), repomd + "</repomd>").unwrap();
}
