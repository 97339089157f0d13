//! `alternatives` and `update-alternatives` as chkconfig has them: links that stand for one of several
//! files, by their priority or by choice.
//!
//! - [`state`]: what is written down of a name, and what changes in it.

mod state;

use super::super::{Run, Shell};
use imgasm_fs::FileType;
use state::{Alternative, Follower, Set};

/// Where the links lie.
const LINKS: &str = "/etc/alternatives";
/// Where the state of each name lies.
const STATES: &str = "/var/lib/alternatives";
/// The status of all failures.
const FAILED: u8 = 2;
/// The paths that are one in distributions that have merged these folders, and two in others.
const MERGED: [&str; 4] = ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"];

/// What the tool is to do.
enum Request {
    /// The link, the name, the alternative.
    Install(String, String, Alternative),
    Remove(String, String),
    RemoveAll(String),
    Auto(String),
    Set(String, String),
    Display(String),
}

impl Shell<'_, '_> {
    pub(super) fn alternatives(&mut self, arguments: &[String]) -> Run {
        if self.has_other_tool()? {
            return Err(self.unknown());
        }
        let Some(request) = request(arguments) else {
            return Err(self.unknown());
        };
        if !self.is_directory(LINKS)? {
            return Ok(FAILED);
        }
        if !self.is_directory(STATES)?
            && !self.make_folder(STATES, Some(0o755 & !self.umask), false)?
        {
            return Ok(FAILED);
        }
        match request {
            Request::Install(link, name, new) => self.install_alternative(link, &name, new),
            Request::Remove(name, target) => self.remove_alternative(&name, &target),
            Request::RemoveAll(name) => {
                let Some(set) = self.usable_set(&name)? else {
                    return Ok(FAILED);
                };
                let mut status = 0;
                for one in set.alternatives {
                    status |= self.remove_alternative(&name, &one.target)?;
                }
                Ok(status)
            }
            Request::Display(name) if self.nobody_listens() => {
                let is_usable = self.usable_set(&name)?.is_some();
                Ok(if is_usable { 0 } else { FAILED })
            }
            Request::Display(_) => Err(self.unknown()),
            Request::Auto(name) => {
                let Some(mut set) = self.usable_set(&name)? else {
                    return Ok(FAILED);
                };
                set.is_manual = false;
                self.write_set(&name, set, false)
            }
            Request::Set(name, target) => {
                let Some(mut set) = self.usable_set(&name)? else {
                    return Ok(FAILED);
                };
                self.check_merged(set.alternatives.iter().map(|one| &one.target), &target)?;
                let Some(found) = set.find(&target) else {
                    return Ok(FAILED);
                };
                set.current = Some(found);
                set.is_manual = true;
                self.write_set(&name, set, true)
            }
        }
    }

    /// Whether the image has Debian's tool of the name, which keeps its state in another way.
    fn has_other_tool(&self) -> Run<bool> {
        let has = |name: &str| -> Run<bool> {
            for folder in ["/usr/sbin", "/usr/bin"] {
                let kind = self.file_type_kept(&format!("{folder}/{name}"))?;
                if kind == Some(FileType::Regular) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(has("update-alternatives")? && !has("alternatives")?)
    }

    /// Where two paths lie in folders that are one for some builds of the tool, it is not known
    /// whether they are the same for this one.
    fn check_merged<'p>(&self, paths: impl Iterator<Item = &'p String>, other: &str) -> Run<()> {
        let rest = |path: &str| {
            let mut merged = MERGED.iter();
            merged.find_map(|folder| path.strip_prefix(folder).map(str::to_owned))
        };
        let mut paths = paths.filter(|path| path.as_str() != other);
        let of_other = rest(other);
        if of_other.is_some() && paths.any(|path| rest(path) == of_other) {
            return Err(self.unknown());
        }
        Ok(())
    }

    /// The state of a name and whether its link is there; `None` without a state.
    fn set_of(&self, name: &str) -> Run<Option<(Set, bool)>> {
        let path = format!("{STATES}/{name}");
        if self.metadata(&path)?.is_none() {
            return Ok(None);
        }
        let content = self.read_file(&path)?.ok_or_else(|| self.unknown())?;
        let set = String::from_utf8(content).ok();
        let set = set.and_then(|text| state::parse(&text));
        let mut set = set.ok_or_else(|| self.unknown())?;
        let link =
            crate::files::link_target(self.editor.fs(), &self.path(&format!("{LINKS}/{name}"))?)?;
        let Some(link) = link else {
            return Ok(Some((set, false)));
        };
        let link = String::from_utf8(link).map_err(|_| self.unknown())?;
        self.check_merged(set.alternatives.iter().map(|one| &one.target), &link)?;
        set.current = set.position(&link);
        // A link that somebody changed was a choice.
        set.is_manual |= set.current != Some(set.best);
        Ok(Some((set, true)))
    }

    /// The state of a name that has one, and its link.
    fn usable_set(&self, name: &str) -> Run<Option<Set>> {
        let found = self.set_of(name)?;
        Ok(found.filter(|(_, has_link)| *has_link).map(|(set, _)| set))
    }

    fn install_alternative(&mut self, link: String, name: &str, new: Alternative) -> Run {
        let Some((mut set, _)) = self.set_of(name)? else {
            let set = Set {
                is_manual: false,
                link,
                alternatives: vec![new],
                best: 0,
                current: None,
            };
            return self.write_set(name, set, false);
        };
        self.check_merged(std::iter::once(&set.link), &link)?;
        self.check_merged(set.alternatives.iter().map(|one| &one.target), &new.target)?;
        for follower in &new.followers {
            let known = set.alternatives.iter().flat_map(|one| &one.followers);
            self.check_merged(known.map(|one| &one.link), &follower.link)?;
        }
        if set.link != link {
            return Ok(FAILED);
        }
        let forces = set.position(&new.target).is_some();
        let (unused, is_sound) = set.add(new);
        for follower in &unused {
            self.remove_links(&follower.name, &follower.link)?;
        }
        if !is_sound {
            return Ok(FAILED);
        }
        self.write_set(name, set, forces)
    }

    fn remove_alternative(&mut self, name: &str, target: &str) -> Run {
        let Some(mut set) = self.usable_set(name)? else {
            return Ok(FAILED);
        };
        self.check_merged(set.alternatives.iter().map(|one| &one.target), target)?;
        let Some(place) = set.position(target) else {
            return Ok(FAILED);
        };
        if let [only] = set.alternatives.as_slice() {
            self.remove_links(name, &set.link)?;
            for follower in &only.followers {
                self.remove_links(&follower.name, &follower.link)?;
            }
            self.editor
                .remove_tree(&self.path(&format!("{STATES}/{name}"))?)?;
            return Ok(0);
        }
        let forces = set.remove(place);
        self.write_set(name, set, forces)
    }

    /// Writes the state down and makes the links, if they are not somebody's choice.
    fn write_set(&mut self, name: &str, mut set: Set, forces: bool) -> Run {
        let path = format!("{STATES}/{name}");
        let place = self.path(&path)?;
        if self.file_type_kept(&format!("{path}.new"))?.is_some() {
            return Ok(FAILED);
        }
        // A new file takes the place of what is there.
        self.editor.remove_tree(&place)?;
        self.write_file(&place, set.text().as_bytes(), 0o644)?;
        if !set.is_manual {
            set.current = Some(set.best);
        }
        let current = set.current.unwrap_or(0);
        let mut is_done = true;
        if forces || !set.is_manual {
            let one = &set.alternatives[current];
            is_done &= self.make_links(name, &set.link, &one.target)?;
            for follower in &one.followers {
                match &follower.target {
                    Some(target) => {
                        is_done &= self.make_links(&follower.name, &follower.link, target)?;
                    }
                    None => self.remove_links(&follower.name, &follower.link)?,
                }
            }
        }
        let services = set.alternatives.iter().enumerate();
        let services = services.map(|(index, one)| (index == current, one.service.as_ref()));
        // The one in use comes first.
        let (of_current, of_others): (Vec<_>, Vec<_>) = services.partition(|(is_it, _)| *is_it);
        for (is_current, service) in of_current.into_iter().chain(of_others) {
            if let Some(service) = service {
                self.switch_service(service, is_current)?;
            }
        }
        Ok(if is_done { 0 } else { FAILED })
    }

    /// A service is turned on with its alternative, and off without it. Its failure changes nothing.
    fn switch_service(&mut self, service: &str, is_on: bool) -> Run<()> {
        let unit = format!("{service}.service");
        let mut is_unit = false;
        for folder in ["/lib/systemd/system", "/etc/systemd/system"] {
            is_unit |= self.metadata(&format!("{folder}/{unit}"))?.is_some();
        }
        let words: &[&str] = match (is_unit, is_on) {
            (true, true) => {
                if self.service_command("systemctl", &owned(&["-q", "is-enabled", &unit]))? == 0 {
                    return Ok(());
                }
                &["systemctl", "-q", "preset", &unit]
            }
            (true, false) => &["systemctl", "-q", "disable", &unit],
            (false, true) => &["chkconfig", "--add", service],
            (false, false) => &["chkconfig", "--del", service],
        };
        self.service_command(words[0], &owned(&words[1..]))?;
        Ok(())
    }

    /// The link that people use leads to the one of the name, and that to the file.
    fn make_links(&mut self, name: &str, link: &str, target: &str) -> Run<bool> {
        let middle = format!("{LINKS}/{name}");
        let is_other =
            self.metadata(link)?.is_some() && self.file_type_kept(link)? != Some(FileType::Symlink);
        // What is no link stays, without a failure.
        Ok((is_other || self.lead(link, &middle)?) && self.lead(&middle, target)?)
    }

    /// Makes a link lead to a place; gives whether that was possible.
    fn lead(&mut self, link: &str, target: &str) -> Run<bool> {
        let path = self.path(link)?;
        match self.file_type_kept(link)? {
            Some(FileType::Symlink) => {
                let found = crate::files::link_target(self.editor.fs(), &path)?;
                if found.as_deref() == Some(target.as_bytes()) {
                    return Ok(true);
                }
            }
            Some(FileType::Directory) => return Ok(false),
            _ => {}
        }
        if !self.has_folder(link)? {
            return Ok(false);
        }
        self.make_link(&path, target.as_bytes())?;
        Ok(true)
    }

    fn remove_links(&mut self, name: &str, link: &str) -> Run<()> {
        for link in [format!("{LINKS}/{name}"), link.to_owned()] {
            if self.file_type_kept(&link)? == Some(FileType::Symlink) {
                let path = self.path(&link)?;
                self.editor.remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What the arguments ask for; `None` if they are wrong, or ask for what is not known here.
fn request(arguments: &[String]) -> Option<Request> {
    let mut words = arguments.iter().map(String::as_str).peekable();
    let is_path =
        |word: &&str| word.starts_with('/') && !word.contains("//") && !word.contains('\n');
    let is_name = |word: &&str| !word.contains('/') && !word.is_empty() && !word.contains('\n');
    let own = |word: &str| word.to_owned();
    let (mut request, mut followers) = (None, Vec::new());
    let (mut service, mut family) = (None, None);
    while let Some(word) = words.next() {
        let new = match word {
            "--slave" | "--follower" => {
                followers.push(Follower {
                    link: own(words.next().filter(is_path)?),
                    name: own(words.next().filter(is_name)?),
                    target: Some(own(words.next().filter(is_path)?)),
                });
                continue;
            }
            "--initscript" => {
                service = Some(own(words.next().filter(is_name)?));
                continue;
            }
            "--family" => {
                family =
                    Some(own(words.next().filter(is_name)?)).filter(|name| !name.contains('@'));
                family.as_ref()?;
                continue;
            }
            "--install" => {
                let link = own(words.next().filter(is_path)?);
                let name = own(words.next().filter(is_name)?);
                let new = Alternative {
                    target: own(words.next().filter(is_path)?),
                    priority: state::number_of(words.next()?)?,
                    family: None,
                    service: None,
                    followers: Vec::new(),
                };
                Request::Install(link, name, new)
            }
            "--remove" | "--set" => {
                let name = own(words.next().filter(is_name)?);
                let target = own(words.next().filter(|word| !word.contains("//"))?);
                match word {
                    "--remove" => Request::Remove(name, target),
                    _ => Request::Set(name, target),
                }
            }
            "--remove-all" => Request::RemoveAll(own(words.next().filter(is_name)?)),
            "--auto" => Request::Auto(own(words.next().filter(is_name)?)),
            "--display" => Request::Display(own(words.next().filter(is_name)?)),
            _ => return None,
        };
        if request.replace(new).is_some() {
            return None;
        }
    }
    match request? {
        Request::Install(link, name, new) => Some(Request::Install(
            link,
            name,
            Alternative {
                family,
                service,
                followers,
                ..new
            },
        )),
        request if followers.is_empty() && service.is_none() && family.is_none() => Some(request),
        _ => None,
    }
}
