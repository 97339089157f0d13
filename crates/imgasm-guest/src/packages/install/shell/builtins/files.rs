//! Commands that change files, with the options of GNU's coreutils.

use super::super::{Run, Shell};
use super::attributes::mode_of;
use super::options::{self, Options};
use imgasm_fs::FileType;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, LastLink};

/// What temporary files are called if nothing else is said.
const TEMPLATE: &str = "tmp.XXXXXXXXXX";
/// The most temporary files of one name.
const MAX_TEMPORARY: u32 = 100;

impl Shell<'_, '_> {
    pub(super) fn file_command(&mut self, name: &str, arguments: &[String]) -> Run {
        let long = [
            ("parents", 'p'),
            ("mode", 'm'),
            ("force", 'f'),
            ("recursive", 'r'),
            ("symbolic", 's'),
            ("no-dereference", 'n'),
            ("no-target-directory", 'T'),
            ("archive", 'a'),
            ("preserve", 'p'),
            ("verbose", 'v'),
            ("owner", 'o'),
            ("group", 'g'),
            ("directory", 'd'),
            ("no-create", 'c'),
            ("ignore-fail-on-non-empty", 'i'),
            ("relative", 'r'),
            ("no-clobber", 'n'),
        ];
        let meant = |long: &&(&str, char)| match long.0 {
            // These letters are those of other options elsewhere.
            "recursive" | "no-clobber" => name != "ln",
            "relative" | "no-dereference" => name == "ln",
            _ => true,
        };
        let long: Vec<_> = long.iter().filter(meant).copied().collect();
        let (flags, valued) = match name {
            "mkdir" => ("pv", "m"),
            "touch" => ("cam", ""),
            "rm" => ("frRv", ""),
            "rmdir" => ("pvi", ""),
            "ln" => ("sfnTvr", ""),
            "mv" => ("fTv", ""),
            "cp" => ("fprRaTvdn", ""),
            "install" => ("dDpvC", "mog"),
            _ => ("", ""),
        };
        let options = options::parse(arguments, flags, valued, &long);
        let options = options.filter(|options| options.are_only(flags));
        let options = options.ok_or_else(|| self.unknown())?;
        let says = options.has('v')
            && !matches!(self.descriptors.output, super::super::io::Output::Nowhere);
        if says {
            return Err(self.unknown());
        }
        for (index, operand) in options.operands.iter().enumerate() {
            let is_source = index + 1 < options.operands.len();
            if name != "install" || !is_source || operand != "/dev/null" {
                self.check_ordinary(operand)?;
            }
            if operand.is_empty() && !options.has('f') {
                // Nothing has this name: a failure, but others may come before it.
                let is_only = options.operands.len() == 1;
                let is_source = index == 0 && options.operands.len() == 2;
                let places = matches!(name, "ln" | "mv" | "cp" | "install");
                return if is_only || (places && is_source) {
                    Ok(1)
                } else {
                    Err(self.unknown())
                };
            }
            if operand.is_empty() && name != "rm" {
                return Err(self.unknown());
            }
        }
        match name {
            "mkdir" => self.mkdir(&options),
            "touch" => self.touch(&options),
            "rm" | "unlink" => self.rm(&options),
            "rmdir" => self.rmdir(&options),
            "install" => self.install(&options),
            _ => self.place_sources(name, &options),
        }
    }

    fn mkdir(&mut self, options: &Options) -> Run {
        let permissions = match options.value('m') {
            None => None,
            Some(mode) => {
                Some(mode_of(mode, 0o777, self.umask, true).ok_or_else(|| self.unknown())?)
            }
        };
        if options.operands.is_empty() {
            return Ok(1);
        }
        let mut status = 0;
        for operand in &options.operands {
            if let Some(found) = self.metadata(operand)? {
                let is_fine = options.has('p') && found.file_type == FileType::Directory;
                status |= u8::from(!is_fine);
            } else {
                let is_made = self.make_folder(operand, permissions, options.has('p'))?;
                status |= u8::from(!is_made);
            }
        }
        Ok(status)
    }

    /// Makes a folder that is not there, those above it too if that is asked for.
    pub(in super::super) fn make_folder(
        &mut self,
        text: &str,
        permissions: Option<u16>,
        parents: bool,
    ) -> Run<bool> {
        let path = self.path(text)?;
        let reached = match tree::reach(self.editor.fs(), &path, LastLink::Follow) {
            Ok(reached) => reached,
            Err(tree::Error::WrongType { .. } | tree::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if reached.place.node.is_some() {
            return self.is_directory(text);
        }
        // A link that leads nowhere is in the way.
        if reached.is_dangling || (!reached.rest.is_empty() && !parents) {
            return Ok(false);
        }
        let default = 0o777 & !self.umask;
        let [between, last] = [default, permissions.unwrap_or(default)].map(|mode| Attributes {
            permissions: Some(mode),
            ..Attributes::default()
        });
        self.inherited_group(&reached.place.path, true)?;
        self.editor.mkdir_missing(reached, between, last)?;
        Ok(true)
    }

    fn touch(&mut self, options: &Options) -> Run {
        let mut status = u8::from(options.operands.is_empty());
        for operand in &options.operands {
            let path = self.path(operand)?;
            if self.metadata(operand)?.is_some() {
                self.editor
                    .set_modified(&path, LastLink::Follow, self.now)?;
            } else if !options.has('c') {
                let is_made = !operand.ends_with('/') && self.write_file(&path, &[], 0o666)?;
                status |= u8::from(!is_made);
            }
        }
        Ok(status)
    }

    fn rm(&mut self, options: &Options) -> Run {
        let is_recursive = options.has('r') || options.has('R');
        let mut status = u8::from(options.operands.is_empty() && !options.has('f'));
        for operand in options
            .operands
            .iter()
            .filter(|operand| !operand.is_empty())
        {
            let path = self.path(operand)?;
            // GNU's rm refuses these, in words of its own.
            if path.is_root() || operand.ends_with("/.") || operand == "." {
                return Err(self.unknown());
            }
            let is_link = self
                .look(operand.trim_end_matches('/'), LastLink::Keep)?
                .is_some_and(|found| found.file_type == FileType::Symlink);
            if operand.ends_with('/') && is_link {
                return Err(self.unknown());
            }
            match self.file_type_kept(operand)? {
                None => status |= u8::from(!options.has('f')),
                Some(FileType::Directory) if !is_recursive => status = 1,
                Some(_) => {
                    self.editor.remove_tree(&path)?;
                }
            }
        }
        Ok(status)
    }

    fn rmdir(&mut self, options: &Options) -> Run {
        if options.has('p') || options.operands.is_empty() {
            return Err(self.unknown());
        }
        let mut status = 0;
        for operand in &options.operands {
            let path = self.path(operand)?;
            if self.file_type_kept(operand)? != Some(FileType::Directory) || path.is_root() {
                status = 1;
                continue;
            }
            if crate::files::list(self.editor.fs(), &path)?.is_empty() {
                self.editor.remove_tree(&path)?;
            } else {
                status |= u8::from(!options.has('i'));
            }
        }
        Ok(status)
    }

    /// `ln`, `mv`, `cp`: each source goes to the target, or into it if that is a folder.
    fn place_sources(&mut self, name: &str, options: &Options) -> Run {
        let (sources, target) = match options.operands.as_slice() {
            [] => return Ok(1),
            [source] if name == "ln" => (std::slice::from_ref(source), "."),
            [_] => return Ok(1),
            [sources @ .., target] => (sources, target.as_str()),
        };
        let last = match name {
            "ln" if options.has('n') => LastLink::Keep,
            _ => LastLink::Follow,
        };
        let found = self.look(target, last)?;
        let is_folder = found.is_some_and(|found| found.file_type == FileType::Directory);
        let goes_inside = is_folder && !options.has('T');
        if sources.len() > 1 && !goes_inside || target.ends_with('/') && !is_folder {
            return Ok(1);
        }
        let mut status = 0;
        for source in sources {
            let own = source.trim_end_matches('/');
            let name_of = own.rsplit('/').next().unwrap_or_default();
            if goes_inside && matches!(name_of, "" | "." | "..") {
                return Err(self.unknown());
            }
            let to = if goes_inside {
                format!("{}/{name_of}", target.trim_end_matches('/'))
            } else {
                target.to_owned()
            };
            let is_done = match name {
                "ln" => self.ln(source, &to, options)?,
                "mv" => self.mv(source, &to)?,
                _ => self.cp(source, &to, options)?,
            };
            status |= u8::from(!is_done);
        }
        Ok(status)
    }

    /// `mktemp`: a name that is free, with digits in the place of each X.
    pub(super) fn mktemp(&mut self, arguments: &[String]) -> Run {
        let long = [("directory", 'd'), ("quiet", 'q'), ("tmpdir", 'p')];
        let options = options::parse(arguments, "dqt", "p", &long);
        let options = options.filter(|options| options.operands.len() < 2);
        let options = options.ok_or_else(|| self.unknown())?;
        let template = options.operands.first().map_or(TEMPLATE, String::as_str);
        let folder = match (
            options.value('p'),
            options.operands.is_empty() || options.has('t'),
        ) {
            (Some(folder), _) => Some(folder),
            (None, true) if self.variable("TMPDIR").is_none() => Some("/tmp"),
            (None, true) => return Err(self.unknown()),
            (None, false) => None,
        };
        let digits = template.len() - template.trim_end_matches('X').len();
        if !(3..=18).contains(&digits) || (folder.is_some() && template.contains('/')) {
            return Err(self.unknown());
        }
        let stem = &template[..template.len() - digits];
        let stem = folder.map_or_else(|| stem.to_owned(), |folder| format!("{folder}/{stem}"));
        self.check_ordinary(&stem)?;
        for number in 0..MAX_TEMPORARY {
            let name = format!("{stem}{number:0digits$}");
            if self.file_type_kept(&name)?.is_some() {
                continue;
            }
            let path = self.path(&name)?;
            let is_made = if options.has('d') {
                self.make_folder(&name, Some(0o700 & !self.umask), false)?
            } else {
                self.write_file(&path, &[], 0o600)?
            };
            if !is_made {
                return Ok(1);
            }
            self.say_line(&name)?;
            return Ok(0);
        }
        Err(self.unknown())
    }

    /// Whether the folder is there in which a path lies.
    pub(super) fn has_folder(&self, text: &str) -> Run<bool> {
        let path = self.path(text)?;
        match path.parent() {
            Some(parent) => self.is_directory(&parent.to_string()),
            None => Ok(false),
        }
    }

    fn ln(&mut self, target: &str, link: &str, options: &Options) -> Run<bool> {
        let path = self.path(link)?;
        let found = self.file_type_kept(link)?;
        if found.is_some() && !options.has('f') || found == Some(FileType::Directory) {
            return Ok(false);
        }
        if !self.has_folder(link)? {
            return Ok(false);
        }
        if options.has('s') {
            let target = if options.has('r') {
                self.relative(link, target)?
            } else {
                target.to_owned()
            };
            self.make_link(&path, target.as_bytes())?;
            return Ok(true);
        }
        match self.metadata_kept(target)? {
            None => Ok(false),
            Some(found) if found.file_type == FileType::Directory => Ok(false),
            Some(_) => {
                let target = self.path(target)?;
                if self.same(&target, &path)? {
                    // Another name of the same file may stay, the same name is an error.
                    let parent = |path: &ImagePath| path.parent().unwrap_or_else(ImagePath::root);
                    let folder = |path: &ImagePath| -> Run<_> {
                        let (node, _) =
                            tree::resolve(self.editor.fs(), &parent(path), LastLink::Follow)?;
                        Ok(node)
                    };
                    let is_other_name = target.file_name() != path.file_name();
                    return Ok(is_other_name || folder(&target)? != folder(&path)?);
                }
                self.editor.hard_link(&path, &target)?;
                Ok(true)
            }
        }
    }

    /// What a link must say to lead to a place, from the folder that it lies in (`ln -r`).
    fn relative(&self, link: &str, target: &str) -> Run<String> {
        let real = |text: &str| -> Run<ImagePath> {
            let path = self.path(text)?;
            match tree::locate(self.editor.fs(), &path, LastLink::Follow) {
                Ok(place) => Ok(place.path),
                // Nothing on the way there: GNU's ln has its own idea then.
                Err(_) => Err(self.unknown()),
            }
        };
        let folder = self.path(link)?.parent().unwrap_or_else(ImagePath::root);
        let (folder, target) = (real(&folder.to_string())?, real(target)?);
        let (from, to): (Vec<_>, Vec<_>) = (folder.names().collect(), target.names().collect());
        let shared = from
            .iter()
            .zip(&to)
            .take_while(|(one, other)| one == other)
            .count();
        let up = std::iter::repeat_n(b"..".as_slice(), from.len() - shared);
        let way: Vec<_> = up.chain(to[shared..].iter().copied()).collect();
        if way.is_empty() {
            return Ok(".".to_owned());
        }
        String::from_utf8(way.join(&b'/')).map_err(|_| self.unknown())
    }

    /// Makes a symbolic link, which takes its group from its folder as a file does.
    pub(super) fn make_link(&mut self, path: &ImagePath, target: &[u8]) -> Run<()> {
        let folder = path.parent().unwrap_or_else(ImagePath::root);
        let name = path.file_name().unwrap_or_default();
        let (_, folder) = tree::resolve(self.editor.fs(), &folder, LastLink::Follow)?;
        let path = folder.child(name);
        // What is there already is no place that the link would lead to.
        self.editor.remove_tree(&path)?;
        let gid = self.inherited_group(&path, false)?;
        self.editor.symlink(&path, target)?;
        let attributes = Attributes {
            gid,
            ..Attributes::default()
        };
        self.editor
            .set_attributes(&path, LastLink::Keep, attributes)?;
        Ok(())
    }

    /// Whether two paths name one file.
    fn same(&self, one: &ImagePath, other: &ImagePath) -> Run<bool> {
        let node =
            |path| -> Run<_> { Ok(tree::locate(self.editor.fs(), path, LastLink::Keep)?.node) };
        let (one, other) = (node(one)?, node(other)?);
        Ok(one.is_some() && one == other)
    }

    pub(in super::super) fn mv(&mut self, source: &str, to: &str) -> Run<bool> {
        let (from, path) = (self.path(source)?, self.path(to)?);
        let Some(kind) = self.file_type_kept(source)? else {
            return Ok(false);
        };
        if source.ends_with('/') && kind != FileType::Directory || !self.has_folder(to)? {
            return Ok(false);
        }
        let is_folder = kind == FileType::Directory;
        let found = self.file_type_kept(to)?;
        let into_folder = found == Some(FileType::Directory);
        let is_full = into_folder && !crate::files::list(self.editor.fs(), &path)?.is_empty();
        let is_inside = path.starts_with(&from) || from.is_root();
        if found.is_some() && is_folder != into_folder || is_full || is_inside {
            return Ok(false);
        }
        if found.is_some() && self.same(&from, &path)? {
            return Err(self.unknown());
        }
        if into_folder {
            self.editor.remove_tree(&path)?;
        }
        self.editor.rename(&from, &path)?;
        Ok(true)
    }
}
