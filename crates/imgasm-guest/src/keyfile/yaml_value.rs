//! Whether a text of YAML says a certain value, in whichever style.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::Value;
use super::yaml::TYPED;

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 32;

/// What a document holds.
enum Node {
    /// A scalar without quotes, whose kind its text says.
    Plain(String),
    /// A text.
    Text(String),
    List(Vec<Node>),
    Table(Vec<(Node, Node)>),
}

/// A list or a mapping that is not finished yet, and the key whose value comes next.
enum Open {
    List(Vec<Node>),
    Table(Vec<(Node, Node)>, Option<Node>),
}

/// Whether a text is a mapping that has one key, with this value. What has tags or aliases is not taken
/// for anything.
pub(super) fn has_only(text: &str, value: &Value) -> bool {
    match read(text) {
        Some(Node::Table(entries)) => match entries.as_slice() {
            [(_, node)] => is(node, value),
            _ => false,
        },
        _ => false,
    }
}

fn read(text: &str) -> Option<Node> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.ok()?;
        let done = match event {
            Event::SequenceStart(_, None) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(_, None) => {
                open.push(Open::Table(Vec::new(), None));
                continue;
            }
            Event::Scalar(text, ScalarStyle::Plain, _, None) => Node::Plain(text.into_owned()),
            Event::Scalar(text, _, _, None) => Node::Text(text.into_owned()),
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(nodes) => Node::List(nodes),
                Open::Table(entries, None) => Node::Table(entries),
                Open::Table(_, Some(_)) => return None,
            },
            Event::StreamStart | Event::DocumentStart(_) => continue,
            _ => return None,
        };
        if open.len() > MAX_DEPTH {
            return None;
        }
        match open.last_mut() {
            None => return Some(done),
            Some(Open::List(nodes)) => nodes.push(done),
            Some(Open::Table(entries, key)) => match key.take() {
                None => *key = Some(done),
                Some(key) => entries.push((key, done)),
            },
        }
    }
    None
}

fn is(node: &Node, value: &Value) -> bool {
    match (node, value) {
        (Node::Text(found), Value::String(text)) => found == text,
        (Node::Plain(found), Value::String(text)) => found == text && is_text(found),
        (Node::Plain(found), Value::Integer(number)) => *found == number.to_string(),
        (Node::Plain(found), Value::Float(number)) => *found == format!("{number:?}"),
        (Node::Plain(found), Value::Boolean(flag)) => *found == flag.to_string(),
        (Node::List(nodes), Value::Array(values)) => {
            let mut pairs = nodes.iter().zip(values);
            nodes.len() == values.len() && pairs.all(|(node, value)| is(node, value))
        }
        (Node::Table(entries), Value::Table(table)) => {
            let mut entries_known = entries.iter();
            entries.len() == table.len()
                && entries_known.all(|(key, node)| match key {
                    Node::Plain(key) | Node::Text(key) => {
                        table.get(key).is_some_and(|value| is(node, value))
                    }
                    Node::List(_) | Node::Table(_) => false,
                })
        }
        _ => false,
    }
}

/// Whether every reader takes a scalar without quotes for a text.
fn is_text(plain: &str) -> bool {
    let is_number = plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    !is_number && !plain.is_empty() && !TYPED.contains(&plain.to_ascii_lowercase().as_str())
}
