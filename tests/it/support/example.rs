//! The example recipe, built by the program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The inputs of the example, beside `Cargo.toml`.
const INPUTS: [&str; 4] = ["imgasm.toml", "rootfs", "rootfs.meta.toml", "overlays"];

/// The program under test.
pub fn imgasm() -> Command {
    run(env!("CARGO_BIN_EXE_imgasm").as_ref())
}

/// A program that is imgasm, without the influence of the tests' environment.
pub fn run(program: &Path) -> Command {
    without_influence(Command::new(program))
}

/// The same for one that is to be interrupted: whoever starts the tests in the background of a shell
/// has the signals ignored, and a program that is started so leaves them at that.
pub fn interruptible(program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=HUP,INT,TERM").arg(program);
    without_influence(command)
}

fn without_influence(mut command: Command) -> Command {
    for name in ["SOURCE_DATE_EPOCH", "CI", "IMGASM_CACHE", "IMGASM_LOG"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the example's inputs in `dir`, like another checkout.
pub fn copy_inputs(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for input in INPUTS {
        let status = Command::new("cp")
            .args(["-R", "--no-preserve=all"])
            .arg(project().join(input))
            .arg(dir)
            .status()
            .unwrap();
        assert!(status.success(), "{input}");
    }
    // A checkout only stores the execute bit.
    restore_execute_bits(project(), dir, Path::new("overlays"));
    restore_execute_bits(project(), dir, Path::new("rootfs"));
}

/// Makes the data volume of a copy small.
pub fn shrink_volume(dir: &Path) {
    replace(dir, "volume_size = 20\n", "volume_size = 1\n");
}

/// Makes all disks of a copy small, for tests that read the whole of them.
pub fn shrink_disks(dir: &Path) {
    shrink_volume(dir);
    let base = "{ rootfs = \"rootfs\", size = \"256MiB\" }";
    replace(dir, "{ rootfs = \"rootfs\" }", base);
}

/// Replaces a part of the recipe of a copy.
fn replace(dir: &Path, from: &str, to: &str) {
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&recipe, text.replace(from, to)).unwrap();
}

fn restore_execute_bits(from: &Path, to: &Path, relative: &Path) {
    for entry in fs::read_dir(from.join(relative)).unwrap() {
        let entry = entry.unwrap();
        let relative = relative.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            restore_execute_bits(from, to, &relative);
        } else if kind.is_file() && entry.metadata().unwrap().permissions().mode() & 0o100 != 0 {
            let path = to.join(relative);
            let mode = fs::metadata(&path).unwrap().permissions().mode() | 0o100;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Builds the recipe in `dir` into `dir/out`; gives that folder.
pub fn build(dir: &Path) -> PathBuf {
    let out = dir.join("out");
    let output = imgasm()
        .arg("build")
        .arg("-f")
        .arg(dir.join("imgasm.toml"))
        .arg("-o")
        .arg(&out)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .unwrap();
    assert_success(&output);
    out
}

/// Fails with what a command said if it did not succeed.
pub fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether two files hold the same bytes.
pub fn same_bytes(one: &Path, other: &Path) -> bool {
    Command::new("cmp")
        .arg(one)
        .arg(other)
        .status()
        .unwrap()
        .success()
}
