//! Services that upstart starts: jobs in `/etc/init`.
//!
//! A job starts as its own `start on` says. It is turned off by the stanza `manual` in a file
//! `NAME.override` beside it: init(5), "Override files".

use super::{Error, Result};
use crate::files::{entry, read_optional};
use crate::known_path;
use imgasm_fs::FileSystem;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};

/// Whether there is a job of this name.
pub fn has_job(fs: &dyn FileSystem, job: &str) -> Result<bool> {
    Ok(entry(fs, &file(job, "conf"), LastLink::Follow)?.is_some())
}

/// Whether the job starts at boot.
pub fn is_enabled(fs: &dyn FileSystem, job: &str) -> Result<bool> {
    let text = read_optional(fs, &file(job, "conf"))?.ok_or_else(|| Error::Unknown {
        service: job.to_owned(),
    })?;
    let overriding = read_optional(fs, &file(job, "override"))?.unwrap_or_default();
    let starts = |text: &[u8]| has_start_after_manual(&String::from_utf8_lossy(text));
    Ok(starts(&overriding)
        .or_else(|| starts(&text))
        .unwrap_or(false))
}

/// Turns the job on or off, leaving other lines of its override as they are.
pub fn set(editor: &mut Editor<'_>, job: &str, enabled: bool) -> Result<()> {
    if is_enabled(editor.fs(), job)? == enabled {
        return Ok(());
    }
    let path = file(job, "override");
    let text = read_optional(editor.fs(), &path)?.unwrap_or_default();
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    if enabled {
        lines.retain(|line| line.trim_ascii() != b"manual");
        if lines.is_empty() {
            editor.remove_tree(&path)?;
        } else {
            editor.write(
                &path,
                LastLink::Follow,
                &lines.concat(),
                Attributes::default(),
            )?;
        }
        if !is_enabled(editor.fs(), job)? {
            return Err(Error::NeverStarted {
                job: job.to_owned(),
            });
        }
    } else {
        let ends = lines.last().is_none_or(|line| line.ends_with(b"\n"));
        lines.push(if ends { b"manual\n" } else { b"\nmanual\n" });
        editor.write(
            &path,
            LastLink::Follow,
            &lines.concat(),
            Attributes::default(),
        )?;
    }
    Ok(())
}

fn file(job: &str, suffix: &str) -> ImagePath {
    known_path("/etc/init").child(format!("{job}.{suffix}").as_bytes())
}

/// Whether the last of the stanzas `start on` and `manual` is the former; `None` if there is
/// neither.
fn has_start_after_manual(text: &str) -> Option<bool> {
    text.lines()
        .rev()
        .map(|line| line.split('#').next().unwrap_or_default())
        .find_map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("start"), Some("on")) => Some(true),
                (Some("manual"), None) => Some(false),
                _ => None,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::has_start_after_manual;

    #[test]
    fn the_last_stanza_counts() {
        assert_eq!(
            has_start_after_manual("start on started docker\nmanual # off\n"),
            Some(false)
        );
        assert_eq!(
            has_start_after_manual("manual\n  start on x\nexec y\n"),
            Some(true)
        );
        assert_eq!(has_start_after_manual("exec manual\n#manual\n"), None);
    }
}
