//! Completion, in real shells: a person types some keys and the one for completion.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::example::{assert_success, imgasm};
use imgasm_testkit::need;

const RECIPE: &str = r#"
base = { rootfs = "rootfs", size = "64 MiB" }

[variables]
stage = { default = "test", choices = ["test", "production"] }
wide = false
token = { sensitive = true, choices = ["0123456789abcdef"] }

[[image]]
name = "web-prod"

[[image]]
name = "plain"
"#;

/// What is typed, `\t` the key, and what stands there in the end.
const LINES: [(&str, &str); 14] = [
    (r"imgasm build --set sta\tx", "imgasm build --set stage=x"),
    (
        r"imgasm build --set stage=pr\t",
        "imgasm build --set stage=production",
    ),
    (
        r"imgasm build --set=wide=t\t",
        "imgasm build --set=wide=true",
    ),
    (
        r"imgasm build --set-file tok\tf",
        "imgasm build --set-file token=f",
    ),
    (
        r"imgasm plan -f imgasm.toml --image w\t",
        "imgasm plan -f imgasm.toml --image web-prod",
    ),
    (
        r"imgasm ls disk.raw /et\tos-r\t",
        "imgasm ls disk.raw /etc/os-release",
    ),
    (
        r"imgasm cat 'disk 2.raw' /o\tmy\t",
        "imgasm cat disk 2.raw /opt/my file",
    ),
    (r"imgasm ls disk.raw /li\t", "imgasm ls disk.raw /link/"),
    (
        r"imgasm cp disk.raw:/et\tos-r\tx",
        "imgasm cp disk.raw:/etc/os-release x",
    ),
    (
        r"imgasm convert --format qc\t",
        "imgasm convert --format qcow2",
    ),
    (r"imgasm comple\t", "imgasm completions"),
    // What cannot be opened or does not exist changes nothing and says nothing.
    (r"imgasm ls imgasm.toml /et\t", "imgasm ls imgasm.toml /et"),
    (
        r"imgasm cat disk.raw /etc/nothi\t",
        "imgasm cat disk.raw /etc/nothi",
    ),
    (
        r"imgasm build -f none.toml --set sta\t",
        "imgasm build -f none.toml --set sta",
    ),
];

/// A recipe, and a disk that it was built into.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for (path, text) in [
        ("imgasm.toml", RECIPE),
        ("rootfs/etc/os-release", "ID=debian\n"),
        ("rootfs/opt/my file", ""),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink("etc", dir.join("rootfs/link")).unwrap();
    let build = imgasm()
        .args(["build", "--image", "plain"])
        .env("IMGASM_VAR_token", "0123456789abcdef")
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap();
    assert_success(&build);
    for name in ["disk.raw", "disk 2.raw"] {
        fs::copy(dir.join("out/plain/plain.raw"), dir.join(name)).unwrap();
    }
    folder
}

/// Types `lines` into a shell; gives what became of each.
fn typed(shell: &str, dir: &Path, lines: &str) -> Vec<String> {
    let script = imgasm().args(["completions", shell]).output().unwrap();
    assert_success(&script);
    let place = dir.join("completions");
    fs::write(&place, script.stdout).unwrap();
    let program = imgasm();
    let own = Path::new(program.get_program()).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(own.to_owned()).chain(std::env::split_paths(&path));
    let mut driver = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/completions.py"))
        .arg(shell)
        .arg(place)
        .current_dir(dir)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("xdg"))
        .env("IMGASM_CACHE", dir.join("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    driver
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = driver.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{shell}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().map(str::to_owned).collect()
}

fn complete_in(shell: &str) {
    if !need::tools(&["python3", shell]) {
        return;
    }
    let folder = project();
    let cache = |dir: &Path| fs::read_dir(dir.join("cache/paths")).unwrap().count();
    let before = cache(folder.path());
    let lines: Vec<&str> = LINES.iter().map(|(keys, _)| *keys).collect();
    let became = typed(shell, folder.path(), &lines.join("\n"));
    for ((keys, wanted), became) in LINES.iter().zip(&became) {
        assert_eq!(became, wanted, "{shell}: {keys}");
    }
    assert_eq!(became.len(), LINES.len());
    assert_eq!(cache(folder.path()), before, "nothing is written");
}

#[test]
fn bash_completes_what_is_only_known_now() {
    complete_in("bash");
}

#[test]
fn zsh_completes_what_is_only_known_now() {
    complete_in("zsh");
}

#[test]
fn fish_completes_what_is_only_known_now() {
    complete_in("fish");
}

/// The candidates for the words of a line.
fn candidates(dir: &Path, words: &[&str]) -> String {
    let output = imgasm()
        .args(["complete", "--", "imgasm"])
        .args(words)
        .current_dir(dir)
        .env("HOME", dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap();
    assert_success(&output);
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_image_is_unpacked_and_no_secret_is_told() {
    let folder = project();
    let dir = folder.path();
    assert_eq!(candidates(dir, &["build", "--set", ""]), "stage=\nwide=\n");
    assert_eq!(candidates(dir, &["build", "--set", "token="]), "");
    let packed = dir.join("disk.raw.gz");
    let gzip = Command::new("gzip")
        .arg("-k")
        .arg(dir.join("disk.raw"))
        .status();
    assert!(gzip.unwrap().success());
    // What was changed just now is not remembered.
    std::thread::sleep(Duration::from_millis(3100));
    let ask = || candidates(dir, &["ls", packed.to_str().unwrap(), "/e"]);
    assert_eq!(ask(), "");
    let listed = imgasm()
        .arg("ls")
        .arg(&packed)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap();
    assert_success(&listed);
    assert_eq!(ask(), "/etc/\n", "it was unpacked before");
    // The overlays that are applied have variables of their own.
    fs::create_dir(dir.join("overlay")).unwrap();
    fs::write(
        dir.join("overlay/overlay.toml"),
        "[variables]\nmotd = \"x\"\n",
    )
    .unwrap();
    assert_eq!(
        candidates(dir, &["apply", "disk.raw", "overlay", "--set", "m"]),
        "motd=\n"
    );
    assert_eq!(candidates(dir, &["ls", "/dev/zero", "/e"]), "");
}
