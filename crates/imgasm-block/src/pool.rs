//! Work on all cores: the one place that starts threads for it.
//!
//! - [`on_all_cores`]: every core takes from a common source until it is empty.
//! - [`in_order`]: jobs with results that are wanted in the order of the jobs.
//! - [`Workers`]: the same for a reader that gives jobs as it goes.
//! - [`both`]: two things at the same time.
//! - [`side_by_side`]: large jobs, which share the cores while they are under way.
//!
//! A panic in a thread is resumed in the one that waits for it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// The stack of a thread that does a large job: as much as the main thread usually has.
const STACK_BYTES: usize = 8 << 20;

/// How many jobs of [`side_by_side`] are under way.
static SHARERS: AtomicUsize = AtomicUsize::new(0);

/// How many cores there are.
pub fn cores() -> usize {
    // The kernel is asked once: it takes several files.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// How many threads share work: one per core, or a job's part of them while several are under way
/// [`side_by_side`].
pub fn size() -> usize {
    part(cores(), SHARERS.load(Ordering::Relaxed))
}

fn part(cores: usize, sharers: usize) -> usize {
    (cores / sharers.max(1)).max(1)
}

/// Runs `beside` in another thread while `here` runs in this one, and waits for both.
pub fn both<A: Send, B>(beside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let beside = scope.spawn(beside);
        let here = here();
        (
            beside.join().unwrap_or_else(|panic| resume_unwind(panic)),
            here,
        )
    })
}

/// Runs `work` once per core; each run takes its items from a shared source until nothing is left
/// there. Gives the result of each run.
///
/// # Errors
/// That of the first thread that failed, when all have ended.
pub fn on_all_cores<T: Send, E: Send>(work: impl Fn() -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..size()).map(|_| scope.spawn(&work)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Does `work` on each of `jobs`, on all cores, and gives the results to `consume` in the order of
/// the jobs. Only a few jobs more than there are cores are under way at a time.
///
/// # Errors
/// The first one, in the order of the jobs, of a job, of `work` or of `consume`.
pub fn in_order<J: Send, T: Send, E: Send>(
    jobs: impl IntoIterator<Item = Result<J, E>>,
    work: impl Fn(J) -> Result<T, E> + Sync,
    mut consume: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let window = 2 * size() + 2;
    let (work, queue) = (&work, &Mutex::new(None));
    thread::scope(|scope| {
        let mut workers = Workers::begin(|jobs| {
            *queue.lock().unwrap_or_else(PoisonError::into_inner) = Some(jobs);
            for _ in 0..size() {
                scope.spawn(move || serve(|| next_in(queue), work));
            }
        });
        for job in jobs {
            if workers.under_way() == window
                && let Some(result) = workers.take()
            {
                consume(result?)?;
            }
            workers.submit(job?);
        }
        while let Some(result) = workers.take() {
            consume(result?)?;
        }
        Ok(())
    })
}

/// Does `work` on each of `jobs`, `most` of them at a time, and gives the results to `consume` in the
/// order of the jobs. The work that the jobs give to all cores is shared out among them, so that
/// there are not more threads than for one.
///
/// # Errors
/// If a thread cannot be started. Then nothing was done.
pub fn side_by_side<J: Send, T: Send>(
    jobs: impl IntoIterator<Item = J>,
    most: usize,
    work: impl Fn(J) -> T + Sync,
    mut consume: impl FnMut(T),
) -> io::Result<()> {
    let work = |job| {
        let _sharer = Sharer::new();
        work(job)
    };
    let (work, queue) = (&work, &Mutex::new(None));
    thread::scope(|scope| {
        let mut started = Ok(());
        let mut workers = Workers::begin(|jobs| {
            *queue.lock().unwrap_or_else(PoisonError::into_inner) = Some(jobs);
            let start = || {
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, move || serve(|| next_in(queue), work))
            };
            started = (0..most.max(1)).try_for_each(|_| start().map(drop));
        });
        started?;
        for job in jobs {
            workers.submit(job);
        }
        while let Some(result) = workers.take() {
            consume(result);
        }
        Ok(())
    })
}

/// A job that shares the cores with others.
struct Sharer;

impl Sharer {
    fn new() -> Self {
        SHARERS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        SHARERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A job, and where its result is waited for.
type Order<J, T> = (J, SyncSender<T>);

/// Threads that do one kind of job; the results are taken in the order in which the jobs were
/// given. The threads end when this is dropped.
pub struct Workers<J, T> {
    to_workers: Sender<Order<J, T>>,
    pending: VecDeque<Receiver<T>>,
}

impl<J, T> fmt::Debug for Workers<J, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("under_way", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl<J: Send + 'static, T: Send + 'static> Workers<J, T> {
    /// Starts one thread per core.
    pub fn start(work: fn(J) -> T) -> Self {
        Self::begin(|jobs| {
            let queue = Arc::new(Mutex::new(Some(jobs)));
            for _ in 0..size() {
                let queue = Arc::clone(&queue);
                thread::spawn(move || serve(|| next_in(&queue), &work));
            }
        })
    }
}

impl<J: Send, T: Send> Workers<J, T> {
    /// As [`Workers::start`], with at most `most` threads that live in `scope`.
    pub fn start_in<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        most: usize,
        work: fn(J) -> T,
    ) -> Self
    where
        J: 'scope,
        T: 'scope,
    {
        Self::begin(|jobs| {
            let queue = Arc::new(Mutex::new(Some(jobs)));
            for _ in 0..size().min(most) {
                let queue = Arc::clone(&queue);
                scope.spawn(move || serve(|| next_in(&queue), &work));
            }
        })
    }

    fn begin(spawn: impl FnOnce(Receiver<Order<J, T>>)) -> Self {
        let (to_workers, jobs) = mpsc::channel();
        spawn(jobs);
        Self {
            to_workers,
            pending: VecDeque::new(),
        }
    }

    /// Has a job done.
    ///
    /// # Panics
    /// If a worker has panicked.
    pub fn submit(&mut self, job: J) {
        let (reply, result) = mpsc::sync_channel(1);
        self.pending.push_back(result);
        self.to_workers
            .send((job, reply))
            .expect("the workers live as long as this");
    }

    /// How many submitted jobs there are whose result has not been taken.
    pub fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Waits for the result of the earliest of them; `None` if there is none.
    ///
    /// # Panics
    /// If the worker that did it has panicked.
    pub fn take(&mut self) -> Option<T> {
        let result = self.pending.pop_front()?;
        Some(result.recv().expect("a worker answers every job"))
    }

    /// The result of the earliest of them, if it is ready.
    ///
    /// # Panics
    /// As [`Workers::take`].
    pub fn try_take(&mut self) -> Option<T> {
        match self.pending.front()?.try_recv() {
            Ok(result) => {
                self.pending.pop_front();
                Some(result)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("a worker answers every job"),
        }
    }
}

/// The next job of a queue that workers share; `None` when no more come.
fn next_in<T>(queue: &Mutex<Option<Receiver<T>>>) -> Option<T> {
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.as_ref()?.recv().ok()
}

/// Does jobs until no more come.
fn serve<J, T>(next: impl Fn() -> Option<Order<J, T>>, work: &impl Fn(J) -> T) {
    while let Some((job, reply)) = next() {
        // Nobody waits for it any more if an earlier job has failed.
        let _ = reply.send(work(job));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn large_jobs_share_the_cores_and_end_in_order() {
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut results = Vec::new();
        let work = |job: u64| {
            most.fetch_max(
                under_way.fetch_add(1, Ordering::Relaxed) + 1,
                Ordering::Relaxed,
            );
            // The first ones take longest.
            thread::sleep(Duration::from_millis(5 * (6 - job)));
            let shared = on_all_cores(|| Ok::<_, ()>(())).map(|runs| runs.len());
            under_way.fetch_sub(1, Ordering::Relaxed);
            (job, shared)
        };
        side_by_side(0..6, 3, work, |result| results.push(result)).unwrap();
        assert!(most.into_inner() <= 3);
        let order: Vec<u64> = results.iter().map(|(job, _)| *job).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
        assert!(
            results
                .iter()
                .all(|(_, threads)| threads.unwrap() <= cores())
        );
        assert_eq!(
            [part(8, 0), part(8, 1), part(8, 3), part(2, 3)],
            [8, 8, 2, 1]
        );
    }
}
