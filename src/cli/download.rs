//! Getting bases from their servers.

use std::fs;
use std::path::PathBuf;

use super::failure::Failure;
use super::progress::Bars;
use crate::config::ByteSize;
use crate::environment::Environment;
use crate::recipe::Recipe;
use imgasm_repo::Transport;
use imgasm_repo::transport::resume::{Remote, Wanted, fetch};

/// How bases are fetched.
#[derive(Debug, clap::Args)]
pub(super) struct DownloadArgs {
    /// The most bytes that a base on a server may have.
    #[arg(long, value_name = "SIZE", default_value = "64 GiB")]
    max_size: ByteSize,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    connection: super::connection::ConnectionArgs,
}

/// Gets a recipe's base, unless it is there or lies on the host; gives its file, and how many bytes
/// were got. Into the folder beside the recipe, or else into the cache.
pub(super) fn fetch_base(
    args: &DownloadArgs,
    recipe: &Recipe,
    into_vendor: bool,
    transport: &Transport,
    environment: &Environment,
) -> Result<Option<(PathBuf, u64)>, Failure> {
    let Some(download) = recipe.base.download() else {
        return Ok(None);
    };
    let target = match environment.downloads() {
        Some(downloads) if !into_vendor => download.cached(&downloads),
        _ => download.vendored(&recipe.folder),
    };
    let found = recipe.base.path();
    if found.is_file() && (!into_vendor || found == target) {
        return Ok(Some((found.to_owned(), 0)));
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            Failure::from(error).in_context(format!("cannot make {}", folder.display()))
        })?;
    }
    let bars = Bars::new();
    let show = bars.reading("base");
    let wanted = Wanted {
        sha256: download.sha256,
        limit: args.max_size.0,
        target: &target,
    };
    let progress = |done: u64, all: Option<u64>| show(done, all.unwrap_or(done));
    let remote: Box<dyn Remote> = if download.url.starts_with("s3://") {
        in_bucket(args, recipe, &download.url, environment)?
    } else {
        Box::new(transport.remote(&download.url))
    };
    let fetched = fetch(&*remote, wanted, &progress);
    bars.finish();
    fetched?;
    let bytes = fs::metadata(&target)?.len();
    Ok(Some((target, bytes)))
}

/// An object of S3.
#[cfg(feature = "aws")]
fn in_bucket<'u>(
    args: &DownloadArgs,
    recipe: &Recipe,
    url: &'u str,
    environment: &Environment,
) -> Result<Box<dyn Remote + 'u>, Failure> {
    let ami = recipe.any_ami()?;
    let region = ami.and_then(|ami| Some(ami.region?.to_string()));
    let settings = args.connection.settings(environment, region, None);
    let object = super::s3_object::S3Object::connect(url, &settings)?;
    Ok(Box::new(object))
}

#[cfg(not(feature = "aws"))]
fn in_bucket<'u>(
    _: &DownloadArgs,
    _: &Recipe,
    url: &'u str,
    _: &Environment,
) -> Result<Box<dyn Remote + 'u>, Failure> {
    Err(Failure::new(format!("{url} cannot be fetched"))
        .with_hint("this imgasm was built without the feature `aws`"))
}
