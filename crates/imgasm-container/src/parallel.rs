//! Pieces of a stream decoded on all cores, in the order in which they were given.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use imgasm_block::cores;

/// Threads that do one kind of job. They end when this is dropped.
pub(super) struct Parallel<J, T> {
    to_workers: Sender<(J, SyncSender<T>)>,
    pending: VecDeque<Receiver<T>>,
}

impl<J: Send + 'static, T: Send + 'static> Parallel<J, T> {
    /// Starts a thread a core.
    pub(super) fn start(work: fn(J) -> T) -> Self {
        let (to_workers, queue) = mpsc::channel::<(J, SyncSender<T>)>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..cores() {
            let queue = queue.clone();
            thread::spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((job, reply)) = next else { return };
                    let _ = reply.send(work(job));
                }
            });
        }
        Self {
            to_workers,
            pending: VecDeque::new(),
        }
    }

    /// Has a job done.
    pub(super) fn submit(&mut self, job: J) {
        let (reply, result) = mpsc::sync_channel(1);
        self.pending.push_back(result);
        self.to_workers
            .send((job, reply))
            .expect("the workers live as long as this");
    }

    /// How many jobs have been given of which the result has not been taken.
    pub(super) fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Waits for the result of the earliest of them.
    pub(super) fn take(&mut self) -> Option<T> {
        let result = self.pending.pop_front()?;
        Some(result.recv().expect("a worker answers every job"))
    }
}
