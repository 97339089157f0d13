//! What is checked of every machine that reports, whatever its recipe expects.

use crate::verify::live::Seen;
use crate::verify::{CheckResult, Verdict};

pub(super) fn result(check: &str, verdict: Verdict) -> CheckResult {
    CheckResult {
        check: check.to_owned(),
        verdict,
    }
}

/// What systemd calls the state of the machine; empty if it does not answer.
pub(super) fn state(seen: &Seen) -> String {
    seen.text("state").unwrap_or_default()
}

pub(super) fn is_up(seen: &Seen) -> CheckResult {
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
pub(super) fn no_cycle(console: &[String]) -> Vec<CheckResult> {
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

pub(super) fn cloud_init(seen: &Seen) -> CheckResult {
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

pub(super) fn sudoers(seen: &Seen) -> Option<CheckResult> {
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
pub(super) fn space(seen: &Seen) -> CheckResult {
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

pub(super) fn tpm(seen: &Seen) -> CheckResult {
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
