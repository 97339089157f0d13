//! Labels, against `matchpathcon` on the same contexts.
//!
//! The contexts in `tests/data/selinux` are always tried; a whole policy if
//! `IMGASM_FILE_CONTEXTS` names one, or this machine has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use imgasm_fs::FileType;
use imgasm_guest::selinux::{Contexts, Label, load, xattr_value};
use imgasm_testkit::guest_tree::{add, in_memory};
use imgasm_testkit::need;

const TYPES: [(FileType, &str); 7] = [
    (FileType::Regular, "file"),
    (FileType::Directory, "dir"),
    (FileType::Symlink, "link"),
    (FileType::CharDevice, "char"),
    (FileType::BlockDevice, "block"),
    (FileType::Fifo, "pipe"),
    (FileType::Socket, "socket"),
];

fn own_contexts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/selinux/file_contexts")
}

/// The contexts at `path` with the files beside it, read from an image.
fn contexts(path: &Path) -> Contexts {
    let mut fs = in_memory(&[(
        "/etc/selinux/config",
        "SELINUX=permissive\nSELINUXTYPE=site\n",
    )]);
    for suffix in ["", ".homedirs", ".local", ".subs", ".subs_dist"] {
        let mut host = path.as_os_str().to_owned();
        host.push(suffix);
        if let Ok(text) = fs::read_to_string(host) {
            let inside = format!("/etc/selinux/site/contexts/files/file_contexts{suffix}");
            add(&mut fs, &[(&inside, &text)]);
        }
    }
    load(&fs).unwrap().expect("a policy")
}

/// What matchpathcon says about each path.
fn matchpathcon(path: &Path, paths: &[String], file_type: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for batch in paths.chunks(500) {
        let output = Command::new("matchpathcon")
            .arg("-f")
            .arg(path)
            .args(["-n", "-m", file_type])
            .args(batch)
            .output()
            .expect("matchpathcon");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(
            lines.len(),
            batch.len(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        answers.extend(lines);
    }
    answers
}

fn compare(path: &Path, paths: &[String]) {
    if !need::tools(&["matchpathcon"]) {
        return;
    }
    let contexts = contexts(path);
    for (file_type, name) in TYPES {
        let theirs = matchpathcon(path, paths, name);
        let mut labels = BTreeSet::new();
        for (path, theirs) in paths.iter().zip(theirs) {
            let ours = match contexts.lookup(path.as_bytes(), file_type).unwrap() {
                Some(Label::Context(context)) => context,
                Some(Label::Unlabelled) => "<<none>>",
                None => panic!("{path}: no match"),
            };
            assert_eq!(ours, theirs, "{path} as {name}");
            labels.insert(theirs);
        }
        assert!(labels.len() > 3, "{labels:?}");
    }
}

#[test]
fn every_rule_of_precedence() {
    let paths = "/ /x /etc /etc/passwd /etc/passwd2 /etc/shadow /etc/shadow- /etc/shadow-old \
        /etc/shadow-new /etc/s /etc/mtab /etc/a.conf /etc/aXconf /etc/bXconf /etc/b.conf \
        /etc/init.d/docker /etc/rc.d/init.d/docker /etc/rc.d/init.d/a/b /etc/cron.allow \
        /etc/at.deny /etc/atXdeny /usr/lib/libc.so /usr/lib64/libc.so.6 /usr/lib64/x /usr/lib/x \
        /usr/lib/systemd/system/a.service /bin /bin/sh /usr/sbin/init /usr/bin/docker \
        /usr/bin/docker-init /usr/bin/docker-0 /usr/libexec/a /var/log /var/log/ecs \
        /var/log/ecs/a /var/log/docker /var/run/docker.sock /run/docker.sock /dev/sda /dev/sd/a \
        /dev/xvda1 /dev/pts /dev/pts/0 /dev/null /dev/initctl /dev/fd /proc /proc/1/fd /opt/x \
        /opt/xx /opt/xxx /opt/xxxx /opt/aaab /opt/b /opt/one /opt/two /opt/12 /opt/+plus /twice \
        /home /home/u /home/u/.ssh /home/u/.ssh/id /home/u/x /home/lost+found/a /srv/data \
        /srv/data/a /srv/data/logs/a /data /data/x /data/inner/x /datax /mirror /mirror/etc/passwd \
        //etc///passwd /etc/ /data/logs/x /bin/docker";
    let paths: Vec<_> = paths.split_whitespace().map(str::to_owned).collect();
    compare(&own_contexts(), &paths);
}

#[test]
fn an_image_without_a_policy_has_no_labels() {
    assert!(load(&in_memory(&[])).unwrap().is_none());
    let only_config = in_memory(&[("/etc/selinux/config", "SELINUXTYPE=targeted\n")]);
    assert!(load(&only_config).unwrap().is_none());
    let outside = in_memory(&[("/etc/selinux/config", "SELINUXTYPE=../../x\n")]);
    assert!(load(&outside).is_err());
    assert_eq!(xattr_value("u:r:t:s0"), b"u:r:t:s0\0");
}

fn whole_policy() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("IMGASM_FILE_CONTEXTS") {
        return Some(named.into());
    }
    ["targeted", "default", "mcs", "mls"]
        .map(|name| format!("/etc/selinux/{name}/contexts/files/file_contexts").into())
        .into_iter()
        .find(|path: &PathBuf| path.exists())
}

/// Paths that a policy's patterns may match, made from the patterns without interpreting them.
fn paths_from_patterns(text: &str) -> Vec<String> {
    let mut paths = BTreeSet::new();
    for line in text.lines() {
        let pattern = line.split_whitespace().next().unwrap_or_default();
        if !pattern.starts_with('/') {
            continue;
        }
        for (anything, optional) in [("", ""), ("/x", "/x/y.so"), ("abc", "-1")] {
            let path = pattern
                .replace("(/.*)?", optional)
                .replace("(/.+)?", optional)
                .replace("[^/]*", anything.trim_start_matches('/'))
                .replace("[^/]+", "name")
                .replace(".*", anything)
                .replace(".+", "more")
                .replace("[0-9]", "7")
                .replace(['\\', '(', ')', '?', '[', ']', '+', '*', '^', '$'], "")
                .replace('|', "/");
            paths.insert(path);
        }
    }
    paths.into_iter().collect()
}

#[test]
fn a_whole_policy_and_fast() {
    let Some(policy) = whole_policy() else {
        let _ = need::lacking("a policy of SELinux, which IMGASM_FILE_CONTEXTS can name");
        return;
    };
    let text = fs::read_to_string(&policy).unwrap();
    let paths = paths_from_patterns(&text);
    compare(&policy, &paths);

    let contexts = contexts(&policy);
    let start = Instant::now();
    for path in paths.iter().cycle().take(5000) {
        contexts.lookup(path.as_bytes(), FileType::Regular).unwrap();
    }
    let elapsed = start.elapsed();
    println!(
        "{} paths of {} lines: {elapsed:?}",
        paths.len(),
        text.lines().count()
    );
    // It takes a fraction of a second, unless the machine has much else to do.
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}
