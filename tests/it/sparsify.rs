//! `sparsify = true`: what the root filesystem does not use is not in the image, and everything
//! else is.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::example;
use imgasm_testkit::command::run;
use imgasm_testkit::content::Content;
use imgasm_testkit::image::{Kind, set};
use imgasm_testkit::judge;
use imgasm_testkit::kernel::{Access, Mount};
use imgasm_testkit::need;
use imgasm_testkit::tree::{Comparison, Tree};

const SECRET: &[u8] = b"what was deleted must not travel. ";
const SECRET_BYTES: usize = 24 << 20;

/// How often the secret is found in an image.
fn secrets(image: &Path) -> usize {
    let bytes = std::fs::read(image).expect("readable");
    let first = SECRET[0];
    let starts = bytes.windows(SECRET.len());
    starts
        .filter(|window| window[0] == first && *window == SECRET)
        .count()
}

fn allocated(image: &Path) -> u64 {
    image.metadata().expect("it is there").blocks() * 512
}

fn view(image: &Path, kind: Kind) -> Tree {
    let mount = Mount::new(image, kind, Access::ReadOnly);
    let tree = Tree::of_mount(mount.path());
    mount.finish().unwrap_or_else(|e| panic!("{e}"));
    tree
}

fn build(folder: &Path, recipe: &str) -> PathBuf {
    std::fs::write(folder.join("imgasm.toml"), recipe).expect("room");
    run(example::imgasm()
        .args(["build", "-o", "out"])
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .current_dir(folder));
    folder.join("out/image.raw")
}

fn check(kind: Kind, name: &str) {
    if !need::mounts(kind.tools()) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the images");
    let base = folder.path().join("base.raw");
    set(kind, name).expect("a set of this name").make(&base);
    let mount = Mount::new(&base, kind, Access::ReadWrite);
    let secret: Vec<u8> = SECRET.iter().copied().cycle().take(SECRET_BYTES).collect();
    let root = mount.path();
    std::fs::create_dir(root.join("etc")).expect("room");
    std::fs::write(root.join("etc/os-release"), "ID=amzn\nVERSION_ID=2023\n").expect("room");
    for n in 0..40 {
        let content = Content::noise(n, 300_000 + n * 777);
        std::fs::write(root.join(format!("kept-{n}")), content.bytes()).expect("room");
        let part = secret.len() / 40;
        let path = root.join(format!("secret-{n}"));
        std::fs::write(path, &secret[..part]).expect("room");
    }
    run(Command::new("sync").arg("-f").arg(root));
    for n in 0..40 {
        std::fs::remove_file(root.join(format!("secret-{n}"))).expect("it is there");
    }
    mount.finish().unwrap_or_else(|e| panic!("{e}"));
    let expected = view(&base, kind);
    assert!(secrets(&base) > 100_000, "the base has what was deleted");

    let recipe = "name = 'image'\nbase = { file = 'base.raw' }\n";
    let plain = build(folder.path(), recipe);
    assert!(secrets(&plain) > 100_000, "nothing was asked for");
    let before = allocated(&plain);

    let image = build(folder.path(), &format!("{recipe}sparsify = true\n"));
    assert_eq!(secrets(&image), 0);
    let bytes = std::fs::read(&image).expect("readable");
    let after = allocated(&image);
    assert!(
        after + secret.len() as u64 * 9 / 10 < before,
        "{before} bytes, then {after}"
    );
    assert_eq!(
        image.metadata().unwrap().len(),
        base.metadata().unwrap().len()
    );
    judge::check(&image, kind).unwrap_or_else(|e| panic!("{e}"));
    view(&image, kind)
        .compare(&expected, &Comparison::SAME_IMAGE)
        .unwrap_or_else(|e| panic!("{e}"));
    let again = build(folder.path(), &format!("{recipe}sparsify = true\n"));
    assert!(bytes == std::fs::read(again).expect("readable"));
}

macro_rules! checks {
    ($($test:ident: $kind:ident $set:literal;)*) => {$(
        #[test]
        fn $test() {
            check(Kind::$kind, $set);
        }
    )*};
}

checks! {
    ext4: Ext "debian12";
    ext4_al1: Ext "al1";
    ext4_1k: Ext "1k";
    xfs_al2: Xfs "al2";
    xfs_al2023: Xfs "al2023";
    xfs_rmapbt: Xfs "rmapbt";
}
