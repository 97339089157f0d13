//! Overlays made on the spot and applied to a filesystem in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use imgasm::config::Setting;
use imgasm::overlay::{Applier, Overlay, OverlayFile, Report};
use imgasm_fs::Timestamp;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{Attributes, Editor, LastLink};
use tempfile::TempDir;

use imgasm_testkit::memory_fs::MemoryFs;

/// An overlay `test` of this `overlay.toml` and these other files; one whose name ends with `!` is
/// executable, and one whose content begins with `->` is a link.
pub fn folder(toml: &str, files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("overlay.toml"), toml).unwrap();
    for (name, content) in files {
        let path = folder.path().join(name.trim_end_matches('!'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = content.strip_prefix("->") {
            std::os::unix::fs::symlink(target, &path).unwrap();
            continue;
        }
        fs::write(&path, content).unwrap();
        let mode = if name.ends_with('!') { 0o700 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

/// Reads an overlay with some of its variables set; the folder's name is removed from errors.
pub fn load(folder: &Path, variables: &[(&str, &str)]) -> Result<Overlay, String> {
    let given = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| Setting::Text((*value).to_owned()).into())
    };
    let overlay = OverlayFile::read("test", folder).and_then(|file| file.resolve(given));
    overlay.map_err(|e| without(folder, &e.to_string()))
}

/// Applies overlays to a filesystem.
pub fn apply(fs: &mut MemoryFs, overlays: &[&Overlay]) -> Result<Report, String> {
    let mut applier = Applier::new(fs, Timestamp::default()).map_err(|e| e.to_string())?;
    for overlay in overlays {
        applier.apply(overlay).map_err(|e| e.to_string())?;
    }
    Ok(applier.finish())
}

/// Loads and applies one overlay, twice: the second run must change nothing.
pub fn apply_twice(
    fs: &mut MemoryFs,
    toml: &str,
    files: &[(&str, &str)],
) -> Result<Report, String> {
    let folder = folder(toml, files);
    let overlay = load(folder.path(), &[])?;
    let report = apply(fs, &[&overlay]).map_err(|e| without(folder.path(), &e))?;
    let (before, writes) = (fs.dump(), fs.writes);
    let again = apply(fs, &[&overlay]).map_err(|e| without(folder.path(), &e))?;
    assert!(!again.has_changed(), "{again:#?}");
    assert_eq!(fs.dump(), before);
    assert_eq!(fs.writes, writes, "the second run wrote");
    Ok(report)
}

/// A message without the name of a temporary folder.
pub fn without(folder: &Path, message: &str) -> String {
    message.replace(&format!("{}/", folder.display()), "")
}

/// A filesystem with these files; a content that begins with `->` makes a link, a path that ends
/// with `/` a directory.
pub fn image(files: &[(&str, &str)]) -> MemoryFs {
    let mut fs = MemoryFs::new();
    let mut editor = Editor::new(&mut fs);
    let plain = Attributes::default();
    for (path, content) in files {
        let is_directory = path.ends_with('/');
        let path = ImagePath::parse(path).unwrap();
        if is_directory {
            editor.mkdir_all(&path, plain).unwrap();
            continue;
        }
        editor.mkdir_all(&path.parent().unwrap(), plain).unwrap();
        match content.strip_prefix("->") {
            Some(target) => editor.symlink(&path, target.as_bytes()).unwrap(),
            None => editor
                .write(&path, LastLink::Keep, content.as_bytes(), plain)
                .unwrap(),
        }
    }
    fs
}

/// The text of a file.
pub fn text(fs: &MemoryFs, path: &str) -> String {
    let path = ImagePath::parse(path).unwrap();
    let content = imgasm_fs::tree::read_file(fs, &path, 1 << 20).unwrap();
    String::from_utf8(content).unwrap()
}
