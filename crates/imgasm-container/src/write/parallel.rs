//! Work on all cores whose results are wanted in order.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Result;
use imgasm_block::{BlockDevice, cores};

/// Does `work` on each of `jobs`, on all cores, and gives the results to `consume` in the order of
/// the jobs. Only a few jobs more than there are cores are under way at a time.
pub(super) fn in_order<J: Send, T: Send>(
    jobs: impl IntoIterator<Item = Result<J>>,
    work: impl Fn(J) -> Result<T> + Sync,
    mut consume: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let window = 2 * cores() + 2;
    let (to_workers, queue) = mpsc::channel::<(J, SyncSender<Result<T>>)>();
    let queue = Mutex::new(queue);
    let worker = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((job, reply)) = next else { return };
            // Nobody waits for it any more where an earlier job has failed.
            let _ = reply.send(work(job));
        }
    };
    thread::scope(|scope| {
        // Dropped on the way out, which ends the workers.
        let to_workers = to_workers;
        for _ in 0..cores() {
            scope.spawn(worker);
        }
        let mut pending: VecDeque<Receiver<Result<T>>> = VecDeque::new();
        let mut next = |pending: &mut VecDeque<Receiver<Result<T>>>| {
            let oldest = pending.pop_front().expect("called with jobs under way");
            consume(oldest.recv().expect("a worker answers every job")?)
        };
        for job in jobs {
            if pending.len() == window {
                next(&mut pending)?;
            }
            let (reply, result) = mpsc::sync_channel(1);
            to_workers
                .send((job?, reply))
                .expect("the queue outlives this scope");
            pending.push_back(result);
        }
        while !pending.is_empty() {
            next(&mut pending)?;
        }
        Ok(())
    })
}

/// The offsets, multiples of `piece_bytes`, of the pieces of a device that are not a hole.
pub(super) fn data_pieces(
    device: &dyn BlockDevice,
    piece_bytes: u64,
) -> impl Iterator<Item = Result<u64>> {
    let mut position = 0;
    std::iter::from_fn(move || match device.next_data(position) {
        Ok(Some(data)) => {
            let offset = data.start / piece_bytes * piece_bytes;
            position = offset + piece_bytes;
            Some(Ok(offset))
        }
        Ok(None) => None,
        Err(e) => {
            position = u64::MAX;
            Some(Err(e.into()))
        }
    })
}

/// Reads a piece of a device; what lies past its end is zeros.
pub(super) fn read_piece(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut piece = vec![0; len];
    let inside = device.len().saturating_sub(offset);
    let inside = usize::try_from(inside).unwrap_or(usize::MAX).min(len);
    device.read_at(offset, &mut piece[..inside])?;
    Ok(piece)
}
