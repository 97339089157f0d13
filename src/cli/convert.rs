//! `imgasm convert IN OUT`

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::Failure;
use super::output::{Output, bytes};
use super::progress::Bars;
use super::{Outcome, confine, image, target};
use crate::config::ByteSize;
use crate::environment::Environment;
use crate::sandbox::Needs;
use imgasm_block::ChunkMap;
use imgasm_container::{OutputFormat, Reading, write_file};

/// Write the disk in an image in another format. The same disk gives the same bytes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A disk image in any container that can be read.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// The format, if the name of the output does not say it. A vmdk is stream-optimized, a vhd dynamic.
    #[arg(long, value_name = "FORMAT", value_parser = format())]
    format: Option<OutputFormat>,
    /// Take the input as this, whatever it looks like. Without this, what is neither a container
    /// that can be read nor a disk or filesystem is an error.
    #[arg(long, value_name = "FORMAT", value_parser = ["raw"])]
    input_format: Option<String>,
    /// The most that may be unpacked from a compressed file or a tar, such as `200GiB`; without
    /// this, 16 GiB and about a thousand times the length of the file.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Read also what a qcow2 or VHD is based on, if it lies in the same folder.
    #[arg(long)]
    allow_backing: bool,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

/// Parses a format; completions know them.
fn format() -> impl TypedValueParser<Value = OutputFormat> {
    PossibleValuesParser::new(OutputFormat::names()).try_map(|name| name.parse())
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        let based = self.allow_backing.then(|| confine::folder_of(&self.input));
        Needs {
            write: vec![confine::folder_of(&self.output)],
            ..confine::reading(confine::of_image(&self.input).chain(based))
        }
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let path = &args.output;
    let named = || OutputFormat::of_name(path);
    let Some(format) = args.format.or_else(named) else {
        return Err(Failure::new(format!(
            "the name of {} does not say the format",
            path.display()
        ))
        .with_hint(
            "give --format, or one of the extensions .raw, .gz, .zst, .xz, .qcow2, .vmdk and .vhd",
        ));
    };
    if is_same_file(&args.input, path) {
        return Err(
            Failure::new(format!("{} is the input itself", path.display()))
                .with_hint("choose another name for the output"),
        );
    }
    target::refuse_existing(path, args.force)?;
    let bars = Bars::new();
    let reading = Reading {
        is_raw: args.input_format.is_some(),
        max_bytes: args.max_size.map(|size| size.0),
        allows_backing: args.allow_backing,
    };
    let cache = image::cache(environment)?.reading(reading);
    let opened = cache.open(&args.input, &bars.reading("reading"))?;
    if let Some(recovery) = &opened.recovery {
        image::tell_recovery(&args.input, recovery, output);
    }
    let chunk_map = ChunkMap::compute(&opened.device)?;
    let converted = imgasm_block::Output::create(path)?;
    converted.as_private_as(fs::metadata(&args.input)?.mode())?;
    write_file(
        &opened.device,
        &chunk_map,
        format,
        converted,
        &bars.reading("writing"),
    )?;
    bars.finish();
    let written = fs::metadata(path)?.len();
    output.note(
        "written",
        format_args!(
            "{format}, a disk of {}: {}",
            bytes(opened.device.len()),
            bytes(written)
        ),
    );
    output.line(path.display())?;
    Ok(Outcome::Done)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
