//! The cache of the dynamic loader beside that of the host's `ldconfig -r`, on random trees, and the
//! loader itself that uses it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink, read_file};
use imgasm_guest::loader::{Error, update};
use imgasm_testkit::command::{output, run, text};
use imgasm_testkit::guest_tree::{add, in_memory, links_in_memory, links_on_host, path};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;

const FOLDERS: [&str; 6] = [
    "/lib64",
    "/usr/lib64",
    "/usr/lib",
    "/lib",
    "/opt/own/lib",
    "/usr/local/lib",
];
/// The host's own folders are others than those of systems with RPM: all of these are named.
const CONFIG: &str = "# first\n/opt/own/lib/ # own\n\ninclude /etc/ld.so.conf.d/*.conf\n\
                      /lib\n/lib64\n/usr/lib\n/usr/lib64\n/nothing\n";

/// Compiled libraries with these names for programs; an empty one has none.
fn compiled(folder: &Path) -> Vec<Vec<u8>> {
    let source = folder.join("x.c");
    fs::write(&source, "int x(void) { return 1; }\n").unwrap();
    let sonames = [
        "",
        "liba.so.1",
        "liba.so.2",
        "libb.so.1",
        "libb.so.10",
        "libc++.so.1",
    ];
    let compile = |soname: &&str| {
        let target = folder.join("x.so");
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-nostdlib", "-fPIC", "-o"])
            .arg(&target)
            .arg(&source);
        if !soname.is_empty() {
            command.arg(format!("-Wl,-soname,{soname}"));
        }
        run(&mut command);
        fs::read(&target).unwrap()
    };
    sonames.iter().map(compile).collect()
}

/// A random tree.
fn tree(root: &Path, libraries: &[Vec<u8>], rng: &mut Rng) {
    let put = |name: &str, content: &[u8]| {
        let path = root.join(&name[1..]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("/etc/ld.so.conf", CONFIG.as_bytes());
    put("/etc/ld.so.conf.d/b.conf", b"/usr/local/lib\n");
    put("/etc/ld.so.conf.d/.hidden.conf", b"/opt/hidden\n");
    // So that the architecture is known.
    put("/sbin/init", &libraries[0]);
    if rng.chance(50) {
        fs::create_dir_all(root.join("usr/lib64")).unwrap();
        symlink("usr/lib64", root.join("lib64")).unwrap();
    }
    if rng.chance(30) {
        fs::create_dir_all(root.join("usr/lib64/glibc-hwcaps/x86-64-v3")).unwrap();
    }
    let names = [
        "liba.so.1.0",
        "liba.so.1.2",
        "liba.so.1.10",
        "liba.so.1",
        "liba.so.2",
        "libb.so.1.1",
        "libb.so.10.3",
        "libb-2.7.so",
        "libc++.so.1.0",
        "ld-linux.so.3",
        "plugin.so",
        "libx.so",
        "libb.so",
        "liba.so",
        "libd.so.5",
    ];
    for _ in 0..rng.range(5..25) {
        let name = format!("{}/{}", rng.pick(&FOLDERS), rng.pick(&names));
        let path = root.join(&name[1..]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match rng.below(10) {
            0..5 => fs::write(&path, rng.pick(libraries)).unwrap(),
            5 => fs::write(&path, "GROUP ( libx.so )\n").unwrap(),
            6 => {
                let library = rng.pick(libraries);
                let len = rng.index(library.len());
                fs::write(&path, &library[..len]).unwrap();
            }
            7 => {
                let target = format!("{}/{}", rng.pick(&FOLDERS), rng.pick(&names));
                symlink(target, &path).unwrap();
            }
            _ => symlink(*rng.pick(&names), &path).unwrap(),
        }
    }
}

/// The same tree in memory.
fn copied(root: &Path) -> MemoryFs {
    let mut memory = MemoryFs::new();
    let mut editor = Editor::new(&mut memory);
    let mut pending = vec![root.to_owned()];
    let plain = Attributes::default();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let host = entry.unwrap().path();
            let name = host.strip_prefix(root).unwrap().as_os_str();
            let path = ImagePath::parse([b"/", name.as_bytes()].concat()).unwrap();
            let kind = host.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                editor.mkdir_all(&path, plain).unwrap();
                pending.push(host);
            } else if kind.is_symlink() {
                let target = fs::read_link(&host).unwrap();
                editor
                    .symlink(&path, target.as_os_str().as_bytes())
                    .unwrap();
            } else {
                editor.copy_in(&host, &path, LastLink::Keep, plain).unwrap();
            }
        }
    }
    memory
}

fn cache(fs: &MemoryFs) -> Vec<u8> {
    read_file(fs, &path("/etc/ld.so.cache"), 1 << 24).unwrap()
}

/// What a cache of the host says, without who made it.
fn plain(mut bytes: Vec<u8>) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (entries, strings, extension) = (number(20), number(24), number(32));
    let end = 48 + 24 * entries + strings;
    assert_eq!(end.next_multiple_of(4), extension);
    bytes[32..36].fill(0);
    bytes.truncate(end);
    bytes
}

#[test]
fn the_cache_and_the_links_are_those_of_ldconfig() {
    if !need::tools(&["ldconfig", "cc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let libraries = compiled(folder.path());
    let seeds = std::env::var("IMGASM_SEEDS").map_or(30, |seeds| seeds.parse().unwrap());
    let mut made = 0;
    for seed in 0..seeds {
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        tree(&root, &libraries, &mut Rng::new(seed));
        let mut memory = copied(&root);
        let before = links_in_memory(&memory, "/");
        let makes_links = seed % 4 != 0;
        update(&mut Editor::new(&mut memory), makes_links).unwrap();
        let mut command = Command::new("ldconfig");
        command.arg("-r").arg(&root);
        if !makes_links {
            command.arg("-X");
        }
        output(&mut command);
        let links = |links: BTreeMap<String, String>| -> Vec<_> { links.into_iter().collect() };
        let ours = links(links_in_memory(&memory, "/"));
        assert_eq!(ours, links(links_on_host(&root, "/")), "seed {seed}");
        made += usize::from(ours != links(before));
        let theirs = plain(fs::read(root.join("etc/ld.so.cache")).unwrap());
        assert!(
            cache(&memory) == theirs,
            "seed {seed}: {}",
            text(&output(
                Command::new("ldconfig")
                    .arg("-p")
                    .arg("-C")
                    .arg(root.join("etc/ld.so.cache"))
            ))
        );
        // A second time changes nothing, unless ldconfig does not come to rest either.
        let writes = memory.writes;
        update(&mut Editor::new(&mut memory), makes_links).unwrap();
        output(&mut command);
        let again = plain(fs::read(root.join("etc/ld.so.cache")).unwrap());
        let is_at_rest = links(links_on_host(&root, "/")) == ours && again == theirs;
        assert!(memory.writes == writes || !is_at_rest, "seed {seed}");
        fs::remove_dir_all(&root).unwrap();
    }
    assert!(made > 10, "too few trees in which links are made");
}

/// A library for 64-bit ARM: of the same form.
fn for_arm(library: &[u8]) -> Vec<u8> {
    let mut bytes = library.to_vec();
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
    bytes
}

#[test]
fn on_arm_only_the_flags_differ() {
    if !need::tools(&["cc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let libraries = compiled(folder.path());
    let cache_of = |libraries: &[Vec<u8>]| {
        let mut fs = in_memory(&[
            ("/etc/", ""),
            ("/usr/lib64/", ""),
            ("/lib64", "->usr/lib64"),
            ("/sbin/", ""),
        ]);
        let mut editor = Editor::new(&mut fs);
        for (name, library) in ["/sbin/init", "/lib64/liba.so.1", "/lib64/libb.so.1.1"]
            .iter()
            .zip(libraries)
        {
            let plain = Attributes::default();
            editor
                .write(&path(name), LastLink::Keep, library, plain)
                .unwrap();
        }
        update(&mut editor, true).unwrap();
        cache(&fs)
    };
    let own = [
        libraries[0].clone(),
        libraries[1].clone(),
        libraries[3].clone(),
    ];
    let arm: Vec<_> = own.iter().map(|library| for_arm(library)).collect();
    let mut wanted = cache_of(&own);
    for at in [48, 72] {
        assert_eq!(wanted[at..at + 4], [3, 3, 0, 0]);
        wanted[at..at + 4].copy_from_slice(&[3, 10, 0, 0]);
    }
    assert!(cache_of(&arm) == wanted);
    // Libraries for another processor are no libraries.
    let mixed = [own[0].clone(), arm[1].clone(), own[2].clone()];
    assert_eq!(cache_of(&mixed)[20], 1);
}

#[test]
fn what_is_not_known_leaves_the_tree_alone() {
    if !need::tools(&["cc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let libraries = compiled(folder.path());
    for (name, is_known) in [
        ("/usr/lib64/glibc-hwcaps/x86-64-v3/liba.so.1.5", false),
        ("/usr/lib64/tls/liba.so.1.5", false),
        ("/usr/lib64/tls/readme", true),
        ("/usr/lib64/libä.so.1", false),
        ("/usr/lib64/liba.so.1.5", true),
    ] {
        let mut fs = in_memory(&[("/etc/", ""), ("/sbin/", "")]);
        let mut editor = Editor::new(&mut fs);
        for name in ["/sbin/init", name] {
            let (path, plain) = (path(name), Attributes::default());
            editor.mkdir_all(&path.parent().unwrap(), plain).unwrap();
            editor
                .write(&path, LastLink::Keep, &libraries[1], plain)
                .unwrap();
        }
        let before = fs.dump();
        match update(&mut Editor::new(&mut fs), true) {
            Ok(()) => assert!(is_known, "{name}"),
            Err(Error::Unknown(_)) => assert!(!is_known && fs.dump() == before, "{name}"),
            Err(error) => panic!("{error}"),
        }
    }
    // The file includes itself; or each file includes the next twenty times.
    let chain: Vec<_> = (0..12)
        .map(|n| {
            (
                format!("/etc/l{n}"),
                format!("include l{}\n", n + 1).repeat(20),
            )
        })
        .collect();
    let chain = chain
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let mut long = vec![("/etc/ld.so.conf", "include l0\n")];
    long.extend(chain);
    for files in [
        &[("/etc/ld.so.conf", "include /etc/ld.so.conf\n")][..],
        &long,
    ] {
        let mut fs = in_memory(files);
        add(&mut fs, &[("/sbin/", "")]);
        let plain = Attributes::default();
        Editor::new(&mut fs)
            .write(&path("/sbin/init"), LastLink::Keep, &libraries[0], plain)
            .unwrap();
        let result = update(&mut Editor::new(&mut fs), true);
        assert!(matches!(result, Err(Error::Unknown(_))), "{result:?}");
    }
}

#[test]
fn the_loader_takes_it() {
    if !need::root() || !need::tools(&["cc", "chroot"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, root) = (folder.path().join("x.c"), folder.path().join("root"));
    let library = root.join("opt/own/lib/libown.so.1.4");
    for folder in ["etc", "lib64", "usr/lib64", "sbin", "opt/own/lib"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/ld.so.conf"), "/opt/own/lib\n").unwrap();
    fs::write(&source, "int own(void) { return 42; }\n").unwrap();
    let compile = |arguments: &[&str], target: &Path| {
        let mut command = Command::new("cc");
        run(command
            .args(arguments)
            .arg("-o")
            .arg(target)
            .arg(&source)
            .arg("-L")
            .arg(folder.path()));
    };
    compile(&["-shared", "-fPIC", "-Wl,-soname,libown.so.1"], &library);
    fs::copy(&library, folder.path().join("libown.so")).unwrap();
    fs::write(&source, "int own(void); int main(void) { return own(); }\n").unwrap();
    let program = root.join("sbin/init");
    let mut command = Command::new("cc");
    run(command
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .arg("-L")
        .arg(folder.path())
        .arg("-lown"));
    // The host's own loader and C library.
    let libraries = run(Command::new("ldd").arg("/bin/true"));
    for line in libraries
        .lines()
        .filter(|line| line.contains("libc.so") || line.contains("ld-linux"))
    {
        let place = line
            .split_whitespace()
            .find(|word| word.starts_with('/'))
            .unwrap();
        let name = PathBuf::from(place);
        fs::copy(place, root.join("lib64").join(name.file_name().unwrap())).unwrap();
    }
    let list = |root: &Path| {
        let loader = fs::read_dir(root.join("lib64"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let loader = loader
            .map(|name| name.into_string().unwrap())
            .find(|name| name.starts_with("ld-"));
        let mut command = Command::new("chroot");
        command.arg(root).arg(format!("/lib64/{}", loader.unwrap()));
        let result = output(command.args(["--list", "/sbin/init"]));
        text(&result)
    };
    assert!(
        list(&root).contains("libown.so.1 => not found") || list(&root).contains("cannot open")
    );
    let mut memory = copied(&root);
    update(&mut Editor::new(&mut memory), true).unwrap();
    fs::write(root.join("etc/ld.so.cache"), cache(&memory)).unwrap();
    for (link, target) in links_in_memory(&memory, "/opt") {
        symlink(target, root.join(&link[1..])).unwrap();
    }
    let said = list(&root);
    assert!(
        said.contains("libown.so.1 => /opt/own/lib/libown.so.1 ("),
        "{said}"
    );
    assert!(said.contains("libc.so.6 => /lib64/libc.so.6 ("), "{said}");
}
