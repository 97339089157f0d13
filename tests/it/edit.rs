//! `imgasm edit`, with editors that are commands.

use std::fs;
use std::path::Path;
use std::process::Output;

use imgasm_testkit::image::{Kind, sets};
use imgasm_testkit::images::arg;
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tools::run;

use crate::support::example::imgasm;

fn edit(folder: &Path, path: &str, editor: Option<&str>) -> Output {
    let mut command = imgasm();
    command
        .args(["edit", "image", path])
        .current_dir(folder)
        .env_remove("VISUAL")
        .env_remove("EDITOR");
    if let Some(editor) = editor {
        command.env("EDITOR", editor);
    }
    command.output().unwrap()
}

#[test]
fn what_an_editor_leaves_is_in_the_image() {
    if !need::mounts(&["mke2fs", "mkfs.xfs"]) {
        return;
    }
    for set in sets(Kind::Ext).take(1).chain(sets(Kind::Xfs).take(1)) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        let image = dir.join("image");
        set.make(&image);
        {
            let mount = Mount::new(&image, set.kind, Access::ReadWrite);
            let script = format!(
                "cd {}; mkdir etc; echo one >etc/conf; chmod 640 etc/conf; chown 3:4 etc/conf; \
                 ln -s conf etc/link",
                arg(mount.path())
            );
            run("sh", ["-ec", &script]);
        }
        let before = fs::read(&image).unwrap();
        let unchanged = |editor: Option<&str>, path: &str, status: i32, words: &str| {
            let output = edit(dir, path, editor);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{said}");
            assert!(said.contains(words), "{said}");
            assert!(before == fs::read(&image).unwrap(), "{words}");
        };
        unchanged(Some("true"), "/etc/conf", 0, "nothing is written");
        unchanged(Some("false"), "/etc/conf", 2, "it ended with");
        unchanged(
            Some("rm"),
            "/etc/conf",
            2,
            "nothing was changed in the image",
        );
        unchanged(None, "/etc/conf", 2, "set VISUAL or EDITOR");
        unchanged(Some("true"), "/etc/cnf", 2, "did you mean /etc/conf?");
        unchanged(Some("true"), "/etc", 2, "a regular file");

        // With an argument of its own; the file has its name, and nobody else may read it.
        let editor = "sh -c 'stat -c \"%a %n\" \"$(dirname \"$1\")\" && case \"$1\" in */conf) ;; *) exit 1;; esac && echo two >>\"$1\"' -";
        let output = edit(dir, "/etc/link", Some(editor));
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("700 "));
        let mount = Mount::new(&image, set.kind, Access::ReadOnly);
        let script = format!(
            "cd {}/etc; cat conf; stat -c '%a %u:%g' conf; readlink link",
            arg(mount.path())
        );
        assert_eq!(
            run("sh", ["-ec", &script]),
            "one\ntwo\n640 3:4\nconf\n",
            "{}",
            set.name
        );
        mount.finish().unwrap();
        judge::check(&image, set.kind).unwrap_or_else(|said| panic!("{said}"));
    }
}
