//! What a recipe or an overlay names must lie in the project: nothing else on the host gets into an
//! image or a message.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::example;
use imgasm_testkit::need;

const SECRET: &str = "[hidden\nroot:$6$secret-of-the-host";

/// A project with a recipe, an overlay and a rootfs, beside a file that it must not use.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        for folder in ["overlay/files/etc", "rootfs/etc", "data"] {
            fs::create_dir_all(project.join(folder)).unwrap();
        }
        fs::create_dir_all(dir.path().join("outside/etc")).unwrap();
        fs::write(dir.path().join("outside/secret"), SECRET).unwrap();
        fs::write(dir.path().join("outside/overlay.toml"), SECRET).unwrap();
        fs::write(project.join("overlay/overlay.toml"), "").unwrap();
        fs::write(project.join("rootfs/etc/os-release"), "ID=amzn\n").unwrap();
        let this = Self(dir);
        this.recipe("rootfs = 'rootfs'", "'overlay'", "");
        this
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("project").join(name)
    }

    fn recipe(&self, base: &str, overlays: &str, more: &str) {
        let text = format!("name = 'x'\nbase = {{ {base} }}\noverlays = [{overlays}]\n{more}\n");
        fs::write(self.path("imgasm.toml"), text).unwrap();
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        example::imgasm()
            .arg(command)
            .args(arguments)
            .current_dir(self.0.path().join("project"))
            .env("IMGASM_CACHE", self.0.path().join("cache"))
            .output()
            .unwrap()
    }

    /// Building is refused, and shows nothing of what lies outside.
    fn refuses(&self, what: &str, expected: &str) {
        let began = Instant::now();
        let output = self.run("build", &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert!(!said.contains("secret-of-the-host"), "{what}: {said}");
        assert!(!self.path("out").exists(), "{what}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
    }
}

fn replace(path: &Path, target: &str) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    symlink(target, path).unwrap();
}

#[test]
fn nothing_leads_out() {
    let outside = "lies outside of";
    let project = Project::new();
    assert!(project.run("build", &[]).status.success());
    fs::remove_dir_all(project.path("out")).unwrap();

    project.recipe("rootfs = 'rootfs'", "'../outside'", "");
    project.refuses("an overlay", outside);
    project.refuses("an overlay", "--allow-outside");
    let absolute = project.0.path().join("outside").display().to_string();
    project.recipe("rootfs = 'rootfs'", &format!("'{absolute}'"), "");
    project.refuses("an overlay by its whole path", outside);
    project.recipe("rootfs = '../outside'", "", "");
    project.refuses("a rootfs", outside);
    project.recipe("file = '../outside/secret'", "", "");
    project.refuses("a base", outside);
    project.refuses("a base", "sha256");
    let volume = "[[volume]]\ndevice_name = '/dev/sdf'\nvolume_size = 1\nfilesystem = 'ext4'\n\
                  label = 'data'\nfiles = 'data'";
    project.recipe("rootfs = 'rootfs'", "", volume);
    replace(&project.path("data"), "../outside");
    project.refuses("the files of a volume", outside);

    let project = Project::new();
    replace(&project.path("overlay"), "../outside");
    project.refuses("a link to an overlay", outside);

    let project = Project::new();
    replace(
        &project.path("overlay/overlay.toml"),
        "../../outside/secret",
    );
    project.refuses("overlay.toml", outside);

    let project = Project::new();
    replace(&project.path("overlay/files"), "../../outside");
    project.refuses("the files of an overlay", outside);

    let project = Project::new();
    replace(&project.path("rootfs.meta.toml"), "../outside/secret");
    project.refuses("the file beside a rootfs", "rootfs.meta.toml");

    let project = Project::new();
    replace(&project.path("imgasm.toml"), "../outside/secret");
    project.refuses("the recipe", outside);
    project.refuses("the recipe", "--allow-outside");

    let project = Project::new();
    let wishes = "[packages]\ninstall = ['x']\n[[repository]]\nid = 'r'\ngpgcheck = false\n\
                  baseurl = 'file:///nowhere'";
    project.recipe("rootfs = 'rootfs'", "", wishes);
    replace(&project.path("imgasm.lock"), "../outside/secret");
    project.refuses("the lock", outside);

    for step in [
        "firstboot = { name = 'x', from = 'file' }",
        "package = { install = [{ path = 'file' }] }",
        "package = { install = [{ path = '*ile' }] }",
        "unpack = { from = 'file', to = '/srv' }",
        "ca_certificate = { from = 'file', name = 'x' }",
    ] {
        let project = Project::new();
        let text = format!("[[step]]\n{step}\n");
        fs::write(project.path("overlay/overlay.toml"), text).unwrap();
        replace(&project.path("overlay/file"), "../../outside/secret");
        for command in ["build", "check"] {
            let output = project.run(command, &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command} {step}: {said}");
            assert!(!said.contains("secret-of-the-host"), "{said}");
            assert!(
                command == "build" || said.contains(outside),
                "{step}: {said}"
            );
        }
    }
}

/// A folder that was fetched in a build has the token for it in `.git/config`.
#[test]
fn what_git_keeps_is_no_part_of_a_project() {
    let no_part = "`.git`";
    let project = || {
        let project = Project::new();
        fs::create_dir(project.path(".git")).unwrap();
        fs::write(project.path(".git/config"), SECRET).unwrap();
        project
    };
    let of_git = project();
    assert!(of_git.run("build", &[]).status.success());
    fs::remove_dir_all(of_git.path("out")).unwrap();
    for base in ["file = '.git/config'", "rootfs = '.git'", "rootfs = '.'"] {
        of_git.recipe(base, "", "");
        of_git.refuses(base, no_part);
    }
    for files in [".git", "data/git", "data/project"] {
        symlink("../.git", of_git.path("data/git")).ok();
        symlink("..", of_git.path("data/project")).ok();
        let volume = format!(
            "[[volume]]\ndevice_name = '/dev/sdf'\nvolume_size = 1\nfilesystem = 'ext4'\n\
             label = 'data'\nfiles = '{files}'"
        );
        of_git.recipe("rootfs = 'rootfs'", "", &volume);
        of_git.refuses(files, no_part);
    }

    let top = project();
    top.recipe("rootfs = 'rootfs'", "'.'", "");
    for (step, expected) in [
        ("copy = { from = '.git/config', to = '/srv/' }", no_part),
        ("copy = { from = '.git', to = '/srv/' }", no_part),
        (
            "copy = { from = '**/confi?', to = '/srv/' }",
            "matches nothing",
        ),
        ("firstboot = { name = 'x', from = '.git/config' }", no_part),
        ("unpack = { from = '.git/config', to = '/srv' }", no_part),
        (
            "package = { install = [{ path = '.git/config' }] }",
            no_part,
        ),
    ] {
        fs::write(top.path("overlay.toml"), format!("[[step]]\n{step}\n")).unwrap();
        top.refuses(step, expected);
    }
}

#[test]
fn outputs_do_not_leave_the_project_by_a_link_in_it() {
    let project = Project::new();
    symlink("../outside", project.path("out")).unwrap();
    let output = project.run("build", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("out lies outside of"), "{said}");
    let left = fs::read_dir(project.0.path().join("outside")).unwrap();
    assert_eq!(left.count(), 3);
    let output = project.run("build", &["-o", "../outside"]);
    assert!(output.status.success(), "{output:?}");
    replace(&project.path("out"), "data");
    assert!(project.run("build", &[]).status.success());
    assert!(project.path("data/x.raw").exists());

    let wishes = "[packages]\ninstall = ['x']\n[[repository]]\nid = 'r'\ngpgcheck = false\n\
                  baseurl = 'file:///nowhere'";
    project.recipe("rootfs = 'rootfs'", "", wishes);
    symlink("../outside", project.path("vendor")).unwrap();
    let output = project.run("fetch", &["--vendor"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("vendor lies outside of"), "{said}");
}

#[test]
fn a_base_elsewhere_is_a_file_and_its_digest_is_not_shown() {
    let project = Project::new();
    let secret = fs::read(project.0.path().join("outside/secret")).unwrap();
    let found = imgasm_block::Digest::of(&secret).to_string();
    let zeros = "0".repeat(64);
    let base = format!("rootfs = '../outside/secret', sha256 = '{zeros}'");
    for base in [&base, &base.replace("rootfs", "file")] {
        project.recipe(base, "", "");
        let output = project.run("plan", &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains(&found), "{said}");
    }
    project.recipe(&format!("file = '/dev/zero', sha256 = '{zeros}'"), "", "");
    project.refuses("a device", "/dev/zero is not a regular file");
}

#[test]
fn what_is_wrong_with_a_base_elsewhere_is_not_said_of_another() {
    if !need::tools(&["qemu-img"]) {
        return;
    }
    let project = Project::new();
    let outside = project.0.path().join("outside");
    let made = Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-F",
            "raw",
            "-b",
            "/private/name.raw",
        ])
        .args(["disk.qcow2", "1M"])
        .current_dir(&outside)
        .status();
    assert!(made.unwrap().success());
    let bytes = fs::read(outside.join("disk.qcow2")).unwrap();
    for (sha256, expected) in [
        ("0".repeat(64), "has another SHA-256"),
        (
            imgasm_block::Digest::of(&bytes).to_string(),
            "/private/name.raw",
        ),
    ] {
        let base = format!("file = '../outside/disk.qcow2', sha256 = '{sha256}'");
        project.recipe(&base, "", "");
        let output = project.run("plan", &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains("/private") == expected.contains("/private"),
            "{said}"
        );
    }
}

#[test]
fn a_repository_does_not_lead_out() {
    if !need::tools(&["mkfifo", "timeout"]) {
        return;
    }
    let project = Project::new();
    let wishes = "[packages]\ninstall = ['x']\n[[repository]]\nid = 'r'\ngpgcheck = false\n\
                  baseurl = 'file:repo'";
    project.recipe("rootfs = 'rootfs'", "", wishes);
    let rpm = project.path("rootfs/var/lib/rpm");
    fs::create_dir_all(&rpm).unwrap();
    // A database without packages.
    let head = &b"RpmP\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..];
    let slots = b"Slot\0\0\0\0\0\0\0\0\0\0\0\0".repeat(254);
    fs::write(rpm.join("Packages.db"), [head, &slots].concat()).unwrap();
    let repodata = project.path("repo/repodata");
    fs::create_dir_all(&repodata).unwrap();
    let repomd = repodata.join("repomd.xml");
    let lock = |expected: &str| {
        let mut limited = Command::new("timeout");
        let output = limited
            .args(["60", env!("CARGO_BIN_EXE_imgasm"), "lock"])
            .current_dir(project.0.path().join("project"))
            .env("IMGASM_CACHE", project.0.path().join("cache"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
        let secret = fs::read(project.0.path().join("outside/secret")).unwrap();
        assert!(
            !said.contains(&imgasm_block::Digest::of(&secret).to_string()),
            "{said}"
        );
    };
    let zeros = "0".repeat(64);
    let outside = format!(
        "<repomd><data type='primary'><checksum type='sha256'>{zeros}</checksum>\
         <location href='../../outside/secret'/><size>1</size></data></repomd>"
    );
    fs::write(&repomd, outside).unwrap();
    lock("lies outside of");
    fs::remove_file(&repomd).unwrap();
    symlink("../../../outside/secret", &repomd).unwrap();
    lock("lies outside of");
    fs::remove_file(&repomd).unwrap();
    let made = Command::new("mkfifo").arg(&repomd).status();
    assert!(made.unwrap().success());
    lock("is not a regular file");
}

#[test]
fn a_folder_can_be_allowed() {
    let project = Project::new();
    fs::write(project.0.path().join("outside/overlay.toml"), "").unwrap();
    project.recipe("rootfs = 'rootfs'", "'../outside'", "");
    project.refuses("an overlay", "lies outside of");
    let allowed = project.run("build", &["--allow-outside", "../outside"]);
    assert!(allowed.status.success(), "{allowed:?}");
    // The nearest mark above decides which folder is the project.
    fs::write(project.0.path().join("imgasm.root"), "").unwrap();
    let marked = project.run("build", &["--force"]);
    assert!(marked.status.success(), "{marked:?}");
}

#[test]
fn pipes_and_devices_are_not_opened() {
    if !need::tools(&["mkfifo"]) {
        return;
    }
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for name in [
        "overlay/files/etc/pipe",
        "overlay/overlay.toml",
        "rootfs.meta.toml",
        "imgasm.toml",
    ] {
        let project = Project::new();
        fifo(&project.path(name));
        project.refuses(name, Path::new(name).file_name().unwrap().to_str().unwrap());
    }
}

#[test]
fn nothing_waits_for_a_pipe() {
    if !need::tools(&["mkfifo", "timeout"]) {
        return;
    }
    let project = Project::new();
    fs::create_dir(project.path("out")).unwrap();
    for pipe in ["pipe", "imgasm.lock", "out/manifest.json"] {
        let made = Command::new("mkfifo").arg(project.path(pipe)).status();
        assert!(made.unwrap().success());
    }
    for command in [
        "diff pipe pipe",
        "diff imgasm.toml pipe",
        "verify pipe",
        "inspect pipe",
        "ls pipe",
        "convert pipe new.raw",
        "grow pipe 1GiB",
        "recover pipe",
        "apply pipe overlay",
        "edit pipe /etc/a",
        "cp pipe:/etc/a a",
        "boot pipe",
        "check -f pipe",
        "lock",
        "fetch",
        "build",
        "build --force --from-manifest pipe",
        "build --force --sign pipe",
        "import --dry-run",
    ] {
        let mut limited = Command::new("timeout");
        let output = limited
            .args(["60", env!("CARGO_BIN_EXE_imgasm")])
            .args(command.split(' '))
            .current_dir(project.0.path())
            .env("IMGASM_CACHE", project.path("cache"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {output:?}");
    }
}

#[test]
fn what_a_volume_holds_belongs_to_the_identity_of_the_recipe() {
    let project = Project::new();
    let volume = "[[volume]]\ndevice_name = '/dev/sdf'\nvolume_size = 1\nfilesystem = 'ext4'\n\
                  label = 'data'\nfiles = 'data'";
    project.recipe("rootfs = 'rootfs'", "", volume);
    let manifest = || {
        assert!(project.run("build", &["--force"]).status.success());
        let manifest = fs::read(project.path("out/manifest.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&manifest).unwrap()
    };
    let before = manifest();
    fs::write(project.path("data/file"), "content").unwrap();
    let after = manifest();
    assert_ne!(before["recipe_sha256"], after["recipe_sha256"]);
    let files =
        |manifest: &serde_json::Value| manifest["volumes"][0]["filesystem"]["files_sha256"].clone();
    assert!(files(&before).is_string() && files(&before) != files(&after));
}
