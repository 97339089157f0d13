//! What can be tested of `imgasm boot` without a machine.

use super::{imgasm, write};
use crate::support::example;

#[test]
fn a_host_without_qemu_is_told_the_package() {
    let folder = tempfile::tempdir().expect("a folder for the image");
    let dir = folder.path();
    write(dir, "root/etc/os-release", "ID=amzn\n");
    write(
        dir,
        "imgasm.toml",
        "name = \"small\"\nbase = { rootfs = \"root\", size = \"64MiB\" }\n",
    );
    let output = example::imgasm()
        .arg("boot")
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .env("PATH", dir)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: there is no qemu-system-x86_64 on this host\n\
         hint: Debian's package qemu-system-x86 contains it\n"
    );
}

#[test]
fn live_expectations_are_checked_when_the_recipe_is_read() {
    let folder = tempfile::tempdir().expect("a folder for the recipe");
    let dir = folder.path();
    write(dir, "root/etc/os-release", "ID=amzn\n");
    for (live, said) in [
        (
            "service = \"a\"\nport = 80",
            "a live expectation is about one of",
        ),
        (
            "service = \"a\"\nstdout = \"x\"",
            "`stdout` does not belong to that",
        ),
        ("service = \"-x\"", "\"-x\" is not the name of a service"),
        ("mount = \"data\"", "\"data\" is not an absolute path"),
        (
            "command = \"x\"\nmatches = \"(\"",
            "\"(\" is not a regular expression",
        ),
        (
            "port = 80\nhttp = { path = \"x\" }",
            "the `path` of a request begins with `/`",
        ),
        (
            "port = 80\nwithin = 9999",
            "`within` is at most 3600 seconds",
        ),
        ("servise = \"a\"", "unknown key `servise`"),
    ] {
        let recipe = format!(
            "name = \"x\"\nbase = {{ rootfs = \"root\" }}\n[[expect]]\npath = \"/etc\"\n\
             [[expect.live]]\n{live}\n"
        );
        write(dir, "imgasm.toml", &recipe);
        let output = imgasm(dir, &["check"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{live}: {stderr}");
        assert!(stderr.contains(said), "{live}: {stderr}");
    }
    let alone = "name = \"x\"\nbase = { rootfs = \"root\" }\n[[expect.live]]\nport = 80\n\
                 http = { path = \"/a\", status = 204 }\n";
    write(dir, "imgasm.toml", alone);
    let output = imgasm(dir, &["check"]);
    assert!(output.status.success(), "{output:?}");
}
