//! One key of a configuration file is set and every other byte stays.

use imgasm_guest::keyfile::{Error, Format, Key, Value, set};

/// The text after `key` was set to `value`, which is written as TOML; setting it again must leave
/// it as it is.
fn after(format: Format, text: &str, key: &str, value: &str) -> Result<String, Error> {
    let table: toml::Table = format!("key = {key}\nvalue = {value}").parse().unwrap();
    let key: Key = table["key"].clone().try_into().unwrap();
    let value: &Value = &table["value"];
    let once = set(format, text.as_bytes(), &key, value)?;
    assert_eq!(set(format, &once, &key, value)?, once, "a second time");
    Ok(String::from_utf8(once).unwrap())
}

/// Shaped like the file of Amazon Linux 1.
const CLOUD_CFG: &str = "\
# WARNING: Modifications to this file may be overridden by files in
# /etc/cloud/cloud.cfg.d

disable_root: true
preserve_hostname: true

datasource_list: [ Ec2, None ]

repo_upgrade: security
repo_upgrade_exclude:
 - kernel
 - nvidia*
 - cudatoolkit

mounts:
 - [ ephemeral0, /media/ephemeral0 ]
 - [ swap, none, swap, sw, \"0\", \"0\" ]
# vim:syntax=yaml
";

#[test]
fn cloud_cfg() {
    let text = after(Format::Yaml, CLOUD_CFG, "'repo_update'", "false").unwrap();
    let text = after(Format::Yaml, &text, "'repo_upgrade'", "'none'").unwrap();
    let wanted = CLOUD_CFG.replace("repo_upgrade: security", "repo_upgrade: none");
    assert_eq!(text, wanted + "repo_update: false\n");
}

#[test]
fn yaml() {
    let text = "%YAML 1.1\n---\na:   1   # one\n'b': |\n  text\n  # more\n\nlist:\n- x\n- y\nsystem_info:\n    \
                distro: amzn  # which\n    default_user:\n        name: ec2-user\n\n# end\n...\n";
    for (key, value, from, to) in [
        ("'a'", "2", "a:   1   # one", "a:   2   # one"),
        ("'a'", "1", "a:   1   # one", "a:   1   # one"),
        (
            "'b'",
            "'yes'",
            "'b': |\n  text\n  # more\n",
            "'b': \"yes\"\n",
        ),
        (
            "'list'",
            "['z', 1, true]",
            "list:\n- x\n- y\n",
            "list: [z, 1, true]\n",
        ),
        (
            "'system_info.distro'",
            "'x y'",
            "distro: amzn  # which",
            "distro: \"x y\"  # which",
        ),
        (
            "'system_info.default_user.shell'",
            "'/bin/sh'",
            "name: ec2-user\n",
            "name: ec2-user\n        shell: /bin/sh\n",
        ),
        (
            "'system_info.new.key'",
            "1",
            "ec2-user\n",
            "ec2-user\n    new:\n      key: 1\n",
        ),
        ("'c'", "'2018.03'", "# end\n", "# end\nc: \"2018.03\"\n"),
        (
            "'list'",
            "{ k = 'v', none = 'null' }",
            "list:\n- x\n- y\n",
            "list: {k: v, none: \"null\"}\n",
        ),
    ] {
        let wanted = text.replacen(from, to, 1);
        assert_eq!(
            after(Format::Yaml, text, key, value).unwrap(),
            wanted,
            "{key}"
        );
    }
    // What has the value already stays as it is written.
    for (key, value) in [
        ("'system_info.default_user'", "{ name = 'ec2-user' }"),
        ("'b'", "\"text\\n# more\\n\""),
    ] {
        assert_eq!(
            after(Format::Yaml, text, key, value).unwrap(),
            text,
            "{key}"
        );
    }
    let block = "users:\n  - default\n  - name: admin\n    groups: [wheel, adm]\n";
    let users = "['default', { name = 'admin', groups = ['wheel', 'adm'] }]";
    assert_eq!(after(Format::Yaml, block, "'users'", users).unwrap(), block);
    let typed = "a: [ 'x', 1, true,\n  no ]\n";
    let text = |value: &str| after(Format::Yaml, typed, "'a'", value).unwrap();
    assert_ne!(text("['x', 1, true, 'no']"), typed);
    assert_ne!(text("['x', '1', true, false]"), typed);
    assert_eq!(
        after(Format::Yaml, "a: 'x'\n", "'a'", "'x'").unwrap(),
        "a: 'x'\n"
    );
    assert_eq!(
        after(Format::Yaml, "", "'a.b'", "1").unwrap(),
        "a:\n  b: 1\n"
    );
    assert_eq!(
        after(Format::Yaml, "a: 1\r\nb: 2\r\n", "'a'", "3").unwrap(),
        "a: 3\r\nb: 2\r\n"
    );
    assert_eq!(
        after(Format::Yaml, "a: {x: 1}", "'b'", "1").unwrap(),
        "a: {x: 1}\nb: 1\n"
    );
    assert_eq!(
        after(Format::Yaml, "a: [\n 1,\n]\nb: 1\n", "'a'", "2").unwrap(),
        "a: 2\nb: 1\n"
    );
    assert_eq!(
        after(Format::Yaml, "a:\nb: 1\n", "'a'", "2").unwrap(),
        "a: 2\nb: 1\n"
    );
    for bad in ["- a\n", "{a: 1}\n", "a: 1\n---\nb: 2\n", "a: 1\n"] {
        assert!(after(Format::Yaml, bad, "'a.b'", "1").is_err(), "{bad}");
    }
}

#[test]
fn ini() {
    let text =
        "; awslogs\n[general]\nstate_file=/var/lib/x\n\n[a.b]\nk = 1\n# k = 2\nk: 3\n\n[last]";
    for (key, value, from, to) in [
        (
            "'general.state_file'",
            "'/y'",
            "state_file=/var/lib/x",
            "state_file=/y",
        ),
        ("'general.new'", "true", "lib/x\n", "lib/x\nnew=true\n"),
        ("['a.b', 'k']", "4", "k: 3", "k: 4"),
        ("'last.k'", "1", "[last]", "[last]\nk=1\n"),
        ("'more.k'", "1", "[last]", "[last]\n\n[more]\nk=1\n"),
        ("['top']", "1", "; awslogs\n", "; awslogs\ntop=1\n"),
    ] {
        let wanted = text.replacen(from, to, 1);
        assert_eq!(
            after(Format::Ini, text, key, value).unwrap(),
            wanted,
            "{key}"
        );
    }
    let sysctl = "net.ipv4.ip_forward = 0\n";
    let forward = after(Format::Ini, sysctl, "['net.ipv4.ip_forward']", "1");
    assert_eq!(forward.unwrap(), "net.ipv4.ip_forward = 1\n");
    assert_eq!(
        after(Format::Ini, "", "'s.k'", "'v'").unwrap(),
        "[s]\nk = v\n"
    );
    assert!(after(Format::Ini, "", "'s.k'", "[1]").is_err());
    assert!(after(Format::Ini, "", "'s.k'", "\"a\\nb\"").is_err());
}

#[test]
fn shell() {
    let text =
        "# ZONE=no\nZONE=\"UTC\"\nexport A='x y' # kept\nB=1;C=2\nM=\"one\ntwo\"\nZONE=$(date)\n";
    for (key, value, from, to) in [
        ("'ZONE'", "'US/Eastern'", "ZONE=$(date)", "ZONE=US/Eastern"),
        ("'A'", "'z'", "A='x y' # kept", "A='z' # kept"),
        ("'A'", "\"it's\"", "A='x y' # kept", "A=\"it's\" # kept"),
        ("'A'", "'x y'", "", ""),
        ("'B'", "'$HOME'", "B=1;", "B=\"\\$HOME\";"),
        ("'M'", "1", "M=\"one\ntwo\"", "M=\"1\""),
        (
            "'NEW'",
            "true",
            "ZONE=$(date)\n",
            "ZONE=$(date)\nNEW=true\n",
        ),
    ] {
        let wanted = text.replacen(from, to, 1);
        assert_eq!(
            after(Format::Shell, text, key, value).unwrap(),
            wanted,
            "{key}"
        );
    }
    assert!(after(Format::Shell, "A=\"open\n", "'A'", "1").is_err());
    assert!(after(Format::Shell, "", "'A-B'", "1").is_err());
}

/// What a shell reads from a file after a change.
#[test]
fn a_shell_reads_what_was_set() {
    for value in [
        "plain",
        "two words",
        "a'b\"c",
        "$HOME `id` \\ !",
        "",
        "ä#;&|",
    ] {
        let table = toml::Table::from_iter([("v".to_owned(), Value::String(value.to_owned()))]);
        let text = "X='old'\nA=\"old\"\n";
        let key = Key::new("A");
        let text = set(Format::Shell, text.as_bytes(), &key, &table["v"]).unwrap();
        let script = [&text[..], b"printf %s \"$A\"\n"].concat();
        let script = String::from_utf8(script).unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}

#[test]
fn json() {
    let text = "{\n    \"a\": 1.50,\n    \"b\": {\"c\": [1,2],  \"d\": null},\n    \"e\": {}\n}\n";
    for (key, value, from, to) in [
        ("'a'", "2", "1.50", "2"),
        ("'a'", "1.5", "", ""),
        ("'b.c'", "[]", "[1,2]", "[]"),
        (
            "'b.new'",
            "'x'",
            "\"d\": null}",
            "\"d\": null, \"new\": \"x\"}",
        ),
        ("'f'", "true", "\"e\": {}", "\"e\": {},\n    \"f\": true"),
        (
            "'e.x.y'",
            "1",
            "{}",
            "{\n      \"x\": {\n        \"y\": 1\n      }\n    }",
        ),
    ] {
        let wanted = text.replacen(from, to, 1);
        assert_eq!(
            after(Format::Json, text, key, value).unwrap(),
            wanted,
            "{key}"
        );
    }
    assert_eq!(
        after(Format::Json, "", "'a.b'", "1").unwrap(),
        "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n"
    );
    assert_eq!(
        after(Format::Json, "{}", "'a'", "1").unwrap(),
        "{\n  \"a\": 1\n}"
    );
    for bad in ["[]", "{", "1", "{\"a\": 1}"] {
        assert!(after(Format::Json, bad, "'a.b'", "1").is_err(), "{bad}");
    }
}

#[test]
fn toml() {
    let text = "# top\na = 1 # one\n\n[b]\nc = \"x\"   # c\nd = { e = 1 }\n";
    for (key, value, from, to) in [
        ("'a'", "2", "a = 1 #", "a = 2 #"),
        ("'b.c'", "'y'", "c = \"x\"   #", "c = \"y\"   #"),
        ("'b.c'", "'x'", "", ""),
        ("'b.d.e'", "2", "e = 1", "e = 2"),
        (
            "'b.n'",
            "[1]",
            "d = { e = 1 }\n",
            "d = { e = 1 }\nn = [1]\n",
        ),
        (
            "'x.y'",
            "1",
            "d = { e = 1 }\n",
            "d = { e = 1 }\n\n[x]\ny = 1\n",
        ),
    ] {
        let wanted = text.replacen(from, to, 1);
        assert_eq!(
            after(Format::Toml, text, key, value).unwrap(),
            wanted,
            "{key}"
        );
    }
    for bad in ["a =", "a = 1"] {
        assert!(after(Format::Toml, bad, "'a.b'", "1").is_err(), "{bad}");
    }
}

#[test]
fn rubbish_is_an_error_or_text_and_never_a_panic() {
    let pieces = [
        "a", ":", " ", "\n", "\"", "'", "{", "}", "[", "]", "=", "#", "-", "\\", "é", "a: ", "\ta",
        "|",
    ];
    let formats = [
        Format::Yaml,
        Format::Ini,
        Format::Shell,
        Format::Json,
        Format::Toml,
    ];
    let value = Value::Integer(1);
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(state >> 33).unwrap() % pieces.len();
            text.push_str(pieces[index]);
        }
        for format in formats {
            for key in ["a", "a.a"] {
                let key = Key::new(key);
                if let Ok(once) = set(format, text.as_bytes(), &key, &value) {
                    let again = set(format, &once, &key, &value);
                    assert_eq!(again.as_ref(), Ok(&once), "{format:?} {text:?}");
                }
            }
        }
    }
    let not_text = set(Format::Yaml, b"\xff", &Key::new("a"), &value);
    assert_eq!(not_text, Err(Error::NotText));
}
