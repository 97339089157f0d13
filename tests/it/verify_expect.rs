//! What a recipe expects: each kind of expectation met and not met.

use imgasm::verify::expect::{Evaluator, Expectation, InstalledPackages, Packages};
use imgasm::verify::{CheckResult, Verdict};
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_testkit::guest_tree;
use imgasm_testkit::guest_tree::in_memory;
use imgasm_testkit::memory_fs::MemoryFs;

fn image() -> MemoryFs {
    let mut fs = in_memory(&[
        ("/sbin/init", "->../usr/lib/systemd/systemd"),
        (
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nec2-user:x:500:501::/home/ec2-user:/bin/sh\n",
        ),
        ("/etc/group", "root:x:0:\nec2-user:x:501:\n"),
        ("/etc/localtime", "->/usr/share/zoneinfo/US/Eastern"),
        (
            "/etc/cloud/cloud.cfg",
            "repo_upgrade: none\nrepo_update: false\n",
        ),
        ("/etc/dangling", "->nowhere"),
        ("/data/", ""),
        ("/home/ec2-user/firstrun.sh", "#!/bin/bash\nset -e\n"),
        (
            "/usr/lib/systemd/system/docker.service",
            "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
        ),
    ]);
    let owned = Attributes {
        permissions: Some(0o755),
        uid: Some(500),
        gid: Some(501),
    };
    let script = guest_tree::path("/home/ec2-user/firstrun.sh");
    Editor::new(&mut fs)
        .set_attributes(&script, LastLink::Keep, owned)
        .unwrap();
    fs
}

/// One package.
struct Jq;

impl Packages for Jq {
    fn version(&self, name: &str) -> Result<Option<String>, String> {
        Ok((name == "jq").then(|| "1.7.1-4.amzn2023".to_owned()))
    }
}

fn check(packages: &dyn Packages, toml: &str) -> Vec<CheckResult> {
    let expectation: Expectation = toml::from_str(toml).unwrap_or_else(|e| panic!("{toml}: {e}"));
    let fs = image();
    Evaluator { fs: &fs, packages }.check(&expectation)
}

fn messages(toml: &str) -> Vec<String> {
    let results = check(&Jq, toml);
    let message = |result: CheckResult| match result.verdict {
        Verdict::Failed { message } => Some(message),
        _ => None,
    };
    results.into_iter().filter_map(message).collect()
}

#[test]
fn what_holds_passes() {
    for toml in [
        "path = '/data'\ntype = 'directory'",
        "path = '/nope'\nexists = false",
        "path = '/nope/below'\nexists = false",
        "path = '/etc/localtime'\ntarget = '/usr/share/zoneinfo/US/Eastern'",
        "path = '/etc/localtime'\ntype = 'symlink'",
        "path = '/home/ec2-user/firstrun.sh'\nmode = '0755'\nowner = 'ec2-user'\ngroup = 501\nsize = 19",
        "path = '/home/ec2-user/firstrun.sh'\ncontains = \"set -e\"\nmatches = '^set -\\w$'",
        "path = '/home/ec2-user/firstrun.sh'\nsha256 = '000b424d7145eefd09891911e3794d8def5a9608cf1102ce8a2eecbba5ac0a46'",
        "path = '/etc/cloud/cloud.cfg'\nkey = 'repo_update'\nvalue = false",
        "service = 'docker'\nstate = 'disabled'",
        "package = 'jq'",
        "package = 'jq'\nversion = '1.7.1'",
        "package = 'jq'\nversion = '1.7.1-4.amzn2023'",
        "package = 'telnet'\ninstalled = false",
    ] {
        assert_eq!(messages(toml), [""; 0], "{toml}");
    }
}

#[test]
fn what_does_not_hold_fails_and_says_what_is_there() {
    for (toml, found) in [
        ("path = '/nope'", "it does not exist"),
        ("path = '/etc/dangling'", "it does not exist"),
        ("path = '/etc/dangling'\nexists = false", "it exists"),
        ("path = '/data'\ntype = 'file'", "it is a directory"),
        ("path = '/data'\ntarget = '/x'", "it is a directory"),
        (
            "path = '/etc/localtime'\ntarget = '/x'",
            "it leads to /usr/share/zoneinfo/US/Eastern",
        ),
        ("path = '/data'\nmode = '0700'", "it has mode 0755"),
        ("path = '/data'\nowner = 'ec2-user'", "it has the owner 0"),
        (
            "path = '/data'\nowner = 'nobody'",
            "the image has no such owner",
        ),
        ("path = '/etc/passwd'\nsize = 3", "it has 69 bytes"),
        (
            "path = '/etc/passwd'\ncontains = 'xyz'",
            "it does not contain that",
        ),
        (
            "path = '/etc/passwd'\nmatches = '^xyz'",
            "it does not match",
        ),
        (
            "path = '/etc/cloud/cloud.cfg'\nkey = 'repo_update'\nvalue = true",
            "the key is missing or has another value",
        ),
        (
            "path = '/etc/cloud/cloud.cfg'\nkey = 'none'\nvalue = 'x'",
            "the key is missing or has another value",
        ),
        ("service = 'docker'\nstate = 'enabled'", "it is disabled"),
        (
            "service = 'ntpd'\nstate = 'enabled'",
            "there is no service ntpd in the image",
        ),
        ("package = 'telnet'", "it is not installed"),
        (
            "package = 'jq'\nversion = '1.6'",
            "it has version 1.7.1-4.amzn2023",
        ),
        (
            "package = 'jq'\ninstalled = false",
            "version 1.7.1-4.amzn2023 is installed",
        ),
    ] {
        assert_eq!(messages(toml), [found], "{toml}");
    }
    let digest = "0".repeat(64);
    let toml = format!("path = '/home/ec2-user/firstrun.sh'\nsha256 = '{digest}'");
    assert!(messages(&toml)[0].starts_with("its SHA-256 is "));
    let without_database = image();
    let results = check(&InstalledPackages::of(&without_database), "package = 'jq'");
    assert!(results[0].has_failed());
}

#[test]
fn checks_are_named_by_what_is_expected() {
    for (toml, name) in [
        ("path = '/data'", "/data exists"),
        ("path = '/nope'\nexists = false", "/nope does not exist"),
        (
            "path = '/home/ec2-user/firstrun.sh'\nmode = '0755'\nowner = 'ec2-user'",
            "/home/ec2-user/firstrun.sh has mode 0755, belongs to ec2-user",
        ),
        (
            "service = 'docker'\nstate = 'disabled'",
            "service docker is disabled",
        ),
        (
            "package = 'jq'\nversion = '1.7'",
            "package jq has version 1.7",
        ),
    ] {
        assert_eq!(check(&Jq, toml)[0].check, name);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (toml, problem) in [
        ("mode = '0644'", "an expectation is about one of"),
        (
            "path = '/a'\nservice = 'b'\nstate = 'enabled'",
            "an expectation is about one of",
        ),
        (
            "path = '/a'\nstate = 'enabled'",
            "an expectation is about one of",
        ),
        ("service = 'a'", "a service is expected to have a `state`"),
        (
            "path = '/a'\nexists = false\nmode = '0644'",
            "nothing else can be expected",
        ),
        ("path = '/a'\nkey = 'x'\nvalue = 1", "add `format`"),
        (
            "path = '/a.yaml'\nkey = 'x'",
            "`key` and `value` belong together",
        ),
        ("path = '/a'\nmatches = '('", "is not a regular expression"),
        ("path = '/a'\nsha256 = 'abc'", "is not a SHA-256"),
        ("path = '/a'\nmood = 'x'", "unknown field"),
        (
            "package = 'a'\nversion = '1'\ninstalled = false",
            "has no `version`",
        ),
    ] {
        let error = toml::from_str::<Expectation>(toml).unwrap_err().to_string();
        assert!(error.contains(problem), "{toml}: {error}");
    }
}
