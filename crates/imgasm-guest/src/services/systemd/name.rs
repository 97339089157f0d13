//! Names of units: `docker.service`, the template `getty@.service`, its instance
//! `getty@tty1.service`.
//!
//! Rules: systemd.unit(5), "Description".

use std::fmt;

/// The longest name that systemd accepts, in bytes.
const MAX_LEN: usize = 255;

const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// A valid name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(String);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind<'a> {
    /// One unit.
    Plain,
    /// A file that stands for many units.
    Template,
    /// One unit made from a template, with what stands between `@` and the suffix.
    Instance(&'a str),
}

impl UnitName {
    /// `name`, if it is valid as it is.
    pub fn new(name: &str) -> Option<Self> {
        let (stem, suffix) = name.rsplit_once('.')?;
        if name.len() > MAX_LEN || stem.is_empty() || !SUFFIXES.contains(&suffix) {
            return None;
        }
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, instance),
            None => (stem, ""),
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte);
        let valid_prefix = !prefix.is_empty() && prefix.bytes().all(valid);
        let valid_instance = instance.bytes().all(|byte| valid(byte) || byte == b'@');
        (valid_prefix && valid_instance).then(|| Self(name.to_owned()))
    }

    /// `name` as given by people: a service if it lacks the suffix of a unit.
    pub fn from_user(name: &str) -> Option<Self> {
        Self::new(name).or_else(|| Self::new(&format!("{name}.service")))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name stands for.
    pub fn kind(&self) -> NameKind<'_> {
        match self.stem().split_once('@') {
            None => NameKind::Plain,
            Some((_, "")) => NameKind::Template,
            Some((_, instance)) => NameKind::Instance(instance),
        }
    }

    /// The name without `.` and suffix.
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(stem, _)| stem)
    }

    /// The type of unit, without the dot.
    pub fn suffix(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, suffix)| suffix)
    }

    /// What stands before `@`, or the stem.
    pub fn prefix(&self) -> &str {
        let stem = self.stem();
        stem.split_once('@').map_or(stem, |(prefix, _)| prefix)
    }

    /// The template that an instance is made from.
    pub fn template(&self) -> Option<Self> {
        match self.kind() {
            NameKind::Instance(_) => Self::new(&format!("{}@.{}", self.prefix(), self.suffix())),
            NameKind::Plain | NameKind::Template => None,
        }
    }

    /// The instance of a template; `None` if this is not a template or the name would not be valid.
    pub fn with_instance(&self, instance: &str) -> Option<Self> {
        match self.kind() {
            NameKind::Template if !instance.is_empty() => {
                Self::new(&format!("{}@{instance}.{}", self.prefix(), self.suffix()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let kind = |name: &str| UnitName::new(name).map(|n| format!("{:?}", n.kind()));
        assert_eq!(kind("a.service").unwrap(), "Plain");
        assert_eq!(kind("a@.service").unwrap(), "Template");
        assert_eq!(kind("a@b@c.service").unwrap(), "Instance(\"b@c\")");
        assert_eq!(kind("dev-disk-by\\x2dlabel-x.mount").unwrap(), "Plain");
        for bad in [
            "a",
            ".service",
            "a.conf",
            "a/b.service",
            "@x.service",
            "a b.service",
        ] {
            assert_eq!(kind(bad), None, "{bad}");
        }
    }

    #[test]
    fn templates_and_instances_lead_to_each_other() {
        let instance = UnitName::new("getty@tty1.service").unwrap();
        let template = instance.template().unwrap();
        assert_eq!(template.as_str(), "getty@.service");
        assert_eq!(template.with_instance("tty1"), Some(instance));
        assert_eq!(template.with_instance(""), None);
    }

    #[test]
    fn people_may_leave_the_suffix_out() {
        assert_eq!(
            UnitName::from_user("docker").unwrap().as_str(),
            "docker.service"
        );
        assert_eq!(UnitName::from_user("a.b").unwrap().as_str(), "a.b.service");
        assert_eq!(
            UnitName::from_user("x.socket").unwrap().as_str(),
            "x.socket"
        );
    }
}
