//! The requests that make an AMI what others need of it, once it is there.

use super::steps::{IF_FOUND, Step, Subject, at, snapshot_of};
use super::{Disk, Plan};
use crate::request::{
    AttributeValue, CreateTags, CreateVolumePermission, CreateVolumePermissions,
    DisableImageDeprecation, EnableFastSnapshotRestores, EnableImageDeprecation,
    EnableImageDeregistrationProtection, LaunchPermission, LaunchPermissions, ModifyImageAttribute,
    ModifySnapshotAttribute, Parameters, PutParameter,
};
use crate::wish::Zone;
use crate::{Error, Result};

/// Stands for those who may launch an AMI that is found, and should not.
const OTHERS: &str = "{{others}}";

impl Plan {
    /// What makes an AMI usable by others, and brings one that is found up to date. It can be done
    /// again without harm.
    pub(super) fn usable(
        &self,
        steps: &mut Vec<Step>,
        subject: &Subject,
        home: &str,
    ) -> Result<()> {
        let image_id = format!("{{{{ami}}}}{}", at(subject));
        for (index, disk) in self.disks.iter().enumerate() {
            let resources = vec![format!("{}{}", snapshot_of(disk), at(subject))];
            let tags = self.snapshot_tags(disk);
            let parameters = Parameters::CreateTags(CreateTags { resources, tags });
            let step = Step::of(subject.clone(), parameters).of_disk(index);
            // The snapshots that it was registered with have them; those of a copy have one set for
            // all.
            steps.push(match subject {
                Subject::Copy(_) => step,
                _ => step.when(IF_FOUND),
            });
        }
        let found = [
            Parameters::CreateTags(CreateTags {
                resources: vec![image_id.clone()],
                tags: self.image_tags(),
            }),
            Parameters::ModifyImageAttribute(ModifyImageAttribute {
                image_id: image_id.clone(),
                description: Some(AttributeValue {
                    value: self.description_of_image(),
                }),
                ..ModifyImageAttribute::default()
            }),
            Parameters::ModifyImageAttribute(ModifyImageAttribute {
                image_id: image_id.clone(),
                launch_permission: Some(LaunchPermissions {
                    add: Vec::new(),
                    remove: vec![LaunchPermission::UserId(OTHERS.to_owned())],
                }),
                ..ModifyImageAttribute::default()
            }),
        ];
        let found = found.into_iter();
        steps.extend(found.map(|it| Step::of(subject.clone(), it).when(IF_FOUND)));
        let mut always = |parameters| steps.push(Step::of(subject.clone(), parameters));
        let add = self.permissions();
        if !add.is_empty() {
            always(Parameters::ModifyImageAttribute(ModifyImageAttribute {
                image_id: image_id.clone(),
                launch_permission: Some(LaunchPermissions {
                    add,
                    remove: Vec::new(),
                }),
                ..ModifyImageAttribute::default()
            }));
        }
        let add = self.volume_permissions();
        let permitted = self.snapshots_of(subject).into_iter().enumerate();
        for (index, snapshot_id) in permitted.filter(|_| !add.is_empty()) {
            let request = ModifySnapshotAttribute {
                snapshot_id,
                create_volume_permission: CreateVolumePermissions { add: add.clone() },
            };
            let parameters = Parameters::ModifySnapshotAttribute(request);
            steps.push(Step::of(subject.clone(), parameters).of_disk(index));
        }
        let mut always = |parameters| steps.push(Step::of(subject.clone(), parameters));
        let availability_zones = self.zones_of(subject, home)?;
        if !availability_zones.is_empty() {
            always(Parameters::EnableFastSnapshotRestores(
                EnableFastSnapshotRestores {
                    availability_zones,
                    source_snapshot_ids: self.snapshots_of(subject),
                },
            ));
        }
        if let Some(time) = &self.ami.deprecate_at {
            always(Parameters::EnableImageDeprecation(EnableImageDeprecation {
                image_id,
                deprecate_at: time.seconds(),
            }));
        } else {
            let disable = DisableImageDeprecation { image_id };
            let parameters = Parameters::DisableImageDeprecation(disable);
            steps.push(Step::of(subject.clone(), parameters).when(IF_FOUND));
        }
        Ok(())
    }

    /// What stands for the snapshots of an AMI.
    fn snapshots_of(&self, subject: &Subject) -> Vec<String> {
        let stands = |disk: &Disk| format!("{}{}", snapshot_of(disk), at(subject));
        self.disks.iter().map(stands).collect()
    }

    /// The zones of an AMI's region in which its snapshots are to be fast.
    fn zones_of(&self, subject: &Subject, home: &str) -> Result<Vec<String>> {
        let is_of = |region: &str, zone: &Zone| {
            let letter = zone.as_str().strip_prefix(region);
            letter.is_some_and(|rest| rest.len() == 1 || rest.starts_with('-'))
        };
        let zones = &self.ami.fast_snapshot_restore;
        // Without a connection the region may not be known.
        let is_known = !home.starts_with("{{");
        let mut regions = self.ami.ami_regions.iter();
        let stray = zones
            .iter()
            .find(|zone| !is_of(home, zone) && !regions.any(|region| is_of(region.as_str(), zone)));
        if let Some(zone) = stray.filter(|_| is_known) {
            return Err(Error::Limit(format!(
                "`fast_snapshot_restore` names {zone}, which is in no region of the AMI"
            )));
        }
        let region = match subject {
            Subject::Copy(region) => region,
            _ => home,
        };
        let here = zones.iter().filter(|zone| is_of(region, zone));
        Ok(here.map(ToString::to_string).collect())
    }

    /// Who else may launch the AMI.
    pub fn permissions(&self) -> Vec<LaunchPermission> {
        let ami = &self.ami;
        let groups = ami.ami_groups.iter();
        let groups = groups.map(|group| LaunchPermission::Group(group.name().to_owned()));
        let users = ami.ami_users.iter();
        let users = users.map(|user| LaunchPermission::UserId(user.to_string()));
        let organisations = ami.ami_org_arns.iter();
        let organisations =
            organisations.map(|arn| LaunchPermission::OrganizationArn(arn.to_string()));
        let units = ami.ami_ou_arns.iter();
        let units = units.map(|arn| LaunchPermission::OrganizationalUnitArn(arn.to_string()));
        let others = groups.chain(users);
        others.chain(organisations).chain(units).collect()
    }

    /// Who else may make volumes of the snapshots.
    pub fn volume_permissions(&self) -> Vec<CreateVolumePermission> {
        let groups = self.ami.snapshot_groups.iter();
        let groups = groups.map(|group| CreateVolumePermission::Group(group.name().to_owned()));
        let users = self.ami.snapshot_users.iter();
        let users = users.map(|user| CreateVolumePermission::UserId(user.to_string()));
        groups.chain(users).collect()
    }

    /// What tells others of an AMI: sent once it and its copies are all that they should be.
    pub(super) fn published(&self, subject: &Subject) -> Option<Step> {
        let name = self.ami.ssm_parameter.as_ref()?;
        let parameters = Parameters::PutParameter(PutParameter {
            name: name.to_string(),
            value: format!("{{{{ami}}}}{}", at(subject)),
            r#type: "String",
            data_type: "aws:ec2:image",
            overwrite: true,
        });
        Some(Step::of(subject.clone(), parameters))
    }

    /// What keeps an AMI from being deregistered: the last of all, for a failure before it takes the
    /// AMI away again.
    pub(super) fn protected(&self, subject: &Subject) -> Option<Step> {
        let protection = self.ami.deregistration_protection;
        if !protection.enabled {
            return None;
        }
        let request = EnableImageDeregistrationProtection {
            image_id: format!("{{{{ami}}}}{}", at(subject)),
            with_cooldown: protection.with_cooldown,
        };
        let parameters = Parameters::EnableImageDeregistrationProtection(request);
        Some(Step::of(subject.clone(), parameters))
    }
}
