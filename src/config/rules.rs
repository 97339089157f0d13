//! What a variable may hold, beyond the kind of its default.

use regex::bytes::Regex;
use serde::Deserialize;

use super::Setting;
use super::decode::nearest;
use super::pattern::{Matches, PatternError, compile};

/// A kind of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of values.
    List,
    /// Values by name.
    Table,
}

impl Kind {
    /// A value of this kind.
    pub(super) fn example(self) -> Setting {
        match self {
            Self::Text => Setting::Text(String::new()),
            Self::Integer => Setting::Integer(0),
            Self::Number => Setting::Float(0.0),
            Self::Boolean => Setting::Boolean(false),
            Self::List => Setting::List(Vec::new()),
            Self::Table => Setting::Table(std::collections::BTreeMap::new()),
        }
    }
}

/// Rules for the value of a variable. Those about single values apply to each one in a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rules {
    /// The values that there are.
    pub(super) choices: Option<Vec<Setting>>,
    /// What the whole of a text matches.
    pub(super) pattern: Option<Pattern>,
    /// The least number.
    pub(super) min: Option<Bound>,
    /// The greatest number.
    pub(super) max: Option<Bound>,
}

/// No bound is "not a number".
impl Eq for Rules {}

impl Rules {
    /// Makes sure that a value keeps the rules.
    ///
    /// # Errors
    /// What it must be, to follow the value in a sentence.
    pub(super) fn check(&self, value: &Setting) -> Result<(), String> {
        if let (None, Setting::List(values)) = (self.choices_of_lists(), value) {
            return values.iter().try_for_each(|value| self.check(value));
        }
        if let Some(choices) = &self.choices
            && !choices.contains(value)
        {
            let choices: Vec<_> = choices.iter().map(ToString::to_string).collect();
            let known: Vec<_> = choices.iter().map(String::as_str).collect();
            let meant = nearest(&value.to_string(), &known);
            let meant =
                meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return Err(format!(
                "is none of the choices: {}{meant}",
                known.join(", ")
            ));
        }
        if let Some(pattern) = &self.pattern
            && !pattern.whole.is_match(value.to_string().as_bytes())
        {
            return Err(format!("does not match {:?}", pattern.text));
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "it is compared with a number that a person wrote"
        )]
        let number = match value {
            Setting::Integer(number) => Some(*number as f64),
            Setting::Float(number) => Some(*number),
            _ => None,
        };
        let bound = |bound: Option<Bound>| bound.map(|Bound(bound)| bound);
        match (number, bound(self.min), bound(self.max)) {
            (Some(number), Some(min), _) if number < min => Err(format!("is less than {min}")),
            (Some(number), _, Some(max)) if number > max => Err(format!("is more than {max}")),
            _ => Ok(()),
        }
    }

    /// The choices, if one of them is a list.
    fn choices_of_lists(&self) -> Option<&[Setting]> {
        let choices = self.choices.as_deref()?;
        let is_list = |choice: &Setting| matches!(choice, Setting::List(_));
        choices.iter().any(is_list).then_some(choices)
    }
}

/// A regular expression that the whole of a text is to match.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern {
    text: String,
    whole: Regex,
}

/// As they are written.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        let whole = compile(&text, Matches::Whole)?;
        Ok(Self { text, whole })
    }
}

/// A number that is a bound, whole or not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Setting")]
pub(super) struct Bound(f64);

impl TryFrom<Setting> for Bound {
    type Error = &'static str;

    fn try_from(value: Setting) -> Result<Self, &'static str> {
        match value {
            #[allow(clippy::cast_precision_loss, reason = "a bound that a person wrote")]
            Setting::Integer(number) => Ok(Self(number as f64)),
            Setting::Float(number) => Ok(Self(number)),
            _ => Err("a bound is a number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Keys {
        choices: Option<Vec<Setting>>,
        pattern: Option<Pattern>,
        min: Option<Bound>,
        max: Option<Bound>,
    }

    fn rules(text: &str) -> Rules {
        let keys: Keys = toml::from_str(text).unwrap();
        Rules {
            choices: keys.choices,
            pattern: keys.pattern,
            min: keys.min,
            max: keys.max,
        }
    }

    #[test]
    fn a_value_keeps_all_rules_or_the_first_broken_one_is_said() {
        let text = |text: &str| Setting::Text(text.to_owned());
        let choices = rules("choices = ['dev', 'prod']");
        assert_eq!(choices.check(&text("dev")), Ok(()));
        let said = choices.check(&text("test")).unwrap_err();
        assert_eq!(said, "is none of the choices: dev, prod");
        let said = choices.check(&text("prdo")).unwrap_err();
        assert_eq!(
            said,
            "is none of the choices: dev, prod; did you mean `prod`?"
        );
        let many = |values: &[&str]| Setting::List(values.iter().map(|v| text(v)).collect());
        assert_eq!(choices.check(&many(&["prod", "dev"])), Ok(()));
        assert!(choices.check(&many(&["prod", "test"])).is_err());
        let lists = rules("choices = [['dev'], []]");
        assert_eq!(lists.check(&many(&[])), Ok(()));
        assert!(lists.check(&many(&["prod"])).is_err());

        let pattern = rules("pattern = '[a-z]+|[0-9]'");
        assert_eq!(pattern.check(&text("web")), Ok(()));
        for wrong in ["web1", "1web", "web\n", "", "12"] {
            let said = pattern.check(&text(wrong)).unwrap_err();
            assert_eq!(said, "does not match \"[a-z]+|[0-9]\"");
        }
        let bounds = rules("min = 1\nmax = 2.5");
        for (number, is_good) in [(0.9, false), (1.0, true), (2.5, true), (2.6, false)] {
            assert_eq!(bounds.check(&Setting::Float(number)).is_ok(), is_good);
        }
        assert_eq!(bounds.check(&Setting::Integer(2)), Ok(()));
        let said = bounds.check(&Setting::Integer(3)).unwrap_err();
        assert_eq!(said, "is more than 2.5");
        assert!(toml::from_str::<Keys>("pattern = '('").is_err());
        assert!(toml::from_str::<Keys>("min = 'a'").is_err());
    }
}
