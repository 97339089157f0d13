//! What differs between the disk and a copy of it with ten changed files.

use crate::measure::{Way, shell};
use crate::{Bench, EXT4, IMGASM};

/// Puts the cache into the work folder.
const CACHE: &str = "XDG_CACHE_HOME=$PWD/cache";

/// Changes ten files through a mount, all over the disk.
const CHANGE: &str = "find mount/usr -name 'file-*00' | sort | head -n 10 | while read -r file; do
            echo changed >>\"$file\"
        done";

pub fn difference(bench: &Bench<'_>) {
    known(bench);
    unknown(bench);
}

/// Two builds, whose chunks are known because they were just written.
fn known(bench: &Bench<'_>) {
    let overlay = "mkdir -p ten/files/usr
        printf 'description = \"Ten files\"\\n' >ten/overlay.toml
        for n in 0 1 2 3 4 5 6 7 8 9; do echo changed >ten/files/usr/changed-$n; done";
    shell(overlay, bench.folder);
    for (name, overlays) in [("one", ""), ("two", "\"ten\"")] {
        let recipe = format!(
            "name = \"{name}\"\nbase = {{ file = \"base.raw\" }}\noverlays = [{overlays}]\n"
        );
        std::fs::write(bench.folder.join(format!("{name}.toml")), recipe)
            .expect("room for a recipe");
        let build = format!("{CACHE} {IMGASM} build -f {name}.toml -o out-{name} --force");
        shell(&build, bench.folder);
    }
    bench.job(
        "what differs between two builds, ten files",
        &[
            mounts("out-one/one.raw", "out-two/two.raw"),
            Way {
                name: "imgasm diff, chunk maps known",
                before: String::new(),
                script: diff("out-one/one.raw", "out-two/two.raw"),
            },
        ],
    );
    shell(
        "rm -rf ten one.toml two.toml out-one out-two cache",
        bench.folder,
    );
}

/// Two disks about which nothing is known.
fn unknown(bench: &Bench<'_>) {
    shell(
        &format!(
            "{}\n{}",
            EXT4.fresh("changed.raw"),
            EXT4.mounted("changed.raw", CHANGE)
        ),
        bench.folder,
    );
    let ours = diff("base.raw", "changed.raw");
    bench.job(
        "what differs between two disks, ten changed files",
        &[
            mounts("base.raw", "changed.raw"),
            Way {
                name: "cp of both images to /dev/null",
                before: String::new(),
                // Reads what is not a hole.
                script: "cp base.raw /dev/null; cp changed.raw /dev/null".to_owned(),
            },
            Way {
                name: "imgasm diff, nothing known",
                before: "rm -rf cache".to_owned(),
                script: ours.clone(),
            },
            Way {
                name: "imgasm diff, compared before",
                before: ours.clone(),
                script: ours,
            },
        ],
    );
    shell("rm -rf changed.raw cache", bench.folder);
}

/// `imgasm diff` of two disks that differ.
fn diff(old: &str, new: &str) -> String {
    format!("{CACHE} {IMGASM} diff {old} {new} || [ $? = 1 ]")
}

/// Contents and metadata, compared with tools that every system has.
fn mounts(old: &str, new: &str) -> Way<'static> {
    let offset = EXT4.offset;
    let walk = "find . -xdev -printf '%p %y %m %U %G %s %l %n\\n' | sort
            getfattr -R -h -d -m - . 2>/dev/null";
    Way {
        name: "two mounts, diff -r, find, getfattr",
        before: "mkdir -p mount other".to_owned(),
        script: format!(
            "mount -o ro,loop,offset={offset} {old} mount
            mount -o ro,loop,offset={offset} {new} other
            diff -r --no-dereference mount other || [ $? = 1 ]
            (cd mount; {walk}) >mount.txt
            (cd other; {walk}) >other.txt
            diff mount.txt other.txt || [ $? = 1 ]
            umount mount other
            rm mount.txt other.txt"
        ),
    }
}
