//! The `files/` tree of an overlay, and copying from its folder in general.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeValue;

use super::steps::{Context, Error};
use crate::config::boundary::{is_of_repository, of_repository, open_regular};
use crate::config::decode::{self, Rendered, Value};
use crate::config::readings::Readings;
use crate::config::{self, Account, Boundary, Diagnostic, Mode, Source, Variables, template};
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::glob::Pattern;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// The folder in an overlay that is copied onto `/`.
const FOLDER: &str = "files";

/// Permissions of a file that its owner may execute on the host.
const EXECUTABLE: u16 = 0o755;
/// Permissions of any other file.
const PLAIN: u16 = 0o644;

/// The `[files]` of an overlay: attributes for the paths that a pattern matches. A later pattern
/// overrides an earlier one.
#[derive(Debug, Clone, Default)]
pub struct FileRules {
    rules: Vec<(Pattern, Rule)>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    mode: Option<Mode>,
    owner: Option<Account>,
    group: Option<Account>,
}

impl FileRules {
    pub(super) fn decode(
        source: &Source,
        value: Option<Value<'_>>,
        variables: &Variables,
    ) -> Result<Self, Diagnostic> {
        let Some(value) = value else {
            return Ok(Self::default());
        };
        let literals = template::literals(&value, variables);
        let Rendered { value, typed } = template::render_all(source, value, variables, &literals)?;
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            return Err(source.error(span, "`files` must be a table of patterns"));
        };
        let rules = table.into_iter().map(|(key, value)| {
            let pattern = Pattern::parse(key.get_ref());
            let pattern = pattern.map_err(|e| source.error(key.span(), e.to_string()))?;
            let typed = typed.clone();
            let rule = decode::decode_rendered(source, Rendered { value, typed })?;
            Ok((pattern, rule))
        });
        let rules = rules.collect::<Result<_, Diagnostic>>()?;
        Ok(Self { rules })
    }

    /// The attributes from the patterns that match `path`.
    fn attributes(&self, context: &Context<'_, '_>, path: &ImagePath) -> Result<Attributes, Error> {
        let mut merged = Attributes::default();
        for (_, rule) in self
            .rules
            .iter()
            .filter(|(pattern, _)| pattern.matches(path))
        {
            let (owner, group) = (rule.owner.as_ref(), rule.group.as_ref());
            let given = context.attributes(rule.mode, owner, group)?;
            merged.permissions = given.permissions.or(merged.permissions);
            merged.uid = given.uid.or(merged.uid);
            merged.gid = given.gid.or(merged.gid);
        }
        Ok(merged)
    }
}

/// Whether a file of the overlay is copied as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rendering {
    /// Byte for byte.
    AsItIs,
    /// As a template with the overlay's variables.
    Template,
}

/// Lays the overlay's `files/`, if it has them, onto the root.
pub(super) fn lay(context: &mut Context<'_, '_>, rules: &FileRules) -> Result<(), Error> {
    let folder = context.folder.join(FOLDER);
    if !folder.is_dir() {
        context.readings.listed(&folder, Vec::new());
        return Ok(());
    }
    Boundary::of_folder(context.folder)?.check(&folder)?;
    for relative in context.readings.entries(&folder)? {
        let path = below(&ImagePath::root(), &relative)?;
        let attributes = rules.attributes(context, &path)?;
        put(
            context,
            &folder.join(&relative),
            &path,
            attributes,
            Rendering::AsItIs,
        )?;
    }
    Ok(())
}

/// Copies a file, link or folder of the host to `to`. The `attributes` apply to everything in it,
/// but a mode only to files.
pub(super) fn copy(
    context: &mut Context<'_, '_>,
    from: &Path,
    to: &ImagePath,
    attributes: Attributes,
    rendering: Rendering,
) -> Result<(), Error> {
    put(context, from, to, attributes, rendering)?;
    if host_metadata(from)?.is_dir() {
        for relative in context.readings.entries(from)? {
            let path = below(to, &relative)?;
            put(context, &from.join(&relative), &path, attributes, rendering)?;
        }
    }
    Ok(())
}

/// The path of something in the overlay's folder, with no link on the way that could lead out.
pub(super) fn host_path(folder: &Path, relative: &Path) -> Result<PathBuf, Error> {
    let mut path = folder.to_owned();
    if is_of_repository(relative) {
        return Err(of_repository(&folder.join(relative)).into());
    }
    let mut names = relative.components().peekable();
    while let Some(name) = names.next() {
        path.push(name);
        if names.peek().is_some() && host_metadata(&path)?.is_symlink() {
            let problem = "is a symbolic link, and the path must not lead through one".to_owned();
            return Err(config::Error::Unusable { path, problem }.into());
        }
    }
    host_metadata(&path)?;
    Ok(path)
}

/// What a step's `from` names in the overlay's folder.
pub(super) enum Named {
    /// The file or folder with exactly that path.
    One(PathBuf),
    /// All files and folders that match it as a pattern, in the order of their bytes; at least one.
    Matching(Vec<PathBuf>),
}

impl Named {
    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::One(file) => std::slice::from_ref(file),
            Self::Matching(files) => files,
        }
    }
}

/// Looks up a step's `from` in the overlay's folder. It is a pattern only if nothing has exactly
/// that path.
pub(super) fn named(folder: &Path, from: &Path, readings: &Readings) -> Result<Named, Error> {
    let missing = match host_path(folder, from) {
        Ok(path) => return Ok(Named::One(path)),
        Err(error) => error,
    };
    let text = from.as_os_str().as_bytes();
    if !text.iter().any(|byte| b"*?[{".contains(byte)) {
        return Err(missing);
    }
    let unusable = |problem: String| config::Error::Unusable {
        path: folder.join(from),
        problem,
    };
    let pattern = Pattern::parse(&format!("/{}", from.display()));
    let pattern = pattern.map_err(|error| unusable(format!("is not a pattern: {error}")))?;
    let mut found = Vec::new();
    for relative in readings.entries(folder)? {
        if !is_of_repository(&relative) && pattern.matches(&below(&ImagePath::root(), &relative)?) {
            found.push(host_path(folder, &relative)?);
        }
    }
    if found.is_empty() {
        return Err(unusable("matches nothing in the overlay".to_owned()).into());
    }
    Ok(Named::Matching(found))
}

fn host_metadata(path: &Path) -> Result<fs::Metadata, Error> {
    let metadata = fs::symlink_metadata(path);
    Ok(metadata.map_err(|source| config::Error::Io {
        path: path.to_owned(),
        source,
    })?)
}

fn below(to: &ImagePath, relative: &Path) -> Result<ImagePath, Error> {
    to.join(relative.as_os_str().as_bytes())
        .map_err(|e| Error::Unfit {
            path: to.clone(),
            problem: e.to_string(),
            hint: None,
        })
}

/// Copies one file, link or folder. A link in the image is followed if it leads to a directory and
/// a folder is copied to it; anything else that is in the way is replaced, unless it is a
/// directory.
fn put(
    context: &mut Context<'_, '_>,
    host: &Path,
    path: &ImagePath,
    mut attributes: Attributes,
    rendering: Rendering,
) -> Result<(), Error> {
    let metadata = host_metadata(host)?;
    if metadata.is_dir() {
        attributes.permissions = None;
        return put_folder(context, path, attributes);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(host).map_err(|source| config::Error::Io {
            path: host.to_owned(),
            source,
        })?;
        context.readings.link(host, target.as_os_str());
        context
            .editor
            .symlink(path, target.as_os_str().as_bytes())?;
        attributes.permissions = None;
        let editor = &mut *context.editor;
        return Ok(editor.set_attributes(path, LastLink::Keep, attributes)?);
    }
    if !metadata.is_file() {
        let path = host.to_owned();
        let problem = "is neither a folder nor a file nor a link".to_owned();
        return Err(config::Error::Unusable { path, problem }.into());
    }
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    context.readings.executable(host, is_executable);
    let mode = if is_executable { EXECUTABLE } else { PLAIN };
    let attributes = Attributes {
        permissions: attributes.permissions.or(Some(mode)),
        uid: attributes.uid.or(Some(0)),
        gid: attributes.gid.or(Some(0)),
    };
    let editor = &mut *context.editor;
    let io = |source| config::Error::Io {
        path: host.to_owned(),
        source,
    };
    let file = open_regular(host).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut file = context.readings.reader(host, file);
    match rendering {
        Rendering::AsItIs => {
            editor.write_from(path, LastLink::Keep, size, &mut file, attributes)?;
        }
        Rendering::Template => {
            let source = Source::from_file(file, host)?;
            let text = template::render_file(&source, context.variables);
            let text = text.map_err(config::Error::from)?;
            editor.write(path, LastLink::Keep, text.as_bytes(), attributes)?;
        }
    }
    Ok(())
}

/// An existing directory keeps its attributes, except those that are given.
fn put_folder(
    context: &mut Context<'_, '_>,
    path: &ImagePath,
    attributes: Attributes,
) -> Result<(), Error> {
    let place = tree::locate(context.editor.fs(), path, LastLink::Keep)?;
    let is_link = match place.node {
        Some(node) => {
            let metadata = context.editor.fs().metadata(node);
            metadata.is_ok_and(|metadata| metadata.file_type == FileType::Symlink)
        }
        None => false,
    };
    if is_link && !tree::exists(context.editor.fs(), path)? {
        return Err(Error::Unfit {
            path: path.clone(),
            problem: "is a link that leads nowhere, and a folder was to be copied there".to_owned(),
            hint: None,
        });
    }
    Ok(context.editor.mkdir_all(path, attributes)?)
}
