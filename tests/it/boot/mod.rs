//! Real machines: a Debian root that debootstrap made, customised by imgasm and started by
//! `imgasm boot` under QEMU's software emulation. `make test-boot`: it takes minutes, and so is left
//! out of the default run.
//!
//! - `base`: the disk of the machines.
//! - `arm64`: a machine for arm64.
//! - `machine`: a customised machine, on both filesystems and in both boot modes.
//! - `login`: a machine that is logged into.
//! - `firstrun`: the first-run script as user data of a machine like an ECS container instance.
//! - `deferred`: scripts of packages that wait for the first boot.
//! - `tarball`: a machine from a root filesystem that mmdebstrap packed.
//! - `broken`: machines that do not start, and what is said about them.
//! - `command`: what can be tested without a machine, also in the default run.

mod arm64;
mod base;
mod broken;
mod command;
mod deferred;
mod firstrun;
mod login;
mod machine;
mod tarball;

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example;
use serde_json::Value;

/// Writes a file below `dir`.
fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("it is in a folder"))
        .and_then(|()| fs::write(path, text))
        .expect("there is room for it");
}

fn imgasm(dir: &Path, args: &[&str]) -> Output {
    example::imgasm()
        .args(args)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .output()
        .expect("the program starts")
}

/// The arguments of the program that starts the machine of a recipe.
fn words<'a>(args: &[&'a str]) -> Vec<&'a str> {
    // As in continuous integration, if the host's own processor cannot be used.
    let usual = ["boot", "--json", "--accel", "tcg"];
    let timeout: &[&str] = if args.contains(&"--timeout") {
        &[]
    } else {
        &["--timeout", "1500"]
    };
    [&usual[..], timeout, args].concat()
}

/// Starts the machine of the recipe in `dir`; gives the report and the exit status.
fn boot(dir: &Path, args: &[&str]) -> (Value, Option<i32>) {
    let output = imgasm(dir, &words(args));
    (report(&output.stdout, &output.stderr), output.status.code())
}

fn report(stdout: &[u8], stderr: &[u8]) -> Value {
    let stderr = String::from_utf8_lossy(stderr);
    let report: Value =
        serde_json::from_slice(stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    println!("{report:#}");
    report
}

/// The results that are not `passed`, each with its message.
fn amiss(report: &Value) -> Vec<String> {
    let results = report["results"].as_array().expect("there are results");
    let amiss = results.iter().filter(|result| result["status"] != "passed");
    amiss
        .map(|result| {
            let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}: {}", text("status"), text("check"), text("message"))
        })
        .collect()
}
