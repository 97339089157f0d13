//! Access control lists on the disk that are none, or that contradict themselves, beside `xfs_repair`.

use std::fmt::Write as _;
use std::process::Command;

use imgasm_fs::FileSystem;
use imgasm_testkit::command::output;
use imgasm_testkit::engine;
use imgasm_testkit::kernel::Access;
use imgasm_testkit::need;
use imgasm_testkit::tools::run;
use imgasm_xfs::Xfs;

use crate::image::Image;

/// The id of an entry that names nobody.
const NO_ID: u32 = u32::MAX;

/// A list as it lies on the disk, in hexadecimal.
fn list(entries: &[(u32, u32, u16)]) -> String {
    let mut bytes = u32::to_be_bytes(entries.len().try_into().unwrap()).to_vec();
    for (tag, id, permissions) in entries {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend(permissions.to_be_bytes());
        bytes.extend([0; 2]);
    }
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[test]
fn lists_are_valid_as_xfs_repair_has_it() {
    if !need::tools(&["setfattr", "xfs_repair"]) {
        return;
    }
    let owner = (1, NO_ID, 6);
    let group = (4, NO_ID, 4);
    let mask = (16, NO_ID, 6);
    let others = (32, NO_ID, 4);
    let user = |id| (2, id, 4);
    let lists = [
        list(&[owner, group, others]),
        list(&[owner, user(5), group, mask, others]),
        list(&[owner, user(5), user(6), group, (8, 5, 4), mask, others]),
        list(&[others, owner, group]),
        list(&[owner, user(5), user(5), group, mask, others]),
        list(&[owner, user(5), group, others]),
        list(&[owner, group]),
        list(&[owner, others]),
        list(&[group, others]),
        list(&[owner, owner, group, others]),
        list(&[owner, group, others, (64, NO_ID, 4)]),
        list(&[]),
        "786c".to_owned(),
    ];
    let mut sound = 0;
    for list in &lists {
        let Some(image) = Image::new(&[]) else {
            return;
        };
        image.kernel(Access::ReadWrite, |root| {
            let file = root.join("file");
            std::fs::write(&file, b"content").unwrap();
            let (file, value) = (file.to_str().unwrap(), format!("0x{list}"));
            run(
                "setfattr",
                ["-n", "trusted.SGI_ACL_FILE", "-v", &value, file],
            );
        });
        let path = &image.path;
        let theirs = output(Command::new("xfs_repair").args(["-n", "-f"]).arg(path));
        let mut ours = Vec::new();
        let fs = Xfs::open(engine::image(path)).unwrap();
        fs.check(&mut |finding| ours.push(finding.problem)).unwrap();
        assert_eq!(
            ours.is_empty(),
            theirs.status.success(),
            "{list}: {ours:?}, {theirs:?}"
        );
        sound += u32::from(ours.is_empty());
    }
    assert!(sound > 1 && sound < 5, "{sound}");
}
