//! Passwords moved to where only root reads them, as `pwconv` and `grpconv` of shadow-utils do it.

use super::Result;
use super::database::{Database, day, group, passwd, shadow};
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// What stands for a password that lies elsewhere.
const ELSEWHERE: &[u8] = b"x";

/// Gives each user a line in `shadow`, and takes away those of nobody. `false`, with nothing done, if
/// there is no such file, for which rights a new one gets differs between systems, and if a line is not
/// UTF-8.
pub fn users(editor: &mut Editor<'_>, now: Timestamp) -> Result<bool> {
    let mut database = Database::load(editor.fs())?;
    let ageing = database.defaults.password_ageing();
    let Some(file) = &mut database.shadow else {
        return Ok(false);
    };
    let users = texts(database.passwd.rows(), [0, passwd::PASSWORD]);
    let (Some(users), Some(known)) = (users, texts(file.rows(), [0])) else {
        return Ok(false);
    };
    for [name] in known {
        if !users.iter().any(|[user, _]| *user == name) {
            file.remove(&name);
        }
    }
    for [name, password] in &users {
        let is_there = file.row(name).is_some();
        if is_there && password.as_bytes() == ELSEWHERE {
            continue;
        }
        let day = day(now);
        if is_there {
            file.set(name, shadow::PASSWORD, password.as_bytes());
            file.set(name, shadow::CHANGED, day.as_bytes());
        } else {
            let [min, max, warning] = &ageing;
            file.push(&[name, password, &day, min, max, warning, "", "", ""]);
        }
        database.passwd.set(name, passwd::PASSWORD, ELSEWHERE);
    }
    database.save(editor)?;
    Ok(true)
}

/// The same for groups and `gshadow`, which also gets their members.
pub fn groups(editor: &mut Editor<'_>) -> Result<bool> {
    let mut database = Database::load(editor.fs())?;
    let Some(file) = &mut database.gshadow else {
        return Ok(false);
    };
    let groups = texts(database.group.rows(), [0, group::PASSWORD, group::MEMBERS]);
    let (Some(groups), Some(known)) = (groups, texts(file.rows(), [0])) else {
        return Ok(false);
    };
    for [name] in known {
        if !groups.iter().any(|[group, ..]| *group == name) {
            file.remove(&name);
        }
    }
    for [name, password, members] in &groups {
        if file.row(name).is_none() {
            file.push(&[name, password, "", members]);
        } else {
            if password.as_bytes() != ELSEWHERE {
                file.set(name, shadow::PASSWORD, password.as_bytes());
            }
            file.set(name, shadow::GROUP_MEMBERS, members.as_bytes());
        }
        database.group.set(name, group::PASSWORD, ELSEWHERE);
    }
    database.save(editor)?;
    Ok(true)
}

/// These fields of each line; `None` if one is not UTF-8.
fn texts<'r, const N: usize>(
    rows: impl Iterator<Item = Vec<&'r [u8]>>,
    wanted: [usize; N],
) -> Option<Vec<[String; N]>> {
    let text = |field: usize, row: &[&[u8]]| {
        let field = row.get(field).copied().unwrap_or_default();
        String::from_utf8(field.to_vec()).ok()
    };
    rows.map(|row| {
        let mut found = [const { String::new() }; N];
        for (found, field) in found.iter_mut().zip(wanted) {
            *found = text(field, &row)?;
        }
        Some(found)
    })
    .collect()
}
