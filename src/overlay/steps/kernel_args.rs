//! `kernel_args`: what the boot loader passes to the kernel.

use serde::Deserialize;

use super::{Context, Error};
use imgasm_fs::path::ImagePath;
use imgasm_fs::text::editable;
use imgasm_fs::tree;
use imgasm_guest::files::{list, read_optional};
use imgasm_guest::keyfile::shell;
use imgasm_guest::known_path;

/// Where entries of the Boot Loader Specification are.
const ENTRIES: &str = "/boot/loader/entries";
/// What GRUB reads: the generated configuration, and that of its first version.
const GENERATED: [&str; 5] = [
    "/boot/grub2/grub.cfg",
    "/boot/grub/grub.cfg",
    "/boot/efi/EFI/amzn/grub.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
];
/// From what the configuration is generated when a kernel is installed.
const DEFAULTS: &str = "/etc/default/grub";
const CMDLINE: &str = "/etc/kernel/cmdline";

/// Adds arguments to every kernel that the boot loader offers, and takes others away, as
/// `grubby --update-kernel=ALL` does; kernels that are installed later get them, too.
///
/// `name=value` takes the place of another value of that name. To be taken away is an argument as it
/// stands, or, by its name alone, with any value.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct KernelArgs {
    add: Vec<String>,
    remove: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
}

impl TryFrom<Keys> for KernelArgs {
    type Error = &'static str;

    fn try_from(Keys { add, remove }: Keys) -> Result<Self, Self::Error> {
        if add.is_empty() && remove.is_empty() {
            return Err("there are no arguments to `add` or to `remove`");
        }
        Ok(Self { add, remove })
    }
}

impl KernelArgs {
    pub(super) fn apply(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let is_argument = |text: &String| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"'\"\\".contains(c))
        };
        if let Some(wrong) = self
            .add
            .iter()
            .chain(&self.remove)
            .find(|text| !is_argument(text))
        {
            return Err(unfit(
                "/boot",
                format!("{wrong:?} is no argument of a kernel"),
            ));
        }
        let mut kernels = 0;
        let entries = known_path(ENTRIES);
        let mut files: Vec<ImagePath> = Vec::new();
        if tree::exists(context.editor.fs(), &entries)? {
            let names = list(context.editor.fs(), &entries)?;
            let names = names.iter().filter(|(name, _)| name.ends_with(b".conf"));
            files.extend(names.map(|(name, _)| entries.child(name)));
        }
        files.sort();
        files.extend(GENERATED.map(known_path));
        for path in files {
            let Some(content) = read_optional(context.editor.fs(), &path)? else {
                continue;
            };
            let content = editable(&content);
            let mut changed = String::with_capacity(content.len());
            for line in content.split_inclusive('\n') {
                match arguments(line, path.starts_with(&entries)) {
                    Some((before, given)) => {
                        if given.contains("$kernelopts") {
                            let problem = "the arguments stand in the environment of GRUB";
                            return Err(unfit(&path.to_string(), problem));
                        }
                        kernels += 1;
                        let edited = self.edited(given);
                        if edited == given {
                            changed.push_str(line);
                            continue;
                        }
                        changed.push_str(before.trim_end());
                        changed.push(' ');
                        changed.push_str(&edited);
                        changed.push_str(&line[line.trim_end().len()..]);
                    }
                    None => changed.push_str(line),
                }
            }
            context.rewrite_text(&path, &changed)?;
        }
        if kernels == 0 {
            return Err(unfit(
                "/boot",
                "no boot loader's configuration starts a kernel",
            ));
        }
        self.edit_sources(context)
    }

    /// Edits that from which the configuration of a kernel is made that is installed later.
    fn edit_sources(&self, context: &mut Context<'_, '_>) -> Result<(), Error> {
        let path = known_path(CMDLINE);
        if let Some(content) = read_optional(context.editor.fs(), &path)? {
            let content = editable(&content);
            let end = &content[content.trim_end().len()..];
            let edited = format!("{}{end}", self.edited(content.trim_end()));
            context.rewrite_text(&path, &edited)?;
        }
        let path = known_path(DEFAULTS);
        let Some(content) = read_optional(context.editor.fs(), &path)? else {
            return Ok(());
        };
        let mut text = editable(&content);
        let without = Self {
            add: Vec::new(),
            remove: self.remove.clone(),
        };
        for (name, edit) in [
            ("GRUB_CMDLINE_LINUX_DEFAULT", &without),
            ("GRUB_CMDLINE_LINUX", self),
        ] {
            let key = |source| Error::Key {
                path: path.clone(),
                source,
            };
            let old = shell::value(&text, name).map_err(key)?;
            let new = edit.edited(old.as_deref().unwrap_or_default());
            if old.as_deref() != Some(new.as_str()) && !(old.is_none() && new.is_empty()) {
                text = shell::set(&text, name, &new, true).map_err(key)?;
            }
        }
        context.rewrite_text(&path, &text)
    }

    /// Arguments with the step carried out; as they are if there is nothing to do.
    fn edited(&self, given: &str) -> String {
        let mut words: Vec<&str> = words(given);
        let is_removed = |word: &&str| {
            let name = word.split_once('=').map_or(*word, |(name, _)| name);
            self.remove
                .iter()
                .any(|removed| removed == word || removed == name)
        };
        words.retain(|word| !is_removed(word));
        for add in &self.add {
            if words.contains(&add.as_str()) {
                continue;
            }
            if let Some((name, _)) = add.split_once('=') {
                words.retain(|word| word.split_once('=').is_none_or(|(other, _)| other != name));
            }
            words.push(add);
        }
        if words == self::words(given) {
            return given.to_owned();
        }
        words.join(" ")
    }
}

/// Words with blanks between them, which may have quotes.
fn words(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let is_between = |c: char| {
        is_quoted ^= c == '"';
        !is_quoted && c.is_ascii_whitespace()
    };
    text.split(is_between)
        .filter(|word| !word.is_empty())
        .collect()
}

/// A line that starts a kernel, up to its arguments, and these.
fn arguments(line: &str, is_entry: bool) -> Option<(&str, &str)> {
    let body = line.trim_end();
    let start = body.len() - body.trim_start().len();
    let rest = &body[start..];
    let word_end = rest.find([' ', '\t'])?;
    let skip = |from: usize| from + (body[from..].len() - body[from..].trim_start().len());
    let first = skip(start + word_end);
    let at = match (&rest[..word_end], is_entry) {
        ("options", true) => first,
        ("linux" | "linux16" | "linuxefi" | "kernel", false) => {
            let path_end = body[first..]
                .find([' ', '\t'])
                .map_or(body.len(), |end| first + end);
            skip(path_end)
        }
        _ => return None,
    };
    Some((&body[..at], &body[at..]))
}

fn unfit(path: &str, problem: impl Into<String>) -> Error {
    Error::Unfit {
        path: known_path(path),
        problem: problem.into(),
        hint: None,
    }
}
