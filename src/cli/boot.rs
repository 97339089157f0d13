//! `imgasm boot`

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::Bars;
use super::recipe::{self, RecipeArgs};
use super::{Outcome, confine, verify};
use crate::boot::running::Ending;
use crate::boot::{self, Acceleration, Look, Options, Report, Setup, Subject, Volume, junit};
use crate::build::{self, Bases};
use crate::config::Epoch;
use crate::environment::Environment;
use crate::recipe::Recipe;
use crate::recipe::volume::Content;
use crate::verification;
use crate::verify::Verdict;
use imgasm_aws::wish::ImdsSupport;
use imgasm_block::{BlockDevice, Hole};
use imgasm_disk::Disk;

/// The most bytes of user data that an instance can have (EC2 user guide, "Run commands when you launch
/// an EC2 instance with user data input").
const MOST_USER_DATA: u64 = 16 << 10;

/// The most bytes of a public key that are read: the longest have some thousand.
const MOST_SSH_KEY: u64 = 16 << 10;

/// Start an image in QEMU as EC2 would, and report whether it does what it should.
///
/// Without an image, what the recipe would build is started, and nothing is written. Neither the image
/// nor a volume is changed. The machine's network holds a metadata service and nothing else. The exit
/// status is 1 if a check fails.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    /// A disk image; without one, what the recipe would build.
    image: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Take this partition as the root, instead of the one that is found.
    #[arg(long, value_name = "N", requires = "image")]
    partition: Option<u32>,
    /// What runs the machine: auto takes KVM if it works.
    #[arg(long, value_enum, default_value = "auto")]
    accel: Acceleration,
    /// The machine's memory in MiB.
    #[arg(long, value_name = "MIB", default_value = "2048", value_parser = clap::value_parser!(u32).range(64..))]
    memory: u32,
    /// The machine's processors.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// How long it may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// The user data that the metadata service gives.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// The region that the metadata service gives.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Give the machine a TPM 2.0, whatever `tpm_support` of the recipe's `[ami]` says. Needs swtpm.
    #[arg(long)]
    tpm: bool,
    /// Show the console on stderr.
    #[arg(long)]
    console: bool,
    /// Forward this port of the host to the machine's SSH, and let a machine that came up run after its
    /// verdict, until it powers off or Ctrl-C is pressed.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ssh_port: Option<u16>,
    /// The public key that the metadata service gives, as that of an instance's key pair.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// Stay in the machine's console after everything was seen, until it powers off or Ctrl-] is pressed.
    #[arg(long)]
    shell: bool,
    /// Add no probe to the machine, and judge it by its console alone.
    #[arg(long)]
    no_probe: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Also write the results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let open = || opened(args, environment, output);
    let opened = confine::apart(confine::anything(), environment, open)?;
    let options = Options {
        acceleration: args.accel,
        memory_mib: args.memory,
        cpus: args.cpus,
        timeout: Duration::from_secs(args.timeout),
        ssh_port: args.ssh_port,
        has_probe: !args.no_probe,
        is_watched: args.console || args.shell,
    };
    let needs = || confine::reading(opened.files.iter().cloned());
    let setup = Setup::new(opened.look, &opened.subject, &options).map_err(told)?;
    let serve = || Ok(setup.serve(&opened.subject, &options)?);
    let served = confine::apart(needs(), environment, serve)?;
    let look = || Ok(lint(&opened, args, environment, output));
    let lint = || confine::apart(needs(), environment, look).unwrap_or_default();
    let (report, mut machine) = served.start(&options, lint).map_err(told)?;
    if let Some(path) = &args.junit {
        imgasm_block::Output::write(path, junit::render(&report).as_bytes())?;
    }
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    output.finish()?;
    if args.shell {
        output.note(
            "staying",
            "until the machine powers off or Ctrl-] is pressed",
        );
        machine.hand_over()?;
    } else if let Some(port) = args.ssh_port
        && matches!(report.ending, Ending::Seen | Ending::TimedOut)
    {
        let how = format!("ssh -p {port} USER@127.0.0.1");
        output.note(
            "staying",
            format_args!("until the machine powers off or Ctrl-C is pressed: {how}"),
        );
        machine.stay()?;
    }
    Ok(if report.failed == 0 {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

fn told(error: boot::Error) -> Failure {
    let hint = error.hint();
    Failure::advised(error, hint)
}

/// What is started.
struct Opened {
    recipe: Option<Recipe>,
    subject: Subject,
    look: Look,
    /// The files that it comes from.
    files: Vec<PathBuf>,
}

fn opened(args: &Args, environment: &Environment, output: &mut Output) -> Result<Opened, Failure> {
    let recipe = match (&args.image, args.recipe.is_given()) {
        (Some(_), false) => None,
        _ => Some(recipe::load(&args.recipe, environment)?),
    };
    if let Some(recipe) = &recipe {
        recipe::warn(recipe, output);
    }
    let given = args.user_data.iter().chain(&args.ssh_key);
    let mut files: Vec<PathBuf> = given.cloned().collect();
    match (&args.image, &recipe) {
        (Some(image), Some(recipe)) => files.extend(confine::of_built(image, recipe)),
        (Some(image), None) => files.extend(confine::of_image(image)),
        (None, Some(recipe)) => files.extend(confine::of_recipe(recipe)),
        (None, None) => {}
    }
    confine::narrow(&files, environment)?;
    let subject = match &args.image {
        Some(path) => of_image(path, args, recipe.as_ref(), environment, output)?,
        None => of_recipe(args, recipe.as_ref(), environment, output)?,
    };
    Ok(Opened {
        look: Look::at(&subject).map_err(told)?,
        recipe,
        subject,
        files,
    })
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    for result in &report.results {
        verify::print_result(result, output)?;
    }
    let section = |title: &str, lines: &[String], output: &mut Output| {
        if lines.is_empty() {
            return Ok(());
        }
        output.line("")?;
        output.line(format_args!("{title}:"))?;
        lines
            .iter()
            .try_for_each(|line| output.line(format_args!("  {line}")))
    };
    section("cause", &report.causes, output)?;
    for journal in &report.journals {
        section(
            &format!("journal of {}", journal.unit),
            &journal.lines,
            output,
        )?;
    }
    section("console", &report.console, output)?;
    let found = report.lint.iter().filter(|result| {
        matches!(
            result.verdict,
            Verdict::Failed { .. } | Verdict::Warned { .. }
        )
    });
    for (number, result) in found.enumerate() {
        if number == 0 {
            output.line("")?;
            output.line("without starting it, `verify` says:")?;
        }
        verify::print_result(result, output)?;
    }
    let by = if report.emulated { ", emulated" } else { "" };
    let times = [
        ("multi-user after", report.multi_user_seconds),
        ("up after", report.boot_seconds),
    ];
    let times = times
        .into_iter()
        .filter_map(|(what, seconds)| Some(format!("{what} {:.1} s", seconds?)));
    let times = times.collect::<Vec<_>>().join(" and ");
    let clock = match &*times {
        "" => String::new(),
        times => format!("{times} on the machine's clock, "),
    };
    if report.failed > 0 {
        output.line("")?;
    }
    output.line(format_args!(
        "{} passed, {} failed, {} warned, {} skipped; {clock}{:.1} s in all{by}",
        report.passed, report.failed, report.warned, report.skipped, report.host_seconds
    ))
}

/// What the recipe would build.
fn of_recipe(
    args: &Args,
    recipe: Option<&Recipe>,
    environment: &Environment,
    output: &mut Output,
) -> Result<Subject, Failure> {
    let recipe = recipe.ok_or_else(|| Failure::new("neither an image nor a recipe was given"))?;
    let bases = Bases::new(image::cache(environment)?);
    let built = recipe::prepare(recipe, &bases, &Bars::new(), output)?;
    let mut formatted = built.volumes.iter();
    let mut open = || -> Result<Arc<dyn BlockDevice>, Failure> {
        let volume = formatted.next();
        let volume = volume.ok_or_else(|| Failure::new("a volume was not made"))?;
        Ok(volume.1.delta.clone())
    };
    let volumes = volumes(recipe, &mut open, output)?;
    let mut subject = subject(&recipe.name, built.delta, args, Some(recipe))?;
    subject.partition = recipe.base.partition();
    subject.volumes = volumes;
    Ok(subject)
}

/// An image, with the volumes of its recipe that were built beside it.
fn of_image(
    path: &Path,
    args: &Args,
    recipe: Option<&Recipe>,
    environment: &Environment,
    output: &mut Output,
) -> Result<Subject, Failure> {
    let open = |path: &Path, output: &mut Output| {
        image::opening(environment, output, |opener| opener.container(path))
    };
    let device = open(path, output)?.device;
    let name = path.file_stem().unwrap_or(path.as_os_str());
    let mut subject = subject(&name.to_string_lossy(), device, args, recipe)?;
    subject.partition = args.partition;
    if let Some(recipe) = recipe {
        let mut beside = Vec::new();
        for volume in &recipe.volumes {
            if let Content::Filesystem(filesystem) = &volume.content {
                let file = path.with_file_name(build::volume_file(recipe, filesystem));
                beside.push(open(&file, output)?.device);
            }
        }
        let mut beside = beside.into_iter();
        let mut next = || {
            let device = beside.next();
            device.ok_or_else(|| Failure::new("a volume was not opened"))
        };
        subject.volumes = volumes(recipe, &mut next, output)?;
    }
    Ok(subject)
}

/// The volumes of a recipe; `formatted` gives the next one that has a filesystem.
fn volumes(
    recipe: &Recipe,
    formatted: &mut dyn FnMut() -> Result<Arc<dyn BlockDevice>, Failure>,
    output: &mut Output,
) -> Result<Vec<Volume>, Failure> {
    let mut volumes = Vec::new();
    for volume in &recipe.volumes {
        let name = volume.settings.device_name.as_str();
        let content: Arc<dyn BlockDevice> = match &volume.content {
            Content::None => continue,
            Content::Snapshot { snapshot_id, .. } => {
                output.warning(format_args!(
                    "{name}: the machine runs without the snapshot {snapshot_id}, which is in AWS"
                ));
                continue;
            }
            Content::Empty { size } => Arc::new(Hole::new(size.bytes())),
            Content::Filesystem(_) => formatted()?,
        };
        volumes.push(Volume {
            device_name: name.to_owned(),
            content,
        });
    }
    Ok(volumes)
}

fn subject(
    name: &str,
    disk: Arc<dyn BlockDevice>,
    args: &Args,
    recipe: Option<&Recipe>,
) -> Result<Subject, Failure> {
    let user_data = args.user_data.as_deref().map(user_data).transpose()?;
    let ami = match recipe {
        Some(recipe) => recipe.any_ami()?,
        None => None,
    };
    let root_device = ami
        .as_ref()
        .and_then(|ami| ami.ami_root_device.device_name.as_ref());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(Subject {
        name: name.to_owned(),
        disk,
        partition: None,
        root_device: root_device
            .map_or("/dev/xvda", |name| name.as_str())
            .to_owned(),
        volumes: Vec::new(),
        boot_mode: ami.as_ref().and_then(|ami| ami.boot_mode),
        live: recipe.map(|recipe| recipe.live.clone()).unwrap_or_default(),
        region: args.region.clone(),
        user_data,
        ssh_key: args.ssh_key.as_deref().map(ssh_key).transpose()?,
        has_tpm: args.tpm || ami.as_ref().is_some_and(|ami| ami.tpm_support.is_some()),
        requires_token: ami.is_some_and(|ami| ami.imds_support == ImdsSupport::V2),
        // The machine's clock is the host's.
        now: since
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or(Epoch::DEFAULT.seconds()),
    })
}

/// The beginning of a file that is to be small.
fn beginning(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    let read = fs::File::open(path);
    let read = read.and_then(|file| file.take(most).read_to_end(&mut data));
    read.map_err(|error| {
        Failure::from(error).in_context(format!("cannot read {}", path.display()))
    })?;
    Ok(data)
}

/// The public key in a file of OpenSSH (`sshd(8)`, "`AUTHORIZED_KEYS` FILE FORMAT", without options).
fn ssh_key(path: &Path) -> Result<String, Failure> {
    let data = beginning(path, MOST_SSH_KEY)?;
    let text = String::from_utf8_lossy(&data);
    let key = text.trim();
    let mut words = key.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let is_kind = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|start| kind.starts_with(start));
    let is_base64 = |word: &str| word.starts_with("AAAA");
    if !is_kind || !words.next().is_some_and(is_base64) || key.lines().count() != 1 {
        let what = format!("{} does not hold one public key of OpenSSH", path.display());
        return Err(Failure::new(what)
            .with_hint("`ssh-keygen` writes it beside the private key, as NAME.pub"));
    }
    Ok(key.to_owned())
}

/// The user data in a file.
fn user_data(path: &Path) -> Result<Vec<u8>, Failure> {
    let data = beginning(path, MOST_USER_DATA + 1)?;
    if data.len() as u64 > MOST_USER_DATA {
        let path = path.display();
        let what = format!("{path} has more than 16 KiB: EC2 takes no more as user data");
        return Err(Failure::new(what).with_hint("cloud-init also reads it packed with gzip"));
    }
    Ok(data)
}

/// What `verify` says about the image; nothing if it cannot look.
fn lint(
    opened: &Opened,
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Vec<crate::verify::CheckResult> {
    let Ok(disk) = Disk::open(opened.subject.disk.clone()) else {
        return Vec::new();
    };
    // Volumes are looked for beside an image; a plan has none there.
    let nowhere = PathBuf::new();
    let checked = image::opening(environment, output, |opener| {
        verification::verify(
            &verification::Subject {
                path: args.image.as_ref().unwrap_or(&nowhere),
                disk: &disk,
                partition: opened.subject.partition,
                recipe: opened.recipe.as_ref(),
            },
            opener,
        )
    });
    checked.map(|summary| summary.results).unwrap_or_default()
}
