//! dnf's history: what was done, and why each package is there (`/var/lib/dnf/history.sqlite`).
//!
//! The tables are those of libdnf's `swdb` in their version 1. A transaction has a row for each package
//! that comes and each that goes, with the reason: `dnf autoremove` takes away what was only needed by
//! others. Rows that are there stay as they are. The numbers are those of libdnf's enumerations.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::database::copy::Copy;
use super::database::{Database, Kind, failure, sqlite};
use super::install::World;
use super::{Error, Package};
use crate::Facts;
use crate::dnf::variables::Variables;
use crate::files::{entry, known_path};
use imgasm_fs::tree::{Editor, LastLink};
use imgasm_fs::{FileType, Timestamp};

/// Where it lies.
const PATH: &str = "/var/lib/dnf/history.sqlite";
/// What dnf calls the repository of what is installed.
const SYSTEM: &str = "@System";
/// What dnf calls the repository of package files.
const COMMAND_LINE: &str = "@commandline";
/// What the history shows as the command.
const COMMAND: &str = "imgasm build";
/// The length of a cookie of RPM's database; older versions of dnf wrote something else there.
const COOKIE_LEN: usize = 64;
/// A transaction, or a part of one, that is done (`TransactionState`, `TransactionItemState`).
const DONE: i64 = 1;

/// Why a package is to be installed (`TransactionItemReason`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Another package needs it.
    #[default]
    Dependency,
    /// Somebody wished for it.
    User,
    /// Another package recommends it.
    WeakDependency,
    /// It is in a group that somebody wished for.
    Group,
}

impl Reason {
    const fn number(self) -> i64 {
        match self {
            Self::Dependency => 1,
            Self::User => 2,
            Self::WeakDependency => 4,
            Self::Group => 5,
        }
    }
}

/// Numbers of `TransactionItemAction`.
mod action {
    pub const INSTALL: i64 = 1;
    pub const DOWNGRADE: i64 = 2;
    pub const DOWNGRADED: i64 = 3;
    pub const OBSOLETED: i64 = 5;
    pub const UPGRADE: i64 = 6;
    pub const UPGRADED: i64 = 7;
    pub const REMOVE: i64 = 8;
    pub const REINSTALL: i64 = 9;
    pub const REINSTALLED: i64 = 10;
}

/// Adds a transaction to the history, if the image has one. `database` is that of the packages as it
/// was before, which has been written since.
pub(super) fn record(
    editor: &mut Editor<'_>,
    facts: &Facts,
    now: Timestamp,
    database: &Database,
    world: &World<'_>,
) -> Result<(), Error> {
    let path = known_path(PATH);
    let found = entry(editor.fs(), &path, LastLink::Follow)?;
    if found.is_none_or(|(_, kind)| kind != FileType::Regular) {
        return Ok(());
    }
    let release = "$releasever";
    let release = Some(Variables::read(editor.fs(), facts, &database.records)?.fill(release))
        .filter(|filled| filled != release)
        .unwrap_or_default();
    let cookie = match database.kind {
        Kind::Sqlite => sqlite::cookie(editor.fs(), &database.path)?,
        _ => String::new(),
    };
    let copy = Copy::take(editor.fs(), &path)?;
    let write = || -> rusqlite::Result<()> {
        let mut connection = copy.open()?;
        let transaction = connection.transaction()?;
        Writer::begin(&transaction, now, &release, &cookie)?.packages(world)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    write().map_err(|error| failure(&path, error.to_string()))?;
    copy.give_back(editor, &path)
}

/// A transaction that is written.
struct Writer<'c> {
    connection: &'c Connection,
    /// Its number.
    number: i64,
}

impl<'c> Writer<'c> {
    fn begin(
        connection: &'c Connection,
        now: Timestamp,
        release: &str,
        cookie: &str,
    ) -> rusqlite::Result<Self> {
        let last = "SELECT rpmdb_version_end FROM trans ORDER BY id DESC LIMIT 1";
        let last: Option<Option<String>> = connection
            .query_row(last, [], |row| row.get(0))
            .optional()?;
        let last = last.flatten();
        // Another form is that of another version of dnf, which tells states apart in its own way.
        let is_known = last.as_ref().is_none_or(|last| last.len() == COOKIE_LEN);
        let insert = "INSERT INTO trans (dt_begin, dt_end, rpmdb_version_begin, rpmdb_version_end, \
             releasever, user_id, cmdline, state) VALUES (?1, ?1, ?2, ?3, ?4, 0, ?5, ?6)";
        connection.execute(
            insert,
            params![
                now.seconds,
                last.unwrap_or_default(),
                if is_known { cookie } else { "" },
                release,
                COMMAND,
                DONE
            ],
        )?;
        Ok(Self {
            connection,
            number: connection.last_insert_rowid(),
        })
    }

    fn packages(&self, world: &World<'_>) -> rusqlite::Result<()> {
        // The installed packages that each new one takes the place of.
        let mut places: BTreeMap<usize, Vec<&Package>> = BTreeMap::new();
        for member in &world.members {
            if let (Some(new), Some(_)) = (member.replaced_by, member.record) {
                places.entry(new).or_default().push(&member.package);
            }
        }
        for (number, member) in world.arriving().iter().enumerate() {
            let Some(candidate) = member.candidate else {
                continue;
            };
            let (new, request) = (&member.package, &candidate.request);
            let old = places.remove(&number).unwrap_or_default();
            let older = old.iter().find(|old| old.name == new.name);
            let kind = match older.map(|old| new.compare(old)) {
                None => action::INSTALL,
                Some(std::cmp::Ordering::Less) => action::DOWNGRADE,
                Some(std::cmp::Ordering::Equal) => action::REINSTALL,
                Some(std::cmp::Ordering::Greater) => action::UPGRADE,
            };
            let mut reason = request.reason.number();
            if let Some(before) = older.or(old.first())
                && request.reason != Reason::User
            {
                reason = self.reason_of(before)?;
            }
            let repository = request.repository.as_deref().unwrap_or(COMMAND_LINE);
            let row = self.add(new, repository, kind, reason)?;
            for old in old {
                let kind = match kind {
                    _ if old.name != new.name => action::OBSOLETED,
                    action::DOWNGRADE => action::DOWNGRADED,
                    action::REINSTALL => action::REINSTALLED,
                    _ => action::UPGRADED,
                };
                let old = self.add(old, SYSTEM, kind, self.reason_of(old)?)?;
                let insert = "INSERT INTO item_replaced_by (trans_item_id, by_trans_item_id) \
                     VALUES (?1, ?2)";
                self.connection.execute(insert, [old, row])?;
            }
        }
        for member in world.members.iter().filter(|member| member.is_removed) {
            let old = &member.package;
            self.add(old, SYSTEM, action::REMOVE, self.reason_of(old)?)?;
        }
        Ok(())
    }

    /// Adds a row for a package; gives its number.
    fn add(
        &self,
        package: &Package,
        repository: &str,
        action: i64,
        reason: i64,
    ) -> rusqlite::Result<i64> {
        let insert = "INSERT INTO trans_item (trans_id, item_id, repo_id, action, reason, state) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (item, repository) = (self.item(package)?, self.repository(repository)?);
        let values = params![self.number, item, repository, action, reason, DONE];
        self.connection.execute(insert, values)?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The number of a package in the table of all that there were.
    fn item(&self, package: &Package) -> rusqlite::Result<i64> {
        let epoch = i64::try_from(package.epoch.unwrap_or_default()).unwrap_or_default();
        let release = package.release.as_deref().unwrap_or_default();
        let arch = package.arch.as_deref().unwrap_or_default();
        let values = params![package.name, epoch, package.version, release, arch];
        let find = "SELECT item_id FROM rpm WHERE name = ?1 AND epoch = ?2 AND version = ?3 \
             AND release = ?4 AND arch = ?5";
        let found = self.connection.query_row(find, values, |row| row.get(0));
        if let Some(found) = found.optional()? {
            return Ok(found);
        }
        self.connection
            .execute("INSERT INTO item (item_type) VALUES (0)", [])?;
        let item = self.connection.last_insert_rowid();
        let insert = "INSERT INTO rpm (item_id, name, epoch, version, release, arch) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.connection.execute(
            insert,
            params![item, package.name, epoch, package.version, release, arch],
        )?;
        Ok(item)
    }

    fn repository(&self, name: &str) -> rusqlite::Result<i64> {
        let find = "SELECT id FROM repo WHERE repoid = ?1";
        let found = self.connection.query_row(find, [name], |row| row.get(0));
        if let Some(found) = found.optional()? {
            return Ok(found);
        }
        self.connection
            .execute("INSERT INTO repo (repoid) VALUES (?1)", [name])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Why an installed package is there, as libdnf finds it out; 0 if that is not known.
    fn reason_of(&self, package: &Package) -> rusqlite::Result<i64> {
        let find = "SELECT action, reason FROM trans_item JOIN trans ON trans.id = trans_id \
             JOIN rpm USING (item_id) WHERE trans.state = ?1 AND action NOT IN (3, 5, 7, 10) \
             AND trans.id < ?2 AND name = ?3 AND arch = ?4 ORDER BY trans_id DESC LIMIT 1";
        let arch = package.arch.as_deref().unwrap_or_default();
        let values = params![DONE, self.number, package.name, arch];
        let found: Option<(i64, i64)> = self
            .connection
            .query_row(find, values, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match found {
            Some((action, reason)) if action != action::REMOVE => reason,
            _ => 0,
        })
    }
}
