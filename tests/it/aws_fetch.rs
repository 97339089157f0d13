//! `imgasm fetch` of a base that lies in a bucket.

use std::fs;

use crate::packages_lock::House;
use crate::support::aws::{is_one_error, refused, succeed};
use crate::support::aws_server::{BUCKET, REGION, Server};
use crate::support::rpms::rpm;
use imgasm_block::Digest;
use serde_json::json;

#[test]
fn a_base_in_a_bucket_is_got_once_and_goes_on_where_it_stopped() {
    let Some(server) = Server::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut disk = vec![0_u8; 3 << 20];
    for (place, byte) in disk.iter_mut().enumerate().step_by(7) {
        *byte = u8::try_from(place % 251).unwrap();
    }
    server.put(&format!("{BUCKET}/bases/base.raw"), REGION, &disk);
    let digest = Digest::of(&disk);
    let recipe = |key: &str| {
        let base = format!("{{ file = 's3://{BUCKET}/{key}', sha256 = '{digest}' }}");
        fs::write(
            dir.join("imgasm.toml"),
            format!("name = 'x'\nbase = {base}\n"),
        )
        .unwrap();
    };
    recipe("bases/base.raw");
    let downloads = dir.join("cache/downloads");
    fs::create_dir_all(&downloads).unwrap();
    fs::write(downloads.join(format!("{digest}.part")), &disk[..1_000_000]).unwrap();
    let fetch = || {
        let mut command = server.command(dir, "fetch");
        command.env("IMGASM_CACHE", dir.join("cache"));
        command
    };
    let path = downloads.join(digest.to_string());
    assert_eq!(succeed(&mut fetch()).trim(), path.to_str().unwrap());
    assert_eq!(fs::read(&path).unwrap(), disk);
    assert_eq!(server.count("GetObject"), 1);
    succeed(&mut fetch());
    assert_eq!(server.count("GetObject"), 1);

    // What was cut is asked for again, from where it was.
    fs::remove_file(&path).unwrap();
    let drop = json!([{"operation": "GetObject", "kind": "drop", "times": 1}]);
    server.tell("faults", &drop);
    succeed(&mut fetch());
    assert_eq!(fs::read(&path).unwrap(), disk);

    fs::remove_file(&path).unwrap();
    recipe("bases/other.raw");
    is_one_error(&refused(&mut fetch()), &["bases/other.raw", "NoSuchKey"]);
    assert_eq!(fs::read_dir(&downloads).unwrap().count(), 0);
}

#[test]
fn a_package_in_a_bucket_is_got_once_and_installed() {
    let Some(server) = Server::start() else {
        return;
    };
    let Some(house) = House::new() else { return };
    let package = fs::read(house.add("tool", "1", "")).unwrap();
    server.put(&format!("{BUCKET}/rpms/tool.rpm"), REGION, &package);
    let digest = Digest::of(&package);
    let recipe = |sha256: &str| {
        let base = house.lab.image();
        let recipe = format!(
            "name = 'web'\nbase = {{ file = '{}' }}\n[[package]]\npath = 's3://{BUCKET}/rpms/tool.rpm'\n\
             sha256 = '{sha256}'\n",
            base.display()
        );
        fs::write(house.folder.join("imgasm.toml"), recipe).unwrap();
    };
    let fetch = || {
        let mut command = server.command(&house.folder, "fetch");
        command.env("IMGASM_CACHE", house.folder.join("cache"));
        command
    };
    recipe(&"0".repeat(64));
    is_one_error(
        &refused(&mut fetch()),
        &["rpms/tool.rpm", &digest.to_string()],
    );
    recipe(&digest.to_string());
    succeed(&mut fetch());
    let count = server.count("GetObject");
    succeed(&mut fetch());
    assert_eq!(server.count("GetObject"), count);
    house.done(&["build"]);
    house.look(|root| assert_eq!(rpm(root, &["-q", "tool"]), "tool-1-1.noarch\n"));
}
