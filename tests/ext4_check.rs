//! The checker of ext4 against e2fsck: what one finds nothing wrong with, the other must not either,
//! and what one complains of, the other must too.

mod support;

use std::path::Path;

use imgasm::fs::FileSystem as _;
use imgasm::fs::ext4::Ext4;
use support::command::can_mount;
use support::engine::image;
use support::image::{Kind, SETS};
use support::judge;
use support::populate::Amount;
use support::scratch;
use support::trial::Base;

/// What our checker finds, or why it cannot go on.
fn findings(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let checked = Ext4::open(image(path)).and_then(|fs| {
        fs.check(&mut |finding| found.push(format!("{}: {}", finding.at, finding.problem)))
    });
    if let Err(error) = checked {
        found.push(error.to_string());
    }
    found
}

/// Few files, but a directory with an index and a file with a tree of extents.
const LITTLE: Amount = Amount {
    files: 150,
    large_directory: 1500,
    pieces: 900,
};

#[test]
fn nothing_is_wrong_with_what_the_kernel_left() {
    if !can_mount(Kind::Ext.tools()) {
        return;
    }
    for set in SETS.iter().filter(|set| set.kind == Kind::Ext) {
        let folder = scratch::folder();
        let base = Base::new(set, 11, LITTLE, folder.path());
        judge::check(base.image(), Kind::Ext).unwrap_or_else(|e| panic!("{}: {e}", set.name));
        let found = findings(base.image());
        assert!(found.is_empty(), "{}: {found:#?}", set.name);
    }
}
