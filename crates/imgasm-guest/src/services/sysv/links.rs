//! The links in the runlevel directories, and which of them a service needs.

use super::header::{ChkconfigLine, Priority, Runlevels};

/// Whether a link starts or stops its service on entering the runlevel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// `S`.
    Start,
    /// `K`.
    Stop,
}

impl Action {
    const fn letter(self) -> char {
        match self {
            Self::Start => 'S',
            Self::Stop => 'K',
        }
    }
}

/// The name of a link in a runlevel directory: `S58ntpd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName {
    /// What it does.
    pub action: Action,
    /// When it does that.
    pub priority: Priority,
    /// To which service.
    pub service: String,
}

impl LinkName {
    /// Parses the name of a directory entry, if it is that of a runlevel link.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let (head, service) = name.split_at_checked(3)?;
        let action = match head[0] {
            b'S' => Action::Start,
            b'K' => Action::Stop,
            _ => return None,
        };
        let digits = std::str::from_utf8(&head[1..]).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || service.is_empty() {
            return None;
        }
        Some(Self {
            action,
            priority: Priority::new(digits.parse().ok()?)?,
            service: String::from_utf8(service.to_vec()).ok()?,
        })
    }

    /// The entry's name.
    pub fn file_name(&self) -> String {
        format!("{}{}{}", self.action.letter(), self.priority, self.service)
    }
}

/// The links of one service, one list per runlevel.
pub type ServiceLinks = [Vec<LinkName>; 7];

/// One change to a runlevel directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    /// The link is removed.
    Remove {
        /// The runlevel.
        level: u8,
        /// The link.
        link: LinkName,
    },
    /// The link is made, to the script in `init.d`.
    Make {
        /// The runlevel.
        level: u8,
        /// The link.
        link: LinkName,
    },
}

/// What is wanted from a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Only that every runlevel has a link (`chkconfig --add`).
    Add,
    /// Started in these runlevels (`chkconfig --level … on`).
    On(Runlevels),
    /// Stopped in these runlevels (`chkconfig --level … off`).
    Off(Runlevels),
}

/// The changes that give `service` the links that chkconfig(8) gives it: in the runlevels that
/// `wish` names, exactly the link asked for, with the priority of `defaults`; in the others, the
/// existing link, or the one of `defaults` if there is none.
pub fn plan_chkconfig(
    service: &str,
    defaults: &ChkconfigLine,
    wish: Wish,
    present: &ServiceLinks,
) -> Vec<LinkChange> {
    let mut changes = Vec::new();
    for (level, links) in Runlevels::all().zip(present) {
        let asked = match wish {
            Wish::On(levels) if levels.contains(level) => Some(Action::Start),
            Wish::Off(levels) if levels.contains(level) => Some(Action::Stop),
            _ => None,
        };
        let action = match asked {
            Some(action) => action,
            None if !links.is_empty() => continue,
            None if defaults.levels.contains(level) => Action::Start,
            None => Action::Stop,
        };
        let wanted = LinkName {
            action,
            priority: match action {
                Action::Start => defaults.start,
                Action::Stop => defaults.stop,
            },
            service: service.to_owned(),
        };
        replace(level, links, wanted, &mut changes);
    }
    changes
}

/// The changes that update-rc.d of Debian's init-system-helpers makes if no insserv computes an
/// order: a service without links gets those of its LSB block with priority 01; then the links in
/// the runlevels 2 to 5 are switched between start and stop.
///
/// `start` and `stop` are the block's `Default-Start` and `Default-Stop`.
pub fn plan_update_rc(
    service: &str,
    start: Runlevels,
    stop: Runlevels,
    enabled: bool,
    present: &ServiceLinks,
) -> Vec<LinkChange> {
    let turned = if enabled { Action::Start } else { Action::Stop };
    let has_links = present.iter().any(|links| !links.is_empty());
    let mut changes = Vec::new();
    for (level, links) in Runlevels::all().zip(present) {
        let toggled = start.contains(level) && Runlevels::SERVING.contains(level);
        if has_links {
            for link in links.iter().filter(|link| toggled && link.action != turned) {
                let wanted = LinkName {
                    action: turned,
                    ..link.clone()
                };
                replace(level, std::slice::from_ref(link), wanted, &mut changes);
            }
            continue;
        }
        let action = match (start.contains(level), stop.contains(level)) {
            (true, _) if toggled => turned,
            (true, _) => Action::Start,
            (false, true) => Action::Stop,
            (false, false) => continue,
        };
        let link = LinkName {
            action,
            priority: Priority::FIRST,
            service: service.to_owned(),
        };
        changes.push(LinkChange::Make { level, link });
    }
    changes
}

/// Leaves `wanted` as the only one of `links`.
fn replace(level: u8, links: &[LinkName], wanted: LinkName, changes: &mut Vec<LinkChange>) {
    let others = links.iter().filter(|link| **link != wanted).cloned();
    changes.extend(others.map(|link| LinkChange::Remove { level, link }));
    if !links.contains(&wanted) {
        changes.push(LinkChange::Make {
            level,
            link: wanted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(levels: &str) -> ChkconfigLine {
        ChkconfigLine {
            levels: Runlevels::parse(levels).unwrap(),
            start: Priority::new(58).unwrap(),
            stop: Priority::new(74).unwrap(),
        }
    }

    /// The names after `changes`, one word per runlevel.
    fn after(present: &ServiceLinks, changes: &[LinkChange]) -> String {
        let mut links = present.clone();
        for change in changes {
            match change {
                LinkChange::Remove { level, link } => {
                    let list = &mut links[usize::from(*level)];
                    let at = list.iter().position(|l| l == link).unwrap();
                    list.remove(at);
                }
                LinkChange::Make { level, link } => links[usize::from(*level)].push(link.clone()),
            }
        }
        links
            .map(|list| {
                list.iter()
                    .map(LinkName::file_name)
                    .collect::<Vec<_>>()
                    .join("+")
            })
            .join(" ")
    }

    #[test]
    fn names_are_taken_apart_and_put_together() {
        assert_eq!(LinkName::parse(b"S58ntpd").unwrap().file_name(), "S58ntpd");
        for other in [
            &b"README"[..],
            b"S5",
            b"S58",
            b"Sxxntpd",
            b"K+1a",
            b"X10a",
            b"",
        ] {
            assert_eq!(LinkName::parse(other), None);
        }
    }

    #[test]
    fn on_starts_in_the_serving_runlevels_and_stops_in_the_others() {
        let none = ServiceLinks::default();
        let changes = plan_chkconfig("n", &defaults("-"), Wish::On(Runlevels::SERVING), &none);
        assert_eq!(after(&none, &changes), "K74n K74n S58n S58n S58n S58n K74n");
    }

    #[test]
    fn off_replaces_start_links_whatever_their_priority() {
        let mut present = ServiceLinks::default();
        present[3] = vec![
            LinkName::parse(b"S12n").unwrap(),
            LinkName::parse(b"K74n").unwrap(),
        ];
        present[0] = vec![LinkName::parse(b"K10n").unwrap()];
        let changes = plan_chkconfig(
            "n",
            &defaults("2345"),
            Wish::Off(Runlevels::SERVING),
            &present,
        );
        assert_eq!(
            after(&present, &changes),
            "K10n K74n K74n K74n K74n K74n K74n"
        );
    }

    #[test]
    fn add_fills_gaps_only() {
        let mut present = ServiceLinks::default();
        present[2] = vec![LinkName::parse(b"K74n").unwrap()];
        let changes = plan_chkconfig("n", &defaults("23"), Wish::Add, &present);
        assert_eq!(
            after(&present, &changes),
            "K74n K74n K74n S58n K74n K74n K74n"
        );
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let mut present = ServiceLinks::default();
        for change in plan_chkconfig(
            "n",
            &defaults("-"),
            Wish::On(Runlevels::SERVING),
            &present.clone(),
        ) {
            if let LinkChange::Make { level, link } = change {
                present[usize::from(level)].push(link);
            }
        }
        let again = plan_chkconfig("n", &defaults("-"), Wish::On(Runlevels::SERVING), &present);
        assert_eq!(again, []);
    }

    #[test]
    fn update_rc_turns_links_and_keeps_their_priority() {
        let start = Runlevels::parse("2345").unwrap();
        let stop = Runlevels::parse("016").unwrap();
        let none = ServiceLinks::default();
        let changes = plan_update_rc("n", start, stop, true, &none);
        assert_eq!(after(&none, &changes), "K01n K01n S01n S01n S01n S01n K01n");

        let mut present = ServiceLinks::default();
        present[2] = vec![LinkName::parse(b"S05n").unwrap()];
        present[6] = vec![LinkName::parse(b"K03n").unwrap()];
        let changes = plan_update_rc("n", start, stop, false, &present);
        assert_eq!(after(&present, &changes), "  K05n    K03n");
    }
}
