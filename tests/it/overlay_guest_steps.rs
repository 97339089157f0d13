//! The steps `service`, `user`, `group` and `firstboot`, and labels for what steps make.

use crate::support::overlay::{apply_twice, image};
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{LastLink, read_file, resolve};
use imgasm_guest::services::{self, State};
use imgasm_testkit::memory_fs::MemoryFs;

const SYSTEMD: &[(&str, &str)] = &[
    ("/sbin/init", "->../usr/lib/systemd/systemd"),
    ("/etc/os-release", "ID=amzn\nVERSION_ID=2023\n"),
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
    ("/etc/shadow", "root:*:1::::::\n"),
    ("/etc/group", "root:x:0:\nwheel:x:10:\n"),
    ("/etc/gshadow", "root:::\nwheel:::\n"),
    (
        "/etc/login.defs",
        "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nHOME_MODE 0700\n",
    ),
    ("/etc/skel/.bashrc", "# skeleton\n"),
    ("/etc/systemd/system/", ""),
    (
        "/usr/lib/systemd/system/docker.service",
        "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
    ),
];

fn text(fs: &MemoryFs, path: &str) -> String {
    let path = ImagePath::parse(path).unwrap();
    String::from_utf8(read_file(fs, &path, 10_000).unwrap()).unwrap()
}

fn label(fs: &MemoryFs, path: &str) -> Option<String> {
    let path = ImagePath::parse(path).unwrap();
    let (node, _) = resolve(fs, &path, LastLink::Keep).unwrap();
    let xattrs = fs.xattrs(node).unwrap();
    let value = xattrs.get(&b"security.selinux"[..])?;
    Some(String::from_utf8(value.clone()).unwrap())
}

#[test]
fn services_are_turned_on_and_off() {
    let mut fs = image(SYSTEMD);
    apply_twice(
        &mut fs,
        "[[step]]\nservice = { name = \"docker\", enabled = true }\n",
        &[],
    )
    .unwrap();
    assert_eq!(services::state(&fs, "docker").unwrap(), State::Enabled);
    let report = apply_twice(
        &mut fs,
        "[[step]]\nservice = { name = \"docker\", enabled = false }\n\
         [[step]]\nservice = { name = \"none\", enabled = false, missing_ok = true }\n\
         [[step]]\nservice = { name = \"postfix\", masked = true }\n",
        &[],
    )
    .unwrap();
    assert_eq!(services::state(&fs, "docker").unwrap(), State::Disabled);
    assert_eq!(services::state(&fs, "postfix").unwrap(), State::Masked);
    assert!(!report.overlays[0].steps[2].has_changed());
}

#[test]
fn accounts_come_with_home_and_group() {
    let mut fs = image(SYSTEMD);
    apply_twice(
        &mut fs,
        "[[step]]\ngroup = { name = \"docker\", system = true }\n\
         [[step]]\nuser = { name = \"ops\", groups = [\"wheel\", \"docker\"], comment = \"Operations\" }\n\
         [[step]]\nwrite = { path = \"/home/ops/x\", content = \"\", owner = \"ops\", group = \"ops\" }\n",
        &[],
    )
    .unwrap();
    assert!(
        text(&fs, "/etc/passwd").ends_with("\nops:x:1000:1000:Operations:/home/ops:/bin/bash\n")
    );
    assert_eq!(
        text(&fs, "/etc/group"),
        "root:x:0:\nwheel:x:10:ops\ndocker:x:999:ops\nops:x:1000:\n"
    );
    let dump = fs.dump();
    assert!(
        dump.contains("/home/ops/.bashrc file 0644 1000:1000"),
        "{dump}"
    );
    assert!(dump.contains("/home/ops/x file 0644 1000:1000"), "{dump}");
}

#[test]
fn first_boot_scripts_come_from_the_step_or_the_overlay() {
    let mut fs = image(SYSTEMD);
    apply_twice(
        &mut fs,
        "[variables]\nname = { default = \"x\", help = \"a name\" }\n\
         [[step]]\nfirstboot = { name = \"one\", content = \"#!/bin/sh\\necho {{ name }}\\n\" }\n\
         [[step]]\nfirstboot = { name = \"two\", from = \"two.sh\", template = true }\n",
        &[("two.sh", "#!/bin/sh\necho two {{ name }}\n")],
    )
    .unwrap();
    assert_eq!(
        text(&fs, "/usr/libexec/firstboot/one"),
        "#!/bin/sh\necho x\n"
    );
    assert_eq!(
        text(&fs, "/usr/libexec/firstboot/two"),
        "#!/bin/sh\necho two x\n"
    );
    assert_eq!(
        services::state(&fs, "firstboot-two").unwrap(),
        State::Enabled
    );
}

#[test]
fn errors_say_what_and_where() {
    let error = |toml: &str| apply_twice(&mut image(SYSTEMD), toml, &[]).unwrap_err();
    let unknown = error("[[step]]\nservice = { name = \"ntpd\", enabled = true }\n");
    assert!(
        unknown.contains("there is no service ntpd in the image"),
        "{unknown}"
    );
    assert!(unknown.contains("overlay.toml:2"), "{unknown}");
    let none = error("[[step]]\nservice = { name = \"ntpd\" }\n");
    assert!(none.contains("one of `enabled`, `masked`"), "{none}");
    let group = error("[[step]]\nuser = { name = \"ops\", groups = [\"none\"] }\n");
    assert!(
        group.contains("there is no group none in the image"),
        "{group}"
    );
    assert!(group.contains("a `group` step before this one"), "{group}");
    let both =
        error("[[step]]\nfirstboot = { name = \"x\", content = \"#!/bin/sh\", from = \"y\" }\n");
    assert!(both.contains("either `content` or `from`"), "{both}");
}

#[test]
fn what_is_new_gets_the_label_of_the_policy() {
    let mut files = SYSTEMD.to_vec();
    files.extend([
        ("/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
        (
            "/etc/selinux/targeted/contexts/files/file_contexts",
            "/.* u:r:default_t:s0\n/etc(/.*)? u:r:etc_t:s0\n/etc/.* -l u:r:link_t:s0\n/srv/.* <<none>>\n/usr/libexec(/.*)? u:r:bin_t:s0\n",
        ),
        ("/etc/old", "old"),
        ("/opt/tree/file", "x"),
    ]);
    let mut fs = image(&files);
    apply_twice(
        &mut fs,
        "[[step]]\nwrite = { path = \"/etc/new\", content = \"x\" }\n\
         [[step]]\nwrite = { path = \"/etc/old\", content = \"changed\" }\n\
         [[step]]\nsymlink = { path = \"/etc/link\", target = \"new\" }\n\
         [[step]]\nmkdir = { path = \"/srv/a\" }\n\
         [[step]]\nmove = { from = \"/opt/tree\", to = \"/etc/tree\" }\n\
         [[step]]\nwrite = { path = \"/etc/own\", content = \"x\" }\n\
         [[step]]\nxattr = { path = \"/etc/own\", name = \"security.selinux\", value = \"own\" }\n\
         [[step]]\nfirstboot = { name = \"one\", content = \"#!/bin/sh\\n\" }\n",
        &[("files/laid/file", "x")],
    )
    .unwrap();
    let label = |path| label(&fs, path);
    assert_eq!(label("/etc/new").as_deref(), Some("u:r:etc_t:s0\0"));
    assert_eq!(
        label("/etc/old"),
        None,
        "what is only changed keeps what it has"
    );
    assert_eq!(label("/etc/link").as_deref(), Some("u:r:link_t:s0\0"));
    assert_eq!(label("/srv/a"), None);
    assert_eq!(label("/srv").as_deref(), Some("u:r:default_t:s0\0"));
    assert_eq!(label("/etc/tree").as_deref(), Some("u:r:etc_t:s0\0"));
    assert_eq!(label("/etc/tree/file").as_deref(), Some("u:r:etc_t:s0\0"));
    assert_eq!(label("/etc/own").as_deref(), Some("own"));
    assert_eq!(label("/laid/file").as_deref(), Some("u:r:default_t:s0\0"));
    assert_eq!(
        label("/usr/libexec/firstboot/one").as_deref(),
        Some("u:r:bin_t:s0\0")
    );
}

/// A hash that `openssl passwd -1 -salt salt x` makes.
const HASH: &str = "$1$salt$9GHNWvCB1UrDZjPi7uags0";

#[test]
fn a_password_is_a_hash_and_stands_in_the_shadow() {
    let toml = format!("[[step]]\nuser = {{ name = 'root', password = '{HASH}' }}\n");
    let mut fs = image(SYSTEMD);
    apply_twice(&mut fs, &toml, &[]).unwrap();
    assert_eq!(text(&fs, "/etc/shadow"), format!("root:{HASH}:1::::::\n"));

    let is_shadow = |(path, _): &&(&str, &str)| *path != "/etc/shadow";
    let without: Vec<_> = SYSTEMD.iter().filter(is_shadow).copied().collect();
    let mut fs = image(&without);
    let before = fs.dump();
    let error = apply_twice(&mut fs, &toml, &[]).unwrap_err();
    assert!(error.contains("/etc/shadow"), "{error}");
    assert_eq!(fs.dump(), before);
}

#[test]
fn a_password_that_is_no_hash_is_refused_and_not_repeated() {
    for password in ["secret", "", "$6$short$x", "$1$salt$9GHNWvCB1UrDZjPi7uags"] {
        let toml = format!("[[step]]\nuser = {{ name = 'root', password = '{password}' }}\n");
        let error = apply_twice(&mut image(SYSTEMD), &toml, &[]).unwrap_err();
        let first = error.lines().next().unwrap_or_default();
        assert!(first.contains("not a hashed password"), "{error}");
    }
}
