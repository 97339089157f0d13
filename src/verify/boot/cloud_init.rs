//! cloud-init: whether its configuration can be parsed, and whether it can ask its metadata service.

use saphyr_parser::Parser;

use super::super::{Error, Findings};
use super::Machine;
use super::reader::Reader;
use imgasm_fs::tree::glob;
use imgasm_fs::tree::glob::Pattern;

const CONFIGURATIONS: [&str; 2] = ["/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg"];

/// How much longer than reading a file it takes to find out whether it is YAML.
const YAML_WORK: u64 = 8;

pub(super) fn check(reader: &Reader<'_>) -> Result<Findings, Error> {
    let mut files = Vec::new();
    for pattern in CONFIGURATIONS {
        files.extend(glob(reader.fs, &Pattern::parse(pattern)?)?);
    }
    if files.is_empty() {
        return Ok(Findings::skipped("there is no cloud-init in the image"));
    }
    let mut findings = Findings::default();
    for file in files {
        let content = reader.read(&file)?;
        let Ok(text) = std::str::from_utf8(&content) else {
            findings.problem(format!("{file} is not UTF-8 text"));
            continue;
        };
        // Files with this first line are templates, which are YAML only once they are filled in.
        if text.starts_with("## template:") {
            continue;
        }
        reader.take(YAML_WORK.saturating_mul(text.len() as u64))?;
        if let Some(error) = Parser::new_from_str(text).find_map(Result::err) {
            findings.problem(format!("{file}: {error}"));
        }
    }
    Ok(findings)
}

/// The place of the part of cloud-init that knows EC2.
const DATA_SOURCE: &str =
    "/usr/lib/python*/{site,dist}-packages/cloudinit/sources/DataSourceEc2.py";

/// Whether cloud-init can get a session token, if the metadata service wants one.
pub(super) fn check_token(machine: &Machine<'_>, reader: &Reader<'_>) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    if !machine.requires_token {
        return Ok(findings);
    }
    for path in without_token(reader)? {
        findings.warning(format!(
            "the metadata service wants a session token, and {path} does not ask for one: user data \
             and keys will be missing"
        ));
    }
    Ok(findings)
}

/// The parts of cloud-init that know EC2 and ask for no session token. Their code is looked at, since
/// distributions have added that to old versions.
pub(super) fn without_token(reader: &Reader<'_>) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for path in glob(reader.fs, &Pattern::parse(DATA_SOURCE)?)? {
        let text = reader.read(&path)?;
        if !String::from_utf8_lossy(&text).contains("api/token") {
            all.push(path.to_string());
        }
    }
    Ok(all)
}
