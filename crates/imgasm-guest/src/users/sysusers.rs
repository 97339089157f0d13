//! Accounts that packages describe: `sysusers.d(5)`, carried out as systemd 252 does it.
//!
//! All lines are read first. Then the groups are made in their order, then the users; numbers that
//! no line gives are the highest that are free.

use std::collections::BTreeMap;

use super::database::{Database, NewUser};
use super::defaults::Range;
use super::{Error, Result};
use crate::files::{entry, known_path, link_target, list, read_optional};
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Editor, LastLink};
use imgasm_fs::{FileSystem, Timestamp};

/// The folders with such files, the one that counts more first.
pub(crate) const FOLDERS: [&str; 4] = [
    "/etc/sysusers.d",
    "/run/sysusers.d",
    "/usr/local/lib/sysusers.d",
    "/usr/lib/sysusers.d",
];
/// The shell of accounts for which none is named.
const SHELL: &str = "/usr/sbin/nologin";
/// The password field of new accounts: no password matches it.
const PASSWORD: &str = "!*";

/// A number as given in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    /// The next that is free.
    Any,
    /// This one, if it is free.
    Wished(u32),
    /// The numbers of a user and of a group; the group, by number or name, must exist.
    WithGroup(u32, String),
    /// That of the owner of a file.
    Owner(ImagePath),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    id: Id,
    comment: String,
    home: String,
    shell: String,
}

/// What all lines together ask for.
#[derive(Debug, Default)]
struct Wanted {
    groups: Vec<Line>,
    users: Vec<Line>,
    /// Users with the groups to which they are to belong.
    members: Vec<(String, String)>,
    ranges: Vec<(u32, u32)>,
}

/// Makes the accounts that the lines of a file ask for; existing ones stay as they are.
///
/// # Errors
/// If a line contains what only the running system knows, or names a group that does not exist.
pub fn apply(editor: &mut Editor<'_>, text: &str, now: Timestamp) -> Result<()> {
    let mut wanted = Wanted::default();
    for line in text.lines() {
        wanted.read(line)?;
    }
    wanted.add_implied();
    let mut database = Database::load_for_systemd(editor.fs())?;
    let mut numbers = Numbers::of(&wanted, &database);
    for group in &wanted.groups {
        make_group(editor.fs(), &mut database, &mut numbers, group)?;
    }
    for user in &wanted.users {
        make_user(editor.fs(), &mut database, &mut numbers, user, now)?;
    }
    for (user, group) in &wanted.members {
        database.add_member(group, user);
    }
    for (_, group) in &wanted.members {
        database.sort_members(group);
    }
    database.save(editor)
}

/// The lines of the files that systemd-sysusers reads if none are named: each name counts in the first
/// folder that has it, the names are read in their order, and a link to `/dev/null` stands for none.
pub(crate) fn configuration(fs: &dyn FileSystem) -> tree::Result<String> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        let folder = known_path(folder);
        for (name, _) in list(fs, &folder)? {
            if name.ends_with(b".conf") {
                let path = folder.child(&name);
                files.entry(name).or_insert(path);
            }
        }
    }
    let mut text = String::new();
    for path in files.values() {
        if link_target(fs, path)?.is_some_and(|target| target == b"/dev/null") {
            continue;
        }
        let content = read_optional(fs, path)?.unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&content));
        text.push('\n');
    }
    Ok(text)
}

/// Whether systemd knows each line's type. It skips other lines in its folders, but refuses a file
/// on its command line with such a line.
pub(crate) fn has_known_types(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.all(|line| {
        let kind = line.split_whitespace().next().unwrap_or_default();
        line.starts_with('#') || matches!(kind, "" | "g" | "u" | "m" | "r")
    })
}

impl Wanted {
    fn read(&mut self, line: &str) -> Result<()> {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let bad = |problem: &str| Error::Sysusers {
            line: text.to_owned(),
            problem: problem.to_owned(),
        };
        let fields = words(text).ok_or_else(|| bad("has a quote without an end"))?;
        let mut values = Vec::new();
        for field in fields {
            let value = unescape_specifiers(&field);
            values
                .push(value.ok_or_else(|| bad("holds a specifier that has no value in an image"))?);
        }
        let field = |index: usize| {
            let value = values.get(index).map(String::as_str).unwrap_or_default();
            if value == "-" { "" } else { value }
        };
        let or =
            |value: &str, default: &str| if value.is_empty() { default } else { value }.to_owned();
        let (kind, name) = (field(0), field(1));
        match kind {
            "g" | "u" => {
                let line = Line {
                    name: name.to_owned(),
                    id: id(field(2)).ok_or_else(|| bad("has no valid number"))?,
                    comment: field(3).to_owned(),
                    home: or(field(4), "/"),
                    shell: or(field(5), if name == "root" { "/bin/sh" } else { SHELL }),
                };
                super::check_name(name)?;
                for value in [&line.comment, &line.home, &line.shell] {
                    if value.contains(|c: char| c == ':' || c.is_control()) {
                        return Err(bad("has a field that is not possible in /etc/passwd"));
                    }
                }
                let lines = if kind == "g" {
                    &mut self.groups
                } else {
                    &mut self.users
                };
                // Of several lines for one name the first one is used.
                if lines.iter().all(|known| known.name != line.name) {
                    lines.push(line);
                }
            }
            "m" => {
                super::check_name(name)?;
                super::check_name(field(2))?;
                self.members.push((name.to_owned(), field(2).to_owned()));
            }
            "r" => {
                let (low, high) = field(2).split_once('-').unwrap_or((field(2), field(2)));
                let range = low.parse().ok().zip(high.parse().ok());
                self.ranges
                    .push(range.ok_or_else(|| bad("has no valid range"))?);
            }
            // systemd skips lines that it does not know, such as `u!` before its version 256.
            _ => {}
        }
        Ok(())
    }

    /// Adds the accounts that are named in memberships and have no line of their own.
    fn add_implied(&mut self) {
        let plain = |name: &String| Line {
            name: name.clone(),
            id: Id::Any,
            comment: String::new(),
            home: "/".to_owned(),
            shell: SHELL.to_owned(),
        };
        for (user, group) in &self.members {
            let has = |lines: &[Line], name: &String| lines.iter().any(|line| line.name == *name);
            if !has(&self.users, user) {
                self.users.push(plain(user));
            }
            if !has(&self.groups, group) && !has(&self.users, group) {
                self.groups.push(plain(group));
            }
        }
    }
}

/// Numbers from the top of the ranges down, none of them twice.
struct Numbers {
    /// The numbers that may be given, the highest range last.
    ranges: Vec<(u32, u32)>,
    next: Option<u32>,
}

impl Numbers {
    fn of(wanted: &Wanted, database: &Database) -> Self {
        let mut ranges = wanted.ranges.clone();
        if ranges.is_empty() {
            let range = database.defaults.uids(Range::System);
            ranges.push((*range.start(), *range.end()));
        }
        ranges.sort_unstable();
        let next = ranges.iter().map(|(_, high)| *high).max();
        Self { ranges, next }
    }

    /// The next number that `is_free` accepts.
    fn take(&mut self, name: &str, is_free: impl Fn(u32) -> bool) -> Result<u32> {
        while let Some(number) = self.next {
            // The highest number below this one that lies in a range.
            let below = number.checked_sub(1);
            let tops = self.ranges.iter().filter_map(|(low, high)| {
                let top = below?.min(*high);
                (top >= *low).then_some(top)
            });
            self.next = tops.max();
            let is_in_range = self
                .ranges
                .iter()
                .any(|(low, high)| (low..=high).contains(&&number));
            if is_in_range && is_free(number) {
                return Ok(number);
            }
        }
        Err(Error::NoNumber(name.to_owned()))
    }
}

/// The number of a group, which is made if it does not exist.
fn make_group(
    fs: &dyn FileSystem,
    database: &mut Database,
    numbers: &mut Numbers,
    line: &Line,
) -> Result<u32> {
    if let Some(gid) = database.gid(&line.name) {
        return Ok(gid);
    }
    let is_free = |gid: u32, with_users: bool| {
        database.has_no_group(gid) && (!with_users || database.has_no_user_but(gid, &line.name))
    };
    let wished = match &line.id {
        Id::Wished(gid) => Some(*gid).filter(|gid| is_free(*gid, false)),
        Id::Owner(path) => owner(fs, path)?
            .map(|(_, gid)| gid)
            .filter(|gid| is_free(*gid, true)),
        Id::Any | Id::WithGroup(..) => None,
    };
    let gid = match wished {
        Some(gid) => gid,
        None => numbers.take(&line.name, |gid| is_free(gid, true))?,
    };
    let gshadow = database.gshadow.as_ref();
    if gshadow.is_some_and(|gshadow| gshadow.row(&line.name).is_some()) {
        return Err(Error::Sysusers {
            line: format!("g {}", line.name),
            problem: "is a group that /etc/gshadow has already, and /etc/group has not".to_owned(),
        });
    }
    database.push_group_with(&line.name, gid, PASSWORD);
    Ok(gid)
}

fn make_user(
    fs: &dyn FileSystem,
    database: &mut Database,
    numbers: &mut Numbers,
    line: &Line,
    now: Timestamp,
) -> Result<()> {
    if database.uid(&line.name).is_some() {
        return Ok(());
    }
    let gid = match &line.id {
        Id::WithGroup(_, group) => database.group_number(group)?,
        _ => make_group(fs, database, numbers, line)?,
    };
    let is_free = |uid: u32, with_groups: bool| {
        database.has_no_user(uid) && (!with_groups || database.has_no_group_but(uid, &line.name))
    };
    let wished = match &line.id {
        Id::Wished(uid) => Some(*uid).filter(|uid| is_free(*uid, true)),
        Id::WithGroup(uid, _) => Some(*uid).filter(|uid| is_free(*uid, false)),
        Id::Owner(path) => owner(fs, path)?
            .map(|(uid, _)| uid)
            .filter(|uid| is_free(*uid, true)),
        Id::Any => None,
    };
    let of_group = || Some(gid).filter(|gid| is_free(*gid, true));
    let uid = match wished.or_else(of_group) {
        Some(uid) => uid,
        None => numbers.take(&line.name, |uid| is_free(uid, true))?,
    };
    database.push_user(&NewUser {
        name: &line.name,
        password: PASSWORD,
        uid,
        gid,
        comment: &line.comment,
        home: &line.home,
        shell: &line.shell,
        ageing: <[String; 3]>::default(),
        now,
        keeps_leftover: true,
    });
    Ok(())
}

/// The owner and the group of a file, if it is there.
fn owner(fs: &dyn FileSystem, path: &ImagePath) -> Result<Option<(u32, u32)>> {
    let Some((place, _)) = entry(fs, path, LastLink::Follow)? else {
        return Ok(None);
    };
    let metadata = fs.metadata(place.node.unwrap_or_else(|| fs.root()));
    let metadata = metadata.map_err(|source| tree::Error::FileSystem {
        action: "read",
        path: place.path,
        source,
    })?;
    Ok(Some((metadata.uid, metadata.gid)))
}

fn id(text: &str) -> Option<Id> {
    if text.is_empty() {
        return Some(Id::Any);
    }
    if text.starts_with('/') {
        return ImagePath::parse(text).ok().map(Id::Owner);
    }
    Some(match text.split_once(':') {
        Some((uid, group)) if !group.is_empty() => {
            Id::WithGroup(uid.parse().ok()?, group.to_owned())
        }
        Some(_) => return None,
        None => Id::Wished(text.parse().ok()?),
    })
}

/// `%%` becomes `%`; `None` if there is another specifier.
fn unescape_specifiers(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '%' && chars.next()? != '%' {
            return None;
        }
        plain.push(c);
    }
    Some(plain)
}

/// The fields of a line, with quotes and the backslashes within them removed; `None` if a quote has
/// no end.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', _) => word.get_or_insert_default().push(chars.next()?),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}
