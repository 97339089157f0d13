//! Makes a repository of many packages from a seed, solves a wish on it, and says how long that took.
//!
//! `cargo run --release -p imgasm-repo --example large -- FOLDER [COUNT [SEED]]`

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use imgasm_block::Digest;
use imgasm_guest::Arch;
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::wish::Wishes;
use imgasm_repo::{Pool, Transport, solve};
use imgasm_testkit::rng::Rng;

/// As in the repositories of large distributions, a package has about so many of each.
const REQUIRED: usize = 12;
const PROVIDED: usize = 6;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("the folder for the repository");
    let count = args
        .next()
        .map_or(60_000, |text| text.parse().expect("how many"));
    let seed = args.next().map_or(1, |text| text.parse().expect("a seed"));
    write(Path::new(&folder), count, seed);
    let start = Instant::now();
    let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), true);
    let repository = Repository {
        id: "large".to_owned(),
        location: Location::Places(vec![format!("file:{folder}")]),
        prefer: None,
        keyring: None,
        priority: 99,
        cost: 1000,
        excludes: Vec::new(),
        includes: Vec::new(),
    };
    let transport = Transport::default();
    let loaded = pool.add(&[repository], &transport, &[]).unwrap();
    println!(
        "read {} packages: {:?}",
        pool.packages.len(),
        start.elapsed()
    );
    let wishes = Wishes {
        install: (0..10).map(|own| format!("p{}", count - 1 - own)).collect(),
        weak: true,
        ..Wishes::default()
    };
    let solution = solve(&mut pool, &wishes, &loaded, &transport).unwrap();
    let arriving = solution.arriving.len();
    println!("solved, {arriving} packages: {:?}", start.elapsed());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or_default());
}

/// Writes the metadata: a package needs some of those with smaller numbers.
fn write(folder: &Path, count: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut xml = format!("<metadata packages=\"{count}\">");
    for own in 0..count {
        let digest = Digest::of(own.to_string().as_bytes());
        write!(
            xml,
            "<package type=\"rpm\"><name>p{own}</name><arch>x86_64</arch>\
             <version epoch=\"0\" ver=\"{}.{}\" rel=\"1.al\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\
             <summary>A package of no use</summary><description>{}</description>\
             <size package=\"1000\"/><location href=\"Packages/p/p{own}.rpm\"/><format>\
             <rpm:sourcerpm>p{own}.src.rpm</rpm:sourcerpm><rpm:provides>",
            1 + rng.index(9),
            rng.index(30),
            "It says much of itself. ".repeat(20),
        )
        .unwrap();
        for index in 0..PROVIDED {
            write!(xml, "<rpm:entry name=\"lib{own}.so.{index}()(64bit)\"/>").unwrap();
        }
        write!(
            xml,
            "<rpm:entry name=\"p{own}\" flags=\"EQ\" epoch=\"0\" ver=\"9\" rel=\"1\"/>"
        )
        .unwrap();
        xml.push_str("</rpm:provides><rpm:requires>");
        for _ in 0..REQUIRED.min(own) {
            // Most depend on what all depend on.
            let reach = if rng.chance(90) { own.min(500) } else { own };
            let (other, index) = (rng.index(reach), rng.index(PROVIDED));
            write!(xml, "<rpm:entry name=\"lib{other}.so.{index}()(64bit)\"/>").unwrap();
        }
        write!(
            xml,
            "</rpm:requires><file>/usr/bin/p{own}</file></format></package>"
        )
        .unwrap();
    }
    xml.push_str("</metadata>");
    let packed = zstd::encode_all(xml.as_bytes(), 3).unwrap();
    let digest = Digest::of(&packed);
    fs::create_dir_all(folder.join("repodata")).unwrap();
    fs::write(folder.join("repodata/primary.xml.zst"), &packed).unwrap();
    let repomd = format!(
        "<repomd><data type=\"primary\"><checksum type=\"sha256\">{digest}</checksum>\
         <location href=\"repodata/primary.xml.zst\"/><size>{}</size></data></repomd>",
        packed.len()
    );
    fs::write(folder.join("repodata/repomd.xml"), repomd).unwrap();
}
