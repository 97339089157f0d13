//! What the image itself says about new accounts: `/etc/login.defs` and `/etc/default/useradd`.
//!
//! Keys and their built-in values: login.defs(5) and useradd(8) of shadow-utils.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The settings for new accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    values: BTreeMap<String, String>,
}

/// The kind of account for which a number is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// People's accounts.
    User,
    /// Accounts of services.
    System,
}

impl Defaults {
    /// Reads both files; one that is missing is empty.
    pub fn parse(login_defs: &[u8], useradd: &[u8]) -> Self {
        let mut values = BTreeMap::new();
        for line in String::from_utf8_lossy(login_defs).lines() {
            if let Some((key, value)) = line.trim().split_once(char::is_whitespace) {
                values.insert(key.to_owned(), value.trim().trim_matches('"').to_owned());
            }
        }
        for line in String::from_utf8_lossy(useradd).lines() {
            if let Some((key, value)) = line.trim().split_once('=') {
                values.insert(key.to_owned(), value.to_owned());
            }
        }
        values.retain(|key, _| !key.starts_with('#'));
        Self { values }
    }

    /// The numbers for users.
    pub fn uids(&self, range: Range) -> RangeInclusive<u32> {
        self.range("UID", range)
    }

    /// The numbers for groups.
    pub fn gids(&self, range: Range) -> RangeInclusive<u32> {
        self.range("GID", range)
    }

    /// Whether a user gets a group of the same name.
    pub fn user_groups(&self) -> bool {
        // In shadow-utils, users have no group of their own if the key is missing; every
        // distribution that is shipped as an image sets it.
        self.yes("USERGROUPS_ENAB")
    }

    /// The group of users who do not get one of their own.
    pub fn common_group(&self) -> String {
        self.text("GROUP", "100")
    }

    /// The folder in which home folders lie.
    pub fn home_base(&self) -> String {
        self.text("HOME", "/home")
    }

    /// The folder whose content is copied to a new home folder.
    pub fn skeleton(&self) -> String {
        self.text("SKEL", "/etc/skel")
    }

    /// The shell of users for whom none is named.
    pub fn shell(&self) -> String {
        self.text("SHELL", "/bin/bash")
    }

    /// The permissions of a new home folder.
    pub fn home_mode(&self) -> u16 {
        let octal = |key| {
            let digits = self.values.get(key)?;
            u16::from_str_radix(digits, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
        };
        octal("HOME_MODE").unwrap_or_else(|| 0o777 & !octal("UMASK").unwrap_or(0o022))
    }

    /// The three fields of shadow(5) on the ageing of passwords: the least and greatest age and
    /// the days of warning.
    pub fn password_ageing(&self) -> [String; 3] {
        ["PASS_MIN_DAYS", "PASS_MAX_DAYS", "PASS_WARN_AGE"].map(|key| {
            self.values
                .get(key)
                .filter(|days| days.parse::<u32>().is_ok())
                .cloned()
                .unwrap_or_default()
        })
    }

    /// The numbers from which users get ranges for their containers, and the length of a range:
    /// `SUB_UID` or `SUB_GID`.
    pub fn subordinate(&self, key: &str) -> (RangeInclusive<u32>, u32) {
        let min = self.number(&format!("{key}_MIN"), 100_000);
        let max = self.number(&format!("{key}_MAX"), 600_100_000);
        (min..=max, self.number(&format!("{key}_COUNT"), 65_536))
    }

    fn range(&self, kind: &str, range: Range) -> RangeInclusive<u32> {
        let user_min = self.number(&format!("{kind}_MIN"), 1000);
        match range {
            Range::User => user_min..=self.number(&format!("{kind}_MAX"), 60_000),
            Range::System => {
                let min = self.number(&format!("SYS_{kind}_MIN"), 101);
                let max = self.number(&format!("SYS_{kind}_MAX"), user_min.saturating_sub(1));
                min..=max
            }
        }
    }

    fn number(&self, key: &str, otherwise: u32) -> u32 {
        self.values
            .get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or(otherwise)
    }

    fn text(&self, key: &str, otherwise: &str) -> String {
        self.values
            .get(key)
            .map_or(otherwise, String::as_str)
            .to_owned()
    }

    fn yes(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| value == "yes")
    }
}

/// The next number in a range, as shadow-utils chooses it: numbers of users grow upwards from the
/// highest in use, those of services downwards from the lowest; if the end of the range is reached,
/// it is the first free number from the other end. `None` if all are taken.
pub fn next_id(range: RangeInclusive<u32>, kind: Range, used: &[u32]) -> Option<u32> {
    let taken = |id: &u32| used.contains(id);
    let in_range = used.iter().copied().filter(|id| range.contains(id));
    let beyond = match kind {
        Range::User => match in_range.max() {
            Some(highest) => highest.checked_add(1)?,
            None => *range.start(),
        },
        Range::System => match in_range.min() {
            Some(lowest) => lowest.checked_sub(1)?,
            None => *range.end(),
        },
    };
    if range.contains(&beyond) {
        return Some(beyond);
    }
    match kind {
        Range::User => range.clone().find(|id| !taken(id)),
        Range::System => range.clone().rev().find(|id| !taken(id)),
    }
}

/// The first run of `count` numbers in `range` that none of the runs in `used` (first number and
/// length) touches.
pub fn next_run(range: &RangeInclusive<u32>, count: u32, used: &[(u32, u32)]) -> Option<u32> {
    let mut runs = used.to_vec();
    runs.sort_unstable();
    let mut first = *range.start();
    for (start, len) in runs {
        let end = first.checked_add(count)?;
        if start >= end {
            break;
        }
        first = first.max(start.checked_add(len)?);
    }
    let last = first.checked_add(count.checked_sub(1)?)?;
    (last <= *range.end()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let defaults = Defaults::parse(
            b"# UID_MIN 5\nUID_MIN\t\t  500\nUID_MAX 60000\nUMASK 077\nUSERGROUPS_ENAB yes\n",
            b"SHELL=/bin/bash\n# HOME=/x\n",
        );
        assert_eq!(defaults.uids(Range::User), 500..=60_000);
        assert_eq!(defaults.uids(Range::System), 101..=499);
        assert_eq!(defaults.gids(Range::User), 1000..=60_000);
        assert_eq!(defaults.home_mode(), 0o700);
        assert_eq!(defaults.home_base(), "/home");
        assert!(defaults.user_groups());
    }

    #[test]
    fn users_grow_upwards_and_services_downwards() {
        assert_eq!(
            next_id(1000..=1999, Range::User, &[0, 1000, 1005, 65_534]),
            Some(1006)
        );
        assert_eq!(next_id(1000..=1999, Range::User, &[]), Some(1000));
        assert_eq!(next_id(100..=999, Range::System, &[0, 998, 990]), Some(989));
        assert_eq!(next_id(100..=999, Range::System, &[1000]), Some(999));
        assert_eq!(next_id(10..=12, Range::User, &[10, 12]), Some(11));
        assert_eq!(next_id(10..=12, Range::System, &[10, 11]), Some(12));
        assert_eq!(next_id(10..=11, Range::User, &[10, 11]), None);
    }

    #[test]
    fn runs_fill_the_first_gap() {
        let range = 100_000..=600_100_000;
        assert_eq!(next_run(&range, 65_536, &[]), Some(100_000));
        assert_eq!(
            next_run(&range, 65_536, &[(100_000, 65_536)]),
            Some(165_536)
        );
        assert_eq!(
            next_run(&range, 65_536, &[(231_072, 65_536), (100_000, 65_536)]),
            Some(165_536)
        );
        assert_eq!(next_run(&(0..=9), 5, &[(3, 5)]), None);
    }
}
