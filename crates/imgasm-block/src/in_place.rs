//! Changing an image where it lies.

use std::path::Path;
use std::sync::Arc;

use super::output::lock;
use super::{BlockDevice, Change, Delta, Error, FileDevice, Recovery, Result, undo};

/// An image that is changed in place. It is locked from its opening to its dropping.
///
/// At every moment, whatever happens to the process or the machine, the image is as it was, as it
/// is to be, or has an undo file beside it ([`undo`]) that the next opening uses to put it back.
#[derive(Debug)]
pub struct InPlace {
    image: Arc<FileDevice>,
    recovery: Option<Recovery>,
}

impl InPlace {
    /// Opens and locks an image, and puts it back as it was if a change had been interrupted.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || FileDevice::open_writable(path).map_err(|e| Error::file(path, "open", e));
        let mut image = open()?;
        lock(image.file(), path)?;
        let recovery = undo::recover(&image)?;
        if recovery.is_some() {
            // The length may have been put back too. The lock goes with the open file.
            let file = image.file().try_clone();
            image = file
                .and_then(|file| FileDevice::with(file, path, true))
                .map_err(|e| Error::file(path, "open", e))?;
        }
        Ok(Self {
            image: Arc::new(image),
            recovery,
        })
    }

    /// Puts an image that is only to be read back as it was, if a change had been interrupted.
    ///
    /// # Errors
    /// [`Error::Locked`] where the change is still under way; [`Error::File`] where the image
    /// cannot be written, and so not be put back.
    pub fn recover(path: &Path) -> Result<Option<Recovery>> {
        if undo::undo_path(path).exists() {
            Ok(Self::open(path)?.recovery)
        } else {
            Ok(None)
        }
    }

    /// The image, as the base for a delta.
    pub fn device(&self) -> &Arc<FileDevice> {
        &self.image
    }

    /// What was done about an interrupted change when the image was opened.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Writes the changes of `delta`, whose base must be this image, into the image. On an error
    /// the image is put back as it was.
    pub fn commit(self, delta: &Delta) -> Result<()> {
        let changes = delta.changes()?;
        let result = self.write(delta, &changes, &mut || Ok(()));
        if result.is_err() {
            undo::recover(&self.image).map_err(|source| Error::HalfChanged {
                path: self.image.path().to_owned(),
                undo: undo::undo_path(self.image.path()),
                source: Box::new(source),
            })?;
        }
        result
    }

    /// The steps of a commit. `before` is asked before each one, so that tests can stop between
    /// any two of them.
    fn write(
        &self,
        delta: &Delta,
        changes: &[Change],
        before: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let path = self.image.path();
        let failed = |operation| move |e| Error::file(path, operation, e);
        if changes.is_empty() && delta.len() == self.image.len() {
            return Ok(());
        }
        let ranges: Vec<_> = changes.iter().map(|change| change.range.clone()).collect();
        before()?;
        undo::write(&self.image, &ranges, delta.len())?;
        before()?;
        let file = self.image.file().try_clone().map_err(failed("open"))?;
        file.set_len(delta.len()).map_err(failed("grow"))?;
        let image = FileDevice::with(file, path, true).map_err(failed("open"))?;
        for change in changes {
            before()?;
            delta.copy_changes(std::slice::from_ref(change), &image)?;
        }
        before()?;
        image
            .file()
            .sync_all()
            .map_err(failed("bring to the disk"))?;
        before()?;
        undo::remove(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const BLOCK: u64 = 4096;

    fn image_in(dir: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
        let path = dir.path().join("disk.raw");
        let mut bytes = vec![0; 40 * 4096 + 100];
        for (at, byte) in bytes.iter_mut().enumerate().take(20 * 4096) {
            *byte = u8::try_from(at % 251).unwrap();
        }
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    /// A delta that changes data, zeros data, fills a hole, and grows the image.
    fn edit(base: &InPlace) -> Delta {
        let base: Arc<dyn BlockDevice> = base.device().clone();
        let len = base.len() + 3 * BLOCK;
        let delta = Delta::grown(base, len);
        delta.write_at(100, b"changed").unwrap();
        delta.write_zeros(3 * BLOCK, 2 * BLOCK).unwrap();
        delta.write_at(7 * BLOCK, &[8; 9000]).unwrap();
        delta.write_at(30 * BLOCK, &[9; 5000]).unwrap();
        delta.write_at(len - 10, b"the end").unwrap();
        delta
    }

    fn bytes_of(device: &dyn BlockDevice) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(device.len()).unwrap()];
        device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn stopping_between_any_two_steps_leaves_the_old_or_the_new_image() {
        let (mut old_seen, mut new_seen) = (0, 0);
        for steps in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (path, old) = image_in(&dir);
            let image = InPlace::open(&path).unwrap();
            let delta = edit(&image);
            let new = bytes_of(&delta);
            let changes = delta.changes().unwrap();
            let mut left = steps;
            let stopped = || Error::Locked { path: path.clone() };
            let result = image.write(&delta, &changes, &mut || {
                left -= 1;
                (left >= 0).then_some(()).ok_or_else(stopped)
            });
            drop((image, delta));

            let undo_left = undo::undo_path(&path).exists();
            let recovered = InPlace::open(&path).unwrap();
            assert_eq!(recovered.recovery().is_some(), undo_left);
            assert!(!undo::undo_path(&path).exists());
            let now = fs::read(&path).unwrap();
            assert_eq!(recovered.device().len(), u64::try_from(now.len()).unwrap());
            if now == new {
                assert!(result.is_ok());
                new_seen += 1;
                break;
            }
            assert!(
                now == old,
                "neither the old nor the new image after {steps} steps"
            );
            assert!(result.is_err());
            old_seen += 1;
        }
        assert_eq!((old_seen, new_seen), (9, 1));
    }

    #[test]
    fn an_undo_file_that_is_cut_off_or_damaged_means_an_untouched_image() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = image_in(&dir);
        let image = InPlace::open(&path).unwrap();
        let ranges = [0..BLOCK, 19 * BLOCK..22 * BLOCK];
        undo::write(&image.image, &ranges, image.image.len()).unwrap();
        let undo_path = undo::undo_path(&path);
        let whole = fs::read(&undo_path).unwrap();
        drop(image);
        for len in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            fs::write(&undo_path, &whole[..len]).unwrap();
            assert_eq!(InPlace::recover(&path).unwrap(), Some(Recovery::NotBegun));
            assert!(!undo_path.exists());
        }
        let mut damaged = whole.clone();
        damaged[45] ^= 1;
        fs::write(&undo_path, &damaged).unwrap();
        assert_eq!(InPlace::recover(&path).unwrap(), Some(Recovery::NotBegun));
        assert!(fs::read(&path).unwrap() == old);

        // The whole one rolls back what was changed meanwhile.
        let mut changed = old.clone();
        changed[..4096].fill(1);
        changed[21 * 4096..22 * 4096].fill(1);
        fs::write(&path, &changed).unwrap();
        fs::write(&undo_path, &whole).unwrap();
        let bytes = 4 * BLOCK;
        assert_eq!(
            InPlace::recover(&path).unwrap(),
            Some(Recovery::RolledBack { bytes })
        );
        assert!(fs::read(&path).unwrap() == old);
    }

    #[test]
    fn an_undo_file_of_another_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = image_in(&dir);
        let image = InPlace::open(&path).unwrap();
        undo::write(
            &image.image,
            std::slice::from_ref(&(0..BLOCK)),
            image.image.len(),
        )
        .unwrap();
        drop(image);
        let other = dir.path().join("other.raw");
        fs::write(&other, [1; 5000]).unwrap();
        fs::rename(undo::undo_path(&path), undo::undo_path(&other)).unwrap();
        let error = InPlace::recover(&other).unwrap_err();
        assert!(error.to_string().contains("another file"), "{error}");
        assert!(fs::read(&other).unwrap() == [1; 5000]);
    }
}
