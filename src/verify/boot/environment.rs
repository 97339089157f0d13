//! Files of variables for units (`EnvironmentFile=`): lines that a shell would understand and systemd
//! does not (systemd.exec(5)).

use super::super::{Error, Findings};
use super::reader::Reader;
use super::services::enabled_units;
use imgasm_fs::path::ImagePath;
use imgasm_guest::services::systemd::syntax;

pub(super) fn check(reader: &Reader<'_>) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    for unit in enabled_units(reader)? {
        let text = reader.read(&unit.path)?;
        let lines = syntax::assignments(&String::from_utf8_lossy(&text));
        let files = lines
            .iter()
            .filter(|line| line.section == "Service" && line.key == "EnvironmentFile");
        for file in files {
            let name = file.value.trim_start_matches('-');
            let Ok(path) = ImagePath::parse(name) else {
                continue;
            };
            let content = reader.read(&path)?;
            for (number, line) in String::from_utf8_lossy(&content).lines().enumerate() {
                if let Some(problem) = problem_of(line) {
                    findings.warning(format!(
                        "{}: {path}, line {}: {problem}",
                        unit.name,
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// How systemd understands a line in a way that its author did not mean.
fn problem_of(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    if name.trim_start().starts_with("export ") {
        return Some("systemd does not accept `export`, so the line has no effect");
    }
    // Within single quotes a shell would not expand anything either.
    let is_literal = value.trim_start().starts_with('\'');
    (!is_literal && value.contains("${"))
        .then_some("systemd does not put variables in here: the value keeps its `${…}`")
}

#[cfg(test)]
mod tests {
    use super::problem_of;

    #[test]
    fn lines() {
        assert!(problem_of("export A=b").is_some());
        assert!(problem_of("OPTIONS=\"${OPTIONS} -x\"").is_some());
        for fine in ["A=b", "# export A=${B}", "A='${B}'", "", "export A"] {
            assert_eq!(problem_of(fine), None, "{fine}");
        }
    }
}
