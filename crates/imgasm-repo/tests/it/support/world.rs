//! Repositories and systems, made on the spot, and dnf's opinion of them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_guest::packages::header::Header;
use imgasm_guest::packages::rpm_file::RpmFile;
use imgasm_repo::metadata::{Loaded, Location, Repository};
use imgasm_repo::wish::Wishes;
use imgasm_repo::{Error, Pool, Transport, solve};
use imgasm_testkit::command::run;
use imgasm_testkit::need;
use rpm::Dependency;
use tempfile::TempDir;

/// The tools that are asked, and their Python.
pub const TOOLS: [&str; 3] = ["createrepo_c", "dnf", "rpm"];

/// Where Debian's dnf looks for the database of a root, if the home is `/root`.
const DATABASE: &str = "/root/.rpmdb";

/// A repository and a system.
pub struct World {
    pub folder: TempDir,
    /// The packages that are installed.
    installed: Vec<PathBuf>,
}

impl World {
    /// An empty one; `None` where the tools are missing.
    pub fn new() -> Option<Self> {
        if !need::tools(&TOOLS) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["repository", "root/root/.rpmdb", "installed"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let world = Self {
            folder,
            installed: Vec::new(),
        };
        world.rpm(&["--initdb"]);
        Some(world)
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn rpm(&self, args: &[&str]) -> String {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(self.root());
        run(command.args(["--dbpath", DATABASE]).args(args))
    }

    /// Puts a package into the repository: `name-[epoch:]version` or that with `.arch`, then what it says
    /// of others, a relation a word, such as `requires:a>=2`, or `file:/usr/bin/a`.
    pub fn add(&self, package: &str, relations: &str) {
        build(&self.repository(), package, relations);
    }

    /// Installs a package, in the end.
    pub fn install(&mut self, package: &str, relations: &str) {
        let path = build(&self.folder.path().join("installed"), package, relations);
        self.installed.push(path);
    }

    /// Installs what is to be installed, and makes the metadata.
    pub fn finish(&self, options: &[&str]) {
        let installed = self.installed.iter().map(|path| path.to_str().unwrap());
        let options_of_rpm = [
            "-i",
            "--nodeps",
            "--justdb",
            "--nosignature",
            "--ignorearch",
        ];
        let args: Vec<_> = options_of_rpm.into_iter().chain(installed).collect();
        if !self.installed.is_empty() {
            self.rpm(&args);
        }
        let mut command = Command::new("createrepo_c");
        command
            .args(["-q", "--general-compress-type=gz"])
            .args(options);
        run(command.arg(self.repository()));
    }

    /// The installed headers, in the order of the database.
    pub fn headers(&self) -> Vec<Header> {
        let format = "%{DBINSTANCE} %{NAME}-%{VERSION}.%{ARCH}\n";
        let listed = self.rpm(&["-qa", "--qf", format]);
        let mut listed: Vec<(u32, &str)> = listed
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(instance, package)| (instance.parse().unwrap(), package))
            .collect();
        listed.sort_unstable();
        let open = |(_, package): &(u32, &str)| {
            let path = self.folder.path().join(format!("installed/{package}.rpm"));
            let digest = imgasm_block::Digest::of(&fs::read(&path).unwrap());
            RpmFile::open(&path, digest).unwrap().header
        };
        listed.iter().map(open).collect()
    }

    /// The pool, with what was read of the repository.
    pub fn pool(&self) -> (Pool, Vec<Loaded>) {
        let headers = self.headers();
        let mut pool = Pool::of_installed(headers.iter(), Some(Arch::X86_64), false);
        let repositories = [repository(&format!("file:{}", self.repository().display()))];
        let loaded = pool
            .add(
                &repositories,
                &Transport::default(),
                &[],
                &Modules::default(),
            )
            .unwrap();
        (pool, loaded)
    }

    /// What we say comes and goes, in dnf's form.
    pub fn ours(&self, wishes: &[String], weak: bool) -> Vec<Result<Vec<String>, Error>> {
        let one = |wish: &String| {
            let (mut pool, loaded) = self.pool();
            let wishes = parsed(wish, weak);
            let solution = solve(&mut pool, &wishes, &loaded, &Transport::default())?;
            let arriving = solution
                .arriving
                .iter()
                .map(|one| format!("+{}", pool.nevra(*one)));
            let leaving = solution
                .leaving
                .iter()
                .map(|one| format!("-{}", pool.nevra(*one)));
            let mut found: Vec<_> = arriving.chain(leaving).collect();
            found.sort();
            Ok(found)
        };
        wishes.iter().map(one).collect()
    }

    /// What dnf says.
    pub fn theirs(&self, wishes: &[String], weak: bool) -> Vec<Result<Vec<String>, String>> {
        let (root, repository) = (self.root(), self.repository());
        let weak = OsStr::new(if weak { "weak" } else { "strong" });
        let arguments = [root.as_os_str(), repository.as_os_str(), weak];
        let said = dnf_says("wishes.py", &arguments, wishes);
        let found = said
            .iter()
            .map(|line| match line.split_once(' ').unwrap_or((line, "")) {
                ("ok", found) => Ok(found.split_whitespace().map(str::to_owned).collect()),
                (_, why) => Err(why.to_owned()),
            });
        found.collect()
    }
}

/// What a script for dnf answers to each of these lines.
pub fn dnf_says(script: &str, arguments: &[&OsStr], lines: &[String]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support");
    // Debian's own Python is the one that has dnf.
    let mut child = Command::new("/usr/bin/python3")
        .arg("-B")
        .arg(folder.join(script))
        .args(arguments)
        .env("HOME", "/root")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let asked: String = lines.iter().map(|line| line.clone() + "\n").collect();
    std::thread::spawn(move || input.write_all(asked.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(said.len(), lines.len(), "{text}");
    said
}

/// A repository at a URL, as it is without any settings.
pub fn repository(url: &str) -> Repository {
    Repository {
        id: "r".to_owned(),
        location: Location::Places(vec![url.to_owned()]),
        prefer: None,
        keyring: None,
        priority: 99,
        cost: 1000,
        excludes: Vec::new(),
        includes: Vec::new(),
        module_hotfixes: false,
    }
}

/// Wishes in the form that the script for dnf reads.
fn parsed(text: &str, weak: bool) -> Wishes {
    let mut wishes = Wishes {
        weak,
        protected: vec!["protected".to_owned()],
        ..Wishes::default()
    };
    for word in text.split_whitespace() {
        let (what, spec) = word.split_once(':').unwrap();
        let list = match what {
            "install" => &mut wishes.install,
            "upgrade" => &mut wishes.upgrade,
            _ => &mut wishes.remove,
        };
        list.push(spec.replace('~', " "));
    }
    wishes
}

fn build(folder: &Path, package: &str, relations: &str) -> PathBuf {
    let (package, arch) = package.rsplit_once('.').unwrap_or((package, "noarch"));
    let (name, version) = package.rsplit_once('-').unwrap();
    let (epoch, version) = version.split_once(':').unwrap_or(("", version));
    let mut builder = rpm::PackageBuilder::new(name, version, "MIT", arch, "a test");
    builder
        .release("1")
        .using_config(rpm::BuildConfig::default().compression(rpm::CompressionType::None));
    if !epoch.is_empty() {
        builder.epoch(epoch.parse().unwrap());
    }
    for relation in relations.split_whitespace() {
        let (kind, text) = relation.split_once(':').unwrap();
        if kind == "file" {
            let options = rpm::FileOptions::new(text);
            builder.with_file_contents("x", options).unwrap();
            continue;
        }
        let dependency = dependency(text);
        match kind {
            "requires" => builder.requires(dependency),
            "provides" => builder.provides(dependency),
            "conflicts" => builder.conflicts(dependency),
            "obsoletes" => builder.obsoletes(dependency),
            "recommends" => builder.recommends(dependency),
            "supplements" => builder.supplements(dependency),
            _ => panic!("{kind}"),
        };
    }
    let path = folder.join(format!("{name}-{version}.{arch}.rpm"));
    builder.build().unwrap().write_file(&path).unwrap();
    path
}

/// `a`, `a>=2`, or an expression in parentheses with `~` for its spaces.
fn dependency(text: &str) -> Dependency {
    if text.starts_with('(') {
        return Dependency::any(text.replace('~', " "));
    }
    for (sign, make) in [
        (
            ">=",
            Dependency::greater_eq as fn(String, String) -> Dependency,
        ),
        ("<=", Dependency::less_eq),
        ("<", Dependency::less),
        (">", Dependency::greater),
        ("=", Dependency::eq),
    ] {
        if let Some((name, version)) = text.split_once(sign) {
            return make(name.to_owned(), version.to_owned());
        }
    }
    Dependency::any(text)
}
