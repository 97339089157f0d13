//! Running many cases of hostile input, none of which may panic, hang or need much memory: in a
//! process of their own with a limited address space and a time limit per case.
//!
//! A test calls [`run`], which starts this program again for one ignored test; that one calls
//! [`cases`]. `IMGASM_MUTATION_COUNT` and `IMGASM_MUTATION_SEED` choose how many cases and which.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::command::{output, text};

/// Bytes of address space for all cases.
const MEMORY: u64 = 1 << 30;
/// Seconds for one case.
const PATIENCE: u64 = 20;

const SEED: &str = "IMGASM_MUTATION_SEED";
const COUNT: &str = "IMGASM_MUTATION_COUNT";
/// Set for the child: what to work on, and a folder with what it needs.
const SUBJECT: &str = "IMGASM_MUTATION_SUBJECT";
const FOLDER: &str = "IMGASM_MUTATION_FOLDER";

/// How far a case came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused.
    Refused,
    /// It was opened, and something failed later.
    Failed,
    /// Everything succeeded.
    Accepted,
}

/// Lets the ignored test `cases` of a module of this program (its `module_path!()`) handle `count`
/// cases.
pub fn run(module: &str, subject: &str, folder: &Path, count: u64) {
    let (_, module) = module.split_once("::").expect("a module of a test program");
    let number =
        |name, default| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let tests = std::env::current_exe().expect("this program has a path");
    let result = output(
        Command::new(tests)
            .args([
                "--exact",
                &format!("{module}::cases"),
                "--ignored",
                "--nocapture",
            ])
            .env(SUBJECT, subject)
            .env(FOLDER, folder)
            .env(SEED, number(SEED, 1_u64).to_string())
            .env(COUNT, number(COUNT, count).to_string()),
    );
    let text = text(&result);
    let last = std::fs::read_to_string(note(folder)).unwrap_or_default();
    let ended = result.status;
    assert!(
        ended.success(),
        "{ended}, at seed {last} of {subject}\n{text}"
    );
    println!("{text}");
}

/// What this process is to work on, if it is a child.
pub fn subject() -> Option<(String, PathBuf)> {
    let subject = std::env::var(SUBJECT).ok()?;
    Some((subject, std::env::var_os(FOLDER)?.into()))
}

/// A number that the parent has set.
fn number(name: &str) -> u64 {
    let value = std::env::var(name).expect("set by the parent");
    value.parse().expect("a number")
}

/// Handles the cases that the parent asked for, each by its seed, and wants some damage to be noticed
/// and some to be survived: else it would test nothing.
pub fn cases(folder: &Path, case: impl Fn(u64) -> Outcome) {
    let counts = [const { Cell::new(0_u64) }; 3];
    each(folder, |seed| {
        let count = &counts[case(seed) as usize];
        count.set(count.get() + 1);
    });
    let [refused, failed, accepted] = counts.map(Cell::into_inner);
    println!("{refused} refused, {failed} failed, {accepted} accepted");
    let few = number(COUNT) / 50;
    assert!(few == 0 || (refused + failed > few && failed + accepted > few));
}

/// Handles the cases that the parent asked for, each by its seed.
pub fn each(folder: &Path, case: impl Fn(u64)) {
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    rustix::process::setrlimit(Resource::As, limit).expect("a limit may be lowered");
    let watch = Watch::start(note(folder));
    let mut panicked = Vec::new();
    for seed in number(SEED)..number(SEED) + number(COUNT) {
        watch.begin(seed);
        if catch_unwind(AssertUnwindSafe(|| case(seed))).is_err() {
            panicked.push(seed);
        }
    }
    assert!(
        panicked.is_empty(),
        "seeds {panicked:?} panic; for one of them: {SEED}={} {COUNT}=1 cargo test --workspace mutation",
        panicked[0]
    );
}

/// Where the child notes which case it is working on.
fn note(folder: &Path) -> PathBuf {
    folder.join("case")
}

/// Ends the process when one case takes too long.
struct Watch {
    current: Arc<AtomicU64>,
    note: PathBuf,
}

impl Watch {
    fn start(note: PathBuf) -> Self {
        let current = Arc::new(AtomicU64::new(0));
        let watched = Arc::clone(&current);
        std::thread::spawn(move || {
            let mut last = (0, 0);
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let seed = watched.load(Ordering::Relaxed);
                let seconds = if last.0 == seed { last.1 + 1 } else { 0 };
                last = (seed, seconds);
                if seconds > PATIENCE {
                    println!("seed {seed} takes more than {PATIENCE} s");
                    std::process::abort();
                }
            }
        });
        Self { current, note }
    }

    fn begin(&self, seed: u64) {
        self.current.store(seed, Ordering::Relaxed);
        // If the process dies of a failed allocation, this tells in which case.
        std::fs::write(&self.note, seed.to_string()).expect("room for a number");
    }
}
