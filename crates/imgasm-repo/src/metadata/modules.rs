//! `modules.yaml`: streams of modules, and which of them are the defaults
//! (libmodulemd, "YAML definitions": modulemd-stream-v1, modulemd-stream-v2, modulemd-defaults-v1).

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use super::yaml::Node;

/// The most bytes of the file. That of the largest distribution has a tenth of it.
const MAX_BYTES: u64 = 256 << 20;
/// The most streams in it, in all their versions. Distributions have some thousands.
const MAX_STREAMS: usize = 50_000;
/// The most modules and streams that one may name among its needs.
const MAX_NEEDS: usize = 1000;

/// What a repository, or a system, says of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// The streams, in all their versions.
    pub streams: Vec<Stream>,
    /// The defaults, by the names of modules.
    pub defaults: BTreeMap<String, Default>,
}

/// A version of a stream of a module, as it was built for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The name of the module.
    pub module: String,
    /// The name of the stream.
    pub stream: String,
    /// The version.
    pub version: u64,
    /// What it was built for.
    pub context: Option<String>,
    /// Whether that, and not its needs, tells it from others.
    pub is_static: bool,
    /// The architecture.
    pub arch: Option<String>,
    /// The modules that it needs, each with streams: one of these, and, after a `-`, none of these.
    pub requires: Vec<(String, Vec<String>)>,
    /// Its packages: `name-epoch:version-release.arch`.
    pub artifacts: Vec<String>,
}

/// What is taken of a module if nobody chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Default {
    /// The stream; `None` is none.
    pub stream: Option<String>,
    /// When this was said.
    pub modified: u64,
}

impl Modules {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(reader: impl BufRead) -> Result<Self, String> {
        let mut text = String::new();
        let read = reader.take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        if text.len() as u64 > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut modules = Self::default();
        super::yaml::documents(text, |document| modules.add(&document))?;
        Ok(modules)
    }

    /// Takes in a document. What is neither about streams nor defaults says nothing of packages.
    fn add(&mut self, document: &Node) -> Result<(), String> {
        let kind = document.text("document").unwrap_or_default();
        let version = document.text("version").unwrap_or_default();
        let Some(data) = document.get("data") else {
            return Ok(());
        };
        match (kind, version) {
            ("modulemd", "1" | "2") => {
                if self.streams.len() == MAX_STREAMS {
                    return Err(format!("it has more than {MAX_STREAMS} streams of modules"));
                }
                self.streams.push(stream(data, version == "1")?);
            }
            ("modulemd-defaults", "1") => {
                let module = data.text("module").ok_or("defaults have no `module`")?;
                let default = Default {
                    stream: data.text("stream").map(str::to_owned),
                    modified: number(data, "modified")?,
                };
                // Of several in one file, the last counts.
                self.defaults.insert(module.to_owned(), default);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in what another repository says. Of defaults that differ, the later one counts, and none
    /// if both are as old.
    pub fn merge(&mut self, other: Self) {
        self.streams.extend(other.streams);
        for (module, new) in other.defaults {
            let Some(old) = self.defaults.get_mut(&module) else {
                self.defaults.insert(module, new);
                continue;
            };
            let is_newer = new.modified > old.modified;
            match (&old.stream, &new.stream) {
                (_, None) => {}
                (None, Some(_)) => old.stream = new.stream,
                (Some(a), Some(b)) if a == b => {}
                (Some(_), Some(_)) if is_newer => old.stream = new.stream,
                (Some(_), Some(_)) if new.modified == old.modified => old.stream = None,
                (Some(_), Some(_)) => {}
            }
            old.modified = old.modified.max(new.modified);
        }
    }
}

fn stream(data: &Node, is_old: bool) -> Result<Stream, String> {
    let wanted = |key: &str| {
        let text = data.text(key).map(str::to_owned);
        text.ok_or_else(|| format!("a module has no `{key}`"))
    };
    let is_static = data.text("static_context") == Some("true");
    let artifacts = data.get("artifacts").and_then(|all| all.get("rpms"));
    let artifacts = artifacts.map(Node::texts).unwrap_or_default();
    let mut requires = Vec::new();
    let dependencies = data.get("dependencies");
    let blocks = dependencies.map(|all| match all {
        Node::List(blocks) => blocks.as_slice(),
        one => std::slice::from_ref(one),
    });
    for block in blocks.unwrap_or_default() {
        let Some(Node::Table(modules)) = block.get("requires") else {
            continue;
        };
        for (module, streams) in modules {
            let streams = match streams {
                // In the first version, it is one.
                Node::Text(stream) if is_old => vec![stream.clone()],
                other => other.texts(),
            };
            requires.push((module.clone(), streams));
        }
    }
    let needs = requires.iter().map(|(_, streams)| 1 + streams.len());
    if needs.sum::<usize>() > MAX_NEEDS {
        return Err(format!("a module names more than {MAX_NEEDS} needs"));
    }
    Ok(Stream {
        module: wanted("name")?,
        stream: wanted("stream")?,
        version: number(data, "version")?,
        context: data.text("context").map(str::to_owned),
        is_static,
        arch: data.text("arch").map(str::to_owned),
        requires,
        artifacts,
    })
}

fn number(data: &Node, key: &str) -> Result<u64, String> {
    let Some(text) = data.text(key) else {
        return Ok(0);
    };
    let number = text.parse();
    number.map_err(|_| format!("`{key}` of a module is {text:?}, which is no number"))
}
