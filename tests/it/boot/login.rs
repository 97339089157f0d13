//! A machine that stays when everything was seen, for somebody who logs into it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use imgasm_testkit::command::run;
use serde_json::Value;

use super::{report, words};
use crate::support::example;

/// Longer than the machine may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Starts the machine of the recipe in `dir`, logs in as `user` by the key that the metadata service gives,
/// and powers it off as root; gives what `command` printed there, the report and the exit status.
pub fn boot(dir: &Path, args: &[&str], user: &str, command: &str) -> (String, Value, Option<i32>) {
    let key = dir.join("key");
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key));
    // Free for the moment that the machine takes to start.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.expect("a port is free").port().to_string();
    let stay = ["--ssh-port", &port, "--ssh-key", "key.pub"];
    let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
    let file = |path| File::create(path).expect("there is room for it");
    let mut child = example::imgasm()
        .args(words(&[args, &stay].concat()))
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"))
        .stdout(file(&stdout))
        .stderr(file(&stderr))
        .spawn()
        .expect("the program starts");
    let read = |path| fs::read(path).expect("it is there");
    wait_until_it_stays(&mut child, || {
        String::from_utf8_lossy(&read(&stderr)).into_owned()
    });
    // What it reports is there already.
    let reported = report(&read(&stdout), &read(&stderr));
    let ssh = |user: &str, command: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-p", &port, "-i"])
            .arg(&key)
            .args(["-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
            // What it says of keys is not the command's.
            .args(["-o", "LogLevel=ERROR"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "ConnectTimeout=120",
            ])
            .arg(format!("{user}@127.0.0.1"))
            .arg(command);
        ssh
    };
    let printed = run(&mut ssh(user, command));
    // The connection ends with the machine.
    let _ = ssh("root", "systemctl poweroff").status();
    let status = child.wait().expect("it ends");
    (printed, reported, status.code())
}

fn wait_until_it_stays(child: &mut Child, stderr: impl Fn() -> String) {
    let begun = Instant::now();
    while !stderr().contains("staying until the machine powers off") {
        let has_ended = child.try_wait().expect("it can be asked");
        assert!(has_ended.is_none(), "{has_ended:?}: {}", stderr());
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("it does not stay: {}", stderr());
        }
        thread::sleep(Duration::from_secs(1));
    }
}
