//! What `/var/lib/alternatives` says of one name (`alternatives(8)` of chkconfig 1.30).
//!
//! A file of text lines: `auto` or `manual`, the link, then the name and the link of each follower and
//! an empty line; then for each alternative its path, its priority (`@family@` before it, the name of
//! a service behind it), and the path of each follower, an empty line if it has none.

/// A link that follows the choice of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Follower {
    /// Its name in `/etc/alternatives`.
    pub name: String,
    /// Where the link lies.
    pub link: String,
    /// Where it leads; nowhere if the alternative has no such file.
    pub target: Option<String>,
}

/// One of the files that a name may stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    pub target: String,
    pub priority: i32,
    pub family: Option<String>,
    /// A service that is on while the alternative is in use.
    pub service: Option<String>,
    pub followers: Vec<Follower>,
}

/// All that is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub is_manual: bool,
    /// Where the link lies.
    pub link: String,
    pub alternatives: Vec<Alternative>,
    /// The alternative of the highest priority.
    pub best: usize,
    /// The alternative that is in use.
    pub current: Option<usize>,
}

/// Takes a state apart; `None` if the tool would refuse it, or if it is not known here how the tool
/// reads it.
pub(super) fn parse(text: &str) -> Option<Set> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let is_plain = |line: &str| !line.starts_with(char::is_whitespace);
    let is_path = |line: &&str| line.starts_with('/') && !line.contains("//");
    let is_manual = match lines.next()? {
        "auto" => false,
        "manual" => true,
        _ => return None,
    };
    let link = lines.next().filter(is_path)?.to_owned();
    let mut followers = Vec::new();
    loop {
        let name = lines.next()?;
        if name.is_empty() {
            break;
        }
        if name.starts_with('/') || !is_plain(name) {
            return None;
        }
        followers.push((name, lines.next().filter(is_path)?));
    }
    let mut alternatives = Vec::new();
    while let Some(target) = lines.next() {
        if target.is_empty() {
            // Only empty lines may follow.
            if lines.any(|line| !line.is_empty()) {
                return None;
            }
            break;
        }
        let target = Some(target).filter(is_path)?.to_owned();
        let (priority, family, service) = priority(lines.next()?)?;
        let mut own = Vec::new();
        for (name, link) in &followers {
            let target = lines.next()?;
            if !target.is_empty() && !is_path(&target) {
                return None;
            }
            own.push(Follower {
                name: (*name).to_owned(),
                link: (*link).to_owned(),
                target: Some(target.to_owned()).filter(|target| !target.is_empty()),
            });
        }
        alternatives.push(Alternative {
            target,
            priority,
            family,
            service,
            followers: own,
        });
    }
    let mut set = Set {
        is_manual,
        link,
        alternatives,
        best: 0,
        current: None,
    };
    set.best = set.first_best()?;
    Some(set)
}

/// `@family@priority service`
fn priority(line: &str) -> Option<(i32, Option<String>, Option<String>)> {
    let (family, rest) = match line.strip_prefix('@') {
        Some(rest) => {
            let (family, rest) = rest.split_once('@').filter(|(name, _)| !name.is_empty())?;
            (Some(family.to_owned()), rest)
        }
        None => (None, line),
    };
    let (number, service) = rest.split_once(' ').unwrap_or((rest, ""));
    let service = Some(service.trim_start().to_owned()).filter(|name| !name.is_empty());
    Some((number_of(number)?, family, service))
}

/// A priority; numbers in other bases than ten are not known.
pub(super) fn number_of(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Set {
    /// The first alternative of the highest priority; `None` if there is none at all.
    fn first_best(&self) -> Option<usize> {
        let priority = self.alternatives.iter().map(|one| one.priority).max()?;
        let mut all = self.alternatives.iter();
        all.position(|one| one.priority == priority)
    }

    /// The state as the tool writes it.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![if self.is_manual { "manual" } else { "auto" }.to_owned()];
        lines.push(self.link.clone());
        let first = self.alternatives.first();
        for follower in first.iter().flat_map(|first| &first.followers) {
            lines.push(follower.name.clone());
            lines.push(follower.link.clone());
        }
        lines.push(String::new());
        for one in &self.alternatives {
            lines.push(one.target.clone());
            let family = one.family.as_ref().map(|family| format!("@{family}@"));
            let service = one.service.as_ref().map(|service| format!(" {service}"));
            let (family, service) = (family.unwrap_or_default(), service.unwrap_or_default());
            lines.push(format!("{family}{}{service}", one.priority));
            let targets = one.followers.iter().map(|follower| &follower.target);
            lines.extend(targets.map(|target| target.clone().unwrap_or_default()));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    pub(super) fn position(&self, target: &str) -> Option<usize> {
        let mut all = self.alternatives.iter();
        all.position(|one| one.target == target)
    }

    /// Adds an alternative, or puts it in the place of the one with its path. Gives the followers that
    /// nobody has any more, and whether each name of a follower stands for one link.
    pub(super) fn add(&mut self, new: Alternative) -> (Vec<Follower>, bool) {
        let mut columns = self.columns();
        for follower in &new.followers {
            if columns.iter().all(|column| column.link != follower.link) {
                columns.push(follower.clone());
            }
        }
        let mut unused = Vec::new();
        if let Some(place) = self.position(&new.target) {
            self.alternatives[place] = new;
            unused = self.take_unused(&mut columns);
        } else {
            if new.priority > self.alternatives[self.best].priority {
                self.best = self.alternatives.len();
            }
            self.alternatives.push(new);
        }
        let is_sound = self.align(columns);
        (unused, is_sound)
    }

    /// The followers of all alternatives.
    fn columns(&self) -> Vec<Follower> {
        let first = self.alternatives.first();
        first.map_or_else(Vec::new, |first| first.followers.clone())
    }

    /// Takes the followers away that no alternative has.
    fn take_unused(&self, columns: &mut Vec<Follower>) -> Vec<Follower> {
        let (mut unused, mut index) = (Vec::new(), 0);
        while let Some(column) = columns.get(index) {
            let mut all = self.alternatives.iter().flat_map(|one| &one.followers);
            if all.any(|one| one.name == column.name && one.target.is_some()) {
                index += 1;
            } else {
                unused.push(columns.swap_remove(index));
            }
        }
        unused
    }

    /// Gives all alternatives the same followers, in the order of their links; false if a name stands
    /// for two links.
    fn align(&mut self, mut columns: Vec<Follower>) -> bool {
        columns.sort_by(|one, other| one.link.as_bytes().cmp(other.link.as_bytes()));
        for alternative in &mut self.alternatives {
            let mut aligned = Vec::new();
            for column in &columns {
                let mut own = alternative.followers.iter();
                match own.find(|own| own.name == column.name) {
                    Some(own) if own.link != column.link => return false,
                    Some(own) => aligned.push(own.clone()),
                    None => aligned.push(Follower {
                        target: None,
                        ..column.clone()
                    }),
                }
            }
            alternative.followers = aligned;
        }
        true
    }

    /// Takes an alternative away, of which another is left; gives whether the links are to be made
    /// whatever the mode. Within the family of the one in use another of that family comes first.
    pub(super) fn remove(&mut self, place: usize) -> bool {
        let family = self
            .current
            .and_then(|current| self.alternatives[current].family.clone());
        let last = self.alternatives.len() - 1;
        self.alternatives.swap_remove(place);
        self.current = match self.current {
            Some(current) if current == place => None,
            Some(current) if current == last => Some(place),
            current => current,
        };
        self.best = 0;
        let is_of_family = |one: &Alternative| family.is_some() && one.family == family;
        for (index, one) in self.alternatives.iter().enumerate() {
            let best = &self.alternatives[self.best];
            let is_better = if is_of_family(one) == is_of_family(best) {
                one.priority > best.priority
            } else {
                is_of_family(one)
            };
            if is_better {
                self.best = index;
            }
        }
        let mut forces = false;
        if self.current.is_none() {
            if is_of_family(&self.alternatives[self.best]) {
                forces = true;
            } else {
                self.is_manual = false;
            }
            self.current = Some(self.best);
        }
        forces
    }

    /// The alternative of this path, or else the best of this family.
    pub(super) fn find(&self, target: &str) -> Option<usize> {
        self.position(target).or_else(|| {
            let mut found: Option<usize> = None;
            for (index, one) in self.alternatives.iter().enumerate() {
                let is_better =
                    found.is_none_or(|best| one.priority > self.alternatives[best].priority);
                if one.family.as_deref() == Some(target) && is_better {
                    found = Some(index);
                }
            }
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As chkconfig's own tool wrote it after two `--install`.
    const WRITTEN: &str = "auto\n/usr/bin/java\njavadoc\n/usr/bin/javadoc\nkeytool\n/usr/bin/keytool\n\n\
        /usr/lib/jvm/8/java\n@java-8@1800 app\n\n/usr/lib/jvm/8/keytool\n\
        /usr/lib/jvm/17/java\n1700\n/usr/lib/jvm/17/javadoc\n\n";

    #[test]
    fn what_is_read_is_written_again() {
        let set = parse(WRITTEN).unwrap();
        assert_eq!(set.text(), WRITTEN);
        assert_eq!(
            (set.is_manual, set.best, set.alternatives.len()),
            (false, 0, 2)
        );
        assert_eq!(set.alternatives[0].service.as_deref(), Some("app"));
        assert_eq!(set.alternatives[1].followers[1].target, None);
        assert_eq!(set.find("java-8"), Some(0));
    }

    #[test]
    fn a_broken_state_is_refused() {
        for (from, to) in [
            ("auto", "often"),
            ("/usr/bin/java\n", "java\n"),
            ("1700", "many"),
            ("1700", "0x10"),
            ("@java-8@", "@java-8"),
            ("javadoc\n/", "javadoc\n"),
            ("\n/usr/lib/jvm/17/javadoc\n\n", "\n"),
        ] {
            assert_ne!(WRITTEN.replace(from, to), WRITTEN);
            assert_eq!(parse(&WRITTEN.replace(from, to)), None, "{from} {to}");
        }
        for text in [
            "",
            "auto\n",
            "auto\n/a\n",
            "auto\n/a\n\n",
            "auto\n/a\n\n/b\n1\n\nmore\n",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
