//! What is copied from an overlay is what its digest was made of, although its folder is changed in
//! between, and changed back.

use std::fs;
use std::path::Path;

use imgasm::config::digest;
use imgasm::overlay::{Applier, OverlayFile};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use imgasm_testkit::memory_fs::MemoryFs;

/// An overlay is applied while its folder is another than the one that was hashed, which it is again
/// afterwards.
fn applied_between(change: &dyn Fn(&Path), back: &dyn Fn(&Path)) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for (path, content) in [
        (
            "overlay.toml",
            "[[step]]\ncopy = { from = 'data/*', to = '/srv/' }\n\
             [[step]]\ncopy = { from = 'one', to = '/etc/one', template = true }\n\
             [[step]]\nfirstboot = { name = 'first', from = 'script' }\n",
        ),
        ("files/etc/a", "before"),
        ("data/a", "before"),
        ("one", "before"),
        ("script", "#!/bin/sh\n"),
    ] {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), content).unwrap();
    }
    let contents = digest::folder(folder).unwrap();
    change(folder);
    let overlay = OverlayFile::read("overlay", folder);
    let overlay = overlay
        .and_then(|overlay| overlay.resolve(|_| None))
        .unwrap();
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    for folder in ["/etc", "/srv", "/usr/lib/systemd/system"] {
        let path = ImagePath::parse(folder).unwrap();
        editor.mkdir_all(&path, Attributes::default()).unwrap();
    }
    let systemd = ImagePath::parse("/usr/lib/systemd/systemd").unwrap();
    editor
        .write(&systemd, LastLink::Follow, b"", Attributes::default())
        .unwrap();
    let mut applier = Applier::new(&mut fs, Timestamp::default()).unwrap();
    applier.apply(&overlay).unwrap();
    back(folder);
    assert_eq!(digest::folder(folder).unwrap(), contents);
    overlay.check_readings(&contents).is_ok()
}

#[test]
fn what_is_copied_is_what_was_hashed() {
    assert!(applied_between(&|_| {}, &|_| {}));
    let written = |path: &'static str, within: &'static str, before: &'static str| {
        applied_between(
            &move |folder| fs::write(folder.join(path), within).unwrap(),
            &move |folder| fs::write(folder.join(path), before).unwrap(),
        )
    };
    for path in ["files/etc/a", "data/a", "one"] {
        assert!(!written(path, "within", "before"), "{path}");
    }
    assert!(!written("script", "#!/bin/true\n", "#!/bin/sh\n"));
    let moved = |path: &'static str| {
        applied_between(
            &move |folder| fs::rename(folder.join(path), folder.join("elsewhere")).unwrap(),
            &move |folder| fs::rename(folder.join("elsewhere"), folder.join(path)).unwrap(),
        )
    };
    assert!(!moved("files"));
    let added = applied_between(
        &|folder| fs::write(folder.join("data/new"), "").unwrap(),
        &|folder| fs::remove_file(folder.join("data/new")).unwrap(),
    );
    assert!(!added);
}
