//! Passwords moved to `shadow` and `gshadow`, by `pwconv` and `grpconv` in a folder and here.

use std::fs;
use std::process::Command;

use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_guest::files::read_known;
use imgasm_guest::users::convert;
use imgasm_testkit::command::run;
use imgasm_testkit::guest_tree::{Files, in_memory, on_host};
use imgasm_testkit::need;

const SYSTEM: Files<'_> = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nold:$1$abc:5:5:::\nnew:*:6:6:::\nopen::7:7:::\nx:x:8:8:::\n",
    ),
    (
        "/etc/shadow",
        "gone:*:1::::::\nroot:*:1:2:3:4:5:6:\nold:!:1:2:3:4:5:6:7\n",
    ),
    (
        "/etc/group",
        "root:x:0:\nwheel:!:10:a,b\nopen::11:\nkept:x:12:c\nnew:x:13:d\n",
    ),
    (
        "/etc/gshadow",
        "gone:::\nroot:!:adm:mem\nkept:$1$x:adm:e\nopen:!::\n",
    ),
    (
        "/etc/login.defs",
        "PASS_MAX_DAYS 99\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\n",
    ),
];

#[test]
fn passwords_lie_where_shadow_utils_puts_them() {
    if !need::tools(&["pwconv", "grpconv"]) || !need::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    on_host(folder.path(), SYSTEM);
    for tool in ["pwconv", "grpconv"] {
        let mut command = Command::new(tool);
        command.arg("-R").arg(folder.path());
        run(command.env("SOURCE_DATE_EPOCH", "1700000000"));
    }
    let mut image = in_memory(SYSTEM);
    let mut editor = Editor::new(&mut image);
    let now = Timestamp {
        seconds: 1_700_000_000,
        nanoseconds: 0,
    };
    assert!(convert::users(&mut editor, now).unwrap());
    assert!(convert::groups(&mut editor).unwrap());
    for name in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let ours = String::from_utf8(read_known(&image, name).unwrap().unwrap()).unwrap();
        let theirs = fs::read_to_string(folder.path().join(&name[1..])).unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_line_that_is_not_utf_8_is_left_to_the_tool() {
    let mut image = in_memory(SYSTEM);
    let mut editor = Editor::new(&mut image);
    let now = Timestamp {
        seconds: 0,
        nanoseconds: 0,
    };
    let group = ImagePath::parse("/etc/group").unwrap();
    let passwd = ImagePath::parse("/etc/passwd").unwrap();
    for path in [&passwd, &group] {
        let line = b"gr\xfcn:secret:9:9:::\n";
        let written = editor.write(path, LastLink::Keep, line, Attributes::default());
        written.unwrap();
    }
    assert!(!convert::users(&mut editor, now).unwrap());
    assert!(!convert::groups(&mut editor).unwrap());
    drop(editor);
    let shadow = read_known(&image, "/etc/shadow").unwrap().unwrap();
    assert!(shadow.starts_with(b"gone:*:1::::::\n"), "nothing was done");
}
