//! What `imgasm verify` says about the example also holds when the kernel mounts its root and
//! ordinary tools look at it.

use std::path::Path;
use std::process::Command;

use crate::support::example::{assert_success, build, copy_inputs, imgasm};
use imgasm_testkit::command::run;
use imgasm_testkit::image::Kind;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;

/// The first byte and the length of partition 1, according to `sfdisk`.
fn partition(image: &Path) -> (u64, u64) {
    let dump = run(Command::new("sfdisk").arg("-J").arg(image));
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let table = &dump["partitiontable"];
    let partitions = table["partitions"].as_array().unwrap();
    let root = partitions
        .iter()
        .find(|partition| partition["node"].as_str().unwrap().ends_with("raw1"))
        .unwrap();
    let sectors = |key: &str| root[key].as_u64().unwrap() * 512;
    (sectors("start"), sectors("size"))
}

fn shell(folder: &Path, script: &str) -> String {
    run(Command::new("sh").args(["-ec", script]).current_dir(folder))
}

#[test]
fn the_mounted_example_is_what_verify_says() {
    if !need::mounts(Kind::Ext.tools()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    copy_inputs(dir);
    let out = build(dir);
    let verified = imgasm()
        .args(["verify", "out/ecs.raw", "-f", "imgasm.toml"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert_success(&verified);

    let (start, len) = partition(&out.join("ecs.raw"));
    let root = dir.join("root.img");
    let (skip, count) = (start >> 20, len >> 20);
    let copy = format!(
        "dd if=out/ecs.raw of=root.img bs=1M skip={skip} count={count} conv=sparse status=none"
    );
    shell(dir, &copy);
    let mount = Mount::new(&root, Kind::Ext, Access::ReadOnly);
    let at = |script: &str| shell(mount.path(), script);

    assert_eq!(
        at("grep docker etc/fstab"),
        "LABEL=docker\t/data\t\text4\tdefaults,noatime\t0\t0\n"
    );
    assert_eq!(at("stat -c '%F %U %a' data"), "directory root 755\n");
    assert_eq!(
        at("cat etc/sysconfig/clock"),
        "ZONE=\"US/Eastern\"\nUTC=true\n"
    );
    assert_eq!(
        at("readlink etc/localtime"),
        "/usr/share/zoneinfo/US/Eastern\n"
    );
    // EST and EDT, from the zone file that the link leads to.
    assert_eq!(
        at(
            "TZ=:$PWD/usr/share/zoneinfo/US/Eastern date -d @1577836800 +%Z
            TZ=:$PWD/usr/share/zoneinfo/US/Eastern date -d @1593561600 +%Z"
        ),
        "EST\nEDT\n"
    );
    // What `chkconfig --list` reads.
    let links = |service: &str| {
        at(&format!(
            "cd etc/rc.d && ls -d rc?.d/*{service} | tr '\\n' ' '"
        ))
    };
    let ntpd = links("ntpd");
    assert_eq!(ntpd.matches("/S58ntpd").count(), 4, "{ntpd}");
    assert_eq!(ntpd.matches("/K74ntpd").count(), 3, "{ntpd}");
    let docker = links("docker");
    assert_eq!(docker.matches("/K05docker").count(), 7, "{docker}");
    assert_eq!(docker.matches("/S").count(), 0, "{docker}");
    assert_eq!(
        at("grep '^repo_' etc/cloud/cloud.cfg; tail -n 1 etc/cloud/cloud.cfg"),
        "repo_upgrade: none\nrepo_upgrade_exclude:\nrepo_update: false\nrepo_update: false\n"
    );
    let id = at("awk -F: '$1 == \"ec2-user\" { print $3 \":\" $4 }' etc/passwd");
    assert_eq!(
        at("stat -c '%u:%g' home/ec2-user/firstrun.sh"),
        id,
        "the image's own ids"
    );
    assert_eq!(at("stat -c %a home/ec2-user/firstrun.sh"), "755\n");
    assert_eq!(at("ls var/log/ecs; test ! -e var/log/docker"), "");
    mount.finish().unwrap();

    let volume = shell(
        dir,
        "blkid -p -o export -s LABEL -s TYPE out/ecs-docker.raw; stat -c %s out/ecs-docker.raw",
    );
    assert!(volume.contains("LABEL=docker\n"), "{volume}");
    assert!(volume.contains("TYPE=ext4\n"), "{volume}");
    assert!(volume.contains("\n21474836480\n"), "{volume}");
}
