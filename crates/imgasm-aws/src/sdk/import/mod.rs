//! From a plan to an AMI: the plan's list of requests is sent in its order.
//!
//! - `look`: what is there already.
//! - `step`: sending a request of the list; `update`: one that brings an AMI that was found up to
//!   date.
//! - `image`: the AMI and its copies; `check`: whether all of it is what was asked for.

mod check;
mod image;
mod look;
mod step;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_ec2::types::Image;
use uuid::Uuid;

use super::connect::Aws;
use super::interrupt::unless_interrupted;
use super::made::Things;
use super::remove::remove_all;
use super::replace::{Old, Replaced};
use super::wait::Patience;
use super::{ebs, rights, s3};
use crate::artifact::Artifact;
use crate::plan::steps::{Parent, Situation};
use crate::plan::{Disk, Plan, Via};
use crate::proof::Proof;
use crate::report::Report;
use crate::{Error, Result};
use imgasm_block::ChunkMap;
use imgasm_block::lock::lock;

/// Namespace of the identities of runs.
const NAMESPACE: Uuid = Uuid::from_u128(0x2d1f_55f3_8f0c_5a4e_9c55_7d3b_b3a4_6f01);

/// What becomes of what a run has made when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is removed, unless the failure passes: then the same command goes on with it.
    Cleanup,
    /// It stays, for a further run to go on with.
    Keep,
}

/// How an import goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for journals.
    pub dir: PathBuf,
    /// Whether an AMI or a snapshot of the same content is made again.
    pub force: bool,
    /// Whether an AMI of the same name makes room.
    pub force_deregister: bool,
    /// Whether objects stay in the bucket.
    pub keep: bool,
    /// What becomes of what was made when something fails.
    pub on_error: OnError,
    /// How much of a snapshot is read back before it is taken for a disk.
    pub proof: Proof,
    /// What the base holds, if that is known: what differs from it is read back.
    pub base: Option<Arc<ChunkMap>>,
    /// How long to wait for what takes time.
    pub patience: Patience,
}

/// Makes the AMI of a plan, or finds it; gives it and its copies, its own region first.
pub async fn import(
    aws: &Aws,
    plan: &Plan,
    parent: Option<&Parent<'_>>,
    options: &Options,
    report: &Arc<dyn Report + Send + Sync>,
) -> Result<Vec<Artifact>> {
    let (account, arn, region) = (&aws.account, &aws.arn, &aws.region);
    let account = match rights::alias(aws).await {
        Some(alias) => format!("{account} ({alias})"),
        None => account.clone(),
    };
    report.note("account", &format!("{account} as {arn} in {region}"));
    let _lock = alone(&options.dir, &**report)?;
    let replaced = options.dir.join(format!(".{}.replaced.json", plan.name));
    let mut run = Run {
        aws,
        plan,
        options,
        report,
        things: Things::default(),
        found_disks: BTreeSet::new(),
        found_images: BTreeSet::new(),
        is_home_needed: true,
        encrypts: false,
        snapshots: vec![None; plan.disks.len()],
        pending: BTreeMap::new(),
        objects: BTreeSet::new(),
        images: BTreeMap::new(),
        available: BTreeMap::new(),
        taken: BTreeMap::new(),
        replaced: Replaced::open(&replaced)?,
        is_committed: false,
    };
    let result = unless_interrupted(&aws.interrupts, Box::pin(run.all(parent))).await;
    if let Err(error) = &result {
        Box::pin(run.failed(error)).await?;
    }
    result
}

/// Waits until no other import runs from the folder: of two at once, the second finds
/// what the first has made.
fn alone(dir: &Path, report: &dyn Report) -> Result<File> {
    let failed = |operation| {
        move |source| Error::Journal {
            path: dir.to_owned(),
            operation,
            source,
        }
    };
    let file = File::open(dir).map_err(failed("open"))?;
    match lock(&file, dir) {
        Ok(()) => {}
        Err(imgasm_block::Error::Locked { .. }) => {
            report.note("waiting", "for another import from the same folder");
            file.lock().map_err(failed("lock"))?;
        }
        Err(error) => return Err(failed("lock")(io::Error::other(error))),
    }
    Ok(file)
}

/// The journal of a disk's upload.
fn journal_path(dir: &Path, disk: &Disk) -> PathBuf {
    dir.join(format!(".{}.upload", disk.built.file))
}

/// A token by which AWS knows a request that it gets twice. No other request has it.
fn token() -> String {
    Uuid::new_v4().to_string()
}

/// How far a disk has come.
enum Pending {
    Object(s3::Upload),
    Task(String),
    Blocks(Box<ebs::Upload>),
}

struct Run<'a> {
    aws: &'a Aws,
    plan: &'a Plan,
    options: &'a Options,
    report: &'a Arc<dyn Report + Send + Sync>,
    /// What this run has made; what was found is not among it.
    things: Things,
    /// Disks whose snapshots are there already.
    found_disks: BTreeSet<usize>,
    /// Regions in which the AMI is there already.
    found_images: BTreeSet<String>,
    /// Whether anything is to be done in the run's own region: not where the AMI is there for its
    /// copies alone, and they are there.
    is_home_needed: bool,
    /// Whether the account encrypts all snapshots.
    encrypts: bool,
    snapshots: Vec<Option<String>>,
    pending: BTreeMap<usize, Pending>,
    /// Disks that have an object, which nobody needs in the end.
    objects: BTreeSet<usize>,
    /// The AMI and its copies by region.
    images: BTreeMap<String, String>,
    /// Those of them that can be used.
    available: BTreeMap<String, Image>,
    /// What has the name, by region.
    taken: BTreeMap<String, Old>,
    replaced: Replaced,
    /// Whether the AMI and its copies are there to stay.
    is_committed: bool,
}

impl Run<'_> {
    async fn all(&mut self, parent: Option<&Parent<'_>>) -> Result<Vec<Artifact>> {
        let (aws, plan) = (self.aws, self.plan);
        let home = &aws.region;
        let others = plan.ami.ami_regions.iter().map(ToString::to_string);
        let others: Vec<String> = others.filter(|region| region != home).collect();
        let stays = plan.stays_in(home);
        for region in stays.then_some(home).into_iter().chain(&others) {
            self.look_around(region).await?;
        }
        let are_found = others.iter().all(|it| self.found_images.contains(it));
        self.is_home_needed = stays || !are_found;
        let mut usable = None;
        if self.is_home_needed {
            if !stays {
                self.look_around(home).await?;
            }
            self.encrypts = ebs::encrypts(aws).await?;
            usable = self.base(parent).await?;
        }
        let situation = Situation {
            region: Some(home),
            parent: usable,
            encrypts: self.encrypts && plan.via == Via::Ebs,
            replaces: self.replaces(),
            keeps_objects: self.options.keep,
        };
        if self.is_home_needed && !self.found_images.contains(home) {
            if let Via::S3(s3) = &plan.via {
                s3::check_bucket(aws, &s3.bucket, plan.bucket_owner()).await?;
                rights::check_role(aws, plan, s3, &**self.report).await?;
            }
            self.check_keys(&others).await?;
            for (index, disk) in plan.disks.iter().enumerate() {
                if let Some(id) = self.find_snapshot(index, disk).await? {
                    self.snapshots[index] = Some(id);
                    self.found_disks.insert(index);
                }
            }
        }
        for step in plan.steps(&situation)? {
            if !self.leaves_out(&step) {
                self.send(step, &situation).await?;
            }
        }
        self.commit().await?;
        let own = stays.then_some(home).into_iter();
        let made = own.chain(&others).filter_map(|region| {
            let image = self.available.get(region)?;
            Some(self.artifact(region, image))
        });
        Ok(made.collect())
    }

    /// Looks whether the keys can be used, in the region of the run and in those of new copies.
    async fn check_keys(&self, others: &[String]) -> Result<()> {
        let disks = self.plan.disks.iter();
        let disks = disks.filter_map(|disk| disk.kms_key_id.clone());
        let own: BTreeSet<String> = disks.chain(self.plan.ami.s3_kms_key_id.clone()).collect();
        for key in &own {
            rights::check_key(self.aws, key).await?;
        }
        for (region, key) in &self.plan.ami.region_kms_key_ids {
            let region = region.as_str();
            let is_new =
                others.iter().any(|it| it == region) && !self.found_images.contains(region);
            if is_new {
                rights::check_key(&self.there(region), key).await?;
            }
        }
        Ok(())
    }

    fn replaces(&self) -> bool {
        self.options.force_deregister || self.plan.ami.force_deregister
    }

    fn there(&self, region: &str) -> Aws {
        if region == self.aws.region {
            self.aws.clone()
        } else {
            self.aws.in_region(region)
        }
    }

    /// What is done about what was made when the run has failed.
    async fn failed(&mut self, error: &Error) -> Result<()> {
        let (aws, options, report) = (self.aws, self.options, &**self.report);
        if options.keep {
            self.things.keep_objects();
        }
        if self.is_committed {
            let all: Vec<&str> = self.images.values().map(String::as_str).collect();
            let all = all.join(", ");
            report.warning(&format!(
                "{all} is there and stays; the same command does what is left to do"
            ));
        }
        if options.on_error == OnError::Cleanup && !error.is_for_now() {
            if Box::pin(remove_all(&mut self.things, aws, report)).await {
                // With what could not be removed, a further run goes on.
                for disk in &self.plan.disks {
                    super::journal::remove(&journal_path(&options.dir, disk))?;
                }
            }
        } else if !self.things.all.is_empty() {
            let all: Vec<String> = self.things.all.iter().map(ToString::to_string).collect();
            report.warning(&format!(
                "what was made until here is kept ({}): run the same command again, and it goes \
                 on; `imgasm gc` finds it otherwise",
                all.join(", ")
            ));
        }
        if self.is_committed || self.replaced.all.is_empty() {
            return Ok(());
        }
        let restored = self.replaced.restore(aws, options.patience, report);
        unless_interrupted(&aws.interrupts, Box::pin(restored)).await
    }
}
