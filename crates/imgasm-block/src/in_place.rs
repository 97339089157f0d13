//! Changing an image where it lies.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::lock;
use super::{BlockDevice, Change, Delta, Error, FileDevice, Recovery, Result, in_use, undo};

/// An image that is changed in place. It is locked until this is dropped.
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
    ///
    /// # Errors
    /// [`Error::Locked`] and [`Error::InUse`] if somebody else uses the image;
    /// [`Error::UndoMismatch`] and [`Error::UndoUntrusted`] if its undo file is not about it.
    pub fn open(path: &Path) -> Result<Self> {
        let mut image = FileDevice::open_writable(path).map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => Error::InUse {
                path: path.to_owned(),
                by: "it is mounted, or part of another device".to_owned(),
            },
            _ => Error::file(path, "open", e),
        })?;
        lock(image.file(), path)?;
        in_use::check(image.file(), path)?;
        let recovery = undo::recover(&image)?;
        if recovery.is_some() {
            // The length may have been put back, too. The lock belongs to the open file, so a clone
            // keeps it.
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

    /// Where the undo file of an image may lie.
    pub fn undo_files(path: &Path) -> Vec<PathBuf> {
        let image = FileDevice::open(path);
        image.map_or_else(|_| Vec::new(), |image| undo::places(&image))
    }

    /// What [`InPlace::open`] reads on this machine besides the image and its undo file, to find out
    /// whether somebody else uses the image.
    pub fn looks_at(path: &Path) -> Vec<PathBuf> {
        in_use::looked_at(path)
    }

    /// Makes sure that an image, opened for reading, is not half-changed, and says whether a change
    /// that had not begun, or was finished, left its undo file. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if it is half-changed, and has to be put back by [`InPlace::open`];
    /// [`Error::Locked`] if the change is still under way; [`Error::UndoMismatch`] and
    /// [`Error::UndoUntrusted`] if its undo file is not about it.
    pub fn check(image: &FileDevice) -> Result<Option<Recovery>> {
        undo::check(image)
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
    ///
    /// # Errors
    /// [`Error::HalfChanged`] if putting the image back failed, too: its undo file is left, and the next
    /// [`InPlace::open`] tries again. With any other error the image is as it was: [`Error::ManyNames`] if
    /// its undo file would not be found under its other names; those of reading the delta, and of writing
    /// the undo file and the image.
    pub fn commit(self, delta: &Delta) -> Result<()> {
        let changes = delta.changes()?;
        let result = self.write(delta, &changes, &mut || Ok(()));
        if result.is_err() {
            let undone = self.reopened().and_then(|image| undo::recover(&image));
            undone.map_err(|source| Error::HalfChanged {
                path: self.image.path().to_owned(),
                source: Box::new(source),
            })?;
        }
        result
    }

    /// The image with the length that it has now.
    fn reopened(&self) -> Result<FileDevice> {
        let path = self.image.path();
        let file = self.image.file().try_clone();
        file.and_then(|file| FileDevice::with(file, path, true))
            .map_err(|e| Error::file(path, "open", e))
    }

    /// The steps of a commit. `before` is called before each one, so that tests can stop between
    /// any two of them.
    fn write(
        &self,
        delta: &Delta,
        changes: &[Change],
        before: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        if changes.is_empty() && delta.len() == self.image.len() {
            return Ok(());
        }
        before()?;
        undo::write(&self.image, delta, changes)?;
        before()?;
        self.image.set_len(delta.len())?;
        let image = self.reopened()?;
        for change in changes {
            before()?;
            delta.copy_changes(std::slice::from_ref(change), &image)?;
        }
        before()?;
        undo::sync(image.file(), image.path())?;
        before()?;
        undo::remove(&self.image)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    fn undo_path(image: &Path) -> PathBuf {
        image.with_file_name("disk.raw.imgasm-undo")
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

    fn stopped_after(steps: i32, image: &InPlace, delta: &Delta) -> Result<()> {
        let changes = delta.changes().unwrap();
        let mut left = steps;
        let path = image.image.path().to_owned();
        image.write(delta, &changes, &mut || {
            left -= 1;
            let stopped = || Error::Locked { path: path.clone() };
            (left >= 0).then_some(()).ok_or_else(stopped)
        })
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
            let result = stopped_after(steps, &image, &delta);
            drop((image, delta));

            let undo_left = undo_path(&path).exists();
            let seen = fs::read(&path).unwrap();
            let readable = InPlace::check(&FileDevice::open(&path).unwrap());
            assert_eq!(readable.is_ok(), !undo_left || seen == old, "{steps} steps");
            assert!(fs::read(&path).unwrap() == seen, "checking has written");
            let recovered = InPlace::open(&path).unwrap();
            assert_eq!(recovered.recovery().is_some(), undo_left);
            assert!(!undo_path(&path).exists());
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

    /// An image that is half-changed, what it held, and the bytes of its undo file.
    fn half_changed(dir: &tempfile::TempDir) -> (PathBuf, Vec<u8>, Vec<u8>) {
        let (path, old) = image_in(dir);
        let image = InPlace::open(&path).unwrap();
        let delta = edit(&image);
        stopped_after(5, &image, &delta).unwrap_err();
        assert!(fs::read(&path).unwrap() != old);
        let undo = fs::read(undo_path(&path)).unwrap();
        (path, old, undo)
    }

    #[test]
    fn an_undo_file_that_is_cut_off_or_damaged_means_an_untouched_image() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old, whole) = half_changed(&dir);
        fs::write(&path, &old).unwrap();
        let recovery = || InPlace::open(&path).unwrap().recovery;
        for len in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
            fs::write(undo_path(&path), &whole[..len]).unwrap();
            let found = InPlace::check(&FileDevice::open(&path).unwrap());
            assert_eq!(found.unwrap(), Some(Recovery::NotBegun));
            assert!(undo_path(&path).exists(), "checking removes nothing");
            assert_eq!(recovery(), Some(Recovery::NotBegun));
            assert!(!undo_path(&path).exists());
        }
        let mut damaged = whole.clone();
        damaged[45] ^= 1;
        fs::write(undo_path(&path), &damaged).unwrap();
        assert_eq!(recovery(), Some(Recovery::NotBegun));
        assert!(fs::read(&path).unwrap() == old);
    }

    #[test]
    fn a_write_that_was_cut_at_a_sector_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old, _) = half_changed(&dir);
        let mut torn = fs::read(&path).unwrap();
        // The first 512 bytes are new, the rest of the block is as it was.
        torn[512..4096].copy_from_slice(&old[512..4096]);
        fs::write(&path, &torn).unwrap();
        InPlace::open(&path).unwrap();
        assert!(fs::read(&path).unwrap() == old);
    }

    #[test]
    fn an_image_that_was_replaced_or_written_since_is_not_touched() {
        for at in [0, 3 * 4096 + 700, 30 * 4096 + 1, 43 * 4096] {
            let dir = tempfile::tempdir().unwrap();
            let (path, _, whole) = half_changed(&dir);
            let mut other = fs::read(&path).unwrap();
            other[at] ^= 0xff;
            fs::write(&path, &other).unwrap();
            let read = InPlace::check(&FileDevice::open(&path).unwrap()).unwrap_err();
            let opened = InPlace::open(&path).unwrap_err();
            for error in [read, opened] {
                let sector = u64::try_from(at / 512 * 512).unwrap();
                assert!(
                    matches!(error, Error::UndoMismatch { offset, .. } if offset == sector),
                    "{error}"
                );
            }
            assert!(fs::read(&path).unwrap() == other);
            assert!(fs::read(undo_path(&path)).unwrap() == whole);
        }
        // A length that is neither the old nor the new one.
        let dir = tempfile::tempdir().unwrap();
        let (path, old, _) = half_changed(&dir);
        fs::write(&path, &old[..old.len() - 1]).unwrap();
        assert!(matches!(
            InPlace::open(&path),
            Err(Error::UndoMismatch { .. })
        ));
        assert!(fs::read(&path).unwrap() == old[..old.len() - 1]);
    }

    #[test]
    fn an_undo_file_of_another_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _, _) = half_changed(&dir);
        let other = dir.path().join("other.raw");
        fs::write(&other, [1; 5000]).unwrap();
        let beside = dir.path().join("other.raw.imgasm-undo");
        fs::rename(undo_path(&path), &beside).unwrap();
        let error = InPlace::open(&other).unwrap_err();
        assert!(error.to_string().contains("another file"), "{error}");
        assert!(fs::read(&other).unwrap() == [1; 5000]);
    }

    #[test]
    fn an_image_is_found_by_every_name_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (path, old, _) = half_changed(&dir);
        std::os::unix::fs::symlink("disk.raw", at("link.raw")).unwrap();
        fs::hard_link(&path, at("second.raw")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["link.raw", "second.raw"] {
            let error = InPlace::check(&FileDevice::open(&at(name)).unwrap()).unwrap_err();
            assert!(
                matches!(error, Error::Interrupted { .. }),
                "{name}: {error}"
            );
        }
        fs::rename(&path, at("folder/moved.raw")).unwrap();
        // A copy has the mark as well, but the undo file is not about it.
        let run = std::process::Command::new("cp")
            .args(["-a", "folder/moved.raw", "copy.raw"])
            .current_dir(dir.path())
            .status();
        assert!(run.unwrap().success());
        assert_eq!(InPlace::open(&at("copy.raw")).unwrap().recovery, None);
        let recovery = InPlace::open(&at("second.raw")).unwrap().recovery;
        assert!(matches!(recovery, Some(Recovery::RolledBack { .. })));
        assert!(fs::read(at("folder/moved.raw")).unwrap() == old);
        assert!(!undo_path(&path).exists());
    }

    #[test]
    fn what_could_be_forged_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _, whole) = half_changed(&dir);
        let undo = undo_path(&path);
        let refused = |what: &str| {
            let before = fs::read(&path).unwrap();
            for error in [
                InPlace::check(&FileDevice::open(&path).unwrap()).unwrap_err(),
                InPlace::open(&path).unwrap_err(),
            ] {
                assert!(
                    matches!(error, Error::UndoUntrusted { .. }),
                    "{what}: {error}"
                );
            }
            assert!(fs::read(&path).unwrap() == before);
        };
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&undo, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &undo).unwrap();
        refused("a link");
        fs::remove_file(&undo).unwrap();
        fs::hard_link(&elsewhere, &undo).unwrap();
        refused("a second name");
        fs::remove_file(&undo).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(&undo).status();
        assert!(fifo.unwrap().success());
        refused("a FIFO");
        fs::remove_file(&undo).unwrap();
        fs::write(&undo, &whole).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&undo, Some(12345), None).unwrap();
            refused("of another owner");
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        }
        assert!(InPlace::open(&path).unwrap().recovery.is_some());
    }
}
