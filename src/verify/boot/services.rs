//! Links of services, and the programs that enabled services run.

use std::collections::BTreeSet;

use super::super::{Error, Findings};
use super::reader::Reader;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, LastLink};
use imgasm_fs::{FileSystem, FileType};
use imgasm_guest::files::entry;
use imgasm_guest::services::systemd::name::UnitName;
use imgasm_guest::services::systemd::units::{CONFIG_DIRECTORY, Found, Unit};
use imgasm_guest::services::systemd::{configured_links, syntax};
use imgasm_guest::services::sysv::all_links;
use imgasm_guest::services::sysv::links::Action;
use imgasm_guest::{Init, known_path};

/// The folders of programs that are named without one.
const PROGRAM_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The most bytes of a script's first line that Linux reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: usize = 256;

/// Whether every link in the runlevel directories and in the directories of units leads to
/// something.
pub(super) fn check_links(reader: &Reader<'_>) -> Result<Findings, Error> {
    let fs = reader.fs;
    let mut findings = Findings::default();
    for (path, _) in all_links(fs)? {
        if !tree::exists(fs, &path)? {
            findings.problem(format!("{path} leads to nothing"));
        }
    }
    if is_systemd(fs)? {
        for (folder, name) in configured_links(fs, &known_path(CONFIG_DIRECTORY))? {
            let Some(unit) = std::str::from_utf8(&name).ok().and_then(UnitName::new) else {
                continue;
            };
            // systemd uses the name of the link, wherever it leads.
            if let Found::Nothing | Found::Dangling(_) = reader.find(&unit)? {
                findings.problem(format!("{}: there is no such unit", folder.child(&name)));
            }
        }
    }
    Ok(findings)
}

/// Whether the programs of enabled services exist and can be run.
pub(super) fn check_programs(reader: &Reader<'_>) -> Result<Findings, Error> {
    let fs = reader.fs;
    let mut findings = Findings::default();
    if is_systemd(fs)? {
        for unit in enabled_units(reader)? {
            for program in programs(reader, &unit)? {
                if let Some(problem) = problem_of(fs, &program)? {
                    findings.problem(format!("{}: {problem}", unit.name));
                }
            }
        }
        return Ok(findings);
    }
    let mut scripts = BTreeSet::new();
    for (path, link) in all_links(fs)? {
        if link.action == Action::Start
            && let Some((place, _)) = entry(fs, &path, LastLink::Follow)?
        {
            scripts.insert(place.path);
        }
    }
    for script in scripts {
        if let Some(problem) = problem_of(fs, &script.to_string())? {
            findings.problem(problem);
        }
    }
    Ok(findings)
}

pub(super) fn is_systemd(fs: &dyn FileSystem) -> Result<bool, Error> {
    Ok(!Init::detect(fs)?.is_some_and(Init::runs_sysv_scripts))
}

/// The units to which links below the configuration directory point, each once.
pub(super) fn enabled_units(reader: &Reader<'_>) -> Result<Vec<Unit>, Error> {
    let config = known_path(CONFIG_DIRECTORY);
    let mut seen = BTreeSet::new();
    let mut units = Vec::new();
    for (folder, name) in configured_links(reader.fs, &config)? {
        let name = std::str::from_utf8(&name).ok().and_then(UnitName::new);
        if folder != config
            && let Some(name) = name
            && seen.insert(name.clone())
            && let Found::Unit(unit) = reader.find(&name)?
        {
            units.push(unit);
        }
    }
    Ok(units)
}

/// The programs that a service runs to start and that must exist: not those that may fail, or whose
/// existence is a condition.
fn programs(reader: &Reader<'_>, unit: &Unit) -> Result<Vec<String>, Error> {
    let text = reader.read(&unit.path)?;
    let assignments = syntax::assignments(&String::from_utf8_lossy(&text));
    let conditions: Vec<_> = assignments
        .iter()
        .filter(|line| line.section == "Unit" && line.key.starts_with("Condition"))
        .map(|line| line.value.as_str())
        .collect();
    let commands = assignments
        .iter()
        .filter(|line| line.section == "Service" && line.key.starts_with("ExecStart"));
    Ok(commands
        .filter_map(|line| {
            let command = line.value.trim_start_matches(['@', ':', '+', '!', '|']);
            let program = command.split_whitespace().next()?.trim_matches('"');
            let is_told = !program.starts_with('-') && !program.contains(['%', '$']);
            let is_needed = !conditions.contains(&program);
            (is_told && is_needed).then(|| program.to_owned())
        })
        .collect())
}

/// Why a program cannot be run.
fn problem_of(fs: &dyn FileSystem, program: &str) -> Result<Option<String>, Error> {
    let Some(path) = find_program(fs, program)? else {
        return Ok(Some(format!("{program} does not exist")));
    };
    let node = match entry(fs, &path, LastLink::Follow)? {
        Some((place, FileType::Regular)) => place.node.unwrap_or_else(|| fs.root()),
        _ => return Ok(Some(format!("{program} is not a file"))),
    };
    let failed = |source| tree::Error::FileSystem {
        action: "read",
        path: path.clone(),
        source,
    };
    if fs.metadata(node).map_err(failed)?.permissions & 0o111 == 0 {
        return Ok(Some(format!("{program} is not executable")));
    }
    let mut start = [0; FIRST_LINE_BYTES];
    let count = fs.read_at(node, 0, &mut start).map_err(failed)?;
    let Some(interpreter) = interpreter(&start[..count]) else {
        return Ok(None);
    };
    Ok(match find_program(fs, &interpreter)? {
        Some(_) => None,
        None => Some(format!(
            "{program} is run by {interpreter}, which does not exist"
        )),
    })
}

/// The program that runs a script; if that is `env`, the program that it names.
fn interpreter(start: &[u8]) -> Option<String> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let program = words.next()?;
    if program.ends_with("/env") {
        let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
        return Some(named.unwrap_or(program).to_owned());
    }
    Some(program.to_owned())
}

fn find_program(fs: &dyn FileSystem, program: &str) -> Result<Option<ImagePath>, Error> {
    let candidates = if program.starts_with('/') {
        vec![ImagePath::parse(program)?]
    } else {
        let folders = PROGRAM_PATH.map(known_path);
        folders
            .iter()
            .map(|folder| folder.child(program.as_bytes()))
            .collect()
    };
    for path in candidates {
        if tree::exists(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::interpreter;

    #[test]
    fn first_lines() {
        assert_eq!(
            interpreter(b"#!/bin/sh -e\necho").as_deref(),
            Some("/bin/sh")
        );
        assert_eq!(
            interpreter(b"#! /usr/bin/env -S python3 -u\n").as_deref(),
            Some("python3")
        );
        assert_eq!(interpreter(b"\x7fELF"), None);
        assert_eq!(interpreter(b"#!\n"), None);
    }
}
