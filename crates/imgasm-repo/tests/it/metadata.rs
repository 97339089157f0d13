//! Metadata as `createrepo_c` writes it, damaged, hostile and large.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::world::{World, repository};
use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::{Pool, Transport};
use imgasm_testkit::command::run;

fn load(repository: Repository) -> Result<usize, String> {
    let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), false);
    let added = pool.add(
        &[repository],
        &Transport::default(),
        &[],
        &Modules::default(),
    );
    added.map_err(|error| error.to_string())?;
    Ok(pool.packages.len())
}

fn world() -> Option<World> {
    let world = World::new()?;
    world.add("a-1", "requires:b>=1 file:/usr/bin/a");
    world.add("b-1", "");
    Some(world)
}

fn metadata(world: &World, kind: &str) -> PathBuf {
    let files = fs::read_dir(world.repository().join("repodata")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    files
        .find(|path| path.to_string_lossy().contains(&format!("-{kind}.xml")))
        .unwrap()
}

#[test]
fn every_compression_is_read() {
    let Some(world) = world() else { return };
    let url = format!("file:{}", world.repository().display());
    for kind in ["gz", "xz"] {
        let mut command = Command::new("createrepo_c");
        command
            .arg("-q")
            .arg(format!("--general-compress-type={kind}"));
        run(command.arg(world.repository()));
        assert_eq!(load(repository(&url)), Ok(2), "{kind}");
    }
    // This createrepo_c does not write zstd itself.
    let path = metadata(&world, "primary");
    let plain = world.folder.path().join("primary.xml");
    let script = format!("xz -dc {} > {}", path.display(), plain.display());
    run(Command::new("sh").args(["-c", &script]));
    let packed = zstd_packed(&fs::read(&plain).unwrap());
    fs::write(world.repository().join("repodata/p.zst"), &packed).unwrap();
    let digest = imgasm_block::Digest::of(&packed);
    let repomd = format!(
        "<repomd><data type='primary'><checksum type='sha256'>{digest}</checksum>\
         <location href='repodata/p.zst'/><size>{}</size></data></repomd>",
        packed.len()
    );
    fs::write(world.repository().join("repodata/repomd.xml"), repomd).unwrap();
    assert_eq!(load(repository(&url)), Ok(2));
}

fn zstd_packed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn damage_is_named_and_another_place_is_tried() {
    let Some(world) = world() else { return };
    world.finish(&[]);
    let url = format!("file:{}", world.repository().display());
    let broken = world.folder.path().join("broken");
    run(Command::new("cp")
        .arg("-r")
        .arg(world.repository())
        .arg(&broken));
    let primary = broken
        .join("repodata")
        .join(metadata(&world, "primary").file_name().unwrap());
    let mut bytes = fs::read(&primary).unwrap();
    let bad = format!("file:{}", broken.display());
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&primary, &bytes).unwrap();
    let error = load(repository(&bad)).unwrap_err();
    assert!(error.contains("has the SHA-256"), "{error}");
    bytes.pop();
    fs::write(&primary, &bytes).unwrap();
    assert!(load(repository(&bad)).is_err());
    let two = Repository {
        location: Location::Places(vec![bad, url.clone()]),
        ..repository(&url)
    };
    assert_eq!(load(two), Ok(2));
    let none = load(repository("file:/nowhere")).unwrap_err();
    assert!(none.contains("`r`") && none.contains("/nowhere"), "{none}");
}

#[test]
fn hostile_metadata_ends_in_an_error() {
    let Some(world) = World::new() else { return };
    let folder = world.repository().join("repodata");
    fs::create_dir_all(&folder).unwrap();
    let url = format!("file:{}", world.repository().display());
    let deep = "<a>".repeat(100_000);
    let package =
        |inner: &str| format!("<metadata><package type='rpm'>{inner}</package></metadata>");
    for text in [
        String::new(),
        "x".to_owned(),
        deep,
        "<metadata><package>".to_owned(),
        package("<name>a</name>"),
        package("<size package='-1'/>"),
        package("<checksum type='sha256'>zz</checksum>"),
        package("<format><requires><entry name='x' flags='??' ver='1'/></requires></format>"),
        package("<name>&unknown;</name>"),
        package(&format!("<name>{}</name>", "n".repeat(2 << 20))),
        package(&format!("<!--{}-->", "n".repeat(2 << 20))),
        package(&format!("<name x='{}'/>", "n".repeat(2 << 20))),
        package(&" ".repeat(2 << 20)),
    ] {
        fs::write(folder.join("primary.xml"), &text).unwrap();
        let digest = imgasm_block::Digest::of(text.as_bytes());
        let repomd = format!(
            "<repomd><data type='primary'><checksum type='sha256'>{digest}</checksum>\
             <location href='repodata/primary.xml'/></data></repomd>"
        );
        fs::write(folder.join("repomd.xml"), repomd).unwrap();
        assert!(load(repository(&url)).is_err(), "{text:.60}");
    }
    for repomd in ["", "<repomd>", "<x/>", "<repomd/>"] {
        fs::write(folder.join("repomd.xml"), repomd).unwrap();
        assert!(load(repository(&url)).is_err(), "{repomd}");
    }
}

#[test]
fn priorities_and_patterns_hide_packages() {
    let Some(world) = world() else { return };
    world.finish(&[]);
    let other = world.folder.path().join("other");
    run(Command::new("cp")
        .arg("-r")
        .arg(world.repository())
        .arg(&other));
    let url = format!("file:{}", world.repository().display());
    let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    for (excludes, includes) in [(&["b*"][..], &[][..]), (&[], &["c*", "a-1*"])] {
        let first = Repository {
            priority: 10,
            excludes: patterns(excludes),
            includes: patterns(includes),
            ..repository(&format!("file:{}", other.display()))
        };
        let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), false);
        let repositories = [repository(&url), first];
        pool.add(
            &repositories,
            &Transport::default(),
            &[],
            &Modules::default(),
        )
        .unwrap();
        let of: Vec<_> = pool
            .packages
            .iter()
            .map(|package| {
                let repository = package.available.as_ref().unwrap().repository.unwrap();
                (pool.names.text(package.name), repository)
            })
            .collect();
        assert_eq!(of, [("b", 0), ("a", 1)]);
    }
}
