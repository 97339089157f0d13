//! Units that scripts of the first boot start while these units wait for cloud-init to end.
//!
//! cloud-init runs user data before it ends. A script there that starts such a unit, and waits for
//! what the unit brings, waits forever. So does one of the first boot for which `multi-user.target` waits,
//! if cloud-init's end waits for that.

use super::super::{Error, Findings};
use super::reader::Reader;
use imgasm_fs::tree::glob;
use imgasm_fs::tree::glob::Pattern;
use imgasm_guest::services::systemd::name::UnitName;
use imgasm_guest::services::systemd::syntax;
use imgasm_guest::services::systemd::units::Found;

/// Where there are scripts that user data calls, or that cloud-init runs by itself.
const SCRIPTS: [&str; 4] = [
    "/home/*/*.sh",
    "/root/*.sh",
    "/var/lib/cloud/scripts/*/*",
    "/usr/local/{bin,sbin}/*.sh",
];

/// Where the step `firstboot` puts scripts, which units of `multi-user.target` run.
const FIRST_BOOT: &str = "/usr/libexec/firstboot/*";

/// The units that are reached only when cloud-init is done.
const ENDS: [&str; 2] = ["cloud-final.service", "cloud-init.target"];

pub(super) fn check(reader: &Reader<'_>) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let by_user_data = SCRIPTS.map(|pattern| (pattern, "from user data that never comes"));
    let by_unit = (
        FIRST_BOOT,
        "that waits for multi-user.target, and so for the script",
    );
    let mut all = by_user_data.to_vec();
    if waits(reader, ENDS[0], &["multi-user.target"])?.is_some() {
        all.push(by_unit);
    }
    for (pattern, why) in all {
        for script in glob(reader.fs, &Pattern::parse(pattern)?)? {
            let text = reader.read(&script)?;
            let text = String::from_utf8_lossy(&text);
            // A script that mentions the end of cloud-init takes care of it.
            if !text.starts_with("#!") || text.contains("cloud-final") {
                continue;
            }
            for name in started(&text) {
                if let Some(end) = waits(reader, name, &ENDS)? {
                    findings.warning(format!(
                        "{script} starts {name}, which waits for {end}: {why}"
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// The units that a script starts.
fn started(script: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in script.lines() {
        let mut words = line.split_whitespace();
        if !words.any(|word| word.ends_with("systemctl")) {
            continue;
        }
        let words: Vec<_> = words.collect();
        let enables = words.contains(&"enable") && words.contains(&"--now");
        if !enables && !words.contains(&"start") && !words.contains(&"restart") {
            continue;
        }
        let is_verb = |word: &str| ["start", "restart", "enable"].contains(&word);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        for word in words {
            let name = word.trim_end_matches(';');
            if word.starts_with('-') || is_verb(name) {
                continue;
            }
            if name.is_empty() || !name.bytes().all(is_plain) {
                break;
            }
            if !names.contains(&name) {
                names.push(name);
            }
            // The next word begins another command.
            if name != word {
                break;
            }
        }
    }
    names
}

/// The first of these units that a unit waits for.
fn waits<'a>(
    reader: &Reader<'_>,
    name: &str,
    others: &[&'a str],
) -> Result<Option<&'a str>, Error> {
    let full = if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.service")
    };
    let Some(unit) = UnitName::new(&full) else {
        return Ok(None);
    };
    let Found::Unit(unit) = reader.find(&unit)? else {
        return Ok(None);
    };
    let text = reader.read(&unit.path)?;
    let lines = syntax::assignments(&String::from_utf8_lossy(&text));
    let mut after = lines
        .iter()
        .filter(|line| line.section == "Unit" && line.key == "After")
        .flat_map(|line| line.value.split_whitespace());
    Ok(after.find_map(|name| others.iter().copied().find(|other| *other == name)))
}

#[cfg(test)]
mod tests {
    use super::started;

    #[test]
    fn what_a_script_starts() {
        let script = "systemctl start --no-block ecs\nif x; then systemctl restart a.service; fi\n\
                      systemctl enable --now docker b\nsystemctl enable c\nsystemctl start $X\n\
                      timeout 5 systemctl start d || exit 1\n";
        assert_eq!(started(script), ["ecs", "a.service", "docker", "b", "d"]);
    }
}
