//! The accounts that a package brings in `/usr/lib/sysusers.d`.

use super::super::Error;
use super::candidate::Candidate;
use crate::users::sysusers;
use imgasm_fs::Timestamp;
use imgasm_fs::tree::Editor;

/// Where packages put such files.
const FOLDER: &[u8] = b"/usr/lib/sysusers.d/";
/// The longest such file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Makes the accounts that the files of a package in `/usr/lib/sysusers.d` ask for, which its other
/// files may belong to.
pub(super) fn apply_sysusers(
    editor: &mut Editor<'_>,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<(), Error> {
    let mut files = candidate.files.iter();
    if !files.any(|file| file.path.as_bytes().starts_with(FOLDER)) {
        return Ok(());
    }
    let mut texts = String::new();
    candidate.unpack(|index, size, content| {
        let path = &candidate.files[index].path;
        if path.as_bytes().starts_with(FOLDER) && size <= LIMIT {
            let read = content.read_to_string(&mut texts);
            read.map_err(|error| candidate.unsound(format!("{path} cannot be read: {error}")))?;
            texts.push('\n');
        }
        Ok(())
    })?;
    Ok(sysusers::apply(editor, &texts, now)?)
}
