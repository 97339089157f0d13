//! How many requests an import of 8 GiB is, how many bytes and how long it takes: the first, the same
//! again, and with ten files changed. `--nocapture` shows the table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::aws::{example, make_small, make_small_change, set_base, succeed};
use crate::support::aws_server::Server;
use crate::support::aws_steps::{build_upon_base, imported};

const AMI: &str = "ami_name = \"counted {{ timestamp }}\"\n";

/// What a run has asked for.
struct Count {
    requests: BTreeMap<String, usize>,
    bytes: u64,
    /// How long the run took, against a server on this machine.
    time: Duration,
}

impl Count {
    fn of(log: &[Value], time: Duration) -> Self {
        let mut requests = BTreeMap::new();
        for request in log {
            let operation = request["operation"].as_str().unwrap();
            *requests.entry(operation.to_owned()).or_default() += 1;
        }
        let bytes = log.iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
        Self {
            requests,
            bytes,
            time,
        }
    }

    fn all(&self) -> usize {
        self.requests.values().sum()
    }

    fn of_operation(&self, operation: &str) -> usize {
        self.requests.get(operation).copied().unwrap_or_default()
    }

    fn show(&self, table: &mut String, what: &str) {
        let (all, kib) = (self.all(), self.bytes.div_ceil(1024));
        writeln!(
            table,
            "{what}: {all} requests, {kib} KiB, {:.1} s: {:?}",
            self.time.as_secs_f64(),
            self.requests
        )
        .unwrap();
    }
}

/// Runs an import; gives the AMI, and what was asked for.
fn counted(server: &Server, dir: &Path, via: &str, time: &str) -> (String, Count) {
    let before = server.log().len();
    let mut import = server.import(dir, via);
    let began = Instant::now();
    let id = imported(import.env("SOURCE_DATE_EPOCH", time));
    (id, Count::of(&server.log()[before..], began.elapsed()))
}

/// Gives the image in `dir` ten files more.
fn change_ten_files(dir: &Path) {
    make_small_change(dir);
    let mut steps = "description = \"Ten files\"\n".to_owned();
    for number in 0..10 {
        let step = format!("write = {{ path = \"/etc/ten-{number}\", content = \"{number}\\n\" }}");
        writeln!(steps, "[[step]]\n{step}").unwrap();
    }
    fs::write(dir.join("overlays/small/overlay.toml"), steps).unwrap();
}

#[test]
fn an_import_of_8_gib_asks_for_little_and_the_same_again_for_nothing() {
    let mut table = String::new();
    for via in ["s3", "ebs"] {
        let Some(server) = Server::start() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        example(dir, AMI);
        make_small(dir);
        set_base(dir, "{ rootfs = \"rootfs\", size = \"8GiB\" }");
        succeed(&mut server.command(dir, "build"));
        let (id, first) = counted(&server, dir, via, "1");
        first.show(&mut table, &format!("{via}, the first"));
        let (same, again) = counted(&server, dir, via, "2");
        again.show(&mut table, &format!("{via}, the same again"));
        assert_eq!(same, id);

        succeed(server.command(dir, "pull").args([&*id, "-o", "base.raw"]));
        build_upon_base(dir);
        change_ten_files(dir);
        succeed(&mut server.command(dir, "build"));
        let (changed, ten) = counted(&server, dir, via, "3");
        ten.show(&mut table, &format!("{via}, ten files changed"));
        assert_ne!(changed, id);

        // The answers to all questions of a run that finds everything.
        assert!(again.all() <= 12, "{table}");
        for operation in [
            "RegisterImage",
            "StartSnapshot",
            "ImportSnapshot",
            "CreateTags",
        ] {
            assert_eq!(again.of_operation(operation), 0, "{table}");
        }
        // Zeros are not sent: the image has a few MiB of data.
        assert!(first.bytes < 64 << 20, "{table}");
        if via == "ebs" {
            let (all, few) = (
                first.of_operation("PutSnapshotBlock"),
                ten.of_operation("PutSnapshotBlock"),
            );
            assert!(few < 20 && few * 3 < all, "{table}");
            assert!(ten.bytes < first.bytes / 2, "{table}");
        } else {
            assert_eq!(ten.of_operation("UploadPart"), 1, "{table}");
        }
        server.assert_no_violations();
    }
    eprint!("{table}");
}
