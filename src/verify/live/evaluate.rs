//! Compares what a probe saw with what is expected.

use std::time::Duration;

use super::super::{CheckResult, Findings};
use super::mounted::mounted;
use super::{Http, Live, Seen, ServiceState, Subject, with_suffix};

/// How the machine's time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// As fast as on the host.
    Native,
    /// Slower, since its processor is emulated.
    Emulated,
}

/// The state of a listening socket in `/proc/net/tcp` (the kernel's `TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Whether the expectation of this number holds.
pub fn evaluate(number: usize, live: &Live, seen: &Seen, clock: Clock) -> Vec<CheckResult> {
    let findings = match &live.subject {
        Subject::Service { name, state } => service(number, name, *state, seen),
        Subject::Mount {
            point,
            kind,
            options,
            label,
        } => mount(point, kind.as_deref(), options, label.as_deref(), seen),
        Subject::Command { .. } => command(number, &live.subject, seen),
        Subject::Port { port, http } => port_is_open(number, *port, http.as_ref(), seen),
        Subject::FailedUnits(allowed) => failed_units(allowed, seen),
        Subject::BootTime(limit) => boot_time(*limit, seen, clock),
    };
    findings.results(&live.to_string())
}

fn service(number: usize, name: &str, wanted: ServiceState, seen: &Seen) -> Findings {
    let mut findings = Findings::default();
    let key = format!("service:{number}");
    let Some(active) = seen.property(&key, "ActiveState") else {
        findings.problem("the probe could not ask for it");
        return findings;
    };
    if active == wanted.name() {
        return findings;
    }
    if seen.property(&key, "LoadState").as_deref() == Some("not-found") {
        findings.problem(format!("there is no unit {}", with_suffix(name)));
        return findings;
    }
    let result = seen.property(&key, "Result");
    let result = result.filter(|result| result != "success");
    let why = result.map_or_else(String::new, |result| format!(" ({result})"));
    findings.problem(format!("it is {active}{why}"));
    findings
}

fn mount(
    point: &str,
    kind: Option<&str>,
    options: &[String],
    label: Option<&str>,
    seen: &Seen,
) -> Findings {
    let mut findings = Findings::default();
    let mounted = mounted(seen);
    let Some(found) = mounted.iter().rfind(|mounted| mounted.point == point) else {
        findings.problem("nothing is mounted there");
        return findings;
    };
    if let Some(kind) = kind.filter(|kind| *kind != found.kind) {
        findings.problem(format!("it is {}, not {kind}", found.kind));
    }
    for option in options {
        // Not an option of a mount but of the line in fstab.
        let is_told = option != "defaults" && !option.starts_with("x-") && option != "nofail";
        if is_told && !found.options.contains(option) {
            findings.problem(format!(
                "it is mounted without {option}: {}",
                found.options.join(",")
            ));
        }
    }
    if let Some(label) = label {
        let labels = seen.text("labels").unwrap_or_default();
        let is_label = |line: &str| {
            line.split_once(' ')
                .is_some_and(|(device, name)| device == found.device && unescaped(name) == label)
        };
        if !labels.lines().any(is_label) {
            findings.problem(format!("its filesystem does not have the label {label}"));
        }
    }
    findings
}

/// A name without udev's escapes in paths: `\x20` stands for a space.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => bytes.extend(format!("\\x{part}").bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn command(number: usize, subject: &Subject, seen: &Seen) -> Findings {
    let mut findings = Findings::default();
    let Subject::Command {
        stdout,
        matches,
        status,
        ..
    } = subject
    else {
        return findings;
    };
    let of = |part: &str| seen.text(&format!("command:{number}:{part}"));
    let Some(ended) = of("status") else {
        findings.problem("the probe could not run it");
        return findings;
    };
    let printed = of("stdout").unwrap_or_default();
    if ended != status.to_string() {
        let stderr = of("stderr").unwrap_or_default();
        let said = stderr.lines().last().unwrap_or_default();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        findings.problem(match ended.as_str() {
            "124" => "it did not end in time".to_owned(),
            _ => format!("it ended with status {ended}{said}"),
        });
    } else if stdout
        .as_ref()
        .is_some_and(|wanted| wanted.trim_end() != printed)
    {
        findings.problem(format!("it printed {}", short(&printed)));
    } else if matches
        .as_ref()
        .is_some_and(|wanted| !wanted.is_match(printed.as_bytes()))
    {
        findings.problem(format!(
            "it printed {}, which does not match",
            short(&printed)
        ));
    }
    findings
}

fn port_is_open(number: usize, port: u16, http: Option<&Http>, seen: &Seen) -> Findings {
    let mut findings = Findings::default();
    let wanted = format!("{port:04X}");
    let is_open = ["tcp", "tcp6"].iter().any(|table| {
        let table = seen.text(table).unwrap_or_default();
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().unwrap_or_default();
            let state = words.nth(1).unwrap_or_default();
            state == LISTEN && local.rsplit_once(':').is_some_and(|(_, p)| p == wanted)
        })
    });
    if !is_open {
        findings.problem("nothing listens there");
        return findings;
    }
    let Some(http) = http else {
        return findings;
    };
    let of = |part: &str| seen.text(&format!("http:{number}:{part}"));
    let Some(answer) = of("answer") else {
        findings.problem("the probe found neither curl, nor wget, nor bash to ask with");
        return findings;
    };
    let (status, body) = split_answer(&answer);
    if status != Some(http.status) {
        findings.problem(match status {
            Some(status) => format!("it answers with status {status}"),
            None => "it does not answer".to_owned(),
        });
    } else if http
        .matches
        .as_ref()
        .is_some_and(|wanted| !wanted.is_match(body.as_bytes()))
    {
        findings.problem(format!("it answers {}, which does not match", short(body)));
    }
    findings
}

/// The status and the body of an HTTP answer.
fn split_answer(answer: &str) -> (Option<u16>, &str) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .or_else(|| answer.split_once("\n\n"))
        .unwrap_or((answer, ""));
    let status = head.split_whitespace().nth(1);
    (status.and_then(|status| status.parse().ok()), body)
}

fn failed_units(allowed: &[String], seen: &Seen) -> Findings {
    let mut findings = Findings::default();
    for unit in seen.failed_units() {
        if allowed.contains(&unit) {
            continue;
        }
        let journal = seen.text(&format!("journal:{unit}")).unwrap_or_default();
        let said = telling_line(&journal).map_or_else(String::new, |line| format!(": {line}"));
        findings.problem(format!("{unit} has failed{said}"));
    }
    findings
}

/// The line of a failed unit's journal that says most about why: the last that is not systemd's account
/// of how the unit went, or else the last of that.
fn telling_line(journal: &str) -> Option<&str> {
    const ACCOUNT: [&str; 9] = [
        "Consumed ",
        "Deactivated ",
        "Scheduled restart ",
        "Main process exited",
        "Control process exited",
        "Failed with result",
        "Failed to start ",
        "Starting ",
        "Started ",
    ];
    let is_account = |line: &&str| ACCOUNT.iter().any(|account| line.contains(account));
    let lines = || {
        journal
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let own = lines().rfind(|line| !is_account(line));
    own.or_else(|| lines().rfind(|line| line.contains("exited")))
        .or_else(|| lines().next_back())
}

fn boot_time(limit: Duration, seen: &Seen, clock: Clock) -> Findings {
    let mut findings = Findings::default();
    let taken = seen.property("manager", "FinishTimestampMonotonic");
    let taken = taken.and_then(|text| text.parse().ok());
    let taken = taken
        .filter(|&micros| micros > 0)
        .map(Duration::from_micros);
    let Some(taken) = taken else {
        findings.problem("the boot did not end");
        return findings;
    };
    if clock == Clock::Emulated {
        let message = format!("it took {:.1} s, but by emulation", taken.as_secs_f64());
        return Findings::skipped(&message);
    }
    if taken > limit {
        findings.problem(format!("it took {:.1} s", taken.as_secs_f64()));
    }
    findings
}

/// The beginning of a text, quoted.
fn short(text: &str) -> String {
    const LIMIT: usize = 200;
    let mut start: String = text.chars().take(LIMIT).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::telling_line;

    #[test]
    fn what_a_program_said_tells_more_than_how_it_ended() {
        let journal = "Starting web.service - A server...\nweb: cannot bind to port 80\n\
                       web.service: Main process exited, code=exited, status=1/FAILURE\n\
                       web.service: Failed with result 'exit-code'.\n\
                       Failed to start web.service - A server.\n\
                       web.service: Consumed 1min 9.128s CPU time.\n";
        assert_eq!(telling_line(journal), Some("web: cannot bind to port 80"));
        let silent = journal.replace("web: cannot bind to port 80\n", "");
        let line = "web.service: Main process exited, code=exited, status=1/FAILURE";
        assert_eq!(telling_line(&silent), Some(line));
        assert_eq!(telling_line("\n"), None);
    }
}
