//! YAML, a document at a time. A scalar is its text, whatever YAML takes it for.

use saphyr_parser::{Event, Parser};

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A scalar.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in its order. Keys that are no scalars are left out.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(values) => {
                let mut values = values.iter();
                values.find(|(known, _)| known == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// The scalar at a key of a mapping.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The scalars of a list.
    pub fn texts(&self) -> Vec<String> {
        let Self::List(nodes) = self else {
            return Vec::new();
        };
        let texts = nodes.iter().filter_map(|node| match node {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }
}

/// A list or a mapping that is not finished yet, and the key whose value comes next.
enum Open {
    List(Vec<Node>),
    Table(Vec<(String, Node)>, Option<Node>),
}

/// Hands over each document of a text.
///
/// # Errors
/// What is wrong with it.
pub fn documents(
    text: &str,
    mut take: impl FnMut(Node) -> Result<(), String>,
) -> Result<(), String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let done = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Table(Vec::new(), None));
                None
            }
            Event::Scalar(text, ..) => Some(Node::Text(text.into_owned())),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(nodes)) => Some(Node::List(nodes)),
                Some(Open::Table(values, _)) => Some(Node::Table(values)),
                None => None,
            },
            Event::Alias(_) => return Err("it has an alias".to_owned()),
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(format!("its values lie more than {MAX_DEPTH} deep"));
        }
        let Some(node) = done else { continue };
        match open.last_mut() {
            None => take(node)?,
            Some(Open::List(nodes)) => nodes.push(node),
            Some(Open::Table(values, key)) => match key.take() {
                None => *key = Some(node),
                Some(Node::Text(key)) => values.push((key, node)),
                Some(_) => {}
            },
        }
    }
    Ok(())
}
