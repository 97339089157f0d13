//! Options of commands.

/// The options and operands of a command.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// The letters that were given, long names by their letters.
    letters: String,
    /// The letters with a value, in order.
    pub values: Vec<(char, String)>,
    /// What is not an option.
    pub operands: Vec<String>,
}

impl Options {
    /// Whether an option was given.
    pub fn has(&self, letter: char) -> bool {
        self.letters.contains(letter)
    }

    /// The last value of an option.
    pub fn value(&self, letter: char) -> Option<&str> {
        let mut values = self.values.iter().rev();
        let (_, value) = values.find(|(found, _)| *found == letter)?;
        Some(value)
    }

    /// Whether nothing was given but these.
    pub fn are_only(&self, letters: &str) -> bool {
        self.letters.chars().all(|letter| letters.contains(letter))
    }
}

/// Takes arguments apart. `flags` are the letters without a value, `valued` those with one, `long`
/// the long names with their letters. `None` if there is an option that is not among them.
pub(super) fn parse(
    arguments: &[String],
    flags: &str,
    valued: &str,
    long: &[(&str, char)],
) -> Option<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            options.operands.extend(arguments.cloned());
            break;
        }
        if let Some(name) = argument.strip_prefix("--") {
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let (_, letter) = *long.iter().find(|(known, _)| *known == name)?;
            match (valued.contains(letter), value) {
                (true, Some(value)) => options.values.push((letter, value)),
                (true, None) => options.values.push((letter, arguments.next()?.clone())),
                (false, None) => options.letters.push(letter),
                (false, Some(_)) => return None,
            }
            continue;
        }
        let Some(letters) = argument
            .strip_prefix('-')
            .filter(|letters| !letters.is_empty())
        else {
            options.operands.push(argument.clone());
            continue;
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            if valued.contains(letter) {
                let rest = letters.as_str();
                let value = match rest {
                    "" => arguments.next()?.clone(),
                    rest => rest.to_owned(),
                };
                options.values.push((letter, value));
                break;
            }
            if !flags.contains(letter) {
                return None;
            }
            options.letters.push(letter);
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_values_and_operands() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let parse = |text: &str| super::parse(&arguments(text), "rf", "gu", &[("gid", 'g')]);
        let options = parse("-rg5 --gid=6 a -u 7 -- -b").unwrap();
        assert!(options.has('r') && !options.has('f') && options.are_only("rf"));
        assert_eq!(
            (options.value('g'), options.value('u')),
            (Some("6"), Some("7"))
        );
        assert_eq!(options.operands, ["a", "-b"]);
        for unknown in ["-x", "--long", "-g"] {
            assert!(parse(unknown).is_none(), "{unknown}");
        }
    }
}
