//! A command that opens the bytes of strangers has shut itself off before, and reaches nothing else.
//!
//! What is tried inside runs in this program, started again, so that it restricts no other test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::support::example;
use imgasm::sandbox::{Needs, enter, leave, narrow};
use imgasm_testkit::command::run;
use imgasm_testkit::need;

/// Set for this program when it is started again: the folder of the test.
const FOLDER: &str = "IMGASM_TEST_FOLDER";

/// Set with it: the arguments of the tool, one per line.
const ARGUMENTS: &str = "IMGASM_TEST_ARGUMENTS";

/// Set with it: what the kernel does about the calls of the test.
const KERNEL: &str = "IMGASM_TEST_KERNEL";

/// What a command says with `-v` where the kernel lacks something.
const LACKING: &str = "the sandbox is not whole";

/// The signal of a process that made a call for which it is killed (`signal(7)`).
const SIGSYS: i32 = 31;

/// The program is loaded anywhere, and what its start fills in is write-protected then (full RELRO).
#[test]
fn the_program_is_hardened() {
    if !need::tools(&["readelf"]) {
        return;
    }
    let said = run(Command::new("readelf")
        .args(["--wide", "--program-headers", "--dynamic"])
        .arg(env!("CARGO_BIN_EXE_imgasm")));
    for part in ["GNU_RELRO", "BIND_NOW", "Flags: NOW PIE"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// Starts the ignored test `name` of this module.
fn again(name: &str, folder: &Path, set: &[(&str, &str)]) -> Output {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("sandbox::{name}"),
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .envs(set.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "{output:?}");
    output
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).expect("started by `again`").into()
}

#[track_caller]
fn is_refused<T>(what: &str, result: io::Result<T>) {
    let error = result.err().unwrap_or_else(|| panic!("{what} is possible"));
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
}

#[test]
#[ignore = "the part of the next test that shuts itself off"]
fn inside() {
    let folder = folder();
    let at = |name: &str| folder.join(name);
    let needs = Needs {
        read: vec![at("input"), at("later")],
        write: vec![at("output")],
        make: vec![at("new/empty"), at("full")],
        ..Needs::default()
    };
    // They are possible before.
    fs::read(at("secret")).unwrap();
    assert!(Command::new("/bin/true").status().unwrap().success());
    UnixStream::pair().unwrap();
    let lacking = enter(&needs);
    println!("lacking: {lacking:?}");

    assert_eq!(fs::read(at("input")).unwrap(), b"input");
    fs::write(at("output/made"), "made").unwrap();
    fs::rename(at("output/made"), at("output/renamed")).unwrap();
    fs::write(at("full/file"), "file").unwrap();
    tempfile::tempfile().unwrap();
    let temporary = tempfile::env::temp_dir();
    fs::write(temporary.join("left"), "").unwrap();
    assert!(std::thread::available_parallelism().is_ok());

    is_refused("a program", Command::new("/bin/true").status());
    is_refused("a connection", TcpStream::connect("127.0.0.1:1"));
    is_refused("a connection", TcpListener::bind("127.0.0.1:0"));
    is_refused("a connection", UdpSocket::bind("127.0.0.1:0"));
    is_refused("a connection", UnixStream::pair());
    if lacking.is_empty() {
        is_refused("reading", fs::read(at("secret")));
        is_refused("reading", fs::read("/etc/passwd"));
        is_refused("reading", fs::read("/proc/self/environ"));
        is_refused("listing", fs::read_dir(&folder));
        is_refused("writing", fs::write(at("input"), "x"));
        is_refused("writing", fs::write(at("beside"), "x"));
        is_refused("writing", fs::write(temporary.with_extension("other"), "x"));
        is_refused("removing", fs::remove_file(at("secret")));
        is_refused("moving", fs::rename(at("secret"), at("output/secret")));
        is_refused("a link out", fs::read(at("output/link")));
        is_refused("a new link", symlink("../secret", at("output/other")));
        // What a thread does that is started later is refused, too.
        let secret = at("secret");
        let later = std::thread::spawn(move || is_refused("reading", fs::read(secret)));
        later.join().unwrap();
        // It can be less, but not more.
        fs::read(at("later")).unwrap();
        narrow(&[at("input"), at("secret")]).unwrap();
        fs::read(at("input")).unwrap();
        fs::read(at("full/file")).unwrap();
        is_refused("reading", fs::read(at("later")));
        is_refused("reading", fs::read(at("secret")));
    }
    leave();
    assert!(!temporary.exists());
    assert!(!at("new").exists(), "nothing came into it");
    assert!(at("full/file").exists());
}

#[test]
fn nothing_else_can_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    fs::create_dir(folder.join("output")).unwrap();
    for name in ["input", "later", "secret"] {
        fs::write(folder.join(name), name).unwrap();
    }
    symlink("../secret", folder.join("output/link")).unwrap();
    let output = again("inside", folder, &[]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("lacking: []") || need::lacking("Landlock"),
        "{said}"
    );
}

/// What the kernel does about calls.
fn refuse(calls: &[libc::c_long], action: SeccompAction) {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
#[ignore = "the part of the next tests that is another kernel"]
fn on_another_kernel() {
    let landlock = [
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ];
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    match std::env::var(KERNEL).unwrap().as_str() {
        "as it is" => {}
        "without Landlock" => refuse(&landlock, missing),
        "without seccomp" => refuse(&[libc::SYS_seccomp], missing),
        "kills who shuts himself off" => refuse(&[libc::SYS_seccomp], SeccompAction::KillProcess),
        other => panic!("{other}"),
    }
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let output = example::imgasm()
        .args(arguments.lines())
        .current_dir(folder())
        .env("IMGASM_CACHE", folder().join("cache"))
        .env_remove("IMGASM_LOG")
        .output()
        .unwrap();
    println!(
        "ended with {:?} or {:?}.",
        output.status.code(),
        output.status.signal()
    );
    println!("{}", String::from_utf8_lossy(&output.stderr));
}

/// What the tool says and how it ends on such a kernel.
fn imgasm_on(kernel: &str, folder: &Path, arguments: &[&str]) -> String {
    let set = [(KERNEL, kernel), (ARGUMENTS, &arguments.join("\n"))];
    let output = again("on_another_kernel", folder, &set);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with a recipe, an overlay, and files that are no images.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for made in ["overlay", "rootfs/etc"] {
        fs::create_dir_all(folder.join(made)).unwrap();
    }
    fs::write(folder.join("overlay/overlay.toml"), "").unwrap();
    fs::write(folder.join("rootfs/etc/os-release"), "ID=amzn\n").unwrap();
    fs::write(folder.join("a.raw"), [b'x'; 4096]).unwrap();
    fs::write(folder.join("b.raw"), [b'y'; 4096]).unwrap();
    let recipe = "name = 'x'\nbase = { rootfs = 'rootfs' }\noverlays = ['overlay']\n";
    fs::write(folder.join("imgasm.toml"), recipe).unwrap();
    dir
}

#[test]
fn every_command_shuts_itself_off_before_it_reads() {
    let commands: [&[&str]; 22] = [
        &["check"],
        &["plan"],
        &["build"],
        &["build", "--check-reproducible"],
        &["apply", "a.raw", "overlay"],
        &["grow", "a.raw", "1MiB"],
        &["recover", "a.raw"],
        &["ls", "a.raw"],
        &["cat", "a.raw", "/x"],
        &["find", "a.raw"],
        &["cp", "a.raw:/x", "x"],
        &["cp", "b.raw", "a.raw:/x"],
        &["tar", "a.raw"],
        &["inspect", "a.raw"],
        &["convert", "a.raw", "c.qcow2"],
        &["verify", "a.raw"],
        &["verify", "a.raw", "-f", "imgasm.toml"],
        &["diff", "a.raw", "b.raw"],
        &["diff", "imgasm.toml", "b.raw"],
        &["boot"],
        &["boot", "a.raw"],
        &["boot", "a.raw", "-f", "imgasm.toml"],
    ];
    let killed = format!("ended with None or Some({SIGSYS}).");
    for command in commands {
        let dir = project();
        let said = imgasm_on("kills who shuts himself off", dir.path(), command);
        assert!(said.contains(&killed), "{command:?}: {said}");
        assert!(
            !said.contains("error"),
            "{command:?} has read something: {said}"
        );
        if command[0] == "boot" {
            // It would start a machine.
            continue;
        }
        let free = [command, &["--no-sandbox"]].concat();
        let said = imgasm_on("kills who shuts himself off", project().path(), &free);
        assert!(!said.contains(&killed), "{free:?}: {said}");
    }
}

#[test]
fn where_the_kernel_lacks_it_the_command_goes_on() {
    let dir = project();
    let run = |kernel, arguments: &[&str]| {
        let said = imgasm_on(kernel, dir.path(), arguments);
        assert!(
            said.contains("ended with Some(0)"),
            "{kernel}, {arguments:?}: {said}"
        );
        let lines: Vec<_> = said.lines().filter(|line| line.contains(LACKING)).collect();
        lines.join("\n")
    };
    run("as it is", &["build"]);
    let whole = run("as it is", &["-v", "ls", "out/x.raw"]);
    assert!(whole.is_empty() || need::lacking("Landlock"), "{whole}");
    for (kernel, missing) in [
        ("without Landlock", "this kernel has no Landlock"),
        ("without seccomp", "calls: "),
    ] {
        let said = run(kernel, &["-v", "ls", "out/x.raw"]);
        assert!(said.contains(missing), "{kernel}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(run(kernel, &["ls", "out/x.raw"]), "");
        assert_eq!(run(kernel, &["-v", "--no-sandbox", "ls", "out/x.raw"]), "");
        run(kernel, &["build", "--check-reproducible"]);
    }
    let left = fs::read_dir(dir.path().join("out")).unwrap().count();
    assert_eq!(left, 2, "the image and its manifest");
}
