//! Compares an engine with the kernel on random images and edits, from seeds.
//!
//! ```text
//! cargo run -p imgasm-testkit --example differential -- --fs ext4 --set debian12 --seed 7 --count 50 --edits 500
//! ```
//!
//! Needs root for loop mounts. The first seed that fails is printed with what failed; its images
//! stay in the folder that is named, and with `--minimise` so does the shortest list of edits found
//! that fails in the same way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use imgasm_testkit::image::{Kind, Set, set, sets};
use imgasm_testkit::need;
use imgasm_testkit::populate::Amount;
use imgasm_testkit::trial::{Base, Failure};

/// Compare an engine with the kernel on random images and edits.
#[derive(Parser)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
struct Arguments {
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Ext4)]
    fs: Format,
    /// A feature set, or `all`.
    #[arg(long, default_value = "all")]
    set: String,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, each for every set.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// How many edits per seed.
    #[arg(long, default_value_t = 400)]
    edits: usize,
    /// Files in the populated tree, beside those of every kind.
    #[arg(long, default_value_t = Amount::MODERATE.files)]
    files: u64,
    /// Entries of the one large directory.
    #[arg(long, default_value_t = Amount::MODERATE.large_directory)]
    large_directory: u64,
    /// Pieces of the one fragmented file, and four times the gaps in the free space.
    #[arg(long, default_value_t = Amount::MODERATE.pieces)]
    pieces: u64,
    /// Give everything an SELinux label.
    #[arg(long)]
    labels: bool,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Look for a shorter list of edits that fails in the same way.
    #[arg(long)]
    minimise: bool,
    /// Compare the readers only.
    #[arg(long)]
    read_only: bool,
    /// Where failed images are kept.
    #[arg(long, default_value = "/tmp/imgasm-differential")]
    keep: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Ext4,
    Xfs,
}

impl Format {
    fn kind(self) -> Kind {
        match self {
            Self::Ext4 => Kind::Ext,
            Self::Xfs => Kind::Xfs,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kind = arguments.fs.kind();
    if !need::mounts(kind.tools()) {
        return ExitCode::from(2);
    }
    let chosen: Vec<_> = match arguments.set.as_str() {
        "all" => sets(kind).collect(),
        name => set(kind, name).into_iter().collect(),
    };
    if chosen.is_empty() {
        let names: Vec<_> = sets(kind).map(|set| set.name).collect();
        eprintln!(
            "no set {:?}; there are: {}",
            arguments.set,
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    let mut failures = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count) {
        for &set in &chosen {
            if !compare(&arguments, set, seed) {
                failures += 1;
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        println!("{failures} failed");
        ExitCode::FAILURE
    }
}

/// Makes one comparison and reports it; gives whether all was well.
fn compare(arguments: &Arguments, set: &'static Set, seed: u64) -> bool {
    let start = Instant::now();
    let kept = arguments.keep.join(format!("{}-{seed}", set.name));
    std::fs::create_dir_all(&kept).unwrap_or_else(|e| panic!("{}: {e}", kept.display()));
    let amount = Amount {
        files: arguments.files,
        large_directory: arguments.large_directory,
        pieces: arguments.pieces,
        labels: arguments.labels,
    };
    let base = Base::new(set, seed, amount, &kept);
    let result = base.check_reader().and_then(|()| {
        if arguments.read_only {
            Ok(())
        } else {
            check_edits(arguments, &base, &kept)
        }
    });
    let seconds = start.elapsed().as_secs_f32();
    match result {
        Ok(()) => {
            println!("{} seed {seed}: as the kernel, {seconds:.1} s", set.name);
            // The images of a success are not needed.
            let _ = std::fs::remove_dir_all(&kept);
            true
        }
        Err(failure) => {
            println!("{} seed {seed}: FAILED: {failure}", set.name);
            println!("images: {}", kept.display());
            false
        }
    }
}

fn check_edits(arguments: &Arguments, base: &Base, folder: &Path) -> Result<(), Failure> {
    let edits = base.edits(arguments.edits);
    let Err(failure) = base.check_edits(&edits, folder) else {
        return Ok(());
    };
    if !arguments.minimise {
        return Err(failure);
    }
    let (edits, failure) = base.minimise(&edits, failure, folder);
    println!("{} edits are enough:", edits.len());
    for edit in &edits {
        println!("    {edit:?}");
    }
    Err(failure)
}
