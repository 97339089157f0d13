//! Users and groups that packages bring: `sysusers.d(5)`, and the options of useradd(8) and
//! groupadd(8).

use super::super::Error;
use super::candidate::Candidate;
use super::shell::split_words;
use crate::Accounts;
use crate::users::{GroupSpec, UserSpec, ensure_group, ensure_user};
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// Where packages put such files.
const FOLDER: &[u8] = b"/usr/lib/sysusers.d/";
/// The longest such file that is read, in bytes.
const LIMIT: u64 = 1 << 20;
/// The shell of accounts that name none.
const SHELL: &str = "/usr/sbin/nologin";

/// Makes the accounts that the files of a package in `/usr/lib/sysusers.d` ask for, which its other
/// files may belong to.
pub(super) fn apply_sysusers(
    editor: &mut Editor<'_>,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<(), Error> {
    let mut files = candidate.files.iter();
    if !files.any(|file| file.path.as_bytes().starts_with(FOLDER)) {
        return Ok(());
    }
    let mut texts = Vec::new();
    candidate.unpack(|index, size, content| {
        let path = &candidate.files[index].path;
        if path.as_bytes().starts_with(FOLDER) && size <= LIMIT {
            let mut text = String::new();
            let read = content.read_to_string(&mut text);
            read.map_err(|error| candidate.unsound(format!("{path} cannot be read: {error}")))?;
            texts.push(text);
        }
        Ok(())
    })?;
    for text in texts {
        for line in text.lines() {
            apply_line(editor, line, now)?;
        }
    }
    Ok(())
}

/// Does what a line of sysusers.d(5) asks for; accounts that are there stay as they are.
fn apply_line(editor: &mut Editor<'_>, line: &str, now: Timestamp) -> Result<(), Error> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let fields = split_words(line);
    let field = |index: usize| {
        let field = fields.get(index).map(String::as_str);
        field.filter(|field| *field != "-")
    };
    let (Some(kind), Some(name)) = (field(0), field(1)) else {
        return Ok(());
    };
    let accounts = Accounts::read(editor.fs())?;
    match kind.trim_end_matches('!') {
        "g" if accounts.group(name).is_none() => {
            let gid = field(2).and_then(|id| id.parse().ok());
            make_group(editor, name, gid)?;
        }
        "u" if accounts.user(name).is_none() => {
            let (uid, group) = match field(2).and_then(|id| id.split_once(':')) {
                Some((uid, group)) => (uid.parse().ok(), Some(group.to_owned())),
                None => (field(2).and_then(|id| id.parse().ok()), None),
            };
            if group.is_none() && accounts.group(name).is_none() {
                make_group(editor, name, uid)?;
            }
            let spec = UserSpec {
                name: name.to_owned(),
                uid,
                group: Some(group.unwrap_or_else(|| name.to_owned())),
                home: Some(field(4).unwrap_or("/").to_owned()),
                shell: Some(field(5).unwrap_or(SHELL).to_owned()),
                comment: field(3).map(str::to_owned),
                system: true,
                create_home: Some(false),
                ..UserSpec::default()
            };
            ensure_user(editor, &spec, now)?;
        }
        "m" if accounts.user(name).is_some() => {
            let groups = field(2).map(str::to_owned).into_iter().collect();
            let spec = UserSpec {
                name: name.to_owned(),
                groups,
                create_home: Some(false),
                ..UserSpec::default()
            };
            ensure_user(editor, &spec, now)?;
        }
        _ => {}
    }
    Ok(())
}

fn make_group(editor: &mut Editor<'_>, name: &str, gid: Option<u32>) -> Result<(), Error> {
    let spec = GroupSpec {
        name: name.to_owned(),
        gid,
        system: true,
    };
    Ok(ensure_group(editor, &spec)?)
}

/// What `groupadd` with these arguments asks for; `None` where they are not known.
pub(super) fn parse_groupadd(arguments: &[String]) -> Option<GroupSpec> {
    let mut spec = GroupSpec::default();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-r" | "--system" => spec.system = true,
            "-f" | "--force" | "-o" => {}
            "-rf" | "-fr" => spec.system = true,
            "-g" | "--gid" => spec.gid = Some(arguments.next()?.parse().ok()?),
            name if !name.starts_with('-') && spec.name.is_empty() => {
                name.clone_into(&mut spec.name);
            }
            _ => return None,
        }
    }
    (!spec.name.is_empty()).then_some(spec)
}

/// What `useradd` with these arguments asks for; `None` where they are not known.
pub(super) fn parse_useradd(arguments: &[String]) -> Option<UserSpec> {
    let mut spec = UserSpec::default();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(str::to_owned);
        match argument {
            "-r" | "--system" => spec.system = true,
            "-M" | "--no-create-home" => spec.create_home = Some(false),
            "-rM" | "-Mr" => {
                spec.system = true;
                spec.create_home = Some(false);
            }
            "-m" | "--create-home" => spec.create_home = Some(true),
            "-o" | "-l" | "-U" | "-n" | "-N" => {}
            "-u" | "--uid" => spec.uid = Some(value()?.parse().ok()?),
            "-g" | "--gid" => spec.group = Some(value()?),
            "-G" | "--groups" => spec.groups = value()?.split(',').map(str::to_owned).collect(),
            "-d" | "--home-dir" | "--home" => spec.home = Some(value()?),
            "-s" | "--shell" => spec.shell = Some(value()?),
            "-c" | "--comment" => spec.comment = Some(value()?),
            name if !name.starts_with('-') && spec.name.is_empty() => {
                name.clone_into(&mut spec.name);
            }
            _ => return None,
        }
    }
    (!spec.name.is_empty()).then_some(spec)
}
