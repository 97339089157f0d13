//! Commands that read lines or words and write them in another way, with the options of GNU's.

use super::super::{Run, Shell};
use super::options;

/// The most numbers that `seq` counts.
const MAX_NUMBERS: i64 = 10_000;

impl Shell<'_, '_> {
    pub(super) fn filter_command(&mut self, name: &str, arguments: &[String]) -> Run {
        match name {
            "sort" => self.sort(arguments),
            "uniq" => self.uniq(arguments),
            "tee" => self.tee(arguments),
            "seq" => self.seq(arguments),
            "expr" => self.expr(arguments),
            _ => self.cmp(arguments),
        }
    }

    /// `sort` by bytes, as in the C locale, or by whole numbers.
    fn sort(&mut self, arguments: &[String]) -> Run {
        let long = [("unique", 'u'), ("reverse", 'r'), ("numeric-sort", 'n')];
        let options = options::parse(arguments, "urn", "", &long).ok_or_else(|| self.unknown())?;
        let (mut lines, is_missing) = self.lines(&options.operands)?;
        if is_missing {
            // Nothing is sorted then.
            return Ok(2);
        }
        // Where capitals and other signs go is a question of the locale.
        let is_plain = |line: &String| {
            let bytes = line.bytes();
            bytes
                .clone()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if options.has('n') {
            let numbers: Option<Vec<i64>> = lines.iter().map(|line| line.parse().ok()).collect();
            numbers.ok_or_else(|| self.unknown())?;
            lines.sort_by_key(|line| line.parse::<i64>().unwrap_or_default());
        } else if lines.iter().all(is_plain) || lines.len() < 2 {
            lines.sort();
        } else {
            return Err(self.unknown());
        }
        if options.has('r') {
            lines.reverse();
        }
        if options.has('u') {
            lines.dedup();
        }
        for line in lines {
            self.say_line(&line)?;
        }
        Ok(0)
    }

    fn uniq(&mut self, arguments: &[String]) -> Run {
        if arguments.len() > 1 || arguments.iter().any(|argument| argument.starts_with('-')) {
            return Err(self.unknown());
        }
        let (mut lines, is_missing) = self.lines(arguments)?;
        lines.dedup();
        for line in lines {
            self.say_line(&line)?;
        }
        Ok(u8::from(is_missing))
    }

    fn tee(&mut self, arguments: &[String]) -> Run {
        let options = options::parse(arguments, "a", "", &[("append", 'a')]);
        let options = options.ok_or_else(|| self.unknown())?;
        let input = self.descriptors.input.read_all();
        self.say(&input)?;
        let mut status = 0;
        for file in &options.operands {
            let Some(output) = self.open(file, options.has('a'))? else {
                status = 1;
                continue;
            };
            let outer = std::mem::replace(&mut self.descriptors.output, output);
            let result = self.say(&input);
            self.descriptors.output = outer;
            result?;
        }
        Ok(status)
    }

    fn seq(&mut self, arguments: &[String]) -> Run {
        let numbers = arguments.iter().map(|text| {
            let number = text.parse::<i64>().ok();
            number.filter(|number| number.to_string() == *text)
        });
        let numbers = numbers.collect::<Option<Vec<_>>>();
        let (mut number, step, last) = match numbers.as_deref() {
            Some([last]) => (1, 1, *last),
            Some([first, last]) => (*first, 1, *last),
            Some([first, step, last]) if *step != 0 => (*first, *step, *last),
            _ => return Err(self.unknown()),
        };
        let mut count = 0;
        while if step > 0 {
            number <= last
        } else {
            number >= last
        } {
            self.say_line(&number.to_string())?;
            count += 1;
            number = number
                .checked_add(step)
                .filter(|_| count < MAX_NUMBERS)
                .ok_or_else(|| self.unknown())?;
        }
        Ok(0)
    }

    /// `expr` with two numbers, or two texts that are compared.
    fn expr(&mut self, arguments: &[String]) -> Run {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        let [left, operator, right] = words.as_slice() else {
            return Err(self.unknown());
        };
        let number = |text: &str| {
            let number: Option<i64> = text.parse().ok();
            number.filter(|number| number.to_string() == text)
        };
        let special = |text: &str| {
            matches!(
                text,
                "" | "(" | ")" | "+" | "match" | "substr" | "index" | "length"
            )
        };
        if special(left) || special(right) {
            return Err(self.unknown());
        }
        let value = match (number(left), *operator, number(right)) {
            (Some(left), "+", Some(right)) => left.checked_add(right),
            (Some(left), "-", Some(right)) => left.checked_sub(right),
            (Some(left), "*", Some(right)) => left.checked_mul(right),
            (Some(left), "/", Some(right)) if right != 0 => left.checked_div(right),
            (Some(left), "%", Some(right)) if right != 0 => left.checked_rem(right),
            (Some(left), "<", Some(right)) => Some(i64::from(left < right)),
            (Some(left), ">", Some(right)) => Some(i64::from(left > right)),
            (Some(left), "<=", Some(right)) => Some(i64::from(left <= right)),
            (Some(left), ">=", Some(right)) => Some(i64::from(left >= right)),
            (Some(left), "=", Some(right)) => Some(i64::from(left == right)),
            (Some(left), "!=", Some(right)) => Some(i64::from(left != right)),
            (None, "=", _) | (_, "=", None) => Some(i64::from(left == right)),
            (None, "!=", _) | (_, "!=", None) => Some(i64::from(left != right)),
            _ => None,
        };
        let value = value.ok_or_else(|| self.unknown())?;
        self.say_line(&value.to_string())?;
        Ok(u8::from(value == 0))
    }

    /// `cmp` of two files.
    fn cmp(&mut self, arguments: &[String]) -> Run {
        let long = [("quiet", 's'), ("silent", 's')];
        let options = options::parse(arguments, "s", "", &long).ok_or_else(|| self.unknown())?;
        let [one, other] = options.operands.as_slice() else {
            return Err(self.unknown());
        };
        let (one, other) = (self.read_file(one)?, self.read_file(other)?);
        let (Some(one), Some(other)) = (one, other) else {
            return Ok(2);
        };
        if one != other && !options.has('s') && !self.nobody_listens() {
            return Err(self.unknown());
        }
        Ok(u8::from(one != other))
    }
}
