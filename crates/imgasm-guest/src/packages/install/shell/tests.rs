//! Scripts that a real shell runs in a root of its own, and that are carried out here: both must
//! leave the same tree and end alike.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use super::{Given, Interpreter, Stopped, run};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, walk};
use imgasm_fs::{FileType, Timestamp};
use imgasm_testkit::command::{output, run as succeed};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::need;
use imgasm_testkit::rng::Rng;

/// The programs that the real shell is given.
const PROGRAMS: [&str; 25] = [
    "mkdir", "touch", "rm", "rmdir", "ln", "mv", "cp", "chmod", "chown", "chgrp", "install", "sed",
    "grep", "cat", "cut", "head", "tail", "tr", "wc", "basename", "dirname", "readlink", "id",
    "getent", "awk",
];

/// What there is before a script runs: paths with permissions, an owner and content; a folder has
/// none.
const START: [(&str, u16, u32, Option<&str>); 12] = [
    ("/etc", 0o755, 0, None),
    (
        "/etc/passwd",
        0o644,
        0,
        Some("root:x:0:0:root:/root:/bin/sh\nweb:x:155:156:The web:/srv:/sbin/nologin\n"),
    ),
    (
        "/etc/group",
        0o644,
        0,
        Some("root:x:0:\nweb:x:156:\nwheel:x:10:web,a b\n"),
    ),
    (
        "/etc/app.conf",
        0o640,
        155,
        Some("# comment\nport = 80\nname=web\n\npath: /srv/web\nport = 81\n"),
    ),
    ("/etc/app.d", 0o2755, 0, None),
    ("/etc/app.d/a.conf", 0o600, 0, Some("one two  three\n")),
    ("/etc/app.d/b.conf", 0o644, 0, Some("x:y:z\n:1:\nplain")),
    ("/etc/app.d/c.txt", 0o4755, 0, Some("")),
    ("/opt", 0o755, 0, None),
    ("/opt/tool", 0o755, 155, Some("#!/bin/sh\n")),
    ("/srv", 0o1777, 0, None),
    ("/var", 0o755, 0, None),
];
const LINKS: [(&str, &str); 3] = [
    ("/opt/current", "/etc/app.d"),
    ("/opt/dangling", "nowhere"),
    ("/etc/alias.conf", "app.conf"),
];

/// Commands of one line, which scripts are made of.
const COMMANDS: &[&str] = &[
    "mkdir /var/a",
    "mkdir -p /var/b/c/d /opt/tool/x",
    "mkdir -m 0700 /srv/m /srv/m/n",
    "mkdir -p -m 2750 /srv/deep/er",
    "mkdir /opt/current /opt/dangling",
    "touch /var/new /etc/app.conf /nowhere/x",
    "touch /opt/dangling",
    "rm -f /etc/app.d/*.conf",
    "rm /etc/app.d",
    "chgrp web /etc/app.d; touch /etc/app.d/x; ln -s y /etc/app.d/z; echo a > /etc/app.d/w",
    "chgrp web /etc/app.d; cp /opt/tool /etc/app.d; cp -d /opt/dangling /etc/app.d; install /opt/tool /etc/app.d/t",
    "mkdir /etc/app.d/folder",
    "rm -rf /opt/current /var/none",
    "rm -rf /opt/current/",
    "rmdir /srv /etc/app.d",
    "rmdir --ignore-fail-on-non-empty /etc/app.d",
    "ln -s ../app.conf /etc/app.d/link",
    "ln -sf /x/y /etc/alias.conf",
    "ln -s a /etc/alias.conf",
    "ln -sfn /srv /opt/current",
    "ln -sf /srv /opt/current",
    "ln /etc/app.conf /var/hard && echo more >> /var/hard",
    "ln -f /etc/app.conf /etc/app.d/a.conf",
    "mv /etc/app.conf /etc/app.conf.rpmsave",
    "mv -f /etc/app.d/a.conf /etc/app.d/b.conf /var",
    "mv /etc/app.d /var/moved",
    "mv /opt/tool /srv/none/x",
    "mv /etc/app.d /etc/app.d/inside",
    "cp /etc/app.conf /var/copy",
    "cp -p /etc/app.conf /var/copy",
    "cp -a /etc/app.d /var/all",
    "cp -r /etc/app.d /var/all",
    "cp /etc/app.d /var/all",
    "cp /etc/app.d/a.conf /etc/app.d/b.conf /srv/",
    "cp /etc/app.d/c.txt /var/suid",
    "cp -p /etc/app.d/c.txt /var/suid",
    "cp /etc/alias.conf /var/followed",
    "cp -d /etc/alias.conf /var/kept",
    "chmod 600 /etc/app.conf",
    "chmod 755 /etc/app.d",
    "chmod 00755 /etc/app.d",
    "chmod u+x,go-rwx /etc/app.conf",
    "chmod -R g+rX,o= /opt",
    "chmod a-w /etc/alias.conf",
    "chmod +x /etc/app.d/a.conf /none",
    "chmod 4755 /opt/tool",
    "chown web /etc/app.d/c.txt",
    "chown web:wheel /etc/app.conf",
    "chown -R 12:34 /etc/app.d",
    "chown -h web /opt/current",
    "chown :web /etc/app.conf",
    "chown nobody-here /etc/app.conf",
    "chgrp web /opt/tool",
    "install -d -m 0750 -o web -g web /var/lib/web",
    "install -m 0640 /etc/app.conf /var/installed",
    "install -D /opt/tool /var/x/y/tool",
    "install -p -m 600 -o web /dev/null /etc/app.d/key",
    "install /etc/app.d/a.conf /etc/app.d/b.conf /srv",
    "umask 077; touch /var/private; mkdir /var/priv; echo x > /var/px",
    "sed -i 's/80/8080/' /etc/app.conf",
    "sed -i -e 's|/srv/\\(.*\\)|/var/\\1/x|' -e '/^#/d' /etc/app.conf",
    "sed -i '/^port/s/= \\([0-9]*\\)/= [&]/g' /etc/app.conf",
    "sed -i '$d' /etc/app.conf",
    "sed -i '2,3d;/^$/d' /etc/app.conf",
    "sed -i '1i first' /etc/app.conf",
    "sed -i '/name/a after' /etc/app.conf",
    "sed -i '/name/c\\changed' /etc/app.conf",
    "sed -i -E 's/^(port) += +([0-9]+)$/\\1:\\2/' /etc/app.conf",
    "sed -n '/name/,/path/p' /etc/app.conf > /var/out",
    "sed -n 's/^name=//p' /etc/app.conf > /var/out",
    "sed 's/o/0/2' /etc/app.conf > /var/out",
    "sed 's/x*/-/g' /etc/app.d/b.conf > /var/out",
    "sed -i 's/a/b/' /none",
    "grep -q '^name=' /etc/app.conf",
    "grep -q nothing /etc/app.conf",
    "grep port /etc/app.conf > /var/out",
    "grep -c port /etc/app.conf > /var/out",
    "grep -v '^#' /etc/app.conf > /var/out",
    "grep -w 80 /etc/app.conf > /var/out",
    "grep -qx 'name=web' /etc/app.conf && touch /var/yes",
    "grep -E 'name|path' /etc/app.conf > /var/out",
    "grep -F 'a.b' /etc/app.conf || touch /var/no",
    "grep -qi PORT /etc/app.conf && touch /var/yes",
    "grep -q x /none; echo $? > /var/out",
    "grep -o '[0-9]\\+' /etc/app.conf > /var/out",
    "grep ^web: /etc/group > /var/out || touch /var/no",
    "grep -q ^docker: /etc/group || touch /var/no",
    "cat /etc/app.d/b.conf /etc/app.conf /none > /var/out",
    "cut -d: -f1 /etc/passwd > /var/out",
    "cut -d: -f1,3- /etc/passwd > /var/out",
    "cut -s -d: -f2 /etc/app.d/b.conf > /var/out",
    "cut -c2-4 /etc/app.conf > /var/out",
    "head -n 2 /etc/app.conf > /var/out",
    "tail -1 /etc/app.d/b.conf > /var/out",
    "cat /etc/app.conf | wc -l > /var/out",
    "echo Hello | tr a-z A-Z > /var/out",
    "echo hello | tr -d l > /var/out",
    "awk '{print $2}' /etc/app.conf > /var/out",
    "awk -F: '{print $3}' /etc/passwd > /var/out",
    "basename /usr/lib/x.so .so > /var/out; dirname /usr/lib/x.so >> /var/out; dirname x >> /var/out",
    "readlink /opt/current > /var/out; readlink -f /etc/alias.conf >> /var/out",
    "getent passwd web > /var/out; getent group 10 >> /var/out; getent passwd none >> /var/out; echo $? >> /var/out",
    "id -u web > /var/out; id -gn web >> /var/out; id none >/dev/null 2>&1 || touch /var/no",
    "echo one  two 'three  four' \"$1\" > /var/out",
    "echo -n none > /var/out; echo end >> /var/out",
    "echo 'back\\nslash' > /var/out",
    "printf '%s=%d\\n' a 1 b 2 > /var/out",
    "printf 'a\\tb%%\\n' > /var/out",
    "[ -f /etc/app.conf ] && touch /var/f",
    "[ -d /opt/current -a ! -L /opt/tool ] && touch /var/f",
    "[ -L /opt/dangling ] && [ ! -e /opt/dangling ] && touch /var/f",
    "[ -x /opt/tool ] && [ ! -x /etc/app.conf ] && touch /var/f",
    "[ -s /etc/app.d/c.txt ] || touch /var/empty",
    "[ \"$1\" -gt 1 ] || touch /var/first",
    "[ $# = 1 -o $1 = 7 ] && touch /var/f",
    "[ x -eq 1 ]; echo $? > /var/out",
    "test -n \"$none\" || test -z \"$none\" && touch /var/f",
    "[[ -f /etc/app.conf && $1 == 1 ]] && touch /var/f",
    "[[ $1 = [0-9] || -d /none ]] && touch /var/f",
    "[[ ! -e /none && ( abc == a* ) ]] && touch /var/f",
    "[[ -z $none ]] && touch /var/f",
    "x=5; y=$((x * 2 + 1)); echo $y $((y % 4)) > /var/out",
    "x='a b'; set -- $x; echo $# $2 > /var/out",
    "x=a:b::c; IFS=:; for i in $x; do echo \"<$i>\"; done > /var/out; unset x",
    "f=/etc/app.d/a.conf; echo ${f##*/} ${f%/*} ${f%.conf} ${f#*/} ${#f} > /var/out",
    "echo ${none:-default} ${1:+given} ${none-x} > /var/out",
    "echo \"${none:-a  b}\" ${none:=set} $none > /var/out",
    "x=$(cat /etc/app.d/a.conf); echo $x \"$x\" > /var/out",
    "x=`echo \\`echo deep\\``; echo $x > /var/out",
    "false; x=$(false); echo $? > /var/out",
    "echo /etc/app.d/* /etc/*.conf /none/* \"/etc/*\" > /var/out",
    "for f in /etc/app.d/*.conf /none*; do [ -f $f ] || continue; echo $f; done > /var/out",
    "for i in 1 2 3 4; do [ $i = 3 ] && break; echo $i; done > /var/out",
    "while read a b; do echo \"$b|$a\"; done < /etc/app.conf > /var/out",
    "while IFS=: read -r a b c; do echo \"$c|$b|$a\"; done < /etc/passwd > /var/out",
    "cat /etc/group | while read line; do n=1$n; echo $n $line; done > /var/out; echo $n >> /var/out",
    "n=0; while [ $n -lt 3 ]; do n=$((n+1)); echo $n; done > /var/out",
    "until [ -e /var/u ]; do touch /var/u; done",
    "case $1 in 0) touch /var/zero;; 1|2) touch /var/one;; *) touch /var/other;; esac",
    "case \"a b\" in a*) touch /var/a1;; esac",
    "case x.conf in *.txt) touch /var/txt;; [w-y]*.conf) touch /var/conf;; esac",
    "f() { echo \"$# $1\"; return 3; }; f a b > /var/out; echo $? >> /var/out",
    "f() { local x=1 y; y=2; echo $x$y; }; x=7; f > /var/out; echo $x$y >> /var/out",
    "sed -i 's/a/b/' /etc/app.d /none /etc/app.conf",
    "cat > /var/out <<EOF\nhello $1 \\$x\n  `echo in`\nEOF",
    "cat > /var/out <<'EOF'\nhello $1 \\$x\nEOF",
    "cat <<-EOF >> /etc/app.conf\n\ttabs $(echo go)\n\tEOF",
    "cat <<A; cat <<B > /var/b\none\nA\ntwo\nB",
    "cat <<< \"here $1\" > /var/out",
    "( cd /etc/app.d && touch here; x=1 ); touch \"there$x\"",
    "cd /srv; echo $PWD > out; pwd >> out; cd /none || echo no >> out",
    "{ echo a; echo b; } > /var/out 2>&1",
    "echo a > /var/out; echo b > /var/out; echo c >> /var/out",
    "echo x > /none/x || touch /var/failed",
    "cat < /none || touch /var/failed",
    "! true || touch /var/n",
    "true && false || touch /var/n",
    "if false; then touch /var/1; elif true; then touch /var/2; else touch /var/3; fi",
    "command -v mkdir >/dev/null && touch /var/has; command -v nothing-here || touch /var/hasnt",
    ". /etc/app.d/c.txt && touch /var/sourced",
    "echo name=x > /srv/env; . /srv/env; echo $name > /var/out",
    "export FOO=bar; echo $FOO > /var/out; FOO=baz true; echo $FOO >> /var/out",
    "set -e; true; false || true; touch /var/e; false; touch /var/never",
    "exit 0; touch /var/never",
    "rm -f $none \"\" ; touch /var/q",
    "echo \"a'b\" 'c\"d' e\\ f \\$1 \"\\$1 \\a\" > /var/out",
    "echo a#b # comment\ntouch /var/after",
    "echo one \\\n  two > /var/out",
    "touch /var/x{1,2}",
    "sleep 0 & wait",
    "eval touch /var/evil",
    "curl http://example.com",
];

/// Makes the same beginning on the host.
fn prepare(root: &Path) {
    for name in ["etc", "opt", "srv", "var", "script"] {
        let path = root.join(name);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
    }
    for (path, mode, owner, content) in START {
        let path = root.join(&path[1..]);
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode.into())).unwrap();
    }
    for (path, target) in LINKS {
        symlink(target, root.join(&path[1..])).unwrap();
    }
}

fn in_memory() -> MemoryFs {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    for program in PROGRAMS {
        let path = ImagePath::parse(format!("/usr/bin/{program}")).unwrap();
        editor
            .mkdir_all(&path.parent().unwrap(), Attributes::default())
            .unwrap();
        let attributes = Attributes {
            permissions: Some(0o755),
            ..Attributes::default()
        };
        editor
            .write(&path, imgasm_fs::tree::LastLink::Keep, b"", attributes)
            .unwrap();
    }
    for (path, mode, owner, content) in START {
        let path = ImagePath::parse(path).unwrap();
        let attributes = Attributes {
            permissions: Some(mode),
            uid: Some(owner),
            gid: Some(owner),
        };
        match content {
            None => editor.mkdir_all(&path, attributes).unwrap(),
            Some(content) => editor
                .write(
                    &path,
                    imgasm_fs::tree::LastLink::Keep,
                    content.as_bytes(),
                    attributes,
                )
                .unwrap(),
        }
    }
    for (path, target) in LINKS {
        editor
            .symlink(&ImagePath::parse(path).unwrap(), target.as_bytes())
            .unwrap();
    }
    drop(editor);
    fs
}

/// The real shell and its programs with the libraries that they need, in a root of their own.
fn real_root() -> Option<tempfile::TempDir> {
    if !need::mounts(&["chroot", "ldd", "bash"]) {
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let programs = PROGRAMS
        .iter()
        .map(|program| (*program, format!("usr/bin/{program}")));
    for (program, to) in programs.chain([("bash", "bin/sh".to_owned())]) {
        let found = succeed(Command::new("sh").args(["-c", &format!("command -v {program}")]));
        let found = fs::canonicalize(found.trim()).unwrap();
        copy(&found, &to);
        let libraries = succeed(Command::new("ldd").arg(&found));
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries {
            copy(&fs::canonicalize(library).unwrap(), library);
        }
    }
    fs::create_dir(root.path().join("dev")).unwrap();
    succeed(
        Command::new("mknod")
            .arg(root.path().join("dev/null"))
            .args(["c", "1", "3"]),
    );
    succeed(
        Command::new("chmod")
            .arg("666")
            .arg(root.path().join("dev/null")),
    );
    Some(root)
}

type Listing = BTreeMap<String, String>;

fn real_listing(root: &Path) -> Listing {
    let mut found = Listing::new();
    let mut pending: Vec<_> = ["etc", "opt", "srv", "var"]
        .map(|name| root.join(name))
        .into();
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let name = format!("/{}", path.strip_prefix(root).unwrap().display());
        let (kind, content) = if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
            ("directory", String::new())
        } else if metadata.is_symlink() {
            ("link", fs::read_link(&path).unwrap().display().to_string())
        } else {
            ("file", fs::read_to_string(&path).unwrap())
        };
        let mode = if metadata.is_symlink() {
            0
        } else {
            metadata.mode() & 0o7777
        };
        let text = format!(
            "{kind} {mode:o} {}:{} {content:?}",
            metadata.uid(),
            metadata.gid()
        );
        found.insert(name, text);
    }
    found
}

fn memory_listing(fs: &MemoryFs) -> Listing {
    let mut found = Listing::new();
    for entry in walk(fs, &ImagePath::root()).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path.to_string();
        if !["/etc", "/opt", "/srv", "/var"]
            .iter()
            .any(|top| path.starts_with(top))
        {
            continue;
        }
        let (kind, content) = match entry.metadata.file_type {
            FileType::Directory => ("directory", Vec::new()),
            FileType::Symlink => (
                "link",
                crate::files::link_target(fs, &entry.path).unwrap().unwrap(),
            ),
            _ => (
                "file",
                crate::files::read_optional(fs, &entry.path)
                    .unwrap()
                    .unwrap(),
            ),
        };
        let content = String::from_utf8(content).unwrap();
        let is_link = entry.metadata.file_type == FileType::Symlink;
        let mode = if is_link {
            0
        } else {
            entry.metadata.permissions
        };
        let (uid, gid) = (entry.metadata.uid, entry.metadata.gid);
        found.insert(path, format!("{kind} {mode:o} {uid}:{gid} {content:?}"));
    }
    found
}

/// Runs a script both ways; gives whether it was carried out here.
fn compare(root: &Path, script: &str) -> Result<bool, String> {
    let mut fs = in_memory();
    let mut editor = Editor::new(&mut fs);
    let mut notes = Vec::new();
    let given = Given {
        arguments: vec!["1".to_owned()],
        ..Given::default()
    };
    let ours = run(
        script,
        Interpreter::Sh,
        given,
        &mut editor,
        Timestamp::default(),
        &mut notes,
    );
    let status = match ours {
        Ok(status) => status,
        Err(Stopped::Unknown(_)) => return Ok(false),
        Err(Stopped::Failed(error)) => return Err(format!("{script}\n{error}")),
    };
    prepare(root);
    fs::write(root.join("script"), script).unwrap();
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/sh", "/script", "1"]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let real = output(&mut command);
    let (ours, theirs) = (memory_listing(&fs), real_listing(root));
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(path), theirs.get(path));
        if ours != theirs {
            differences.push(format!("{path}:\n  ours {ours:?}\n  real {theirs:?}"));
        }
    }
    if real.status.code() != Some(i32::from(status)) {
        differences.push(format!(
            "status {status}, and really {:?}",
            real.status.code()
        ));
    }
    if differences.is_empty() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&real.stderr).into_owned();
    differences.dedup();
    Err(format!("{script}\n{}\n{said}", differences.join("\n")))
}

/// A script of several commands, put together at random.
fn generate(rng: &mut Rng) -> String {
    let mut script = String::new();
    for _ in 0..=rng.index(3) {
        let command = |rng: &mut Rng| (*rng.pick(COMMANDS)).to_owned();
        let single = |rng: &mut Rng| {
            loop {
                let command = command(rng);
                if !command.contains(['\n', '#']) {
                    return command;
                }
            }
        };
        let further = match rng.index(10) {
            0 => format!(
                "if {}; then\n  {}\nelse\n  {}\nfi\n",
                single(rng),
                command(rng),
                command(rng)
            ),
            1 => format!(
                "{{ {}; }} && {{ {}; }} || {{ {}; }}\n",
                single(rng),
                single(rng),
                single(rng)
            ),
            2 => format!("for i in 1 2; do\n{}\ndone\n", command(rng)),
            3 => format!("({})\n", single(rng)),
            4 => format!("fun() {{\n{}\n}}\nfun 1 2\n", command(rng)),
            5 => format!(
                "case $1 in\n1) {} ;;\n*) {}\nesac\n",
                single(rng),
                single(rng)
            ),
            6 => format!("{} || :\n", single(rng)),
            7 => format!(
                "if ! {}; then {}; fi >/dev/null 2>&1\n",
                single(rng),
                single(rng)
            ),
            _ => format!("{}\n", command(rng)),
        };
        script.push_str(&further);
    }
    script
}

#[test]
fn scripts_leave_what_a_real_shell_leaves() {
    let Some(root) = real_root() else { return };
    let count: usize = std::env::var("IMGASM_SCRIPTS").map_or(400, |count| count.parse().unwrap());
    let mut rng = Rng::new(16);
    let mut scripts: Vec<_> = COMMANDS
        .iter()
        .map(|command| format!("{command}\n"))
        .collect();
    scripts.extend((0..count).map(|_| generate(&mut rng)));
    let (mut carried_out, mut wrong) = (0, Vec::new());
    for script in &scripts {
        match compare(root.path(), script) {
            Ok(is_done) => carried_out += usize::from(is_done),
            Err(difference) => wrong.push(difference),
        }
    }
    let refused = scripts.len() - carried_out - wrong.len();
    eprintln!(
        "{carried_out} carried out, {refused} refused, {} wrong",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
    assert!(
        refused * 4 < scripts.len(),
        "{refused} of {} are refused",
        scripts.len()
    );
}

#[test]
fn what_is_not_known_stops_a_script_by_name() {
    let stopped = |script: &str| {
        let mut fs = in_memory();
        let mut editor = Editor::new(&mut fs);
        let result = run(
            script,
            Interpreter::Sh,
            Given {
                arguments: vec!["1".to_owned()],
                ..Given::default()
            },
            &mut editor,
            Timestamp::default(),
            &mut Vec::new(),
        );
        match result {
            Err(Stopped::Unknown(statement)) => statement,
            other => panic!("{script}: {other:?}"),
        }
    };
    for (script, statement) in [
        (
            "curl http://example.com | sh\n",
            "curl http://example.com | sh",
        ),
        ("if true; then\n  x=$(date)\nfi", "date"),
        ("true\nsleep 1 &\ntrue", "sleep 1 &"),
        ("echo $HOME > /x", "echo $HOME > /x"),
        ("cat /proc/cpuinfo", "cat /proc/cpuinfo"),
        ("while :; do :; done", ":"),
        ("f() { f; }; f", "f"),
    ] {
        assert_eq!(stopped(script), statement);
    }
    for hostile in [
        "(".repeat(100_000),
        "$(".repeat(100_000),
        "if ".repeat(100_000),
        "! ".repeat(100_000),
        "`".repeat(99_999),
        "${a:-".repeat(100_000),
        "cat <<".repeat(1000),
        "\"".repeat(99_999),
        "a{".repeat(100_000),
        "x=aaaaaaaa; while :; do x=$x$x; done".to_owned(),
        "x=aaaaaaaa; while :; do echo $x >> /var/x; cat /var/x /var/x > /var/y; cat /var/y >> /var/x; done".to_owned(),
        format!("f() {{ {}f{}; }}; f", "{ ".repeat(30), "; }".repeat(30)),
        format!("x={}; y=${{x%*a*a*b}}; date", "a".repeat(100_000)),
    ] {
        stopped(&hostile);
    }
}
