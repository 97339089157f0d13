//! Versions, requirements and what meets them.

use std::cmp::Ordering;

use rpm_version::Evr;

use super::header::Header;
use super::tags::{self, Tag};

/// Bits of a dependency's flags (RPM's `rpmsenseFlags_e`).
pub mod sense {
    /// Older.
    pub const LESS: u64 = 1 << 1;
    /// Newer.
    pub const GREATER: u64 = 1 << 2;
    /// The same.
    pub const EQUAL: u64 = 1 << 3;
    /// The three that compare versions.
    pub const COMPARISON: u64 = LESS | GREATER | EQUAL;
    /// Needed by scripts that run while the package is being installed, or by RPM itself.
    pub const INSTALL_ONLY: u64 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | RPMLIB;
    /// Needed by scripts that run while the package is being removed.
    pub const ERASE_ONLY: u64 = 1 << 11 | 1 << 12 | 1 << 20 | 1 << 21;
    /// Needed by scripts of the package.
    pub const SCRIPTS: u64 = 1 << 9 | 1 << 10 | REMOVAL_SCRIPTS;
    /// Needed by those that run while it is being removed.
    pub const REMOVAL_SCRIPTS: u64 = 1 << 11 | 1 << 12;
    /// Needed for what no order can help, unless scripts need it too.
    pub const UNORDERED: u64 = 1 << 5 | 1 << 7 | 1 << 13 | RPMLIB | 1 << 28 | META;
    /// What a need was called that had to be met before, before it was said for which script.
    pub const PREREQUISITE: u64 = 1 << 6;
    /// Needed for what the package is, whoever else needs it.
    pub const META: u64 = 1 << 29;

    /// Whether nothing needs it any more once the package is installed.
    pub const fn is_transient(flags: u64) -> bool {
        flags & INSTALL_ONLY != 0 && flags & (ERASE_ONLY | META) == 0
    }

    /// Needed before anything is changed.
    pub const BEFORE_ALL: u64 = 1 << 7;
    /// All that says what a need is for.
    pub const ANY_NEED: u64 =
        SCRIPTS | UNORDERED & !(1 << 28) | PREREQUISITE | 1 << 8 | 1 << 14 | MISSING_OK | 1 << 26;
    /// A trigger that runs when what it watches has come.
    pub const TRIGGER_IN: u64 = 1 << 16;
    /// A trigger that runs before what it watches goes.
    pub const TRIGGER_UN: u64 = 1 << 17;
    /// A trigger that runs when what it watches has gone.
    pub const TRIGGER_POST_UN: u64 = 1 << 18;
    /// A dependency that may go unmet.
    pub const MISSING_OK: u64 = 1 << 19;
    /// A feature of RPM.
    pub const RPMLIB: u64 = 1 << 24;
    /// A trigger that runs before what it watches comes.
    pub const TRIGGER_PRE_IN: u64 = 1 << 25;
}

/// A name with versions: what a package requires, provides, conflicts with or obsoletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The name: of a package, a file, a library, or a whole boolean expression in parentheses.
    pub name: String,
    /// See [`sense`].
    pub flags: u64,
    /// `[epoch:]version[-release]`; empty for any.
    pub version: String,
}

impl Dependency {
    /// A name in any version.
    pub fn any(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            flags: 0,
            version: String::new(),
        }
    }

    /// Whether the versions of both have one in common; their names are not looked at.
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap((self.flags, &self.version), (other.flags, &other.version))
    }
}

/// Whether two ranges, each of flags and a version, have a version in common. (RPM's
/// `rpmdsCompare`.)
pub fn overlap(one: (u64, &str), other: (u64, &str)) -> bool {
    let (a, b) = (one.0 & sense::COMPARISON, other.0 & sense::COMPARISON);
    if a == 0 || b == 0 || one.1.is_empty() || other.1.is_empty() {
        return true;
    }
    let both = |bit| a & bit != 0 && b & bit != 0;
    match compare(one.1, other.1) {
        Ordering::Less => a & sense::GREATER != 0 || b & sense::LESS != 0,
        Ordering::Greater => a & sense::LESS != 0 || b & sense::GREATER != 0,
        Ordering::Equal => both(sense::EQUAL) || both(sense::LESS) || both(sense::GREATER),
    }
}

/// As RPM writes it: `jq >= 1.6`.
impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.flags & sense::COMPARISON == 0 || self.version.is_empty() {
            return Ok(());
        }
        f.write_str(" ")?;
        for (bit, sign) in [
            (sense::LESS, "<"),
            (sense::GREATER, ">"),
            (sense::EQUAL, "="),
        ] {
            if self.flags & bit != 0 {
                f.write_str(sign)?;
            }
        }
        write!(f, " {}", self.version)
    }
}

/// Compares two `[epoch:]version[-release]`; a release counts only where both have one.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Evr::parse(one), Evr::parse(other));
    let (e1, v1, mut r1) = one.values();
    let (e2, v2, mut r2) = other.values();
    if r1.is_empty() || r2.is_empty() {
        (r1, r2) = ("", "");
    }
    Evr::new(e1, v1, r1).cmp(&Evr::new(e2, v2, r2))
}

/// The dependencies under three tags that belong together: names, flags, versions.
pub fn dependencies(header: &Header, names: Tag, flags: Tag, versions: Tag) -> Vec<Dependency> {
    let flags = header.numbers(flags);
    let versions = header.texts(versions);
    let names = header.texts(names).into_iter().enumerate();
    let string = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    names
        .map(|(index, name)| Dependency {
            name: string(name),
            flags: flags.get(index).copied().unwrap_or_default(),
            version: versions
                .get(index)
                .map(|text| string(text))
                .unwrap_or_default(),
        })
        .collect()
}

/// What a package requires.
pub fn requires(header: &Header) -> Vec<Dependency> {
    dependencies(
        header,
        tags::REQUIRE_NAME,
        tags::REQUIRE_FLAGS,
        tags::REQUIRE_VERSION,
    )
}

/// What a package provides.
pub fn provides(header: &Header) -> Vec<Dependency> {
    dependencies(
        header,
        tags::PROVIDE_NAME,
        tags::PROVIDE_FLAGS,
        tags::PROVIDE_VERSION,
    )
}

/// What a package conflicts with.
pub fn conflicts(header: &Header) -> Vec<Dependency> {
    dependencies(
        header,
        tags::CONFLICT_NAME,
        tags::CONFLICT_FLAGS,
        tags::CONFLICT_VERSION,
    )
}

/// The packages that a package's triggers watch.
pub fn triggers(header: &Header) -> Vec<Dependency> {
    dependencies(
        header,
        tags::TRIGGER_NAME,
        tags::TRIGGER_FLAGS,
        tags::TRIGGER_VERSION,
    )
}

/// What a package takes the place of.
pub fn obsoletes(header: &Header) -> Vec<Dependency> {
    dependencies(
        header,
        tags::OBSOLETE_NAME,
        tags::OBSOLETE_FLAGS,
        tags::OBSOLETE_VERSION,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(flags: u64, version: &str) -> Dependency {
        Dependency {
            name: "x".to_owned(),
            flags,
            version: version.to_owned(),
        }
    }

    #[test]
    fn versions_have_an_order() {
        for (older, newer) in [
            ("1.9", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("9", "1:1"),
            ("1.0-1.amzn2", "1.0-2"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
        }
        assert_eq!(compare("1.0", "1.0-7"), Ordering::Equal);
        assert_eq!(compare("0:1.0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn ranges_overlap() {
        let provided = dependency(sense::EQUAL, "2.0-1");
        let at_least = sense::GREATER | sense::EQUAL;
        assert!(dependency(at_least, "2.0").overlaps(&provided));
        assert!(dependency(at_least, "1.9").overlaps(&provided));
        assert!(!dependency(at_least, "2.1").overlaps(&provided));
        assert!(!dependency(sense::LESS, "2.0").overlaps(&provided));
        assert!(dependency(0, "").overlaps(&provided));
    }
}
