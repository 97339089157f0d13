//! The conclusions from what was seen of a machine.

use std::time::Duration;

use serde::Serialize;

use super::console::{self, Stage};
use super::metadata::server::Request;
use super::running::{Ending, Watched};
use crate::verify::live::{Clock, Live, Seen, Subject, evaluate};
use crate::verify::{CheckResult, Verdict};

/// Lines of the console at the end of a report.
const LAST_LINES: usize = 30;

/// Why there is no probe in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoProbe {
    /// It was not wanted.
    NotAsked,
    /// It could not be added.
    Failed(String),
}

/// What happened to a machine.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was started.
    pub name: String,
    /// `bios` or `uefi`.
    pub firmware: &'static str,
    /// Whether its processor was emulated.
    pub emulated: bool,
    /// How far it came.
    pub stage: Stage,
    /// Why the watching ended.
    pub ending: Ending,
    /// Seconds on the host until then.
    pub host_seconds: f64,
    /// Seconds on the machine's own clock until its boot was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_seconds: Option<f64>,
    /// Checks that found all well.
    pub passed: usize,
    /// Faults that do not make the machine unusable.
    pub warned: usize,
    /// Faults that do.
    pub failed: usize,
    /// Checks for which there was nothing to check.
    pub skipped: usize,
    /// Every result, in the order of the checks.
    pub results: Vec<CheckResult>,
    /// Why it did not start, as far as known; one line per cause.
    pub causes: Vec<String>,
    /// The last log lines of units that failed.
    pub journals: Vec<Journal>,
    /// The end of the console, if something failed.
    pub console: Vec<String>,
    /// What can be said about the image without starting it, if something failed.
    pub lint: Vec<CheckResult>,
    /// Its requests to the metadata service.
    pub metadata: Vec<Request>,
}

/// The end of a unit's journal.
#[derive(Debug, Serialize)]
pub struct Journal {
    /// The unit.
    pub unit: String,
    /// The lines.
    pub lines: Vec<String>,
}

/// Compares a machine with what is expected of it.
pub(super) struct Judge<'a> {
    live: &'a [Live],
    has_tpm: bool,
    clock: Clock,
    no_probe: Option<NoProbe>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        subject: &'a super::Subject,
        clock: Clock,
        no_probe: Option<NoProbe>,
    ) -> Self {
        Self {
            live: &subject.live,
            has_tpm: subject.has_tpm,
            clock,
            no_probe,
        }
    }

    /// Whether a round is the last that is needed: nothing is wrong, or nothing will change.
    pub(super) fn is_enough(&self, seen: &Seen, console: &[String]) -> bool {
        let is_well = |results: &[CheckResult]| !results.iter().any(CheckResult::has_failed);
        if is_well(&self.judge(seen, console)) {
            return true;
        }
        let state = state(seen);
        let has_answered = !state.is_empty();
        let is_up = matches!(state.as_str(), "running" | "degraded");
        let since = since_boot(seen);
        let waits = |(number, live): (usize, &Live)| {
            live.within > since && !is_well(&evaluate(number, live, seen, self.clock))
        };
        has_answered && (!is_up || !self.live.iter().enumerate().any(waits))
    }

    /// The results of a round.
    fn judge(&self, seen: &Seen, console: &[String]) -> Vec<CheckResult> {
        let mut results = vec![is_up(seen)];
        let is_told = |live: &Live| matches!(live.subject, Subject::FailedUnits(_));
        if !self.live.iter().any(is_told) {
            let usual = Live {
                subject: Subject::FailedUnits(Vec::new()),
                within: Duration::ZERO,
            };
            results.extend(evaluate(0, &usual, seen, self.clock));
        }
        results.extend(no_cycle(console));
        results.push(cloud_init(seen));
        results.extend(sudoers(seen));
        results.push(space(seen));
        if self.has_tpm {
            results.push(tpm(seen));
        }
        for (number, live) in self.live.iter().enumerate() {
            results.extend(evaluate(number, live, seen, self.clock));
        }
        results
    }

    /// The results for a machine without a probe's report.
    fn without_rounds(&self, watched: &Watched) -> Vec<CheckResult> {
        let mut results = Vec::new();
        let why = match &self.no_probe {
            Some(NoProbe::NotAsked) => "there is no probe in the machine",
            Some(NoProbe::Failed(problem)) => {
                results.push(result(
                    "the probe can be added",
                    Verdict::Failed {
                        message: problem.clone(),
                    },
                ));
                "there is no probe in the machine"
            }
            None => "the machine did not get that far",
        };
        let lines = &watched.console;
        let asks = lines.iter().any(|line| line.ends_with("login:"));
        results.push(result(
            "the machine is up",
            match (&self.no_probe, asks) {
                (Some(_), true) => Verdict::Passed,
                _ => Verdict::Failed {
                    message: cause(watched),
                },
            },
        ));
        for live in self.live {
            let message = why.to_owned();
            results.push(result(&live.to_string(), Verdict::Skipped { message }));
        }
        results
    }

    pub(super) fn report(&self, watched: &Watched, metadata: Vec<Request>) -> Report {
        let results = match &watched.rounds {
            Some(seen) => self.judge(seen, &watched.console),
            None => self.without_rounds(watched),
        };
        let count = |is: fn(&Verdict) -> bool| results.iter().filter(|r| is(&r.verdict)).count();
        let failed = count(|verdict| matches!(verdict, Verdict::Failed { .. }));
        let seen = watched.rounds.as_ref();
        let stage = match seen {
            Some(_) => Stage::Init,
            None => console::stage(&watched.console),
        };
        let from = watched.console.len().saturating_sub(LAST_LINES);
        Report {
            name: String::new(),
            firmware: "",
            emulated: self.clock == Clock::Emulated,
            stage,
            ending: watched.ending,
            host_seconds: watched.elapsed.as_secs_f64(),
            boot_seconds: seen.and_then(boot_seconds),
            passed: count(|verdict| matches!(verdict, Verdict::Passed)),
            warned: count(|verdict| matches!(verdict, Verdict::Warned { .. })),
            failed,
            skipped: count(|verdict| matches!(verdict, Verdict::Skipped { .. })),
            causes: match failed {
                0 => Vec::new(),
                _ => console::causes(&watched.console),
            },
            journals: seen.map(journals).unwrap_or_default(),
            console: match failed {
                0 => Vec::new(),
                _ => watched.console[from..].to_vec(),
            },
            results,
            lint: Vec::new(),
            metadata,
        }
    }
}

fn result(check: &str, verdict: Verdict) -> CheckResult {
    CheckResult {
        check: check.to_owned(),
        verdict,
    }
}

fn state(seen: &Seen) -> String {
    seen.text("state").unwrap_or_default()
}

fn uptime(seen: &Seen) -> Option<f64> {
    seen.text("uptime")?.split_whitespace().next()?.parse().ok()
}

/// Seconds from the start of the kernel to the end of the boot.
fn boot_seconds(seen: &Seen) -> Option<f64> {
    let micros = seen.property("manager", "FinishTimestampMonotonic")?;
    let micros: u64 = micros.parse().ok().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros).as_secs_f64())
}

/// How long the machine has been up.
fn since_boot(seen: &Seen) -> Duration {
    let since = uptime(seen).zip(boot_seconds(seen));
    let since = since.map_or(0.0, |(now, then)| now - then);
    Duration::try_from_secs_f64(since).unwrap_or_default()
}

fn is_up(seen: &Seen) -> CheckResult {
    let verdict = match state(seen).as_str() {
        // Failed units are another check's business.
        "running" | "degraded" => Verdict::Passed,
        "maintenance" => Verdict::Failed {
            message: "it is in emergency or rescue mode".to_owned(),
        },
        other => {
            let jobs = seen.text("jobs").unwrap_or_default();
            let jobs = jobs.lines().filter_map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                match words[..] {
                    [_, unit, kind, state] => Some(format!("{unit} ({kind} {state})")),
                    _ => None,
                }
            });
            let jobs: Vec<_> = jobs.take(8).collect();
            let waits = if jobs.is_empty() {
                String::new()
            } else {
                format!(", with jobs for {}", jobs.join(", "))
            };
            let message = match other {
                "" => "systemd does not answer".to_owned(),
                state => format!("it is {state}{waits}"),
            };
            Verdict::Failed { message }
        }
    };
    result("the machine is up", verdict)
}

/// systemd breaks a cycle of units by leaving one out, and continues.
fn no_cycle(console: &[String]) -> Vec<CheckResult> {
    let mut lines = console.iter();
    let Some(line) = lines.find(|line| line.contains("Found ordering cycle")) else {
        return Vec::new();
    };
    vec![result(
        "no units wait for each other in a cycle",
        Verdict::Failed {
            message: line.clone(),
        },
    )]
}

/// What cloud-init warns of if it leaves out a whole file of its configuration, or the user data.
const UNREAD: [&str; 2] = ["Failed loading yaml", "Failed at merging in cloud config"];

fn cloud_init(seen: &Seen) -> CheckResult {
    const CHECK: &str = "cloud-init is done";
    let skipped = |message: &str| {
        let message = message.to_owned();
        result(CHECK, Verdict::Skipped { message })
    };
    if seen.text("cloud:version").is_none() {
        return skipped("there is no cloud-init in the machine");
    }
    if seen.text("cloud:disabled").is_some() {
        return skipped("it is disabled");
    }
    let parse = |key: &str| {
        let text = seen.text(key)?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    };
    let Some(done) = parse("cloud:result") else {
        let stage = parse("cloud:status").and_then(|status| {
            let stage = status.get("v1")?.get("stage")?.as_str()?;
            Some(format!(": it is in {stage}"))
        });
        return result(
            CHECK,
            Verdict::Failed {
                message: format!("it has not ended{}", stage.unwrap_or_default()),
            },
        );
    };
    let errors = done.pointer("/v1/errors").and_then(|e| e.as_array());
    let errors = errors.into_iter().flatten().filter_map(|e| e.as_str());
    let errors: Vec<_> = errors.collect();
    let warnings = seen.text("cloud:warnings").unwrap_or_default();
    let is_unread = |line: &&str| UNREAD.iter().any(|mark| line.contains(mark));
    let verdict = if let Some(message) = warnings.lines().find(is_unread) {
        Verdict::Failed {
            message: format!("a configuration of it cannot be read: {message}"),
        }
    } else if errors.is_empty() {
        match warnings.lines().last() {
            Some(message) => Verdict::Warned {
                message: message.to_owned(),
            },
            None => Verdict::Passed,
        }
    } else {
        let printed = seen.text("cloud:output").unwrap_or_default();
        let printed = printed
            .lines()
            .rfind(|line| !line.starts_with("Cloud-init v."));
        let printed = printed.map_or_else(String::new, |line| format!(": {line}"));
        Verdict::Failed {
            message: format!("{}{printed}", errors.join("; ")),
        }
    };
    result(CHECK, verdict)
}

fn sudoers(seen: &Seen) -> Option<CheckResult> {
    let text = seen.text("sudoers")?;
    let is_fine = |line: &str| line.ends_with("parsed OK");
    let wrong: Vec<_> = text.lines().filter(|line| !is_fine(line)).collect();
    let verdict = match wrong.first() {
        None => Verdict::Passed,
        Some(line) => Verdict::Failed {
            message: line.trim_start_matches('>').trim().to_owned(),
        },
    };
    Some(result("sudo can be used", verdict))
}

/// On a full disk, whatever writes to it fails sooner or later.
fn space(seen: &Seen) -> CheckResult {
    const CHECK: &str = "the root filesystem has room";
    const LEAST_KIB: u64 = 16 << 10;
    let text = seen.text("space").unwrap_or_default();
    let line = text.lines().last().unwrap_or_default();
    let free = line
        .split_whitespace()
        .nth(3)
        .and_then(|free| free.parse::<u64>().ok());
    result(
        CHECK,
        match free {
            None => Verdict::Skipped {
                message: "the machine does not say".to_owned(),
            },
            Some(free) if free < LEAST_KIB => Verdict::Failed {
                message: format!("{free} KiB are free"),
            },
            Some(_) => Verdict::Passed,
        },
    )
}

fn tpm(seen: &Seen) -> CheckResult {
    let verdict = match seen.text("tpm").unwrap_or_default().trim() {
        "/dev/tpm0\n/dev/tpmrm0" => Verdict::Passed,
        other => Verdict::Failed {
            message: match other {
                "" => "the kernel shows none: is there a driver for it?".to_owned(),
                nodes => format!("of /dev/tpm0 and /dev/tpmrm0 there is only {nodes}"),
            },
        },
    };
    result("the machine has a TPM 2.0", verdict)
}

fn journals(seen: &Seen) -> Vec<Journal> {
    let journals = seen.with_prefix("journal:").map(|(unit, text)| Journal {
        unit: unit.to_owned(),
        lines: text.lines().map(str::to_owned).collect(),
    });
    journals.collect()
}

/// Why a machine without a probe's report did not come up, in one line.
fn cause(watched: &Watched) -> String {
    let mut causes = console::causes(&watched.console);
    if !causes.is_empty() {
        return causes.swap_remove(0);
    }
    let how = match watched.ending {
        Ending::PoweredOff => "the machine powered off or restarted",
        Ending::TimedOut => "the time ran out",
        Ending::StoodStill | Ending::Seen => "it stopped",
    };
    match watched.console.last() {
        None => format!("{how}, and nothing was written to the console"),
        Some(line) => format!("{how}; the console ends with: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn cloud_init_has_done_its_work_only_if_it_could_read_it() {
        let seen = |warnings: &str| {
            let mut seen = Seen::default();
            for (key, text) in [
                ("cloud:version", "22.4.2"),
                ("cloud:result", "{\"v1\": {\"errors\": []}}"),
                ("cloud:warnings", warnings),
            ] {
                let value = BASE64_STANDARD.encode(text);
                seen.take(format!("{{\"key\": \"{key}\", \"base64\": \"{value}\"}}").as_bytes());
            }
            seen
        };
        let unread = "util.py[WARNING]: Failed loading yaml blob. Invalid format at line 1\n\
                      stages.py[WARNING]: another";
        let verdict = cloud_init(&seen(unread)).verdict;
        assert!(
            matches!(&verdict, Verdict::Failed { message } if message.contains("line 1")),
            "{verdict:?}"
        );
        let verdict = cloud_init(&seen("stages.py[WARNING]: another")).verdict;
        assert!(matches!(verdict, Verdict::Warned { .. }), "{verdict:?}");
        assert!(matches!(cloud_init(&seen("")).verdict, Verdict::Passed));
    }
}
