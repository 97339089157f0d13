//! `imgasm man`

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, command, manual};

/// Print the manual page, or write one for each command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write `imgasm.1` and a page for each command into this folder.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Failure> {
    let mut command = command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.output else {
        output.bytes(&page(&command, None)?)?;
        return Ok(Outcome::Done);
    };
    let failed = |e| Failure::new(format!("cannot write to {}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let write = |name: String, page: Vec<u8>| fs::write(folder.join(name), page).map_err(failed);
    write("imgasm.1".to_owned(), page(&command, None)?)?;
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = below.get_name();
        write(format!("imgasm-{name}.1"), page(below, Some(name))?)?;
    }
    Ok(Outcome::Done)
}

/// A page: what the arguments say, and what the manual adds for this command.
fn page(command: &clap::Command, name: Option<&str>) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if name.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    section(&mut page, "EXIT STATUS", manual::exit_status(name))?;
    section(&mut page, "ENVIRONMENT", manual::environment(name))?;
    section(&mut page, "FILES", manual::files(name))?;
    examples(&mut page, manual::examples(name))?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section of terms and what they mean; nothing without any.
fn section(
    page: &mut dyn Write,
    title: &str,
    entries: impl Iterator<Item = (&'static str, &'static str)>,
) -> std::io::Result<()> {
    let mut roff = Roff::new();
    let mut is_empty = true;
    for (term, meaning) in entries {
        if std::mem::take(&mut is_empty) {
            roff.control("SH", [title]);
        }
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(page)
}

fn examples(
    page: &mut dyn Write,
    examples: impl Iterator<Item = (&'static str, &'static str)>,
) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (line, meaning) in examples {
        roff.control("PP", []);
        roff.text([roman(format!("{meaning}:"))]);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        roff.text([bold(line)]);
        roff.control("fi", []);
        roff.control("RE", []);
    }
    roff.to_writer(page)
}
