//! New users and groups, as useradd(8) and groupadd(8) make them.
//!
//! - `change`: users that are there, changed.
//! - [`convert`]: passwords moved to `shadow` and `gshadow`.
//! - [`database`]: the accounts, and what is done to them.
//! - [`defaults`]: what the image says about new accounts, and free numbers.
//! - [`home`]: the home folder.
//! - `remove`: users and groups that go.
//! - `storage`: the files that hold accounts.
//! - [`sysusers`]: accounts that packages describe, as `systemd-sysusers` makes them.

mod change;
pub mod convert;
pub mod database;
pub mod defaults;
mod home;
mod remove;
mod storage;
pub mod sysusers;

pub use change::{UserChange, change_user};
pub use remove::{remove_group, remove_user};

use database::Database;
use defaults::Range;

use super::known_path;
use imgasm_fs::Timestamp;
use imgasm_fs::path::{ImagePath, PathError};
use imgasm_fs::tree::{self, Editor};

/// Why an account could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not one that an account can have.
    #[error("{0:?} is not a valid name for a user or group")]
    InvalidName(String),
    /// A value is not possible in the files that hold accounts.
    #[error("the {field} {value:?} of {name} is not possible in /etc/passwd")]
    InvalidField {
        /// The account.
        name: String,
        /// What the value is.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// The home folder is not a path.
    #[error("the home folder of {name}")]
    Home {
        /// The user.
        name: String,
        /// What is wrong.
        source: PathError,
    },
    /// A line of sysusers.d(5) cannot be carried out.
    #[error("the line `{line}` of sysusers.d {problem}")]
    Sysusers {
        /// The line.
        line: String,
        /// Why not.
        problem: String,
    },
    /// There is no such user.
    #[error("there is no user {0} in the image")]
    UnknownUser(String),
    /// The password cannot be unlocked.
    #[error("the password of {0} cannot be unlocked: there is none, and everyone could log in")]
    NoPassword(String),
    /// There is no such group.
    #[error("there is no group {0} in the image")]
    UnknownGroup(String),
    /// The number belongs to another account.
    #[error("{name} cannot have the number {id}: it is that of {owner}")]
    Taken {
        /// The account that was to get it.
        name: String,
        /// The number.
        id: u32,
        /// The account that has it.
        owner: String,
    },
    /// The group cannot go.
    #[error("the group {0} cannot be removed: a user logs in with it")]
    Primary(String),
    /// The account exists with another number.
    #[error("{name} exists with the number {found}, not {wanted}")]
    OtherNumber {
        /// The account.
        name: String,
        /// The number that it has.
        found: u32,
        /// The number that was asked for.
        wanted: u32,
    },
    /// No number is free.
    #[error("no number is free for {0} in the ranges of /etc/login.defs")]
    NoNumber(String),
    /// The image has no accounts at all.
    #[error("the image has no {0}")]
    NoDatabase(&'static str),
    /// The image could not be read or written.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// What operations on accounts return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A group that is to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its name.
    pub name: String,
    /// Its number; the next free one if none is given.
    pub gid: Option<u32>,
    /// Whether it belongs to a service, which only matters for the number.
    pub system: bool,
}

/// A user that is to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserSpec {
    /// The name.
    pub name: String,
    /// The number; the next free one if none is given.
    pub uid: Option<u32>,
    /// Name or number of the primary group, which must exist. Without it the user gets a group of
    /// the same name, if the image does that.
    pub group: Option<String>,
    /// Further groups, which must exist.
    pub groups: Vec<String>,
    /// The home folder.
    pub home: Option<String>,
    /// The shell.
    pub shell: Option<String>,
    /// The full name, or whatever is to be in that field.
    pub comment: Option<String>,
    /// Whether it is the account of a service: from another range of numbers, without a home
    /// folder of its own, without ageing of the password.
    pub system: bool,
    /// Whether the home folder is made; by default, only for people's accounts.
    pub create_home: Option<bool>,
    /// The hashed password; a new user without one cannot log in by password.
    pub password: Option<String>,
}

/// Makes a group, or makes sure that it is there.
pub fn ensure_group(editor: &mut Editor<'_>, spec: &GroupSpec) -> Result<()> {
    check_name(&spec.name)?;
    let mut database = Database::load(editor.fs())?;
    database.ensure_group(spec)?;
    database.save(editor)
}

/// Makes a user with group and home folder. For an existing user, what `spec` gives is changed and
/// the rest stays; the number cannot be changed.
///
/// `now` is the day on which the password counts as set.
pub fn ensure_user(editor: &mut Editor<'_>, spec: &UserSpec, now: Timestamp) -> Result<()> {
    check_name(&spec.name)?;
    check_fields(spec)?;
    let mut database = Database::load(editor.fs())?;
    let user = database.ensure_user(spec, now)?;
    let home = ImagePath::parse(&user.home).map_err(|source| Error::Home {
        name: spec.name.clone(),
        source,
    });
    database.save(editor)?;
    if spec.create_home.unwrap_or(!spec.system) {
        home::create(editor, &home?, &user, &database.defaults)?;
    }
    Ok(())
}

/// Removes a user from a group; gives whether it was in it.
pub fn remove_from_group(editor: &mut Editor<'_>, user: &str, group: &str) -> Result<bool> {
    let mut database = Database::load(editor.fs())?;
    let was_member = database.remove_member(group, user);
    database.save(editor)?;
    Ok(was_member)
}

/// The rule of useradd(8), "CAVEATS", with the capital letters and dots that Linux accepts as well.
fn check_name(name: &str) -> Result<()> {
    let stem = name.strip_suffix('$').unwrap_or(name);
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.len() <= 32 && stem.bytes().next().is_some_and(first) && stem.bytes().all(inner) {
        Ok(())
    } else {
        Err(Error::InvalidName(name.to_owned()))
    }
}

fn check_fields(spec: &UserSpec) -> Result<()> {
    for (field, value) in [
        ("home folder", &spec.home),
        ("shell", &spec.shell),
        ("comment", &spec.comment),
        ("password", &spec.password),
    ] {
        if let Some(value) = value
            && value.contains(|c: char| c == ':' || c.is_control())
        {
            return Err(Error::InvalidField {
                name: spec.name.clone(),
                field,
                value: value.clone(),
            });
        }
    }
    Ok(())
}

impl UserSpec {
    fn range(&self) -> Range {
        if self.system {
            Range::System
        } else {
            Range::User
        }
    }
}
