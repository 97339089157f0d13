//! What `update-ca-certificates` makes: one file of all certificates, and a folder in which OpenSSL
//! finds each by its hash.

use super::java::{self, Place};
use super::{Certificate, Error};
use crate::files::{link_target, list, read_known, read_optional};
use crate::known_path;
use imgasm_fs::path::ImagePath;
use imgasm_fs::tree::{self, Attributes, Editor, LastLink};
use imgasm_fs::{FileType, Timestamp};

/// The distribution's certificates that are used, those with `!` before them being turned off.
pub(super) const LIST: &str = "/etc/ca-certificates.conf";
const DISTRIBUTION: &str = "/usr/share/ca-certificates";
const LOCAL: &str = "/usr/local/share/ca-certificates";
const FOLDER: &str = "/etc/ssl/certs";
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Programs that are run at the end. That of `ca-certificates-java` is known; what others do is not.
const HOOKS: &str = "/etc/ca-certificates/update.d";
const JAVA_HOOK: &[u8] = b"jks-keystore";
const KEYSTORE: &str = "/etc/ssl/certs/java/cacerts";

/// How deep folders of certificates are looked through.
const MAX_DEPTH: usize = 16;

/// Adds certificates to those of the administrator, and to all that is made of them.
pub(super) fn add(
    editor: &mut Editor<'_>,
    named: &[(String, &Certificate)],
    now: Timestamp,
) -> Result<(), Error> {
    for (name, _) in list(editor.fs(), &known_path(HOOKS))? {
        if name != JAVA_HOOK {
            return Err(Error::Unusable {
                path: known_path(HOOKS).child(&name),
                problem: "is run by update-ca-certificates, and what it does is not known; a \
                          `firstboot` step can run update-ca-certificates"
                    .to_owned(),
            });
        }
    }
    editor.mkdir_all(&known_path(LOCAL), Attributes::default())?;
    for (name, certificate) in named {
        let path = known_path(LOCAL).child(format!("{name}.crt").as_bytes());
        let pem = certificate.pem();
        editor.write(&path, LastLink::Keep, pem.as_bytes(), Attributes::default())?;
    }
    update(editor)?;
    let path = known_path(KEYSTORE);
    for (name, certificate) in named {
        if let Some(store) = read_optional(editor.fs(), &path)? {
            let alias = format!("debian:{name}.pem").to_ascii_lowercase();
            let store = java::with(&store, &path, certificate, &alias, Place::Last, now)?;
            editor.write(&path, LastLink::Follow, &store, Attributes::default())?;
        }
    }
    Ok(())
}

/// Does what the tool does, hooks aside.
fn update(editor: &mut Editor<'_>) -> Result<(), Error> {
    let conf = read_known(editor.fs(), LIST)?.unwrap_or_default();
    let conf = String::from_utf8_lossy(&conf).into_owned();
    let lines = || conf.lines().filter(|line| !line.is_empty());
    for name in lines().filter_map(|line| line.strip_prefix('!')) {
        let link = link_path(name.as_bytes());
        if link_target(editor.fs(), &link)?.is_some() {
            editor.remove_tree(&link)?;
        }
    }
    let mut paths = Vec::new();
    for name in lines().filter(|line| !line.starts_with(['!', '#'])) {
        let path = ImagePath::parse(format!("{DISTRIBUTION}/{name}"));
        // The tool says so too, and goes on.
        if let Ok(path) = path
            && tree::is_file(editor.fs(), &path)?
        {
            paths.push(path);
        }
    }
    let mut local = Vec::new();
    collect(editor, &known_path(LOCAL), MAX_DEPTH, &mut local)?;
    local.sort();
    paths.append(&mut local);

    let mut bundle = Vec::new();
    for path in &paths {
        let content = read_optional(editor.fs(), path)?.unwrap_or_default();
        let link = link_path(path.as_bytes());
        if link_target(editor.fs(), &link)?.as_deref() != Some(path.as_bytes()) {
            editor.symlink(&link, path.as_bytes())?;
            add_hash(editor, &link, &content)?;
        }
        bundle.extend_from_slice(&content);
        if !content.is_empty() && !content.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    let attributes = Attributes {
        permissions: Some(0o644),
        ..Attributes::default()
    };
    editor.write(&known_path(BUNDLE), LastLink::Keep, &bundle, attributes)?;
    remove_orphans(editor)
}

/// The files below the folder whose names end with `.crt`; links are followed.
fn collect(
    editor: &Editor<'_>,
    folder: &ImagePath,
    depth: usize,
    found: &mut Vec<ImagePath>,
) -> Result<(), Error> {
    if depth == 0 {
        return Err(Error::Unusable {
            path: folder.clone(),
            problem: format!("has more than {MAX_DEPTH} folders below each other"),
        });
    }
    for (name, kind) in list(editor.fs(), folder)? {
        let path = folder.child(&name);
        if kind == FileType::Directory {
            collect(editor, &path, depth - 1, found)?;
        } else if name.ends_with(b".crt") && tree::is_file(editor.fs(), &path)? {
            found.push(path);
        }
    }
    Ok(())
}

/// The link to a certificate in the folder of OpenSSL.
fn link_path(path: &[u8]) -> ImagePath {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let stem = name.strip_suffix(b".crt").unwrap_or(name);
    let kept = stem.iter().map(|byte| match byte {
        b' ' | b',' => b'_',
        b'(' | b')' => b'=',
        byte => *byte,
    });
    let name: Vec<u8> = kept.chain(*b".pem").collect();
    known_path(FOLDER).child(&name)
}

/// The link by which OpenSSL finds a certificate, as `openssl rehash` makes it: of files with exactly
/// one certificate, and of each certificate only once.
fn add_hash(editor: &mut Editor<'_>, link: &ImagePath, content: &[u8]) -> Result<(), Error> {
    let all = Certificate::all(content).unwrap_or_default();
    let ([certificate], Some(name)) = (all.as_slice(), link.file_name()) else {
        return Ok(());
    };
    let folder = known_path(FOLDER);
    let hash = certificate.hash();
    for number in 0_u32.. {
        let path = folder.child(format!("{hash}.{number}").as_bytes());
        let Some(target) = link_target(editor.fs(), &path)? else {
            return Ok(editor.symlink(&path, name)?);
        };
        let other = read_optional(editor.fs(), &path)?.unwrap_or_default();
        let others = Certificate::all(&other).unwrap_or_default();
        if target == name || others.contains(certificate) {
            break;
        }
    }
    Ok(())
}

/// Removes the links of the folder that lead nowhere.
fn remove_orphans(editor: &mut Editor<'_>) -> Result<(), Error> {
    let folder = known_path(FOLDER);
    for (name, kind) in list(editor.fs(), &folder)? {
        let path = folder.child(&name);
        if kind == FileType::Symlink && !tree::exists(editor.fs(), &path)? {
            editor.remove_tree(&path)?;
        }
    }
    Ok(())
}
