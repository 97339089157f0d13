//! `imgasm inspect IMAGE`

use super::failure::Failure;
use super::image::ImageArgs;
use super::output::{Output, bytes};
use super::{Outcome, confine, image};
use crate::environment::Environment;
use crate::inspect::{
    ContentDescription, Description, RootDescription, TableDescription, describe,
};
use crate::sandbox::Needs;

/// Show what an image is: partitions, filesystems, the system in its root, free space.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn needs(&self) -> Needs {
        confine::reading(confine::of_image(&self.image.image))
    }
}

pub(super) fn run(
    args: &Args,
    environment: &Environment,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let image = image::open(&args.image, environment, output)?;
    let description = describe(&image.disk, image.wrapping, args.image.partition)?;
    if args.json {
        output.json(&description)?;
    } else {
        print(&description, output)?;
    }
    Ok(Outcome::Done)
}

fn print(description: &Description, output: &mut Output) -> Result<(), Failure> {
    let wrapping = match description.container.as_slice() {
        [] => String::new(),
        layers => format!(" in {}", layers.join(", ")),
    };
    output.line(format_args!(
        "disk        {}{wrapping}",
        bytes(description.size)
    ))?;
    match &description.partition_table {
        Some(table) => print_table(table, output)?,
        None => output.line("table       none: a bare filesystem")?,
    }
    for content in &description.contents {
        print_content(content, output)?;
    }
    if let Some(root) = &description.root {
        print_root(root, output)?;
    }
    for warning in &description.warnings {
        output.warning(warning);
    }
    Ok(())
}

fn print_table(table: &TableDescription, output: &mut Output) -> Result<(), Failure> {
    let hybrid = if table.hybrid {
        ", with a hybrid MBR"
    } else {
        ""
    };
    let boot = if table.boot_code_sha256.is_some() {
        ", with boot code"
    } else {
        ""
    };
    let (kind, id, sector) = (&table.kind, &table.id, table.sector_size);
    output.line(format_args!(
        "table       {kind} {id}, {sector}-byte sectors{hybrid}{boot}"
    ))?;
    for partition in &table.partitions {
        let sectors = (partition.last_lba + 1).saturating_sub(partition.first_lba);
        output.line(format_args!(
            "partition   {:>3}  LBA {:>10}-{:<10} {:>10}  {}{}",
            partition.number,
            partition.first_lba,
            partition.last_lba,
            bytes(sectors.saturating_mul(table.sector_size)),
            partition.type_name.as_ref().unwrap_or(&partition.r#type),
            if partition.name.is_empty() {
                String::new()
            } else {
                format!("  {:?}", partition.name)
            },
        ))?;
    }
    Ok(())
}

fn print_content(content: &ContentDescription, output: &mut Output) -> Result<(), Failure> {
    let place = place(content.partition);
    let kind = content.kind.unwrap_or("nothing known");
    if let Some(problem) = &content.problem {
        return output.line(format_args!("contents    {place}  {kind}: {problem}"));
    }
    let Some(fs) = &content.filesystem else {
        return output.line(format_args!("contents    {place}  {kind}"));
    };
    output.line(format_args!(
        "contents    {place}  {kind}  label {:?}  uuid {}  {} of {} free{}",
        fs.label,
        fs.uuid,
        bytes(fs.free_bytes),
        bytes(fs.total_bytes),
        if fs.needs_recovery {
            "  needs recovery"
        } else {
            ""
        },
    ))?;
    if !fs.features.is_empty() {
        output.line(format_args!(
            "            {place}  {}",
            fs.features.join(" ")
        ))?;
    }
    Ok(())
}

fn print_root(root: &RootDescription, output: &mut Output) -> Result<(), Failure> {
    let name = root.os_name.as_deref().unwrap_or(&root.os_id);
    output.line(format_args!(
        "root        {}  {name}, init {}, architecture {}",
        place(root.partition),
        root.init.unwrap_or("unknown"),
        root.architecture.unwrap_or("unknown"),
    ))
}

fn place(partition: Option<u32>) -> String {
    partition.map_or_else(|| "all".to_owned(), |number| format!("{number:>3}"))
}
