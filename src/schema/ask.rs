//! What a decoder takes, found out by giving it values.
//!
//! A value is put at a place, and what the decoder complains about shows whether it takes that kind of
//! value there: a complaint about the whole value says no; one about a part of it, or about anything
//! around it, says yes. The names of keys and of choices are in the complaints themselves.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::ValueDeserializer;

use super::{Schema, Table};

/// A key, and a text, that no decoder knows.
const UNKNOWN: &str = "\u{1}";

/// Texts of the kinds that there are: a decoder that takes text takes one of them.
const TEXTS: [&str; 19] = [
    "a",
    "/a",
    "a/b",
    "0644",
    "1GiB",
    "1 MiB",
    "1",
    "v2.0",
    "/dev/sdb",
    "ami-0123456789abcdef0",
    "2030-01-31T00:00:00Z",
    "us-east-1",
    "arn:aws:kms:us-east-1:123456789012:key/a",
    "arn:aws:organizations::123456789012:organization/o-abcdefghij",
    "123456789012",
    "linux",
    "!",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

/// Names in a table of names of one's own: a decoder that has one takes one of them.
const NAMES: [&str; 3] = ["a", "us-east-1", "/a"];

/// A way into a value.
enum Step {
    Key(String),
    Item,
}

/// What a decoder complains about.
struct Complaint {
    message: String,
    /// Whether it is about the whole of what was put there.
    is_about_all: bool,
}

/// What the decoder of a type takes.
pub fn ask<T: DeserializeOwned>() -> Schema {
    let decoder = Decoder {
        decode: &|text| {
            let value = ValueDeserializer::parse(text).and_then(T::deserialize);
            let error = value.err()?;
            Some((error.message().to_owned(), error.span()))
        },
    };
    decoder.describe(&mut Vec::new(), &[])
}

struct Decoder<'d> {
    /// Decodes a text; gives a complaint with its place.
    decode: &'d dyn Fn(&str) -> Option<Said>,
}

/// What a decoder said, and about which bytes, if it told.
type Said = (String, Option<Range<usize>>);

impl Decoder<'_> {
    /// What is complained about in a value, in TOML, at a path.
    fn complaint(&self, path: &[Step], value: &str) -> Option<Complaint> {
        let mut before = String::new();
        let mut after = String::new();
        for step in path {
            match step {
                Step::Key(key) => {
                    before.extend(["{ ", &quoted(key), " = "]);
                    after.insert_str(0, " }");
                }
                Step::Item => {
                    before.push('[');
                    after.insert(0, ']');
                }
            }
        }
        let place = before.len()..before.len() + value.len();
        let (message, span) = (self.decode)(&(before + value + &after))?;
        let span = span.unwrap_or(0..usize::MAX);
        let is_within = place.start <= span.start && span.end <= place.end;
        // A complaint about what is around it is none about this value, which was taken.
        is_within.then_some(Complaint {
            message,
            is_about_all: span == place,
        })
    }

    fn takes(&self, path: &[Step], value: &str) -> bool {
        match self.complaint(path, value) {
            None => true,
            Some(complaint) => {
                !complaint.is_about_all || complaint.message.starts_with("missing field")
            }
        }
    }

    /// What is taken at a path; `above` are the tables on the way there, by their keys.
    fn describe(&self, path: &mut Vec<Step>, above: &[&[String]]) -> Schema {
        let mut schema = Schema::default();
        self.describe_text(path, &mut schema);
        schema.is_integer = ["1", "8"].iter().any(|one| self.takes(path, one));
        schema.is_number = self.takes(path, "0.5");
        schema.is_boolean = self.takes(path, "true");
        for (is_taken, example) in [(schema.is_integer, "1"), (schema.is_boolean, "true")] {
            if is_taken && schema.example.is_empty() {
                example.clone_into(&mut schema.example);
            }
        }
        let lists = ["[]", "[\"a\"]", "[\"/a\"]", "[1]", "[{}]"];
        let is_list = lists.iter().any(|list| self.takes(path, list));
        schema.list = is_list.then(Box::default);
        if schema.anything() {
            return schema;
        }
        self.describe_table(path, above, &mut schema);
        // A table with known keys, and a choice, could also be written as the list of its values.
        let is_known = |table: &Table| !table.keys.is_empty();
        let is_choice = schema.text.as_ref().is_some_and(|text| !text.is_empty());
        if is_choice || schema.table.as_ref().is_some_and(is_known) {
            schema.list = None;
        } else if is_list {
            path.push(Step::Item);
            let item = self.describe(path, above);
            path.pop();
            if schema.example.is_empty() {
                schema.example = format!("[{}]", item.example);
            }
            schema.list = Some(Box::new(item));
        }
        schema
    }

    fn describe_text(&self, path: &[Step], schema: &mut Schema) {
        let complaint = self.complaint(path, &quoted(UNKNOWN));
        if let Some(choices) = complaint.and_then(|complaint| named(&complaint, "unknown variant"))
        {
            let is_plain = |choice: &String| self.takes(path, &quoted(choice));
            let plain: Vec<_> = choices.into_iter().filter(is_plain).collect();
            if let Some(first) = plain.first() {
                schema.example = quoted(first);
                schema.text = Some(plain);
            }
            return;
        }
        let texts = TEXTS.iter().map(|text| quoted(text));
        if let Some(example) = texts.into_iter().find(|text| self.takes(path, text)) {
            schema.text = Some(Vec::new());
            schema.example = example;
        }
    }

    fn describe_table(&self, path: &mut Vec<Step>, above: &[&[String]], schema: &mut Schema) {
        let unknown = format!("{{ {} = 1 }}", quoted(UNKNOWN));
        let complaint = self.complaint(path, &unknown);
        let keys = complaint.as_ref().and_then(|it| named(it, "unknown field"));
        let choices = complaint
            .as_ref()
            .and_then(|it| named(it, "unknown variant"));
        let is_choice = choices.is_some();
        let Some(mut keys) = keys.or(choices) else {
            schema.table = self.describe_names(path, above);
            if schema.table.is_some() && schema.example.is_empty() {
                "{}".clone_into(&mut schema.example);
            }
            return;
        };
        if is_choice {
            // What stands alone as a text holds nothing.
            let plain = schema.text.as_deref().unwrap_or_default();
            keys.retain(|key| !plain.contains(key));
        }
        if is_choice && keys.is_empty() {
            return;
        }
        if above.contains(&&keys[..]) {
            // It is a table like one that it is in.
            schema.table = Some(Table {
                others: Some(Box::default()),
                ..Table::default()
            });
            return;
        }
        let mut table = Table {
            is_choice,
            ..Table::default()
        };
        let above = [above, &[&keys[..]]].concat();
        for key in &keys {
            path.push(Step::Key(key.clone()));
            let value = self.describe(path, &above);
            path.pop();
            table.keys.push((key.clone(), value));
        }
        let example = if is_choice {
            let first = table.keys.first();
            first.map_or_else(String::new, |(key, value)| member(key, value))
        } else {
            self.describe_required(path, &mut table)
        };
        if schema.example.is_empty() {
            schema.example = format!("{{ {example} }}");
        }
        schema.table = Some(table);
    }

    /// A table with names of one's own, if one is taken.
    fn describe_names(&self, path: &mut Vec<Step>, above: &[&[String]]) -> Option<Table> {
        let mut found = None;
        for name in NAMES {
            if !self.takes(path, &format!("{{ {} = 1 }}", quoted(name))) {
                continue;
            }
            path.push(Step::Key(name.to_owned()));
            let value = self.describe(path, above);
            path.pop();
            let is_one = !value.example.is_empty() || value.table.is_some();
            found = Some(value);
            if is_one {
                break;
            }
        }
        Some(Table {
            others: Some(Box::new(found?)),
            ..Table::default()
        })
    }

    /// Finds out which keys must be there: the decoder misses one after the other. Gives an example of
    /// each.
    fn describe_required(&self, path: &[Step], table: &mut Table) -> String {
        let mut members = Vec::<String>::new();
        loop {
            let value = format!("{{ {} }}", members.join(", "));
            let complaint = self.complaint(path, &value);
            let missing = complaint
                .filter(|it| it.is_about_all)
                .and_then(|it| it.message.split('`').nth(1).map(str::to_owned));
            let known = missing.and_then(|missing| {
                let mut keys = table.keys.iter();
                keys.find(|(key, _)| *key == missing && !table.required.contains(key))
            });
            let Some((key, schema)) = known else {
                return members.join(", ");
            };
            members.push(member(key, schema));
            table.required.push(key.clone());
        }
    }
}

fn member(key: &str, value: &Schema) -> String {
    format!("{} = {}", quoted(key), value.example)
}

/// The names that a complaint of this kind lists; `None` if it is of another kind.
fn named(complaint: &Complaint, kind: &str) -> Option<Vec<String>> {
    let message = complaint.message.strip_prefix(kind)?;
    let names = message.split('`').skip(1).step_by(2).skip(1);
    Some(names.map(str::to_owned).collect())
}

/// A text in TOML. JSON's escapes are also TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[allow(dead_code, reason = "it is only asked about")]
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        name: toml::Spanned<String>,
        path: Option<Path>,
        owner: Account,
        #[serde(default)]
        tags: BTreeMap<String, String>,
        any: Option<serde_json::Value>,
        inner: Option<Vec<Inner>>,
        kind: Option<Kind>,
        action: Option<Action>,
    }

    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Path;

    impl TryFrom<String> for Path {
        type Error = &'static str;

        fn try_from(text: String) -> Result<Self, Self::Error> {
            let is_path = text.starts_with('/');
            is_path.then_some(Self).ok_or("not a path")
        }
    }

    #[allow(dead_code, reason = "it is only asked about")]
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Account {
        Number(u32),
        Name(String),
    }

    #[allow(dead_code, reason = "it is only asked about")]
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: Option<u32>,
        share: f64,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Plain,
        NotPlain,
    }

    #[allow(dead_code, reason = "it is only asked about")]
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Action {
        Make(Inner),
        Stop,
    }

    #[test]
    fn a_decoder_tells_what_it_takes() {
        let mut schema = ask::<Example>();
        let table = schema.table.clone().unwrap();
        assert_eq!(table.required, ["name", "owner"]);
        let at = |schema: &mut Schema, path: &[&str]| schema.at(path).unwrap().clone();
        let path = at(&mut schema, &["path"]);
        assert!(path.text.is_some() && !path.is_integer && !path.is_boolean);
        let owner = at(&mut schema, &["owner"]);
        assert!(owner.text.is_some() && owner.is_integer && owner.list.is_none());
        assert!(at(&mut schema, &["tags", "*"]).text.is_some());
        assert!(at(&mut schema, &["any"]).anything());
        let inner = at(&mut schema, &["inner"]);
        assert_eq!(inner.table.unwrap().required, ["share"]);
        assert!(at(&mut schema, &["inner", "share"]).is_number);
        assert!(!at(&mut schema, &["inner", "name"]).is_number);
        let kind = at(&mut schema, &["kind"]).text.unwrap();
        assert_eq!(kind, ["plain", "not-plain"]);
        let action = at(&mut schema, &["action"]);
        assert_eq!(action.text.unwrap(), ["stop"]);
        assert!(action.table.unwrap().is_choice);
    }
}
