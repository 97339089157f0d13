//! What an init script says about itself in its comments.
//!
//! There are two conventions, and a script may use both: the `# chkconfig: LEVELS START STOP` line
//! of chkconfig(8), and the block between `### BEGIN INIT INFO` and `### END INIT INFO` of the
//! Linux Standard Base (Core 5.0, "Comment Conventions for Init Scripts").

use std::fmt;

/// A set of the runlevels 0 to 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runlevels(u8);

impl Runlevels {
    /// The runlevels in which a machine serves: 2, 3, 4 and 5.
    pub const SERVING: Self = Self(0b011_1100);

    /// The runlevels that `digits` lists, as in `2345`; `-` lists none. Anything but a digit from
    /// 0 to 6 is `None`.
    pub fn parse(digits: &str) -> Option<Self> {
        if digits == "-" {
            return Some(Self::default());
        }
        let mut levels = Self::default();
        for byte in digits.bytes() {
            match byte {
                b'0'..=b'6' => levels.0 |= 1 << (byte - b'0'),
                _ => return None,
            }
        }
        (levels.0 != 0).then_some(levels)
    }

    /// Whether `level` is one of them.
    pub fn contains(self, level: u8) -> bool {
        level < 7 && self.0 & (1 << level) != 0
    }

    /// All seven runlevels, in order.
    pub fn all() -> impl Iterator<Item = u8> {
        0..7
    }

    fn insert(&mut self, level: u8) {
        if level < 7 {
            self.0 |= 1 << level;
        }
    }
}

impl fmt::Display for Runlevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::all()
            .filter(|level| self.contains(*level))
            .try_for_each(|level| write!(f, "{level}"))
    }
}

/// The two digits in the name of a link: lower ones go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The priority that chkconfig uses if a script has only an LSB block.
    pub const MIDDLE: Self = Self(50);
    /// The priority that update-rc.d uses for every link if nothing orders them.
    pub const FIRST: Self = Self(1);

    /// A priority from 0 to 99.
    pub fn new(number: u8) -> Option<Self> {
        (number < 100).then_some(Self(number))
    }

    /// The next higher one; the highest stays.
    #[must_use]
    pub fn after(self) -> Self {
        Self((self.0 + 1).min(99))
    }

    /// The next lower one; the lowest stays.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// The `# chkconfig:` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChkconfigLine {
    /// The runlevels in which the service starts when it is added.
    pub levels: Runlevels,
    /// Priority of its start links.
    pub start: Priority,
    /// Priority of its stop links.
    pub stop: Priority,
}

/// The LSB block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LsbBlock {
    /// Names under which other scripts may require this one.
    pub provides: Vec<String>,
    /// What must run before this starts.
    pub required_start: Vec<String>,
    /// What must still run when this stops.
    pub required_stop: Vec<String>,
    /// The runlevels in which it starts, if the block says so.
    pub default_start: Option<Runlevels>,
    /// The runlevels in which it stops, if the block says so.
    pub default_stop: Option<Runlevels>,
}

/// What a script says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The chkconfig line, if there is a valid one.
    pub chkconfig: Option<ChkconfigLine>,
    /// The LSB block, if there is one that ends.
    pub lsb: Option<LsbBlock>,
}

impl Header {
    /// Reads the comments of a script. Other lines are skipped, as are malformed ones.
    pub fn parse(script: &[u8]) -> Self {
        let mut header = Self::default();
        let mut open: Option<LsbBlock> = None;
        for line in script.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let Some(comment) = line.strip_prefix('#') else {
                continue;
            };
            match comment.trim_end() {
                "## BEGIN INIT INFO" => open = Some(LsbBlock::default()),
                "## END INIT INFO" => header.lsb = header.lsb.or(open.take()),
                comment => match &mut open {
                    Some(block) => block.read(comment),
                    None => header.chkconfig = header.chkconfig.or_else(|| chkconfig_line(comment)),
                },
            }
        }
        header
    }

    /// Levels and priorities as chkconfig sees them before it looks at other scripts: the LSB
    /// block's levels take precedence over the line's. `None` if the script has neither convention.
    pub fn defaults(&self) -> Option<ChkconfigLine> {
        let from_line = self.chkconfig;
        let lsb_levels = self.lsb.as_ref().map(|lsb| lsb.default_start);
        match (from_line, lsb_levels) {
            (Some(line), levels) => Some(ChkconfigLine {
                levels: levels.flatten().unwrap_or(line.levels),
                ..line
            }),
            (None, Some(levels)) => Some(ChkconfigLine {
                levels: levels.unwrap_or_default(),
                start: Priority::MIDDLE,
                stop: Priority::MIDDLE,
            }),
            (None, None) => None,
        }
    }

    /// Whether `facility` names this script, called `script_name`: by its file name or by what it
    /// says it provides.
    pub fn provides(&self, script_name: &str, facility: &str) -> bool {
        script_name == facility
            || self
                .lsb
                .as_ref()
                .is_some_and(|lsb| lsb.provides.iter().any(|name| name == facility))
    }
}

impl LsbBlock {
    fn read(&mut self, comment: &str) {
        let Some((key, value)) = comment.trim_start().split_once(':') else {
            return;
        };
        let words = || value.split_whitespace().map(str::to_owned);
        match key {
            "Provides" => self.provides.extend(words()),
            "Required-Start" => self.required_start.extend(words()),
            "Required-Stop" => self.required_stop.extend(words()),
            "Default-Start" => self.default_start = Some(level_words(value)),
            "Default-Stop" => self.default_stop = Some(level_words(value)),
            _ => {}
        }
    }
}

/// Runlevels as separate words; what is not a runlevel (Debian's `S`) is skipped.
fn level_words(value: &str) -> Runlevels {
    let mut levels = Runlevels::default();
    for level in value
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
    {
        levels.insert(level);
    }
    levels
}

fn chkconfig_line(comment: &str) -> Option<ChkconfigLine> {
    let mut words = comment
        .trim_start()
        .strip_prefix("chkconfig:")?
        .split_whitespace();
    let levels = Runlevels::parse(words.next()?)?;
    let mut priority = || Priority::new(words.next()?.parse().ok()?);
    Some(ChkconfigLine {
        levels,
        start: priority()?,
        stop: priority()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(number: u8) -> Priority {
        Priority::new(number).unwrap()
    }

    #[test]
    fn the_chkconfig_line_gives_levels_and_priorities() {
        let header = Header::parse(b"#!/bin/sh\n#\n# chkconfig: - 58 74\n# description: time\n");
        assert_eq!(
            header.chkconfig,
            Some(ChkconfigLine {
                levels: Runlevels::default(),
                start: priority(58),
                stop: priority(74),
            })
        );
    }

    #[test]
    fn a_malformed_line_is_no_header() {
        for script in [
            "# chkconfig: 2345 80\n",
            "# chkconfig: 2789 80 20\n",
            "# chkconfig: 2345 100 20\n",
            "chkconfig: 2345 80 20\n",
        ] {
            assert_eq!(
                Header::parse(script.as_bytes()).defaults(),
                None,
                "{script}"
            );
        }
    }

    #[test]
    fn lsb_levels_go_before_those_of_the_line() {
        let script = "# chkconfig: 2345 10 90\n### BEGIN INIT INFO\n# Provides: a b\n\
                      # Required-Start: $network\n# Default-Start: 3 5\n### END INIT INFO\n";
        let header = Header::parse(script.as_bytes());
        let defaults = header.defaults().unwrap();
        assert_eq!(defaults.levels, Runlevels::parse("35").unwrap());
        assert_eq!(defaults.start, priority(10));
        assert!(header.provides("x", "b"));
        assert!(!header.provides("x", "c"));
    }

    #[test]
    fn an_lsb_block_alone_starts_in_the_middle() {
        let script = "### BEGIN INIT INFO\n# Default-Start: 2 3\n### END INIT INFO\n";
        let defaults = Header::parse(script.as_bytes()).defaults().unwrap();
        assert_eq!(defaults.levels.to_string(), "23");
        assert_eq!(
            (defaults.start, defaults.stop),
            (Priority::MIDDLE, Priority::MIDDLE)
        );
    }

    #[test]
    fn a_block_that_does_not_end_is_none() {
        assert_eq!(
            Header::parse(b"### BEGIN INIT INFO\n# Default-Start: 2\n").lsb,
            None
        );
    }
}
