//! Owners, permissions, times and attributes.

use imgasm_fs::{MetadataChange, Result};

use crate::format::attr::key::Key;
use crate::format::attr::{acl, remote};
use crate::format::inode::Time;
use crate::format::numbers::InodeNumber;
use crate::problem::unstorable;
use crate::volume::Volume;
use crate::write::Writer;

impl Writer {
    /// Changes permissions, owner, group or times.
    pub(crate) fn set_metadata(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        change: &MetadataChange,
    ) -> Result<()> {
        if *change == MetadataChange::default() {
            return Ok(());
        }
        self.stamp(volume, number, &[Time::Changed])?;
        let core = &mut self.stage(volume, number)?.inode_mut().core;
        if let Some(permissions) = change.permissions {
            let file_type = core.di_mode.get() & !0o7777;
            core.di_mode = (file_type | permissions & 0o7777).into();
        }
        if let Some(uid) = change.uid {
            core.di_uid = uid.into();
        }
        if let Some(gid) = change.gid {
            core.di_gid = gid.into();
        }
        if let Some(time) = change.accessed {
            core.set_time(Time::Accessed, time);
        }
        if let Some(time) = change.modified {
            core.set_time(Time::Modified, time);
        }
        Ok(())
    }

    /// Sets an attribute or removes it.
    pub(crate) fn set_xattr(
        &mut self,
        volume: &Volume,
        number: InodeNumber,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let what = || format!("attribute {:?}", String::from_utf8_lossy(name));
        let key = Key::from_name(name)
            .filter(|key| !key.name.contains(&0))
            .ok_or_else(|| {
                unstorable(
                    what(),
                    "XFS has the namespaces user, trusted and security, and access control lists",
                )
            })?;
        let attributes = self.attributes(volume, number)?;
        let changed = match value {
            None => attributes.remove(&key).is_some(),
            Some(value) => {
                let value = if key.is_acl() {
                    acl::from_kernel(value)
                        .ok_or_else(|| unstorable(what(), "it is not an access control list"))?
                } else {
                    value.to_vec()
                };
                if value.len() > remote::MAX_VALUE {
                    return Err(unstorable(what(), "it has too many entries"));
                }
                attributes.insert(key, value);
                true
            }
        };
        if changed {
            self.stamp(volume, number, &[Time::Changed])?;
        }
        Ok(())
    }
}
