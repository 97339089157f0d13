//! Paths in a filesystem: resolving, walking, matching and editing.

use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::glob::Pattern;
use imgasm_fs::tree::{self, Attributes, ChangeKind, Editor, Error, LastLink};
use imgasm_fs::{FileSystem, NodeKind};
use imgasm_testkit::memory_fs::MemoryFs;
use imgasm_testkit::rng::Rng;

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

/// `/usr/bin/tool`, `/bin` and `/escape` and `/loop` as links, and `/etc` with some files.
fn sample() -> MemoryFs {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    for directory in ["/usr/bin", "/etc/conf.d", "/var/log/ecs"] {
        let attributes = Attributes::default();
        editor.mkdir_all(&path(directory), attributes).unwrap();
    }
    for file in [
        "/usr/bin/tool",
        "/etc/b",
        "/etc/b-a",
        "/etc/conf.d/.hidden",
        "/var/log/ecs/a.log",
    ] {
        let content = file.as_bytes();
        let attributes = Attributes::default();
        editor
            .write(&path(file), LastLink::Keep, content, attributes)
            .unwrap();
    }
    for (link, target) in [
        ("/bin", "usr/bin"),
        ("/escape", "../../../../etc"),
        ("/absolute", "/etc/conf.d/../b"),
        ("/loop", "/loop2"),
        ("/loop2", "loop"),
        ("/dangling", "/etc/new"),
    ] {
        editor.symlink(&path(link), target.as_bytes()).unwrap();
    }
    fs
}

fn content(fs: &dyn FileSystem, at: &str) -> Result<String, String> {
    let read = tree::read_file(fs, &path(at), 1000).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(read).unwrap())
}

#[test]
fn links_are_followed_inside_the_image_only() {
    let fs = sample();
    assert_eq!(content(&fs, "/bin/tool").unwrap(), "/usr/bin/tool");
    assert_eq!(content(&fs, "/escape/b").unwrap(), "/etc/b");
    assert_eq!(content(&fs, "/absolute").unwrap(), "/etc/b");
    let real = tree::resolve(&fs, &path("/escape/conf.d"), LastLink::Follow);
    assert_eq!(real.unwrap().1, path("/etc/conf.d"));
    let kept = tree::resolve(&fs, &path("/bin"), LastLink::Keep);
    assert_eq!(kept.unwrap().1, path("/bin"));
}

#[test]
fn failures_name_the_path() {
    let fs = sample();
    for (at, message) in [
        ("/loop", "/loop: more than 40 symbolic links on the way"),
        (
            "/etc/none/x",
            "/etc/none/x does not exist: there is no /etc/none",
        ),
        (
            "/dangling",
            "/dangling does not exist: there is no /etc/new",
        ),
        ("/etc/b/x", "/etc/b is a regular file, not a directory"),
        ("/etc", "/etc is a directory, not a regular file"),
    ] {
        assert_eq!(content(&fs, at).unwrap_err(), message);
    }
    let error = tree::read_file(&fs, &path("/etc/b"), 3).unwrap_err();
    assert!(matches!(
        error,
        Error::TooLarge {
            size: 6,
            limit: 3,
            ..
        }
    ));
    assert!(!tree::exists(&fs, &path("/dangling")).unwrap());
    assert!(!tree::exists(&fs, &path("/loop")).unwrap());
    assert!(tree::exists(&fs, &path("/")).unwrap());
}

#[test]
fn a_walk_is_in_order_of_names_and_knows_hard_links() {
    let mut fs = sample();
    let mut editor = Editor::new(&mut fs);
    editor
        .hard_link(&path("/usr/again"), &path("/etc/b"))
        .unwrap();
    let walked: Vec<_> = tree::walk(&fs, &path("/etc"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let paths: Vec<_> = walked.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "/etc",
            "/etc/b",
            "/etc/b-a",
            "/etc/conf.d",
            "/etc/conf.d/.hidden"
        ]
    );
    let all: Vec<_> = tree::walk(&fs, &path("/"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let again = all.iter().find(|e| e.path == path("/usr/again")).unwrap();
    assert_eq!(again.first_link, Some(path("/etc/b")));
}

#[test]
fn patterns() {
    let fs = sample();
    let matched = |pattern: &str| {
        let pattern = Pattern::parse(pattern).unwrap();
        let paths = tree::glob(&fs, &pattern).unwrap();
        paths.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(matched("/etc/b*"), ["/etc/b", "/etc/b-a"]);
    assert_eq!(matched("/etc/*/*"), ["/etc/conf.d/.hidden"]);
    assert_eq!(matched("/bin/*"), ["/usr/bin/tool"]);
    assert_eq!(matched("/var/**/*.log"), ["/var/log/ecs/a.log"]);
    assert_eq!(
        matched("/{etc,usr/bin}/{b,tool}"),
        ["/etc/b", "/usr/bin/tool"]
    );
    assert_eq!(matched("//etc/./b"), ["/etc/b"]);
    assert_eq!(
        matched("/{var/{log,run}/ecs,etc}/[ab]*"),
        ["/var/log/ecs/a.log", "/etc/b", "/etc/b-a"]
    );
    assert_eq!(matched("/etc/[{]"), [""; 0]);
    assert_eq!(matched("/bin"), ["/bin"]);
    assert_eq!(matched("/none/*"), [""; 0]);
    assert_eq!(matched("/none/x"), [""; 0]);
    for bad in ["etc/*", "/etc/../*", "/[", "/{a", "{etc,/a}/b", "/{a,../b}"] {
        assert!(Pattern::parse(bad).is_err(), "{bad}");
    }
    assert!(Pattern::parse(&format!("/{}", "{a,b}".repeat(40))).is_err());
}

#[test]
fn a_pattern_that_is_too_large_is_refused() {
    for bad in [
        format!("/{}", "?".repeat(1_000_000)),
        format!("/{}", "[a-c]**".repeat(500_000)),
        // 512 patterns of 3,010 bytes.
        format!("/{}{}", "x".repeat(3_000), "{a,b}".repeat(9)),
    ] {
        let error = Pattern::parse(&bad).map(drop).expect_err(&bad[..9]);
        assert!(matches!(error, Error::Pattern { .. }), "{}", &bad[..9]);
        assert!(error.to_string().len() < 300, "{error}");
    }
}

/// Whatever the text is, it is a pattern or an error.
#[test]
fn patterns_of_any_text() {
    const PIECES: [&str; 18] = [
        "/", "a", "é", "*", "**", "?", "[", "]", "!", "^", "-", "{", "}", ",", "\\", ".", "..", "b",
    ];
    let fs = sample();
    let mut rng = Rng::new(1);
    let mut parsed = 0;
    for _ in 0..4_000 {
        let len = rng.below(12);
        let text: String = (0..len).map(|_| *rng.pick(&PIECES)).collect();
        if let Ok(pattern) = Pattern::parse(&format!("/{text}")) {
            parsed += 1;
            pattern.matches(&path("/etc/b"));
            tree::glob(&fs, &pattern).unwrap();
        }
    }
    assert!(parsed > 200, "{parsed}");
}

/// Runs every kind of edit.
fn edit(editor: &mut Editor<'_>) -> Result<(), Error> {
    let attributes = Attributes {
        permissions: Some(0o600),
        uid: Some(7),
        gid: None,
    };
    editor.write(&path("/dangling"), LastLink::Follow, b"new", attributes)?;
    editor.write(
        &path("/absolute"),
        LastLink::Keep,
        b"file",
        Attributes::default(),
    )?;
    editor.mkdir_all(&path("/bin/deep/er"), attributes)?;
    editor.symlink(&path("/etc/b-a"), b"b")?;
    editor.hard_link(&path("/usr/hard"), &path("/etc/b"))?;
    editor.mknod(&path("/etc/pipe"), NodeKind::Fifo, attributes)?;
    editor.remove_tree(&path("/var"))?;
    editor.rename(&path("/etc/conf.d"), &path("/usr/conf"))?;
    editor.set_size(&path("/usr/bin/tool"), 4)?;
    editor.set_attributes(&path("/usr"), LastLink::Keep, attributes)?;
    editor.set_xattr(&path("/bin"), LastLink::Follow, b"user.x", Some(b"1"))
}

#[test]
fn an_edit_made_twice_writes_nothing_the_second_time() {
    let mut fs = sample();
    let mut editor = Editor::new(&mut fs);
    edit(&mut editor).unwrap();
    let touched = editor.take_touched();
    assert!(touched.iter().all(|t| t.change.is_some()), "{touched:?}");
    insta::assert_snapshot!(fs.dump(), @r#"
    / directory 0755 0:0 1
    /absolute file 0644 0:0 1 "file"
    /bin symlink 0777 0:0 1 -> usr/bin
    /dangling symlink 0777 0:0 1 -> /etc/new
    /escape symlink 0777 0:0 1 -> ../../../../etc
    /etc directory 0755 0:0 1
    /etc/b file 0644 0:0 2 "/etc/b"
    /etc/b-a symlink 0777 0:0 1 -> b
    /etc/new file 0600 7:0 1 "new"
    /etc/pipe fifo 0600 7:0 1
    /loop symlink 0777 0:0 1 -> /loop2
    /loop2 symlink 0777 0:0 1 -> loop
    /usr directory 0600 7:0 1
    /usr/bin directory 0755 0:0 1
      user.x="1"
    /usr/bin/deep directory 0755 0:0 1
    /usr/bin/deep/er directory 0600 7:0 1
    /usr/bin/tool file 0644 0:0 1 "/usr"
    /usr/conf directory 0755 0:0 1
    /usr/conf/.hidden file 0644 0:0 1 "/etc/conf.d/.hidden"
    /usr/hard file 0644 0:0 2 "/etc/b"
    "#);
    let (before, writes) = (fs.dump(), fs.writes);
    let mut editor = Editor::new(&mut fs);
    edit(&mut editor).unwrap();
    let touched = editor.take_touched();
    assert!(touched.iter().all(|t| t.change.is_none()), "{touched:?}");
    assert_eq!(fs.dump(), before);
    assert_eq!(fs.writes, writes);
}

#[test]
fn what_an_edit_did_is_recorded_by_real_path() {
    let mut fs = sample();
    let mut editor = Editor::new(&mut fs);
    editor
        .rename(&path("/escape/conf.d"), &path("/bin/c"))
        .unwrap();
    editor
        .write(
            &path("/escape/b"),
            LastLink::Follow,
            b"x",
            Attributes::default(),
        )
        .unwrap();
    let touched = editor.take_touched();
    let lines: Vec<_> = touched
        .iter()
        .map(|t| format!("{} {:?}", t.path, t.change))
        .collect();
    assert_eq!(
        lines,
        [
            "/etc/conf.d Some(Removed)",
            "/usr/bin/c Some(Created)",
            "/etc/conf.d/.hidden Some(Removed)",
            "/usr/bin/c/.hidden Some(Created)",
            "/etc/b Some(Content)",
        ]
    );
    assert!(
        touched
            .iter()
            .any(|t| t.change == Some(ChangeKind::Content))
    );
}

#[test]
fn pieces_of_a_file_are_replaced_where_they_differ() {
    let mut fs = sample();
    let tool = path("/bin/tool");
    let pieces: [(u64, &[u8]); 3] = [(0, b"/usr"), (5, b"lib"), (16, b"end")];
    let mut editor = Editor::new(&mut fs);
    editor.patch(&tool, 19, pieces).unwrap();
    let touched = editor.take_touched();
    assert_eq!(touched[0].path, path("/usr/bin/tool"));
    assert_eq!(touched[0].change, Some(ChangeKind::Content));
    let content = tree::read_file(&fs, &tool, 100).unwrap();
    assert_eq!(content, b"/usr/lib/tool\0\0\0end");

    let writes = fs.writes;
    let mut editor = Editor::new(&mut fs);
    editor.patch(&tool, 19, pieces).unwrap();
    assert_eq!(editor.take_touched()[0].change, None);
    assert_eq!(fs.writes, writes);
    Editor::new(&mut fs).patch(&tool, 8, []).unwrap();
    assert_eq!(tree::read_file(&fs, &tool, 100).unwrap(), b"/usr/lib");
}

#[test]
fn refused_edits_change_nothing() {
    let mut fs = sample();
    let before = fs.dump();
    let plain = Attributes::default();
    let mut editor = Editor::new(&mut fs);
    let errors = [
        editor.write(&path("/"), LastLink::Keep, b"", plain),
        editor.write(&path("/etc"), LastLink::Keep, b"", plain),
        editor.write(&path("/none/file"), LastLink::Keep, b"", plain),
        editor.mkdir_all(&path("/etc/b/c"), plain),
        editor.symlink(&path("/etc"), b"x"),
        editor.hard_link(&path("/h"), &path("/etc")),
        editor.remove_tree(&path("/")).map(|_| ()),
        editor.rename(&path("/etc"), &path("/etc/conf.d/etc")),
        editor.rename(&path("/none"), &path("/other")),
        editor.set_size(&path("/etc"), 0),
        editor.patch(&path("/none"), 0, []),
    ]
    .map(|result| result.unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
    / cannot be replaced
    /etc is a directory, not a regular file
    /none/file does not exist: there is no /none
    /etc/b is a regular file, not a directory
    /etc is a directory and is not replaced
    /etc is a directory, not a file
    / cannot be removed
    /etc cannot be moved to /etc/conf.d/etc
    /none does not exist
    /etc is a directory, not a regular file
    /none does not exist
    "#);
    assert_eq!(fs.dump(), before);
}
