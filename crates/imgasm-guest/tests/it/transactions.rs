//! Packages that are installed into a tree in memory and, by Debian's rpm, into a folder: both must
//! take or refuse them, and come to the same files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_block::Digest;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Editor, walk};
use imgasm_fs::{FileType, Timestamp};
use imgasm_guest::Facts;
use imgasm_guest::files::{link_target, read_optional};
use imgasm_guest::packages::header::Header;
use imgasm_guest::packages::history::Reason;
use imgasm_guest::packages::{
    Done, Error, Override, Request, Scriptlets, Unwritable, Wishes, transact,
};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{Files, add, in_memory, on_host};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;
use tempfile::TempDir;

const DATABASE: &str = "/var/lib/rpm";
const SYSTEM: Files<'_> = &[
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
    ("/usr/lib/", ""),
    ("/usr/bin/", ""),
    ("/lib", "->usr/lib"),
    ("/bin", "->usr/bin"),
    ("/opt/", ""),
];

/// A folder for packages, a tree in memory, and a folder in which rpm does the same.
pub(super) struct Lab {
    pub(super) folder: TempDir,
    pub(super) fs: MemoryFs,
    made: usize,
}

impl Lab {
    pub(super) fn new() -> Option<Self> {
        if !need::mounts(&["rpm", "rpmbuild"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        on_host(&root, SYSTEM);
        let mut fs = in_memory(SYSTEM);
        rpm(&root, &["--initdb"]);
        let database = fs::read(root.join("var/lib/rpm/rpmdb.sqlite")).unwrap();
        add(&mut fs, &[("/var/lib/rpm/", "")]);
        let path = ImagePath::parse("/var/lib/rpm/rpmdb.sqlite").unwrap();
        let last = imgasm_fs::tree::LastLink::Keep;
        Editor::new(&mut fs)
            .write(
                &path,
                last,
                &database,
                imgasm_fs::tree::Attributes::default(),
            )
            .unwrap();
        Some(Self {
            folder,
            fs,
            made: 0,
        })
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Builds a package with these lines of preamble, and files with their content.
    pub(super) fn package(
        &mut self,
        name: &str,
        version: &str,
        preamble: &str,
        files: &[(&str, &str)],
    ) -> PathBuf {
        let (mut build, mut list) = (String::new(), String::new());
        for (path, content) in files {
            let into = format!("%{{buildroot}}{path}");
            for line in [
                &format!("mkdir -p $(dirname {into})"),
                &format!("printf '{content}' > {into}"),
            ] {
                build.push_str(line);
                build.push('\n');
            }
            list.push_str(path);
            list.push('\n');
        }
        let (preamble, scripts) = preamble
            .split_once("%pre")
            .map_or((preamble, String::new()), |(before, after)| {
                (before, format!("%pre{after}"))
            });
        let rest =
            format!("{preamble}\n%description\nx\n%install\n{build}\n{scripts}\n%files\n{list}");
        self.spec(name, version, &rest)
    }

    /// Builds a package with this rest of a specification.
    pub(super) fn spec(&mut self, name: &str, version: &str, rest: &str) -> PathBuf {
        self.made += 1;
        let top = self.folder.path().join(format!("p{}", self.made));
        fs::create_dir(&top).unwrap();
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
             AutoReqProv: no\n{rest}"
        );
        fs::write(top.join("x.spec"), spec).unwrap();
        let mut command = Command::new("rpmbuild");
        command
            .arg("--define")
            .arg(format!("_topdir {}", top.display()));
        run(command
            .args(["--define", "_build_id_links none", "-bb"])
            .arg(top.join("x.spec")));
        top.join(format!("RPMS/noarch/{name}-{version}-1.noarch.rpm"))
    }

    /// Installs packages into the tree in memory.
    pub(super) fn transact(
        &mut self,
        packages: &[&Path],
        scriptlets: Scriptlets,
        overrides: &[Override<'_>],
    ) -> Result<Done, Error> {
        let wishes = Wishes {
            scriptlets,
            overrides,
            ..Wishes::default()
        };
        self.change(packages, &wishes)
    }

    /// Installs and removes packages in the tree in memory.
    pub(super) fn change(
        &mut self,
        packages: &[&Path],
        wishes: &Wishes<'_>,
    ) -> Result<Done, Error> {
        let requests: Vec<_> = packages
            .iter()
            .map(|path| Request {
                path: path.to_path_buf(),
                sha256: Digest::of(&fs::read(path).unwrap()),
                nevra: None,
                keyrings: Vec::new(),
                signature: None,
                weak_digests: Vec::new(),
                nodeps: false,
                scriptlets: wishes.scriptlets,
                reason: Reason::User,
                repository: None,
            })
            .collect();
        transact(
            &mut Editor::new(&mut self.fs),
            &Facts::default(),
            Timestamp::default(),
            &requests,
            wishes,
            Unwritable::Refuse,
        )
    }

    fn ours(&mut self, packages: &[&Path]) -> Result<Vec<String>, Error> {
        let done = self.transact(packages, Scriptlets::Native, &[])?;
        Ok(done
            .installed
            .into_iter()
            .flat_map(|outcome| outcome.skipped)
            .collect())
    }

    /// Installs packages both ways; both must accept them or refuse them. Gives whether they did,
    /// and compares the trees.
    pub(super) fn both(&mut self, packages: &[&Path]) -> bool {
        let ours = self.ours(packages);
        let mut command = Command::new("rpm");
        command
            .arg("--root")
            .arg(self.root())
            .args(["--dbpath", DATABASE, "-U", "--noscripts"]);
        let theirs = output(command.args(packages));
        let said = text(&theirs);
        assert_eq!(ours.is_ok(), theirs.status.success(), "{ours:?}\n{said}");
        if ours.is_ok() {
            assert_eq!(
                memory_listing(&self.fs),
                host_listing(&self.root()),
                "{packages:?}"
            );
        }
        ours.is_ok()
    }

    /// Asks rpm about the tree in memory; gives whether it succeeds, and what it says.
    pub(super) fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let copy = self.copy_out();
        let mut command = Command::new("rpm");
        command
            .arg("--root")
            .arg(copy.path())
            .args(["--dbpath", DATABASE]);
        let result = output(command.args(arguments));
        (result.status.success(), text(&result))
    }

    /// The tree in memory as a folder.
    pub(super) fn copy_out(&self) -> TempDir {
        self.copy_out_of(&self.fs)
    }

    /// Another tree in memory as a folder.
    #[allow(clippy::unused_self, reason = "called in a row with methods")]
    pub(super) fn copy_out_of(&self, fs: &MemoryFs) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in walk(fs, &ImagePath::root()).unwrap() {
            let entry = entry.unwrap();
            let path = copy.path().join(&entry.path.to_string()[1..]);
            match entry.metadata.file_type {
                FileType::Directory => std::fs::create_dir_all(&path).unwrap(),
                FileType::Symlink => {
                    let target = link_target(fs, &entry.path).unwrap().unwrap();
                    symlink(String::from_utf8(target).unwrap(), &path).unwrap();
                    continue;
                }
                _ => {
                    let content = read_optional(fs, &entry.path).unwrap().unwrap();
                    std::fs::write(&path, content).unwrap();
                }
            }
            chown(&path, Some(entry.metadata.uid), Some(entry.metadata.gid)).unwrap();
            let mode = std::fs::Permissions::from_mode(entry.metadata.permissions.into());
            std::fs::set_permissions(&path, mode).unwrap();
        }
        copy
    }
}

pub(super) fn rpm(root: &Path, arguments: &[&str]) {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root).args(["--dbpath", DATABASE]);
    run(command.args(arguments));
}

pub(super) type Listing = BTreeMap<String, String>;

pub(super) fn memory_listing(fs: &MemoryFs) -> Listing {
    let mut found = Listing::new();
    for entry in walk(fs, &ImagePath::root()).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path.to_string();
        if path.starts_with("/var") {
            continue;
        }
        let mode = entry.metadata.permissions;
        let content = match entry.metadata.file_type {
            FileType::Directory => format!("{mode:o} /"),
            FileType::Symlink => "link".to_owned(),
            _ => {
                let content = read_optional(fs, &entry.path).unwrap().unwrap();
                format!("{mode:o} {}", String::from_utf8(content).unwrap())
            }
        };
        found.insert(path.trim_end_matches('/').to_owned(), content);
    }
    found
}

pub(super) fn host_listing(root: &Path) -> Listing {
    let mut found = Listing::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if name.starts_with("var") {
            continue;
        }
        let mode = metadata.mode() & 0o7777;
        let content = if metadata.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            format!("{mode:o} /")
        } else if metadata.is_symlink() {
            "link".to_owned()
        } else {
            format!("{mode:o} {}", fs::read_to_string(&path).unwrap())
        };
        let name = if name.is_empty() {
            name
        } else {
            format!("/{name}")
        };
        found.insert(name, content);
    }
    found
}

#[test]
fn one_place_is_one_file_whatever_leads_to_it() {
    let Some(mut lab) = Lab::new() else { return };
    let one = lab.package("one", "1", "", &[("/lib/x.txt", "1")]);
    let other = lab.package("other", "1", "", &[("/usr/lib/x.txt", "2")]);
    let same = lab.package("same", "1", "", &[("/usr/lib/x.txt", "1")]);
    assert!(!lab.both(&[&one, &other]), "two files at one place");
    assert!(lab.both(&[&one]));
    assert!(!lab.both(&[&other]), "another file at one place");
    // An owner remains when the other goes, by whatever name.
    let keeper = lab.package("keeper", "1", "", &[("/lib/shared.txt", "s")]);
    let first = lab.package(
        "leaver",
        "1",
        "",
        &[("/usr/lib/shared.txt", "s"), ("/lib/own.txt", "o")],
    );
    let second = lab.package("leaver", "2", "", &[("/opt/x", "s")]);
    assert!(lab.both(&[&keeper, &first]));
    assert!(lab.both(&[&second]));
    assert!(lab.both(&[&same]));
    // A file may be required by another of its names.
    let needs = lab.package("needs", "1", "Requires: /bin/tool", &[("/opt/n", "")]);
    let tool = lab.package("tool", "1", "", &[("/usr/bin/tool", "")]);
    assert!(!lab.both(&[&needs]), "nobody has the tool");
    assert!(lab.both(&[&needs, &tool]));
    // The copy that rpm is asked about has the times of its making.
    let (is_whole, said) = lab.ask(&["-Va", "--nomtime"]);
    assert!(is_whole, "{said}");
}

#[test]
fn a_failing_script_ends_the_installation_if_rpm_ends_it() {
    let Some(mut lab) = Lab::new() else { return };
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let fails = lab.package(
        "fails",
        "1",
        "%pre\necho no; exit 3\n",
        &[("/opt/fails", "")],
    );
    let before = lab.fs.dump();
    let error = lab.ours(&[&shell, &fails]).unwrap_err().to_string();
    assert_eq!(
        error,
        "fails-1-1.noarch: the script %pre fails with the status 3"
    );
    assert_eq!(lab.fs.dump(), before);
    let later = lab.package("later", "1", "%prep\n%post\nfalse\n", &[("/opt/later", "")]);
    let notes = lab.ours(&[&shell, &later]).unwrap();
    assert_eq!(
        notes,
        ["%post of later-1-1.noarch: failed with the status 1"]
    );
}

#[test]
fn packages_come_after_those_that_they_need() {
    let Some(mut lab) = Lab::new() else { return };
    let shell = lab.package("shell", "1", "Provides: /bin/sh", &[]);
    let script = "%pre\nif [ -x /usr/bin/tool ]; then touch /opt/yes; else touch /opt/no; fi\n";
    let consumer = lab.package(
        "consumer",
        "1",
        &format!("Requires(pre): tool\n{script}"),
        &[],
    );
    let tool = lab.package("tool", "1", "Requires: consumer", &[("/usr/bin/tool", "")]);
    lab.ours(&[&shell, &consumer, &tool]).unwrap();
    let found = memory_listing(&lab.fs);
    assert!(found.contains_key("/opt/no") != found.contains_key("/opt/yes"));
}

#[test]
fn rich_dependencies_hold_afterwards() {
    let Some(mut lab) = Lab::new() else { return };
    let a = lab.package("a", "1", "", &[("/opt/a", "")]);
    let b = lab.package("b", "1", "", &[("/opt/b", "")]);
    let rich = lab.package(
        "rich",
        "1",
        "Requires: (a or nope)\nRequires: (a if b)\nConflicts: (x or c)",
        &[("/opt/r", "")],
    );
    let c = lab.package("c", "1", "", &[("/opt/c", "")]);
    assert!(!lab.both(&[&rich]), "nobody is a");
    assert!(lab.both(&[&rich, &a]));
    assert!(!lab.both(&[&c]), "c is not wanted");
    assert!(lab.both(&[&b]));
    let (is_removed, said) = lab.ask(&["-e", "--test", "a"]);
    assert!(!is_removed && said.contains("(a or nope)"), "{said}");
    // What is installed may need something once another comes.
    let wish = lab.package("wish", "1", "Requires: (more if less)", &[("/opt/w", "")]);
    let less = lab.package("less", "1", "", &[("/opt/less", "")]);
    let more = lab.package("more", "1", "", &[("/opt/more", "")]);
    assert!(lab.both(&[&wish]));
    assert!(!lab.both(&[&less]), "more is missing");
    assert!(lab.both(&[&less, &more]));
}

/// The header of a package file, and where it begins.
fn header(bytes: &[u8]) -> (usize, usize) {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let length = |at: usize| 16 + 16 * number(at + 8) + number(at + 12);
    let start = (96 + length(96)).next_multiple_of(8);
    (start + 8, start + length(start))
}

#[test]
fn headers_are_refused_that_rpm_refuses() {
    let Some(mut lab) = Lab::new() else { return };
    let package = lab.package(
        "sound",
        "1",
        "Requires: a\nProvides: b",
        &[("/opt/sound", "x")],
    );
    let bytes = fs::read(package).unwrap();
    let (start, end) = header(&bytes);
    let is_sound =
        |bytes: &[u8]| Header::decode(bytes.to_vec()).is_ok_and(|header| header.is_as_built());
    assert!(is_sound(&bytes[start..end]));
    let entries = u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
    let mut rng = Rng::new(63);
    let path = lab.folder.path().join("x.rpm");
    let (mut both_refuse, mut ours_takes) = (0, Vec::new());
    for _ in 0..200 {
        let mut changed = bytes.clone();
        let (offset, value) = match rng.index(3) {
            // An entry of the index, or the trailer of the region.
            0 => (
                start + 8 + rng.index(16 * entries),
                u8::try_from(rng.index(256)).unwrap(),
            ),
            1 => (
                start + 8 + 16 * rng.index(entries) + 7,
                u8::try_from(rng.index(11)).unwrap(),
            ),
            _ => (
                end - 1 - rng.index(16),
                u8::try_from(rng.index(256)).unwrap(),
            ),
        };
        changed[offset] = value;
        fs::write(&path, &changed).unwrap();
        let mut command = Command::new("rpm");
        command
            .args(["-qp", "--nosignature", "--nodigest", "--dbpath", "/nowhere"])
            .arg(&path);
        let theirs = output(&mut command).status.success();
        let ours = is_sound(&changed[start..end]);
        both_refuse += usize::from(!theirs && !ours);
        if ours && !theirs {
            ours_takes.push((offset - start, value));
        }
    }
    assert!(both_refuse > 20);
    assert!(ours_takes.is_empty(), "{ours_takes:?}");
}

#[test]
fn scripts_in_lua_do_what_rpm_makes_of_them() {
    let Some(mut lab) = Lab::new() else { return };
    let script = "%prep\n%post -p <lua>\n-- What an update leaves.\n\
         for i, name in ipairs({ \"one\", 'two', \"it's\" }) do\n  \
         os.remove(\"/opt/\" .. name .. \".rpmnew\")\nend\n\
         if posix.access(\"/opt/there\", \"f\") then os.remove('/opt/there') end\n\
         if not posix.access(\"/opt/absent\") and posix.access('/opt') then\n  \
         os.remove('/opt/empty')\n  os.remove('/opt/full')\nend\n\
         if posix.access(\"/run/systemd/system\") then\n  pid = posix.fork()\n  \
         if pid == 0 then\n    assert(posix.exec(\"/usr/bin/systemctl\", \"daemon-reload\"))\n  \
         elseif pid > 0 then\n    posix.wait(pid)\n  end\nend\n";
    let package = lab.package("lua", "1", script, &[("/opt/lua", "")]);
    let before: Files<'_> = &[
        ("/opt/one.rpmnew", "1"),
        ("/opt/it's.rpmnew", "1"),
        ("/opt/three.rpmnew", "1"),
        ("/opt/there", ""),
        ("/opt/empty/", ""),
        ("/opt/full/in", ""),
    ];
    on_host(&lab.root(), before);
    add(&mut lab.fs, before);
    let notes = lab.ours(&[&package]).unwrap();
    assert_eq!(notes, [""; 0]);
    let package = package.to_str().unwrap();
    rpm(&lab.root(), &["-U", package]);
    assert_eq!(memory_listing(&lab.fs), host_listing(&lab.root()));
    let left = host_listing(&lab.root());
    assert!(left.contains_key("/opt/three.rpmnew") && !left.contains_key("/opt/there"));
}

#[test]
fn folders_make_way_for_links_in_lua() {
    let Some(mut lab) = Lab::new() else { return };
    let script = r#"%pretrans -p <lua>
-- A folder that was one becomes a link.
local path = "/opt/folder"
local st = posix.stat(path)
if st and st.type == "directory" then
  local status = os.rename(path, path .. ".rpmmoved")
  if not status then
    local suffix = 0
    while not status do
      suffix = suffix + 1
      status = os.rename(path .. ".rpmmoved", path .. ".rpmmoved." .. suffix)
    end
    os.rename(path, path .. ".rpmmoved")
  end
end
-- Links that were there go.
for i, name in ipairs({"/opt/link", "/opt/full", "/opt/none"}) do
  if posix.stat(name, "type") == "link" then posix.unlink(name) end
end
local function made(parent, count)
  local all = {}
  for number = 1, count do
    local name = parent .. "/made" .. number
    if posix.mkdir(name) then table.insert(all, name) end
  end
  return all
end
local found = made("/opt", 3)
posix.symlink("made1", "/opt/points")
if #found == 3 and posix.readlink("/opt/points") == "made1" and not posix.readlink("/opt/full") then
  posix.rmdir(found[2])
end
posix.rmdir("/opt/full")
posix.mkdir("/opt/full")
posix.symlink("elsewhere", "/opt/full")
if tonumber(arg[2]) == 1 or posix.access("/opt/full/in", "r") then
  posix.mkdir("/opt/first")
end
os.remove("/opt/empty") os.remove("/opt/full") os.remove("/opt/there")
"#;
    let script = format!("%prep\n{script}");
    let package = lab.package("lua", "1", &script, &[("/opt/lua", "")]);
    let before: Files<'_> = &[
        ("/opt/folder/one", "1"),
        ("/opt/folder.rpmmoved/before", "2"),
        ("/opt/folder.rpmmoved.1/longer/ago", "3"),
        ("/opt/link", "->folder"),
        ("/opt/there", ""),
        ("/opt/empty/", ""),
        ("/opt/full/in", ""),
    ];
    on_host(&lab.root(), before);
    add(&mut lab.fs, before);
    let notes = lab.ours(&[&package]).unwrap();
    assert_eq!(notes, [""; 0]);
    rpm(&lab.root(), &["-U", package.to_str().unwrap()]);
    assert_eq!(memory_listing(&lab.fs), host_listing(&lab.root()));
    let left = host_listing(&lab.root());
    assert!(left.contains_key("/opt/folder.rpmmoved/one"), "{left:?}");
}
