//! Files of packages that the image's own configuration leaves out: of other languages,
//! documentation, and what lies on shared filesystems (RPM's `skipInstallFiles`).

use std::collections::BTreeMap;

use super::super::Error;
use super::super::file_list::{flags, states};
use super::super::header::Header;
use super::super::tags;
use super::candidate::Candidate;
use crate::dnf;
use crate::files::{known_path, list, read_optional};
use imgasm_fs::path::ImagePath;
use imgasm_fs::{FileSystem, FileType};

/// How deep macros may be filled in within each other.
const MAX_NESTED: u32 = 16;
/// How many macros one may be made of.
const MAX_MACROS: u32 = 10_000;
/// How the names of files end that are not read.
const LEFT_BEHIND: [&[u8]; 4] = [b"~", b".rpmnew", b".rpmorig", b".rpmsave"];
/// The longest that a macro may become.
const MAX_VALUE: usize = 1 << 16;

/// What the image's configuration leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Omissions {
    /// The languages that there are to be; all if there are none here.
    languages: Vec<String>,
    without_documentation: bool,
    net_shared: Vec<String>,
}

impl Omissions {
    /// Reads RPM's macros and dnf's or yum's configuration.
    pub(super) fn read(fs: &dyn FileSystem) -> Result<Self, Error> {
        let macros = Macros::read(fs)?;
        let value = |name: &str| macros.value(name);
        let parts = |text: String| -> Vec<String> {
            let parts = text.split(':').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let mut languages = parts(value("_install_langs")?);
        if languages.iter().any(|language| language == "all") {
            languages.clear();
        }
        let documentation = value("_excludedocs")?;
        let is_number = documentation
            .trim()
            .parse()
            .is_ok_and(|number: i64| number != 0);
        Ok(Self {
            languages,
            without_documentation: is_number
                || documentation.starts_with(['y', 'Y'])
                || dnf::leaves_out_documentation(fs)?,
            net_shared: parts(value("_netsharedpath")?),
        })
    }

    /// The state of each file of a package, as its record is to have it.
    pub(super) fn states(&self, candidate: &Candidate) -> Vec<u64> {
        let mut found: Vec<_> = candidate.files.iter().map(|_| states::NORMAL).collect();
        if *self == Self::default() {
            return found;
        }
        let languages = languages(&candidate.rpm.header);
        // For each folder how many of its files are left, and whether some were left out.
        let mut folders: BTreeMap<ImagePath, (usize, bool)> = BTreeMap::new();
        for (index, file) in candidate.files.iter().enumerate() {
            let languages = languages.get(index).copied().unwrap_or_default();
            let is_other = !languages.is_empty() && !self.has_language(languages);
            let is_documentation = self.without_documentation && file.is(flags::DOCUMENTATION);
            if self.is_net_shared(file.path.as_bytes()) {
                found[index] = states::NET_SHARED;
            } else if is_other || is_documentation {
                found[index] = states::NOT_INSTALLED;
            }
            if let Some(folder) = file.path.parent() {
                let (left, is_emptied) = folders.entry(folder).or_default();
                let is_normal = found[index] == states::NORMAL;
                *left += usize::from(is_normal);
                *is_emptied |= !is_normal;
            }
        }
        // The package's own folders that are empty for this reason are left out too, those further
        // down first.
        let mut own: Vec<_> = candidate.files.iter().enumerate().collect();
        own.retain(|(_, file)| file.file_type == FileType::Directory);
        own.sort_by(|(_, one), (_, other)| other.path.cmp(&one.path));
        for (index, file) in own {
            let is_emptied = folders.get(&file.path) == Some(&(0, true));
            if !is_emptied || found[index] != states::NORMAL {
                continue;
            }
            found[index] = states::NOT_INSTALLED;
            let above = file.path.parent().and_then(|above| folders.get_mut(&above));
            if let Some((left, is_emptied)) = above {
                *left = left.saturating_sub(1);
                *is_emptied = true;
            }
        }
        found
    }

    /// Whether one of a file's languages (`de|de_AT`) is wanted: a wish for `de_DE` is one for `de`.
    fn has_language(&self, of_file: &[u8]) -> bool {
        let mut of_file = of_file
            .split(|byte| *byte == b'|')
            .filter(|one| !one.is_empty());
        self.languages.is_empty()
            || of_file.any(|one| {
                let mut wanted = self.languages.iter();
                wanted.any(|wanted| wanted.as_bytes().starts_with(one))
            })
    }

    /// Whether a path lies on a shared filesystem: it is named or lies below one that is; only right
    /// below if the name ends with a slash.
    pub(super) fn is_net_shared(&self, path: &[u8]) -> bool {
        self.net_shared.iter().any(|shared| {
            if let Some(folder) = shared.strip_suffix('/') {
                let above = path.iter().rposition(|byte| *byte == b'/');
                let above = above.map(|end| &path[..=end]);
                return path == folder.as_bytes() || above == Some(shared.as_bytes());
            }
            let rest = path.strip_prefix(shared.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// The languages of each file of a package.
fn languages(header: &Header) -> Vec<&[u8]> {
    header.texts(tags::FILE_LANGS)
}

/// RPM's macros of an image, by their names.
#[derive(Default)]
struct Macros(BTreeMap<String, String>);

impl Macros {
    /// Reads them in RPM's order; a later one takes the place of an earlier one.
    fn read(fs: &dyn FileSystem) -> Result<Self, Error> {
        let mut macros = Self::default();
        let folders = ["/usr/lib/rpm/macros.d", "/etc/rpm"];
        let mut paths = vec![known_path("/usr/lib/rpm/macros")];
        for folder in folders.map(known_path) {
            let names = list(fs, &folder)?.into_iter();
            // RPM passes over what editors and its own updates leave behind.
            let is_left_behind = |name: &[u8]| LEFT_BEHIND.iter().any(|end| name.ends_with(end));
            let names = names.filter(|(name, kind)| {
                let is_file = *kind != FileType::Directory;
                is_file && name.starts_with(b"macros.") && !is_left_behind(name)
            });
            paths.extend(names.map(|(name, _)| folder.child(&name)));
        }
        paths.push(known_path("/etc/rpm/macros"));
        for path in paths {
            if let Some(content) = read_optional(fs, &path)? {
                macros.add(&String::from_utf8_lossy(&content));
            }
        }
        Ok(macros)
    }

    fn add(&mut self, text: &str) {
        let joined = text.replace("\\\n", "\n\\");
        let mut lines = joined.lines().peekable();
        while let Some(line) = lines.next() {
            let definition = line.trim_start().strip_prefix('%');
            let Some((name, first)) = definition.and_then(|it| it.split_once([' ', '\t'])) else {
                continue;
            };
            let mut body = first.trim().to_owned();
            // What a backslash joined begins with one.
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix('\\')) {
                body.push('\n');
                body.push_str(more);
                lines.next();
            }
            self.0.insert(name.to_owned(), body);
        }
    }

    /// The value of a macro, empty if there is none.
    ///
    /// # Errors
    /// If it has something in it that only RPM can fill in.
    fn value(&self, name: &str) -> Result<String, Error> {
        let Some(body) = self.0.get(name) else {
            return Ok(String::new());
        };
        self.expand(body, 0, &mut 0).ok_or_else(|| Error::Macro {
            name: name.to_owned(),
            value: body.clone(),
        })
    }

    fn expand(&self, body: &str, depth: u32, filled_in: &mut u32) -> Option<String> {
        let mut text = String::new();
        let mut rest = body;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, behind) = match after.strip_prefix('{') {
                _ if after.starts_with('%') => {
                    text.push('%');
                    rest = &after[1..];
                    continue;
                }
                Some(inner) => inner.split_once('}')?,
                None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
            };
            if name.is_empty() || !name.chars().all(is_part) || depth == MAX_NESTED {
                return None;
            }
            *filled_in += 1;
            if *filled_in > MAX_MACROS {
                return None;
            }
            match self.0.get(name) {
                Some(body) => text.push_str(&self.expand(body, depth + 1, filled_in)?),
                None if name == "nil" => {}
                None => return None,
            }
            rest = behind;
            if text.len() > MAX_VALUE {
                return None;
            }
        }
        text.push_str(rest);
        Some(text)
    }
}
