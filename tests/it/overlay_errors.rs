//! What is said about an overlay that is wrong.

use crate::support::overlay::{apply_twice, folder, image, load};
use insta::assert_snapshot;

/// The message about an overlay that cannot be read.
fn load_error(toml: &str) -> String {
    let folder = folder(toml, &[]);
    load(folder.path(), &[]).unwrap_err()
}

/// The message about an overlay that cannot be applied.
fn apply_error(toml: &str, files: &[(&str, &str)]) -> String {
    let mut fs = image(&[
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/loop", "->loop"),
        ("/etc/cloud/cloud.cfg", "- not\n- a mapping\n"),
        ("/usr/share/zoneinfo/Etc/UTC", "TZif"),
    ]);
    apply_twice(&mut fs, toml, files).unwrap_err()
}

#[test]
fn not_toml() {
    assert_snapshot!(load_error("[[step]\n"), @r#"
    unclosed array table, expected `]`
     --> overlay.toml:1:8
      |
    1 | [[step]
      |        ^
    "#);
}

#[test]
fn an_unknown_key() {
    assert_snapshot!(load_error("[[step]]\nwrite = { path = '/a', contents = 'b' }\n"), @r#"
    unknown key `contents`
     --> overlay.toml:2:24
      |
    2 | write = { path = '/a', contents = 'b' }
      |                        ^^^^^^^^
      |
      = help: did you mean `content`?
    "#);
    assert_snapshot!(load_error("descripton = 'x'\n"), @r#"
    unknown key `descripton`
     --> overlay.toml:1:1
      |
    1 | descripton = 'x'
      | ^^^^^^^^^^
      |
      = help: did you mean `description`?
    "#);
}

#[test]
fn an_unknown_kind() {
    assert_snapshot!(load_error("[[step]]\nwriet = { path = '/a' }\n"), @r#"
    `wriet` is not known here
     --> overlay.toml:2:1
      |
    2 | wriet = { path = '/a' }
      | ^^^^^
      |
      = help: did you mean `write`?
    "#);
    assert_snapshot!(load_error("[[step]]\nwhen = { init = 'sysv' }\n"), @r#"
    the step says nothing to do
     --> overlay.toml:1:1
      |
    1 | [[step]]
      | ^^^^^^^^
      |
      = help: the kinds of steps are `write`, `copy`, `unpack`, `append_line`, `edit`, `set`, `remove`, `move`, `mkdir`, `symlink`, `hardlink`, `truncate`, `chmod`, `chown`, `xattr`, `mknod`, `timezone`, `hostname`, `locale`, `sysctl`, `kernel_args`, `systemd_dropin`, `fstab`, `swap`, `ca_certificate`, `user`, `usermod`, `group`, `ssh_key`, `service`, `package`, `firstboot`
    "#);
    assert_snapshot!(
        load_error("[[step]]\nremove = { path = '/a' }\nmkdir = { path = '/b' }\n"),
        @r#"
    a step does one thing, and this is a second one
     --> overlay.toml:3:1
      |
    3 | mkdir = { path = '/b' }
      | ^^^^^
      |
      = help: begin another step with `[[step]]`
    "#
    );
}

#[test]
fn a_missing_key_and_a_wrong_type() {
    assert_snapshot!(load_error("[[step]]\n[step.write]\npath = '/a'\n"), @r#"
    the key `content` is missing
     --> overlay.toml:2:1
      |
    2 | [step.write]
      | ^^^^^^^^^^^^
    "#);
    assert_snapshot!(load_error("[[step]]\nwrite = { path = 7, content = '' }\n"), @r#"
    invalid type: integer `7`, expected a string
     --> overlay.toml:2:18
      |
    2 | write = { path = 7, content = '' }
      |                  ^
    "#);
    assert_snapshot!(load_error("step = 1\n"), @r#"
    `step` must be a list of tables
     --> overlay.toml:1:8
      |
    1 | step = 1
      |        ^
      |
      = help: each step begins with a line `[[step]]`
    "#);
}

#[test]
fn values_out_of_range() {
    for (step, message) in [
        ("remove = { path = '/a/../b' }", "contains `..`"),
        (
            "write = { path = 'etc/x', content = '' }",
            "not an absolute path",
        ),
        (
            "mkdir = { path = '/a', mode = 644 }",
            "a mode is a text in octal",
        ),
        ("mkdir = { path = '/a', mode = '0999' }", "not a mode"),
        ("mkdir = { path = '/a', owner = -1 }", "not negative"),
        ("copy = { from = '../x', to = '/x' }", "contains `..`"),
        (
            "copy = { from = '/etc/shadow', to = '/x' }",
            "not a relative path",
        ),
        (
            "append_line = { path = '/a', line = \"a\\nb\" }",
            "must be one line",
        ),
        (
            "edit = { path = '/a', pattern = '(', replacement = '' }",
            "unclosed group",
        ),
        (
            "edit = { path = '/a', pattern = '^(Port) .*$', replacement = '$1_x' }",
            "the pattern has no group `1_x`",
        ),
        (
            "edit = { path = '/a', pattern = '(?<a>b)', replacement = '${a}${2}' }",
            "the pattern has no group `2`",
        ),
        (
            "user = { name = 'a', uid = 4294967295 }",
            "too large for a user or group",
        ),
        (
            "chown = { path = '/a', owner = 4294967295 }",
            "too large for a user or group",
        ),
        (
            "xattr = { path = '/a', name = 'user.a', value_base64 = '*' }",
            "not base64",
        ),
        (
            "fstab = { device = 'a', mount = 'b', type = 'c' }",
            "not a mount point",
        ),
        ("hostname = { name = 'a_b' }", "not a host name"),
        (
            "ssh_key = { user = 'root', key = 'ssh-rsa AAAA' }",
            "not a public key",
        ),
        (
            "set = { path = '/a', key = 'b', value = 1, format = 'xml' }",
            "`xml` is not known",
        ),
        ("truncate = { path = '/a', size = '1GB' }", "not a size"),
        ("timezone = { zone = '../../etc/passwd' }", "contains `..`"),
    ] {
        let error = load_error(&format!("[[step]]\n{step}\n"));
        let first = error.lines().next().unwrap();
        assert!(first.contains(message), "{step}: {error}");
        assert!(error.contains("overlay.toml:2:"), "{error}");
    }
}

#[test]
fn a_missing_variable() {
    let toml = "[variables]\ntimezone = 'UTC'\n[[step]]\n\
                write = { path = '/a', content = 'ZONE={{ timezon }}' }\n";
    assert_snapshot!(load_error(toml), @r#"
    the variable `timezon` is not defined
     --> overlay.toml:4:43
      |
    4 | write = { path = '/a', content = 'ZONE={{ timezon }}' }
      |                                           ^^^^^^^
      |
      = help: did you mean `timezone`?
    "#);
    let toml = "[[step]]\n[step.write]\npath = '/a'\ncontent = '''\nline 1\n{{ nothing }}\n'''\n";
    assert_snapshot!(load_error(toml), @r#"
    the variable `nothing` is not defined
     --> overlay.toml:6:4
      |
    6 | {{ nothing }}
      |    ^^^^^^^
      |
      = help: there are no variables here
    "#);
    assert_snapshot!(load_error("[variables.region]\nhelp = 'the AWS region'\n"), @r#"
    the variable `region` has no default and is not set
     --> overlay.toml:1:12
      |
    1 | [variables.region]
      |            ^^^^^^
      |
      = help: `region` is the AWS region
    "#);
    assert_snapshot!(load_error("[variables]\na-b = 1\n"), @r#"
    `a-b` cannot be the name of a variable
     --> overlay.toml:2:1
      |
    2 | a-b = 1
      | ^^^
      |
      = help: a name has letters, digits and `_`, and does not begin with a digit
    "#);
}

#[test]
fn a_template_that_is_wrong_or_never_ends() {
    assert_snapshot!(load_error("[[step]]\nremove = { path = '/{% if %}' }\n"), @r#"
    the template cannot be rendered: unexpected end of block
     --> overlay.toml:2:27
      |
    2 | remove = { path = '/{% if %}' }
      |                           ^^
    "#);
    let toml = "[[step]]\nremove = { path = '/{% for a in range(9999) %}\
                {% for b in range(9999) %}x{% endfor %}{% endfor %}' }\n";
    let error = load_error(toml);
    assert!(
        error.starts_with("the template cannot be rendered: "),
        "{error}"
    );
}

#[test]
fn steps_that_cannot_be_done() {
    assert_snapshot!(
        apply_error("[[step]]\nmkdir = { path = '/x' }\n[[step]]\nwrite = { path = '/none/x', content = '' }\n", &[]),
        @r#"
    overlay `test`, step 2 (`write`): /none/x does not exist: there is no /none
     --> overlay.toml:4:1
      |
    4 | write = { path = '/none/x', content = '' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: a `mkdir` step before this one makes a directory
    "#
    );
    assert_snapshot!(apply_error("[[step]]\nchown = { path = '/etc', owner = 'ec2-user' }\n", &[]), @r#"
    overlay `test`, step 1 (`chown`): the image has no user `ec2-user`
     --> overlay.toml:2:1
      |
    2 | chown = { path = '/etc', owner = 'ec2-user' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: users are looked up in /etc/passwd
    "#);
    assert_snapshot!(apply_error("[[step]]\ntimezone = { zone = 'Mars/Olympus' }\n", &[]), @r#"
    overlay `test`, step 1 (`timezone`): /usr/share/zoneinfo/Mars/Olympus: the image has no such time zone
     --> overlay.toml:2:1
      |
    2 | timezone = { zone = 'Mars/Olympus' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: zones are files below /usr/share/zoneinfo, as Europe/Berlin
    "#);
    assert_snapshot!(
        apply_error("[[step]]\nset = { path = '/etc/cloud/cloud.cfg', key = 'a', value = 1 }\n", &[]),
        @r#"
    overlay `test`, step 1 (`set`): /etc/cloud/cloud.cfg: line 1: this is not a block mapping
     --> overlay.toml:2:1
      |
    2 | set = { path = '/etc/cloud/cloud.cfg', key = 'a', value = 1 }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#
    );
    assert_snapshot!(
        apply_error("[[step]]\nedit = { path = '/etc/hosts', pattern = 'none', replacement = 'x' }\n", &[]),
        @r#"
    overlay `test`, step 1 (`edit`): /etc/hosts: the pattern matches 0 times, not 1 or more
     --> overlay.toml:2:1
      |
    2 | edit = { path = '/etc/hosts', pattern = 'none', replacement = 'x' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: `count = 0` allows none
    "#
    );
    assert_snapshot!(
        apply_error("[[step]]\nedit = { path = '/etc/hosts', pattern = 'host', replacement = 'hosthost' }\n", &[]),
        @r#"
    overlay `test`, step 1 (`edit`): /etc/hosts: a second run would change the file again
     --> overlay.toml:2:1
      |
    2 | edit = { path = '/etc/hosts', pattern = 'host', replacement = 'hosthost' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: let the pattern match the whole line, with `^` and `$`
    "#
    );
    assert_snapshot!(
        apply_error("[[step]]\nsymlink = { path = '/etc/localtime', target = 'none', must_exist = true }\n", &[]),
        @r#"
    overlay `test`, step 1 (`symlink`): /etc/localtime: the target none does not exist in the image
     --> overlay.toml:2:1
      |
    2 | symlink = { path = '/etc/localtime', target = 'none', must_exist = true }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: without `must_exist` the link may lead nowhere
    "#
    );
    assert_snapshot!(apply_error("[[step]]\nremove = { path = '/nothing/*', missing_ok = false }\n", &[]), @r#"
    overlay `test`, step 1 (`remove`): nothing in the image matches /nothing/*
     --> overlay.toml:2:1
      |
    2 | remove = { path = '/nothing/*', missing_ok = false }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: this is an error only because of `missing_ok = false`
    "#);
}

#[test]
fn files_of_the_overlay_that_cannot_be_used() {
    let files = [("out", "->/etc"), ("bad.tmpl", "a\n{{ absent }}\n")];
    assert_snapshot!(apply_error("[[step]]\ncopy = { from = 'out/passwd', to = '/x' }\n", &files), @r#"
    overlay `test`, step 1 (`copy`): out is a symbolic link, and the path must not lead through one
     --> overlay.toml:2:1
      |
    2 | copy = { from = 'out/passwd', to = '/x' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(apply_error("[[step]]\ncopy = { from = 'none', to = '/x' }\n", &files), @r#"
    overlay `test`, step 1 (`copy`): cannot read none: No such file or directory (os error 2)
     --> overlay.toml:2:1
      |
    2 | copy = { from = 'none', to = '/x' }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(
        apply_error("[[step]]\ncopy = { from = 'bad.tmpl', to = '/x', template = true }\n", &files),
        @r#"
    overlay `test`, step 1 (`copy`): the variable `absent` is not defined
            --> bad.tmpl:2:4
             |
           2 | {{ absent }}
             |    ^^^^^^
             |
             = help: there are no variables here
     --> overlay.toml:2:1
      |
    2 | copy = { from = 'bad.tmpl', to = '/x', template = true }
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#
    );
    assert_snapshot!(apply_error("", &[("files/etc", "a file where a directory is")]), @"overlay `test`: its files cannot be copied");
}

#[test]
fn a_guard_that_no_value_of_a_variable_can_fit() {
    let declared = "[variables]\nenv = 'a'\ncount = 3\nhosts = ['a']\n\
        stage = { default = 'dev', choices = ['dev', 'prod'] }\nsize = { default = 2, max = 9 }\n";
    for (guard, problem) in [
        (
            "variables = { evn = 'a' }",
            "there is no variable `evn`; did you mean `env`?",
        ),
        (
            "variables = { count = 'many' }",
            "`count` is a whole number, so it is never many",
        ),
        (
            "variables = { count = [3, true] }",
            "`count` is a whole number, so it is never true",
        ),
        (
            "not = { variables = { hosts = 'a' } }",
            "`hosts` is a list, as [1, 2], which a guard cannot test",
        ),
        (
            "variables = { stage = ['dev', 'prdo'] }",
            "`stage` is never prdo, which is none of the choices: dev, prod; did you mean `prod`?",
        ),
        (
            "not = { variables = { size = 10 } }",
            "`size` is never 10, which is more than 9",
        ),
    ] {
        let toml = format!("{declared}[[step]]\nmkdir = {{ path = '/a' }}\nwhen = {{ {guard} }}\n");
        let error = load_error(&toml);
        assert!(error.contains(problem), "{error}");
        assert!(error.contains("overlay.toml:9:8"), "{error}");
    }
}

#[test]
fn a_guard_does_not_show_a_sensitive_variable() {
    let toml = "[variables]\ntoken = { sensitive = true }\n\
                [[step]]\nmkdir = { path = '/a' }\nwhen = { variables = { token = 'guess' } }\n";
    let folder = folder(toml, &[]);
    let error = load(folder.path(), &[("token", "a long secret value")]).unwrap_err();
    assert!(error.contains("`token` is sensitive"), "{error}");
    assert!(!error.contains("a long secret value"), "{error}");
}
