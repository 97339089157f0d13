//! What tests do with the example and the test server again and again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::aws::{example, set_base, succeed};
use super::aws_server::{BUCKET, REGION, Server};
use super::sparse::same_bytes;

/// The example, built in a folder, and a server.
pub fn built(ami: &str) -> Option<(tempfile::TempDir, Server)> {
    let server = Server::start()?;
    let dir = tempfile::tempdir().unwrap();
    example(dir.path(), ami);
    succeed(&mut server.command(dir.path(), "build"));
    Some((dir, server))
}

/// Runs an import that must succeed; gives the AMI.
pub fn imported(command: &mut Command) -> String {
    let printed = succeed(command);
    let id = printed.trim().to_owned();
    assert!(
        id.starts_with("ami-") && !id.contains(char::is_whitespace),
        "{printed:?}"
    );
    id
}

/// The snapshot of a device of an AMI.
pub fn snapshot_of(image: &Value, device: &str) -> String {
    let mappings = image["BlockDeviceMappings"].as_array().unwrap();
    let mut found = mappings.iter().filter(|it| it["DeviceName"] == device);
    let mapping = found.next().unwrap();
    mapping["Ebs"]["SnapshotId"].as_str().unwrap().to_owned()
}

/// Whether a snapshot is a file's bytes, with zeros up to whole GiB.
pub fn is_snapshot_of(server: &Server, snapshot: &str, file: &Path, work: &Path) {
    let back = work.join("back.raw");
    server.read_back(snapshot, &back);
    let len = fs::metadata(file).unwrap().len();
    let volume = fs::metadata(&back).unwrap().len();
    assert_eq!(volume, len.next_multiple_of(1 << 30));
    fs::File::options()
        .write(true)
        .open(&back)
        .unwrap()
        .set_len(len)
        .unwrap();
    assert!(
        same_bytes(file, &back),
        "{snapshot} is not {}",
        file.display()
    );
}

/// Nothing is left but the AMIs and what they use.
pub fn nothing_left(server: &Server, dir: &Path) {
    assert_eq!(leftovers(server, dir), "");
}

/// What `gc` finds.
pub fn leftovers(server: &Server, dir: &Path) -> String {
    succeed(server.gc(dir).args(["--bucket", BUCKET]))
}

/// Puts a disk of Amazon's into the server; gives the AMI's id.
pub fn public_image(server: &Server, id: &str, disk: &Path) {
    server.tell(
        "public-image",
        &json!({
            "region": REGION, "image_id": id, "name": "amzn-ami-2018.03.a-amazon-ecs-optimized",
            "disk": disk, "extra": {"BootMode": "legacy-bios"},
            "mappings": [{"DeviceName": "/dev/xvdcz", "Ebs": {
                "VolumeSize": 22, "VolumeType": "gp2", "Encrypted": false,
                "Iops": 100, "DeleteOnTermination": true}}],
        }),
    );
}

/// Makes the recipe in `dir` one that builds upon `base.raw`.
pub fn build_upon_base(dir: &Path) {
    set_base(dir, "{ file = \"base.raw\" }");
    let recipe = dir.join("imgasm.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let Some(from) = text.find("# Docker's thin pool") else {
        return;
    };
    let to = text.find("\n[ami]").unwrap();
    // That mapping comes from the base.
    fs::write(&recipe, format!("{}{}", &text[..from], &text[to..])).unwrap();
}

/// The AMI is the one that was built, and nothing else is there.
pub fn is_right(server: &Server, dir: &Path, id: &str) {
    let image = server.describe_image(REGION, id.trim());
    let mappings = image["BlockDeviceMappings"].as_array().unwrap();
    for (mapping, file) in mappings.iter().zip(["out/ecs.raw", "out/ecs-docker.raw"]) {
        let snapshot = mapping["Ebs"]["SnapshotId"].as_str().unwrap();
        is_snapshot_of(server, snapshot, &dir.join(file), dir);
    }
    nothing_left(server, dir);
    server.assert_no_violations();
}
