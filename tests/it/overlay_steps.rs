//! Every kind of step: what it leaves behind, and that a second run changes nothing.

use crate::support::overlay::{apply, apply_twice, folder, image, load, text};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::ChangeKind;
use imgasm_testkit::memory_fs::MemoryFs;
use insta::assert_snapshot;

/// A small system with upstart, shaped like Amazon Linux 1.
fn system() -> MemoryFs {
    image(&[
        (
            "/etc/os-release",
            "ID=\"amzn\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"2018.03\"\n",
        ),
        ("/etc/init/ecs.conf", "start on started docker\n"),
        (
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nec2-user:x:500:501::/home/ec2-user:/bin/sh\n",
        ),
        ("/etc/group", "root:x:0:\nec2-user:x:501:\ndocker:x:497:\n"),
        ("/etc/sysconfig/clock", "# the clock\nZONE=\"UTC\"\n"),
        (
            "/etc/sysconfig/network",
            "NETWORKING=yes\nHOSTNAME=localhost.localdomain\n",
        ),
        ("/etc/fstab", "LABEL=/ / ext4 defaults 1 1\n"),
        ("/usr/share/zoneinfo/US/Eastern", "TZif"),
        ("/etc/localtime", "->/usr/share/zoneinfo/UTC"),
        ("/home/ec2-user/", ""),
    ])
}

/// Applies steps twice to an empty image with some files, and shows what is there then.
fn dump(files: &[(&str, &str)], steps: &str) -> String {
    let mut fs = image(files);
    apply_twice(&mut fs, steps, &[]).unwrap();
    fs.dump()
}

#[test]
fn write_follows_links_and_keeps_attributes() {
    let files = [
        ("/etc/real", "old"),
        ("/etc/link", "->real"),
        ("/etc/passwd", "a:x:7:8::/:\n"),
    ];
    assert_snapshot!(dump(&files, "
        [[step]]
        chown = { path = '/etc/real', owner = 'a', group = 9 }
        [[step]]
        chmod = { path = '/etc/real', mode = '4750' }
        [[step]]
        write = { path = '/etc/link', content = 'new' }
        [[step]]
        write = { path = '/etc/fresh', content = '', mode = '0600', owner = 'a' }
    "), @r#"
    / directory 0755 0:0 1
    /etc directory 0755 0:0 1
    /etc/fresh file 0600 7:0 1 ""
    /etc/link symlink 0777 0:0 1 -> real
    /etc/passwd file 0644 0:0 1 "a:x:7:8::/:\n"
    /etc/real file 4750 7:9 1 "new"
    "#);
}

#[test]
fn append_line_and_edit() {
    let files = [
        ("/a", "one\ntwo"),
        ("/b", "Port 22\n#PermitRootLogin yes\nx = foo\n"),
    ];
    let mut fs = image(&files);
    let toml = "
        [[step]]
        append_line = { path = '/a', line = 'two' }
        [[step]]
        append_line = { path = '/a', line = 'three' }
        [[step]]
        append_line = { path = '/new', line = 'first' }
        [[step]]
        edit = { path = '/b', pattern = '^#?(PermitRootLogin) .*$', replacement = '$1 no' }
        [[step]]
        edit = { path = '/b', pattern = '^x = (foo|bar)$', replacement = 'x = bar' }
        [[step]]
        edit = { path = '/b', pattern = '^Port.*\\n', replacement = '', count = 0 }
        [[step]]
        edit = { path = '/b', pattern = 'nothing', replacement = '$0', count = 0 }
    ";
    apply_twice(&mut fs, toml, &[]).unwrap();
    assert_eq!(text(&fs, "/a"), "one\ntwo\nthree\n");
    assert_eq!(text(&fs, "/new"), "first\n");
    assert_eq!(text(&fs, "/b"), "PermitRootLogin no\nx = bar\n");
}

/// What an overlay that only edits `/b` fails with.
fn edit_error(content: &str, edit: &str) -> String {
    let mut fs = image(&[("/b", content)]);
    let toml = format!("[[step]]\nedit = {{ path = '/b', {edit} }}\n");
    let before = fs.dump();
    let error = apply_twice(&mut fs, &toml, &[]).unwrap_err();
    assert_eq!(fs.dump(), before);
    error
}

#[test]
fn an_edit_whose_pattern_matches_nothing_is_an_error() {
    // The replacement is in a comment, or is the very line: the pattern is wrong all the same.
    for content in [
        "# PermitEmptyPasswords no\n",
        "PermitEmptyPasswords no\n",
        "PermitEmptyPasswords yes\n",
    ] {
        let error = edit_error(
            content,
            "pattern = '^PermitEmptyPaswords .*$', replacement = 'PermitEmptyPasswords no'",
        );
        assert!(error.contains("the pattern matches 0 times"), "{error}");
    }
    let error = edit_error("a\n", "pattern = '^absent$', replacement = ''");
    assert!(error.contains("`count = 0` allows none"), "{error}");
    let error = edit_error("x\nx\n", "pattern = '^x$', replacement = 'x', count = 3");
    assert!(error.contains("matches 2 times, not 3 or more"), "{error}");
}

#[test]
fn an_edit_that_was_done_is_done_again_without_a_change() {
    let mut fs = image(&[("/b", "  Port 22 # yes\n#Port 1\n")]);
    let toml =
        "[[step]]\nedit = { path = '/b', pattern = '(?m)^ *Port.*$', replacement = 'Port 7' }";
    apply_twice(&mut fs, toml, &[]).unwrap();
    assert_eq!(text(&fs, "/b"), "Port 7\n#Port 1\n");
}

#[test]
fn tree_steps() {
    let files = [
        ("/opt/a/b/c", "c"),
        ("/opt/a/d", "d"),
        ("/log/x.log", ""),
        ("/log/y.txt", ""),
    ];
    assert_snapshot!(dump(&files, "
        [[step]]
        move = { from = '/opt/a', to = '/srv' }
        [[step]]
        mkdir = { path = '/data/deep', mode = '1777', owner = 5 }
        [[step]]
        remove = { path = '/log/*.log' }
        [[step]]
        symlink = { path = '/log/y.txt', target = '../srv/d', must_exist = true }
        [[step]]
        hardlink = { path = '/srv/again', target = '/srv/d' }
        [[step]]
        truncate = { path = '/srv/b/c', size = '2B' }
        [[step]]
        chown = { path = '/srv', owner = 1, group = 2, recursive = true }
        [[step]]
        chmod = { path = '/srv/b', mode = '0700', recursive = true }
        [[step]]
        xattr = { path = '/srv/d', name = 'user.a', value = 'b' }
        [[step]]
        xattr = { path = '/srv/b', name = 'security.x', value_base64 = 'AAEC' }
        [[step]]
        mknod = { path = '/null', type = 'char', major = 1, minor = 3, mode = '0666' }
        [[step]]
        mknod = { path = '/pipe', type = 'fifo' }
    "), @r#"
    / directory 0755 0:0 1
    /data directory 0755 0:0 1
    /data/deep directory 1777 5:0 1
    /log directory 0755 0:0 1
    /log/y.txt symlink 0777 0:0 1 -> ../srv/d
    /null char 0666 0:0 1
    /opt directory 0755 0:0 1
    /pipe fifo 0644 0:0 1
    /srv directory 0755 1:2 1
    /srv/again file 0644 1:2 2 "d"
      user.a="b"
    /srv/b directory 0700 1:2 1
      security.x="\0\u{1}\u{2}"
    /srv/b/c file 0700 1:2 1 "c\0"
    /srv/d file 0644 1:2 2 "d"
      user.a="b"
    "#);
}

#[test]
fn files_are_laid_like_a_layer() {
    let mut fs = image(&[
        ("/usr/bin/old", "old"),
        ("/bin", "->usr/bin"),
        ("/etc/motd", "->/run/motd"),
        ("/etc/passwd", "ec2-user:x:500:500::/home:\n"),
        ("/usr/share/conf", "x"),
    ]);
    let toml = "
        [files]
        '/home/**' = { owner = 'ec2-user', group = 500 }
        '/home/*/.ssh/*' = { mode = '0600' }
    ";
    let files = [
        ("files/bin/tool!", "#!/bin/sh\n"),
        ("files/etc/motd", "hello\n"),
        ("files/home/ec2-user/.ssh/config", "Host *\n"),
        ("files/home/ec2-user/link", "->.ssh"),
        ("files/usr/share/conf", "->elsewhere"),
    ];
    let report = apply_twice(&mut fs, toml, &files).unwrap();
    assert_snapshot!(fs.dump(), @r##"
    / directory 0755 0:0 1
    /bin symlink 0777 0:0 1 -> usr/bin
    /etc directory 0755 0:0 1
    /etc/motd file 0644 0:0 1 "hello\n"
    /etc/passwd file 0644 0:0 1 "ec2-user:x:500:500::/home:\n"
    /home directory 0755 0:0 1
    /home/ec2-user directory 0755 500:500 1
    /home/ec2-user/.ssh directory 0755 500:500 1
    /home/ec2-user/.ssh/config file 0600 500:500 1 "Host *\n"
    /home/ec2-user/link symlink 0777 500:500 1 -> .ssh
    /usr directory 0755 0:0 1
    /usr/bin directory 0755 0:0 1
    /usr/bin/old file 0644 0:0 1 "old"
    /usr/bin/tool file 0755 0:0 1 "#!/bin/sh\n"
    /usr/share directory 0755 0:0 1
    /usr/share/conf symlink 0777 0:0 1 -> elsewhere
    "##);
    assert!(report.overlays[0].steps[0].has_changed());
}

#[test]
fn copies() {
    let mut fs = image(&[("/etc/app/keep", "")]);
    let toml = "
        [variables]
        port = 80
        [[step]]
        copy = { from = 'tree', to = '/etc/app', owner = 3, mode = '0640' }
        [[step]]
        copy = { from = 'app.conf', to = '/etc/app.conf', template = true }
    ";
    let files = [
        ("tree/sub/a", "a"),
        ("tree/run!", "b"),
        ("tree/l", "->sub"),
        (
            "app.conf",
            "{% if port == 80 %}plain{% endif %}\nport = {{ port }}\n",
        ),
    ];
    apply_twice(&mut fs, toml, &files).unwrap();
    assert_snapshot!(fs.dump(), @r#"
    / directory 0755 0:0 1
    /etc directory 0755 0:0 1
    /etc/app directory 0755 3:0 1
    /etc/app/keep file 0644 0:0 1 ""
    /etc/app/l symlink 0777 3:0 1 -> sub
    /etc/app/run file 0640 3:0 1 "b"
    /etc/app/sub directory 0755 3:0 1
    /etc/app/sub/a file 0640 3:0 1 "a"
    /etc/app.conf file 0644 0:0 1 "plain\nport = 80\n"
    "#);
}

#[test]
fn the_guest_s_own_ways() {
    let mut fs = system();
    let toml = "
        [[step]]
        timezone = { zone = 'US/Eastern' }
        [[step]]
        hostname = { name = 'web-1.example.com' }
        [[step]]
        fstab = { device = 'LABEL=docker', mount = '/data', type = 'ext4', options = 'defaults,noatime' }
        [[step]]
        ssh_key = { user = 'ec2-user', key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here' }
    ";
    apply_twice(&mut fs, toml, &[]).unwrap();
    assert_eq!(
        text(&fs, "/etc/sysconfig/clock"),
        "# the clock\nZONE=\"US/Eastern\"\nUTC=true\n"
    );
    assert_eq!(text(&fs, "/etc/localtime"), "TZif");
    assert_eq!(
        text(&fs, "/etc/sysconfig/network"),
        "NETWORKING=yes\nHOSTNAME=web-1.example.com\n"
    );
    assert_eq!(
        text(&fs, "/etc/fstab"),
        "LABEL=/ / ext4 defaults 1 1\nLABEL=docker\t/data\t\text4\tdefaults,noatime\t0\t0\n"
    );
    let dump = fs.dump();
    assert!(
        dump.contains("/home/ec2-user/.ssh directory 0700 500:501"),
        "{dump}"
    );
    assert!(
        dump.contains("/home/ec2-user/.ssh/authorized_keys file 0600 500:501"),
        "{dump}"
    );

    let mut debian = image(&[
        ("/etc/os-release", "ID=debian\n"),
        ("/usr/share/zoneinfo/UTC", "TZif"),
        ("/usr/lib/systemd/systemd", ""),
    ]);
    let toml = "
        [[step]]
        timezone = { zone = 'UTC' }
        [[step]]
        hostname = { name = 'box' }
    ";
    apply_twice(&mut debian, toml, &[]).unwrap();
    assert_eq!(text(&debian, "/etc/timezone"), "UTC\n");
    assert_eq!(text(&debian, "/etc/hostname"), "box\n");
}

#[test]
fn guards() {
    let conditions = [
        ("os = 'amzn'", true),
        ("os = ['debian', 'amzn']", true),
        ("os = 'rhel'", false),
        ("os_like = 'rhel'", true),
        ("version = '2018'", true),
        ("version = '2'", false),
        ("init = 'sysv'", true),
        ("init = 'upstart'", true),
        ("init = 'systemd'", false),
        ("arch = 'arm64'", false),
        ("exists = '/etc/fstab'", true),
        ("exists = ['/none', '/etc/fstab']", true),
        ("exists = '/etc/localtime'", false),
        ("not = { exists = '/none' }", true),
        ("os = 'amzn', not = { version = '2018.03' }", false),
    ];
    for (condition, wanted) in conditions {
        let mut fs = system();
        let toml = format!("[[step]]\nmkdir = {{ path = '/yes' }}\nwhen = {{ {condition} }}\n");
        let report = apply_twice(&mut fs, &toml, &[]).unwrap();
        assert_eq!(report.overlays[0].steps[1].done, wanted, "{condition}");
        assert_eq!(report.has_changed(), wanted, "{condition}");
    }
}

#[test]
fn guards_test_variables() {
    let conditions = [
        ("env = 'prod'", true),
        ("env = 'stage'", false),
        ("env = ['stage', 'prod']", true),
        ("env = []", false),
        ("env = '{{ other }}'", true),
        ("count = 3", true),
        ("count = '3'", true),
        ("count = [1, 2]", false),
        ("debug = false", true),
        ("debug = true", false),
        ("ratio = 2", true),
        ("env = 'prod', debug = true", false),
    ];
    let declared =
        "[variables]\nenv = 'test'\nother = 'prod'\ncount = 3\ndebug = false\nratio = 2.0\n";
    for (condition, wanted) in conditions {
        for (guard, wanted) in [
            (format!("variables = {{ {condition} }}"), wanted),
            (
                format!("not = {{ variables = {{ {condition} }} }}"),
                !wanted,
            ),
        ] {
            let toml =
                format!("{declared}[[step]]\nmkdir = {{ path = '/yes' }}\nwhen = {{ {guard} }}\n");
            let folder = folder(&toml, &[]);
            // What is given counts, and not the default.
            let overlay = load(folder.path(), &[("env", "prod")]).unwrap();
            let mut fs = system();
            let report = apply(&mut fs, &[&overlay]).unwrap();
            assert_eq!(report.overlays[0].steps[1].done, wanted, "{guard}");
            assert_eq!(report.has_changed(), wanted, "{guard}");
        }
    }
}

#[test]
fn what_changed_is_told_with_who_changed_it_last() {
    let mut fs = image(&[
        ("/etc/hosts", "old\n"),
        ("/etc/gone/x", ""),
        ("/etc/same", "same"),
    ]);
    let first = folder(
        "[[step]]\nwrite = { path = '/etc/hosts', content = 'a' }\n\
         [[step]]\nremove = { path = '/etc/gone' }\n\
         [[step]]\nwrite = { path = '/etc/same', content = 'same' }\n",
        &[],
    );
    let second = folder(
        "[[step]]\nappend_line = { path = '/etc/hosts', line = 'b' }\n",
        &[],
    );
    let first = load(first.path(), &[]).unwrap();
    let mut second = load(second.path(), &[]).unwrap();
    second.name = "second".to_owned();
    let report = apply(&mut fs, &[&first, &second]).unwrap();
    let changed = report.changed_paths(&fs, true).unwrap();
    let lines: Vec<_> = changed
        .iter()
        .map(|c| {
            let sha256 = c.sha256.map(|digest| digest.to_string()[..8].to_owned());
            format!(
                "{} {} {} {} {:?} {sha256:?}",
                c.path, c.overlay, c.step, c.kind, c.file_type
            )
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    /etc/gone test 2 remove None None
    /etc/gone/x test 2 remove None None
    /etc/hosts second 1 append_line Some(Regular) Some("911169dd")
    "#);
    let touched = &report.overlays[0].steps[2].touched;
    assert_eq!(touched.last().unwrap().change, Some(ChangeKind::Removed));
    assert!(
        !changed
            .iter()
            .any(|c| c.path == ImagePath::parse("/etc/same").unwrap())
    );
}

#[test]
fn links_never_lead_to_the_host() {
    let mut fs = image(&[("/etc/up", "->../../../../../../../tmp"), ("/tmp/", "")]);
    let toml = "[[step]]\nwrite = { path = '/etc/up/imgasm-was-here', content = 'x' }\n";
    apply_twice(&mut fs, toml, &[]).unwrap();
    assert_eq!(text(&fs, "/tmp/imgasm-was-here"), "x");
    assert!(!std::path::Path::new("/tmp/imgasm-was-here").exists());
}

#[test]
fn a_name_moved_onto_another_of_the_same_file_goes_away() {
    let steps = "
        [[step]]
        hardlink = { path = '/b', target = '/a' }
        when = { exists = '/a' }
        [[step]]
        move = { from = '/a', to = '/b' }
    ";
    let dump = dump(&[("/a", "x")], steps);
    assert_eq!(dump, "/ directory 0755 0:0 1\n/b file 0644 0:0 1 \"x\"");
}

#[test]
fn copy_takes_patterns() {
    let files = [
        ("conf/a.conf", "a"),
        ("conf/b.conf!", "b"),
        ("conf/c.txt", "c"),
        ("other/a.conf", "again"),
        ("odd[1].conf", "odd"),
    ];
    let mut fs = image(&[]);
    let toml = "
        [[step]]
        copy = { from = 'conf/*.conf', to = '/etc/app', mode = '0600' }
        [[step]]
        copy = { from = 'odd[1].conf', to = '/odd' }
    ";
    apply_twice(&mut fs, toml, &files).unwrap();
    assert_snapshot!(fs.dump(), @r#"
    / directory 0755 0:0 1
    /etc directory 0755 0:0 1
    /etc/app directory 0755 0:0 1
    /etc/app/a.conf file 0600 0:0 1 "a"
    /etc/app/b.conf file 0600 0:0 1 "b"
    /odd file 0644 0:0 1 "odd"
    "#);
    for (from, problem) in [
        ("*.none", "matches nothing in the overlay"),
        ("*/a.conf", "matches several files of this name"),
    ] {
        let toml = format!("[[step]]\ncopy = {{ from = '{from}', to = '/x' }}\n");
        let error = apply_twice(&mut image(&[]), &toml, &files).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
