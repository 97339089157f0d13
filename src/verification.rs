//! All checks of an image: its disk and filesystems, whether it can start, the volumes beside it, and
//! what its recipe expects.

use std::path::Path;

use serde::Serialize;

use crate::build;
use crate::config;
use crate::opener::{self, Opener};
use crate::recipe::Recipe;
use crate::recipe::volume::{Content, Filesystem};
use crate::verify::boot::{self, KnownFilesystem, Machine};
use crate::verify::expect::{Evaluator, InstalledPackages};
use crate::verify::{CheckResult, Verdict, consistency};
use imgasm_aws::wish::ImdsSupport;
use imgasm_block::BlockDevice;
use imgasm_disk::{Disk, Place};
use imgasm_fs::{FileSystem, tree};
use imgasm_guest::known_path;

/// Why an image could not be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the recipe says about how the AMI boots is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A volume beside the image could not be opened.
    #[error(transparent)]
    Open(#[from] opener::Error),
    /// The disk could not be read, or its root could not be found or opened.
    #[error(transparent)]
    Disk(#[from] imgasm_disk::Error),
    /// The root filesystem could not be looked at.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// What was found, counted.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Checks that found all well.
    pub passed: usize,
    /// Faults that do not make the image unusable.
    pub warned: usize,
    /// Faults that do.
    pub failed: usize,
    /// Checks for which there was nothing to check.
    pub skipped: usize,
    /// Every result, in the order of the checks.
    pub results: Vec<CheckResult>,
}

/// What is checked.
pub struct Subject<'a> {
    /// The file of the image; volumes are looked for beside it.
    pub path: &'a Path,
    /// The disk in it.
    pub disk: &'a Disk,
    /// The number of the root partition; `None` looks for the root.
    pub partition: Option<u32>,
    /// The recipe whose expectations the image is to meet.
    pub recipe: Option<&'a Recipe>,
}

/// Does all checks of an image.
///
/// # Errors
/// If the image has no readable root, because then nothing else can be said about it.
pub fn verify(subject: &Subject<'_>, opener: &mut Opener<'_>) -> Result<Summary, Error> {
    let ami = match subject.recipe {
        Some(recipe) => recipe.any_ami()?,
        None => None,
    };
    let disk = subject.disk;
    let place = disk.root(subject.partition)?;
    let mut results = vec![check_table(disk)];
    check_filesystems(disk, place, &mut results)?;
    let root = disk.open_filesystem(place)?;
    let mut known = boot::filesystems(disk)?;
    if let Some(recipe) = subject.recipe {
        check_volumes(recipe, subject.path, &mut known, &mut results, opener)?;
    }
    if tree::exists(root.as_ref(), &known_path("/etc"))? {
        results.extend(boot::lint(&Machine {
            root: root.as_ref(),
            disk: disk.table()?.is_some().then_some(disk),
            filesystems: known,
            boot_mode: ami.as_ref().and_then(|ami| ami.boot_mode),
            requires_token: ami.is_some_and(|ami| ami.imds_support == ImdsSupport::V2),
        }));
    } else {
        let message = "there is no /etc: this is not the root of a system".to_owned();
        results.push(CheckResult {
            check: "the machine can boot".to_owned(),
            verdict: Verdict::Skipped { message },
        });
    }
    if let Some(recipe) = subject.recipe {
        check_expectations(recipe, root.as_ref(), &mut results);
    }
    Ok(Summary::of(results))
}

fn check_expectations(recipe: &Recipe, root: &dyn FileSystem, results: &mut Vec<CheckResult>) {
    let evaluator = Evaluator {
        fs: root,
        packages: &InstalledPackages::of(root),
    };
    for expectation in &recipe.expectations {
        results.extend(evaluator.check(expectation));
    }
}

/// Checks what lies outside the filesystems.
fn check_table(disk: &Disk) -> CheckResult {
    let message = disk.warnings().join("; ");
    CheckResult {
        check: "partition table".to_owned(),
        verdict: if message.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Warned { message }
        },
    }
}

/// Checks every filesystem on the disk.
fn check_filesystems(
    disk: &Disk,
    root: Place,
    results: &mut Vec<CheckResult>,
) -> Result<(), Error> {
    for place in disk.places() {
        let Some(kind) = disk.probe(place)? else {
            continue;
        };
        let name = if place == root {
            "root filesystem".to_owned()
        } else {
            format!("{kind} of {place}")
        };
        match disk.open_filesystem(place) {
            Ok(fs) => results.extend(consistency::check(&name, fs.as_ref())),
            Err(error) if place == root => return Err(error.into()),
            Err(error) => results.push(CheckResult {
                check: format!("{name} is consistent"),
                verdict: Verdict::Skipped {
                    message: error.to_string(),
                },
            }),
        }
    }
    Ok(())
}

/// Checks the volumes of a recipe that lie beside the image, and adds all of them to what the
/// machine will have.
fn check_volumes(
    recipe: &Recipe,
    image: &Path,
    known: &mut Vec<KnownFilesystem>,
    results: &mut Vec<CheckResult>,
    opener: &mut Opener<'_>,
) -> Result<(), Error> {
    for volume in &recipe.volumes {
        let Content::Filesystem(filesystem) = &volume.content else {
            continue;
        };
        let expected = KnownFilesystem {
            kind: filesystem.kind.name().to_owned(),
            label: filesystem.label.as_str().as_bytes().to_vec(),
            uuid: build::volume_uuid(recipe, volume).to_string(),
            ..KnownFilesystem::default()
        };
        let path = image.with_file_name(build::volume_file(recipe, filesystem));
        results.extend(check_volume(filesystem, &expected, &path, opener)?);
        known.push(expected);
    }
    Ok(())
}

fn check_volume(
    filesystem: &Filesystem,
    expected: &KnownFilesystem,
    path: &Path,
    opener: &mut Opener<'_>,
) -> Result<Vec<CheckResult>, Error> {
    let name = format!("volume {}", filesystem.label.as_str());
    let result = |verdict| CheckResult {
        check: format!("{name} is as the recipe has it"),
        verdict,
    };
    if !path.exists() {
        let message = format!("there is no {}", path.display());
        return Ok(vec![result(Verdict::Skipped { message })]);
    }
    let disk = opener.open(path)?.disk;
    let place = disk.root(None)?;
    // There is nothing to check in swap space but what is expected of it.
    let mut results = match disk.probe(place)? {
        Some("swap") => Vec::new(),
        _ => consistency::check(&name, disk.open_filesystem(place)?.as_ref()),
    };
    let here = KnownFilesystem {
        place: Some(place),
        ..expected.clone()
    };
    let (len, wanted) = (disk.device().len(), filesystem.size.bytes());
    let found = boot::filesystems(&disk)?;
    let verdict = if len != wanted {
        let message = format!("it has {len} bytes, {wanted} are expected");
        Verdict::Failed { message }
    } else if found.contains(&here) {
        Verdict::Passed
    } else {
        let found = found.first();
        let found = found.map_or_else(|| "no filesystem".to_owned(), ToString::to_string);
        let message = format!("it holds {found}, expected is {expected}");
        Verdict::Failed { message }
    };
    results.push(result(verdict));
    Ok(results)
}

impl Summary {
    fn of(results: Vec<CheckResult>) -> Self {
        let of = |is: fn(&Verdict) -> bool| results.iter().filter(|r| is(&r.verdict)).count();
        Self {
            passed: of(|verdict| matches!(verdict, Verdict::Passed)),
            warned: of(|verdict| matches!(verdict, Verdict::Warned { .. })),
            failed: of(|verdict| matches!(verdict, Verdict::Failed { .. })),
            skipped: of(|verdict| matches!(verdict, Verdict::Skipped { .. })),
            results,
        }
    }
}
