//! Doing the same for each image of a recipe, several at a time.
//!
//! As many are under way as there are cores and as memory allows, and they share the cores. What is
//! said about them comes in the order of the recipe, each image's lines together. If one fails, the
//! others are finished all the same.

use super::failure::Failure;
use super::image;
use super::output::Output;
use super::progress::{Bars, Beside};
use super::recipe;
use crate::build::Bases;
use crate::environment::Environment;
use crate::recipe::Recipe;
use imgasm_block::pool;

/// How much memory an image is reckoned with: a delta takes 64 MiB before it goes to the disk, as
/// that of each volume, and beside it are the databases of packages and what is being hashed.
const BYTES_PER_IMAGE: u64 = 512 << 20;

/// Does `work` for each image, and gives the results, in the order of the recipes, and whether all
/// went well. What `work` prints is held until it is the image's turn.
///
/// # Errors
/// If nobody listens any more, or threads cannot be started.
pub(super) fn each<T: Send>(
    recipes: &[Recipe],
    environment: &Environment,
    output: &mut Output,
    work: impl Fn(&Recipe, &Bases, &Bars, &mut Output) -> Result<T, Failure> + Sync,
) -> Result<(Vec<T>, Result<(), Failure>), Failure> {
    let bases = Bases::new(image::cache(environment)?);
    if let [only] = recipes {
        recipe::announce(only, output);
        return Ok((vec![work(only, &bases, &Bars::new(), output)?], Ok(())));
    }
    let beside = Beside::new();
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    let mut printed = Ok(());
    let one = |recipe| {
        let mut held = Output::held();
        recipe::announce(recipe, &mut held);
        let bars = beside.bars(&recipe.name);
        let result = work(recipe, &bases, &bars, &mut held);
        bars.finish();
        (&recipe.name, result, held)
    };
    pool::side_by_side(recipes, at_once(), one, |(name, result, mut held)| {
        match result {
            Ok(result) => made.push(result),
            Err(failure) => {
                held.failure(&failure);
                failed.push(name.as_str());
            }
        }
        if printed.is_ok() {
            printed = beside.aside(|| output.release(held).and_then(|()| output.finish()));
        }
    })?;
    printed?;
    let outcome = if failed.is_empty() {
        Ok(())
    } else {
        let (count, all) = (failed.len(), recipes.len());
        let names = failed.join(", ");
        Err(Failure::new(format!(
            "{count} of {all} images failed: {names}"
        )))
    };
    Ok((made, outcome))
}

/// How many images are under way at once.
fn at_once() -> usize {
    let by_memory = available_memory().map_or(usize::MAX, |bytes| {
        usize::try_from(bytes / BYTES_PER_IMAGE).unwrap_or(usize::MAX)
    });
    pool::cores().min(by_memory).max(1)
}

/// Bytes of memory that this process could take: what the machine has available, or the limit of this
/// process's control group (`cgroup-v2`, `memory.max`) if that is less.
fn available_memory() -> Option<u64> {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let of_machine = text("/proc/meminfo").and_then(|info| available(&info));
    let group = text("/proc/self/cgroup");
    let group = group.as_deref().and_then(|groups| {
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let limit = text(&format!("/sys/fs/cgroup{own}/memory.max"))?;
        limit.trim().parse::<u64>().ok()
    });
    match (of_machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// The bytes that are available, by `/proc/meminfo`.
fn available(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim();
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_as_the_kernel_tells_it() {
        let info = "MemTotal:       24000000 kB\nMemAvailable:   1048576 kB\n";
        assert_eq!(available(info), Some(1 << 30));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: 99999999999999999999 kB\n"), None);
        assert!((1..=pool::cores()).contains(&at_once()));
    }
}
