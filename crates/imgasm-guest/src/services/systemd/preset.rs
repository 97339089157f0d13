//! Preset rules: which units a distribution wants enabled.
//!
//! Format: systemd.preset(5).

use globset::{GlobBuilder, GlobSet};

use super::name::{NameKind, UnitName};

/// What presets say about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be enabled; for a template, these instances of it.
    Enable(Vec<String>),
    /// It is to be disabled.
    Disable,
    /// It is to be left alone.
    Ignore,
}

#[derive(Debug)]
struct Rule {
    pattern: GlobSet,
    verdict: Verdict,
}

/// The rules of all preset files, in their order.
#[derive(Debug, Default)]
pub struct Presets(Vec<Rule>);

impl Presets {
    /// Adds the rules of the next file. Lines that are not rules are skipped.
    pub fn read(&mut self, file: &[u8]) {
        for line in String::from_utf8_lossy(file).lines() {
            let line = line.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let verdict = match words.next() {
                Some("enable") => Verdict::Enable(Vec::new()),
                Some("disable") => Verdict::Disable,
                Some("ignore") => Verdict::Ignore,
                _ => continue,
            };
            let Some(pattern) = words.next().and_then(matcher) else {
                continue;
            };
            let verdict = match verdict {
                Verdict::Enable(_) => Verdict::Enable(words.map(str::to_owned).collect()),
                other => other,
            };
            self.0.push(Rule { pattern, verdict });
        }
    }

    /// What the first rule for `name` says; a unit without a rule is to be enabled. An instance is
    /// also found by a rule for its template that lists it.
    pub fn verdict(&self, name: &UnitName) -> Verdict {
        for rule in &self.0 {
            if let Verdict::Enable(instances) = &rule.verdict
                && !instances.is_empty()
            {
                let listed = match name.kind() {
                    NameKind::Plain => continue,
                    NameKind::Template => rule.pattern.is_match(name.as_str()),
                    NameKind::Instance(instance) => {
                        let by_template = name
                            .template()
                            .is_some_and(|template| rule.pattern.is_match(template.as_str()));
                        if by_template && instances.iter().any(|listed| listed == instance) {
                            return Verdict::Enable(Vec::new());
                        }
                        false
                    }
                };
                if listed {
                    return rule.verdict.clone();
                }
            } else if rule.pattern.is_match(name.as_str()) {
                return rule.verdict.clone();
            }
        }
        Verdict::Enable(Vec::new())
    }
}

/// The pattern as fnmatch(3) reads it without escapes; one that is malformed matches nothing.
fn matcher(pattern: &str) -> Option<GlobSet> {
    // Braces are ordinary characters to fnmatch and alternatives to globset.
    let literal_braces = pattern.replace('{', "[{]").replace('}', "[}]");
    GlobBuilder::new(&literal_braces)
        .backslash_escape(false)
        .build()
        .and_then(|glob| GlobSet::new([glob]))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_or_too_large_matches_nothing() {
        for pattern in ["[", &"?".repeat(1_000_000)] {
            let rules = format!("disable {pattern}\ndisable sshd.*\n");
            assert_eq!(verdict(&rules, "sshd.service"), Verdict::Disable);
            assert!(matches!(
                verdict(&rules, "other.service"),
                Verdict::Enable(_)
            ));
        }
    }

    fn verdict(rules: &str, name: &str) -> Verdict {
        let mut presets = Presets::default();
        presets.read(rules.as_bytes());
        presets.verdict(&UnitName::new(name).unwrap())
    }

    #[test]
    fn the_first_rule_wins_and_none_means_enable() {
        let rules = "# x\nenable sshd.*\ndisable *\n";
        assert_eq!(verdict(rules, "sshd.service"), Verdict::Enable(vec![]));
        assert_eq!(verdict(rules, "a.service"), Verdict::Disable);
        assert_eq!(verdict("", "a.service"), Verdict::Enable(vec![]));
        assert_eq!(verdict("ignore a*\n", "a.service"), Verdict::Ignore);
    }

    #[test]
    fn instances_are_listed_after_their_template() {
        let rules = "enable g@.service x y\ndisable *\n";
        let listed = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(verdict(rules, "g@.service"), Verdict::Enable(listed));
        assert_eq!(verdict(rules, "g@x.service"), Verdict::Enable(vec![]));
        assert_eq!(verdict(rules, "g@z.service"), Verdict::Disable);
    }
}
