//! The conclusions from what was seen of a machine.

use std::time::Duration;

use serde::Serialize;

use super::console::{self, Stage};
use super::health::{self, result, state};
use super::metadata::server::Request;
use super::running::{Ending, Watched};
use crate::verify::live::mounted::{Mounted, mounted};
use crate::verify::live::{Clock, Live, Seen, Subject, evaluate};
use crate::verify::{CheckResult, Verdict};

/// Lines of the console at the end of a report.
const LAST_LINES: usize = 30;

/// Why there is no probe in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoProbe {
    /// It was not wanted.
    NotAsked,
    /// It is a unit of systemd, which does not start this machine.
    NoSystemd,
    /// It could not be added, for this reason.
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
    /// Seconds on the machine's own clock until `multi-user.target` was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_user_seconds: Option<f64>,
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
    /// The devices that were mounted.
    pub mounts: Vec<Mounted>,
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

    /// How it ends, if the console shows that nothing more is to come. Without a probe, nothing else can.
    pub(super) fn ending(&self, console: &[String]) -> Option<Ending> {
        let is_blind = self.no_probe.is_some();
        if is_blind && console::asks_for_login(console) {
            return Some(Ending::Seen);
        }
        let has_stopped =
            console::has_ended(console) || (is_blind && console::is_in_emergency(console));
        has_stopped.then_some(Ending::StoodStill)
    }

    /// The results of a round.
    fn judge(&self, seen: &Seen, console: &[String]) -> Vec<CheckResult> {
        let mut results = vec![health::is_up(seen)];
        let is_told = |live: &Live| matches!(live.subject, Subject::FailedUnits(_));
        if !self.live.iter().any(is_told) {
            let usual = Live {
                subject: Subject::FailedUnits(Vec::new()),
                within: Duration::ZERO,
            };
            results.extend(evaluate(0, &usual, seen, self.clock));
        }
        results.extend(health::no_cycle(console));
        results.push(health::cloud_init(seen));
        results.extend(health::sudoers(seen));
        results.push(health::space(seen));
        if self.has_tpm {
            results.push(health::tpm(seen));
        }
        for (number, live) in self.live.iter().enumerate() {
            results.extend(evaluate(number, live, seen, self.clock));
        }
        results
    }

    /// The results for a machine without a probe's report.
    fn without_rounds(&self, watched: &Watched) -> Vec<CheckResult> {
        let why = match &self.no_probe {
            Some(NoProbe::NoSystemd) => {
                "there is no probe in the machine, which systemd does not start"
            }
            Some(_) => "there is no probe in the machine",
            None => "the machine did not get that far",
        };
        let is_up = self.no_probe.is_some() && console::asks_for_login(&watched.console);
        let failed = |message: String| Verdict::Failed { message };
        let kept_out = match &self.no_probe {
            Some(NoProbe::Failed(problem)) => Some(problem),
            _ => None,
        };
        // That a machine is not up has one cause, which may be what kept the probe out.
        let mut results = match kept_out {
            Some(problem) if is_up => {
                vec![result("the probe can be added", failed(problem.clone()))]
            }
            _ => Vec::new(),
        };
        let verdict = match kept_out {
            _ if is_up => Verdict::Passed,
            Some(problem) => failed(format!(
                "the probe cannot be added: {problem}; {}",
                cause(watched)
            )),
            None => failed(cause(watched)),
        };
        results.push(result("the machine is up", verdict));
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
            multi_user_seconds: seen.and_then(multi_user_seconds),
            boot_seconds: seen.and_then(boot_seconds),
            passed: count(|verdict| matches!(verdict, Verdict::Passed)),
            warned: count(|verdict| matches!(verdict, Verdict::Warned { .. })),
            failed,
            skipped: count(|verdict| matches!(verdict, Verdict::Skipped { .. })),
            causes: match failed {
                0 => Vec::new(),
                _ => console::causes(&watched.console),
            },
            mounts: seen.map(devices).unwrap_or_default(),
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

fn uptime(seen: &Seen) -> Option<f64> {
    seen.text("uptime")?.split_whitespace().next()?.parse().ok()
}

/// Seconds from the start of the kernel until `multi-user.target` was reached.
fn multi_user_seconds(seen: &Seen) -> Option<f64> {
    seconds(seen, "multi_user", "ActiveEnterTimestampMonotonic")
}

/// Seconds from the start of the kernel to the end of the boot.
fn boot_seconds(seen: &Seen) -> Option<f64> {
    seconds(seen, "manager", "FinishTimestampMonotonic")
}

/// A time of systemd, which is 0 for what has not happened.
fn seconds(seen: &Seen, key: &str, property: &str) -> Option<f64> {
    let micros = seen.property(key, property)?;
    let micros: u64 = micros.parse().ok().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros).as_secs_f64())
}

/// How long the machine has been up.
fn since_boot(seen: &Seen) -> Duration {
    let since = uptime(seen).zip(boot_seconds(seen));
    let since = since.map_or(0.0, |(now, then)| now - then);
    Duration::try_from_secs_f64(since).unwrap_or_default()
}

/// What is mounted from a device; the kernel's own filesystems have none.
fn devices(seen: &Seen) -> Vec<Mounted> {
    let mut all = mounted(seen);
    all.retain(|mounted| mounted.source.starts_with('/'));
    all
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
    use std::sync::Arc;

    use imgasm_block::Hole;

    use super::*;

    fn report(no_probe: Option<NoProbe>, console: &[&str]) -> (Option<Ending>, Report) {
        let subject = super::super::Subject {
            name: "a".to_owned(),
            disk: Arc::new(Hole::new(0)),
            partition: None,
            root_device: "/dev/xvda".to_owned(),
            volumes: Vec::new(),
            boot_mode: None,
            live: Vec::new(),
            region: "us-east-1".to_owned(),
            user_data: None,
            ssh_key: None,
            requires_token: true,
            has_tpm: false,
            now: 0,
        };
        let judge = Judge::new(&subject, Clock::Emulated, no_probe);
        let console: Vec<_> = console.iter().map(|&line| line.to_owned()).collect();
        let ending = judge.ending(&console);
        let watched = Watched {
            console,
            rounds: None,
            ending: ending.unwrap_or(Ending::TimedOut),
            elapsed: Duration::ZERO,
        };
        (ending, judge.report(&watched, Vec::new()))
    }

    const UP: &str = "ip-172-31-16-10 login: [  98.1] cloud-init[1]: done";

    #[test]
    fn without_a_probe_the_console_tells() {
        for why in [NoProbe::NotAsked, NoProbe::NoSystemd] {
            let (ending, report) = self::report(Some(why.clone()), &[UP]);
            assert_eq!((ending, report.failed), (Some(Ending::Seen), 0));
            let (ending, report) = self::report(Some(why), &["You are in emergency mode. Log in"]);
            assert_eq!((ending, report.failed), (Some(Ending::StoodStill), 1));
        }
        // With one, it has more to say.
        assert_eq!(self::report(None, &[UP]).0, None);
    }

    #[test]
    fn what_keeps_a_probe_out_is_told_once() {
        let failed = || Some(NoProbe::Failed("the root is torn".to_owned()));
        for console in ["BdsDxe: No bootable option or device was found.", UP] {
            let (_, report) = report(failed(), &[console]);
            let failures = report
                .results
                .iter()
                .filter_map(|result| match &result.verdict {
                    Verdict::Failed { message } => Some(message),
                    _ => None,
                });
            let failures: Vec<_> = failures.collect();
            assert!(
                failures.len() == 1 && failures[0].contains("the root is torn"),
                "{failures:?}"
            );
        }
    }
}
