//! From a built image to AWS: the conversion compared with that of `qemu-img`, the upload with that
//! of the AWS CLI, and the memory of both. The other end is a server on loopback that discards
//! everything.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::measure::{Way, run, shell};
use crate::{Bench, IMGASM, build};

/// The disk in the form that EC2 imports.
pub fn convert(bench: &Bench<'_>) {
    bench.job(
        "the disk as a stream-optimized VMDK",
        &[
            Way {
                name: "qemu-img convert",
                before: "rm -f other.vmdk".to_owned(),
                script: qemu_img("base.raw"),
            },
            Way {
                name: "imgasm convert",
                before: "rm -f ours.vmdk".to_owned(),
                script: format!(
                    "XDG_CACHE_HOME=$PWD/cache {IMGASM} convert --force base.raw ours.vmdk"
                ),
            },
        ],
    );
    let mib = |name| fs::metadata(bench.folder.join(name)).map_or(0, |file| file.len() >> 20);
    let (theirs, ours) = (mib("other.vmdk"), mib("ours.vmdk"));
    println!("  MiB of the file: {ours} beside {theirs}");
    shell("rm -f other.vmdk ours.vmdk", bench.folder);
}

fn qemu_img(disk: &str) -> String {
    format!("qemu-img convert -O vmdk -o subformat=streamOptimized {disk} other.vmdk")
}

/// A built disk to a bucket, and to a snapshot.
pub fn upload(bench: &Bench<'_>) {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-venv/bin/aws");
    let Some(sink) = Sink::start() else {
        println!("the upload: failed, there is no python3");
        return;
    };
    let build = build(bench.folder, "upload", "base.raw");
    let recipe = OpenOptions::new()
        .append(true)
        .open(bench.folder.join("upload.toml"));
    recipe
        .and_then(|mut recipe| recipe.write_all(b"\n[ami]\nami_name = \"upload\"\n"))
        .expect("just written");
    if run(&build, bench.folder).is_none() {
        println!("the upload: failed, nothing was built");
        return;
    }
    let environment = format!(
        "export AWS_ENDPOINT_URL=http://127.0.0.1:{} AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=a \
         AWS_SECRET_ACCESS_KEY=b XDG_CACHE_HOME=$PWD/cache AWS_EC2_METADATA_DISABLED=true;",
        sink.port
    );
    let disk = "out-upload/upload.raw";
    let copy = |file: &str| {
        let cli = cli.display();
        format!("{cli} s3 cp --quiet {file} s3://images/{file}")
    };
    let import = |args: &str| {
        format!("{environment} {IMGASM} import -f upload.toml -o out-upload --bucket images {args}")
    };
    bench.job(
        "the disk to a bucket or a snapshot",
        &[
            Way {
                name: "aws s3 cp, raw",
                before: String::new(),
                script: format!("{environment} {}", copy(disk)),
            },
            Way {
                name: "imgasm import --disk-format raw",
                before: String::new(),
                script: import("--disk-format raw"),
            },
        ],
    );
    bench.job(
        "the same without its holes",
        &[
            Way {
                name: "qemu-img convert, aws s3 cp",
                before: "rm -f other.vmdk".to_owned(),
                script: format!("{environment} {}; {}", qemu_img(disk), copy("other.vmdk")),
            },
            Way {
                name: "imgasm import --via s3",
                before: String::new(),
                script: import("--via s3"),
            },
            Way {
                name: "imgasm import --via ebs",
                before: String::new(),
                script: import("--via ebs"),
            },
        ],
    );
    shell(
        "rm -rf other.vmdk out-upload upload.toml cache",
        bench.folder,
    );
}

/// The server; see `sink.py`.
struct Sink {
    child: Child,
    port: u16,
}

impl Sink {
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/sink.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take()?);
        stdout.read_line(&mut line).ok()?;
        let port = line.trim().parse().ok()?;
        Some(Self { child, port })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // If it has ended already, there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
