//! Requests that bring an AMI that was found up to date, sent where it differs.

use super::Run;
use crate::compare::{lacking, others};
use crate::request::{LaunchPermissions, Parameters, Tag};
use crate::sdk::describe::{own_tags, permissions, snapshots_of};
use crate::sdk::send;
use crate::{Error, Result};

impl Run<'_> {
    /// Sends a request about an AMI that was found, or about its snapshot of a disk, if it would
    /// change something.
    pub(super) async fn update(
        &mut self,
        region: &str,
        disk: Option<usize>,
        parameters: Parameters,
    ) -> Result<()> {
        let there = self.there(region);
        let id = self.usable(region).await?;
        let Some(image) = self.available.get(region).cloned() else {
            return Ok(());
        };
        let what = match parameters {
            Parameters::CreateTags(mut request) => {
                let (resource, have): (String, Vec<Tag>) = if disk.is_some() {
                    let snapshot = self.snapshot_in(region, disk).await?;
                    let described = snapshots_of(&there, vec![snapshot.clone()]).await?;
                    let tags = described.first().map(|found| own_tags(found.tags()));
                    (snapshot, tags.unwrap_or_default())
                } else {
                    (id, own_tags(image.tags()))
                };
                let lacking = lacking(&request.tags, &have);
                if lacking.is_empty() {
                    return Ok(());
                }
                let what = format!("{resource}: {}", lacking.join("; "));
                request.resources = vec![resource];
                send::create_tags(&there, &request).await?;
                what
            }
            Parameters::ModifyImageAttribute(mut request) => {
                request.image_id.clone_from(&id);
                if let Some(description) = &request.description {
                    let have = image.description().unwrap_or_default();
                    if have == description.value {
                        return Ok(());
                    }
                    let what = format!("{id}: its description is {have:?}");
                    send::modify_image(&there, &request).await?;
                    what
                } else {
                    let have = permissions(&there, &id).await?;
                    let (remove, _) = others(&self.plan.permissions(), &have);
                    if remove.is_empty() {
                        return Ok(());
                    }
                    let what = format!("{id}: {remove:?} may launch it no more");
                    request.launch_permission = Some(LaunchPermissions {
                        add: Vec::new(),
                        remove,
                    });
                    send::modify_image(&there, &request).await?;
                    what
                }
            }
            Parameters::DisableImageDeprecation(mut request) => {
                let Some(time) = image.deprecation_time() else {
                    return Ok(());
                };
                let what = format!("{id}: it was deprecated from {time} on");
                request.image_id = id;
                send::undeprecate(&there, &request).await?;
                what
            }
            other => {
                return Err(Error::Answer {
                    what: other.operation().1.to_owned(),
                    problem: "it updates nothing".to_owned(),
                });
            }
        };
        self.report.note("updated", &what);
        Ok(())
    }
}
