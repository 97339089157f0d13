//! `imgasm init DIR`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use super::Outcome;
use super::failure::Failure;
use super::output::Output;
use super::schema::Kind;

/// Where the schemas are put, for editors.
const RECIPE_SCHEMA: &str = "schemas/imgasm.json";
const OVERLAY_SCHEMA: &str = "schemas/overlay.json";

static OVERLAYS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/overlays");

/// What the recipe is to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Template {
    /// ECS container instances on Amazon Linux 2023
    Ecs,
    /// The same on Amazon Linux 1
    EcsAl1,
    /// Debian for a cloud
    Debian,
    /// As little as there can be
    Minimal,
}

impl Template {
    fn recipe(self) -> &'static str {
        match self {
            Self::Ecs => include_str!("init/ecs.toml"),
            Self::EcsAl1 => include_str!("init/ecs-al1.toml"),
            Self::Debian => include_str!("init/debian.toml"),
            Self::Minimal => include_str!("init/minimal.toml"),
        }
    }
}

/// Make a folder with a commented recipe and the stock overlays.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; it is made if it is missing. Nothing in it is replaced.
    dir: PathBuf,
    /// What the recipe begins with.
    #[arg(long, value_enum, default_value_t = Template::Ecs)]
    template: Template,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let mut files = vec![(
        PathBuf::from("imgasm.toml"),
        with_schema(args.template.recipe().as_bytes(), RECIPE_SCHEMA, ""),
    )];
    collect(&OVERLAYS, &mut files);
    for (path, kind) in [
        (RECIPE_SCHEMA, Kind::Recipe),
        (OVERLAY_SCHEMA, Kind::Overlay),
    ] {
        files.push((path.into(), format!("{:#}\n", kind.schema()).into_bytes()));
    }
    let taken = files
        .iter()
        .map(|(path, _)| args.dir.join(path))
        .find(|path| path.exists());
    if let Some(taken) = taken {
        return Err(
            Failure::new(format!("{} is there already", taken.display()))
                .with_hint("nothing was written; choose another folder, or move it away"),
        );
    }
    for (path, content) in &files {
        write(&args.dir.join(path), content)?;
    }
    output.note("recipe", args.dir.join("imgasm.toml").display());
    output.note("overlays", args.dir.join("overlays").display());
    Ok(Outcome::Done)
}

/// Every file of the stock overlays, under `overlays/`.
fn collect(folder: &'static Dir<'_>, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, files),
            DirEntry::File(file) => {
                let path = Path::new("overlays").join(file.path());
                let content = if path.ends_with("overlay.toml") {
                    with_schema(file.contents(), OVERLAY_SCHEMA, "../../")
                } else {
                    file.contents().to_vec()
                };
                files.push((path, content));
            }
        }
    }
}

/// A text in TOML whose first line names its schema.
fn with_schema(text: &[u8], schema: &str, above: &str) -> Vec<u8> {
    [format!("#:schema {above}{schema}\n").as_bytes(), text].concat()
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed =
        |error| Failure::from(error).in_context(format!("cannot write {}", path.display()));
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    fs::write(path, content).map_err(failed)?;
    // The program only holds contents; a script is recognised by its first line.
    if content.starts_with(b"#!") {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}
