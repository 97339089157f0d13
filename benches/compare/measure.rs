//! Running a command, and what that took.

use std::io::{self, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// What a run took, with all the processes it started.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub wall: Duration,
    pub cpu: Duration,
    pub memory_bytes: u64,
}

impl Usage {
    /// The median of each number by itself.
    pub fn median(runs: &[Self]) -> Self {
        fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
            let mut values: Vec<T> = values.collect();
            values.sort_unstable();
            values[values.len() / 2]
        }
        Self {
            wall: median(runs.iter().map(|run| run.wall)),
            cpu: median(runs.iter().map(|run| run.cpu)),
            memory_bytes: median(runs.iter().map(|run| run.memory_bytes)),
        }
    }
}

/// One way of doing a job: a script for `sh -e` that runs in the work folder.
pub struct Way<'a> {
    pub name: &'a str,
    /// Sets up the state in which the job begins; not measured.
    pub before: String,
    pub script: String,
}

/// Runs a script that must succeed.
pub fn shell(script: &str, folder: &Path) {
    let done = run(script, folder);
    assert!(done.is_some(), "failed: {script}");
}

/// Measures a script; `None` if it fails, with its messages on standard error.
pub fn run(script: &str, folder: &Path) -> Option<Usage> {
    let mut messages = tempfile::tempfile().expect("room for messages");
    let start = Instant::now();
    let child = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(messages.try_clone().expect("a file under a second number"))
        .spawn()
        .expect("there is a shell");
    let used = child.wait4().expect("a child that was not waited for");
    let wall = start.elapsed();
    if !used.status.success() {
        messages.rewind().expect("a file has a beginning");
        io::copy(&mut messages, &mut io::stderr()).expect("somebody listens");
        return None;
    }
    Some(Usage {
        wall,
        cpu: used.rusage.utime + used.rusage.stime,
        memory_bytes: used.rusage.maxrss,
    })
}

/// Measures the ways in turns, so that other load on the machine affects all of them. `None` for a
/// way that fails.
pub fn compare(ways: &[Way<'_>], times: usize, folder: &Path) -> Vec<Option<Usage>> {
    let mut runs = vec![Vec::new(); ways.len()];
    let mut failed = vec![false; ways.len()];
    for _ in 0..times {
        for (number, way) in ways.iter().enumerate() {
            if failed[number] {
                continue;
            }
            shell(&way.before, folder);
            // What others left to be written must not count for this one.
            rustix::fs::sync();
            match run(&way.script, folder) {
                Some(usage) => runs[number].push(usage),
                None => failed[number] = true,
            }
        }
    }
    let median = |(runs, failed): (Vec<Usage>, bool)| (!failed).then(|| Usage::median(&runs));
    runs.into_iter().zip(failed).map(median).collect()
}
