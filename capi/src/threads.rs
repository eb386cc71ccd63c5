//! Threads for the pieces of an operation: a context's own, or the host's. Not seen from C.
//!
//! A panic in a piece is carried to the caller's thread, never through a C frame and never to a thread's end.

use crate::context::tersor_task;
use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tersor::ParallelFor;

type Body<'a> = &'a (dyn Fn(usize) + Sync);
type Payload = Box<dyn Any + Send>;

/// A lock that a panic cannot poison: every state below is valid at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first panic of a loop, until the caller's thread takes it.
#[derive(Default)]
struct FirstPanic(Mutex<Option<Payload>>);

impl FirstPanic {
    fn catch(&self, body: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
            lock(&self.0).get_or_insert(payload);
        }
    }

    fn resume(self) {
        if let Some(payload) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// The host's `parallel_for`.
pub(crate) struct HostThreads {
    pub(crate) threads: usize,
    pub(crate) parallel_for:
        extern "C" fn(user: *mut c_void, count: usize, task: tersor_task, data: *const c_void),
    pub(crate) user: *mut c_void,
}

// SAFETY: the header says that `parallel_for` is called with `user` from any thread that calls tersor, at the same time.
unsafe impl Send for HostThreads {}
// SAFETY: as above.
unsafe impl Sync for HostThreads {}

/// One loop that the host runs.
struct HostLoop<'a> {
    body: Body<'a>,
    panic: FirstPanic,
}

extern "C" fn run_host_task(data: *const c_void, index: usize) {
    // SAFETY: `HostThreads::parallel_for` passes a `HostLoop` that lives until the host's function returns, and the header
    // says that no task is called after that.
    let host_loop = unsafe { &*data.cast::<HostLoop<'_>>() };
    host_loop.panic.catch(|| (host_loop.body)(index));
}

impl ParallelFor for HostThreads {
    fn threads(&self) -> usize {
        self.threads
    }

    fn parallel_for(&self, count: usize, task: Body<'_>) {
        let host_loop = HostLoop { body: task, panic: FirstPanic::default() };
        (self.parallel_for)(self.user, count, Some(run_host_task), (&raw const host_loop).cast());
        host_loop.panic.resume();
    }
}

/// Threads of a context's own: they wait until there is a loop to help with, and end when the pool is dropped.
///
/// One loop at a time: a second caller finds the pool busy and does its work alone (`Parallel::run` does what nobody
/// else did), which costs no queue, no allocation and no waiting on strangers' work.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    busy: AtomicBool,
    helpers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Helpers wait here for a loop.
    start: Condvar,
    /// The caller waits here for its helpers.
    done: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    running: usize,
    stop: bool,
}

/// A loop that may be helped with. The references are the caller's; `Pool::parallel_for` keeps them alive.
#[derive(Clone, Copy)]
struct Job {
    body: Body<'static>,
    panic: &'static FirstPanic,
    /// The index that the next helper takes, and the end of the indices.
    next: usize,
    end: usize,
}

impl Pool {
    /// A pool on which `threads` threads work, the caller's included.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        // Dropping the pool on an early return joins the helpers that did start.
        let mut pool = Pool { shared: Arc::default(), busy: AtomicBool::new(false), helpers: Vec::new() };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("tersor-{index}"));
            pool.helpers.push(builder.spawn(move || shared.help())?);
        }
        Ok(pool)
    }
}

impl Shared {
    /// A helper's life.
    fn help(&self) {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return;
            }
            let Some(job) = state.job.as_mut().filter(|job| job.next < job.end) else {
                state = self.start.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (body, panic, index) = (job.body, job.panic, job.next);
            job.next += 1;
            state.running += 1;
            drop(state);
            panic.catch(|| body(index));
            state = lock(&self.state);
            state.running -= 1;
            if state.running == 0 {
                self.done.notify_one();
            }
        }
    }
}

impl ParallelFor for Pool {
    fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    fn parallel_for(&self, count: usize, task: Body<'_>) {
        if self.busy.swap(true, Ordering::Acquire) {
            return;
        }
        let panic = FirstPanic::default();
        // SAFETY: only the lifetimes change. Helpers get these references from `state.job` alone, counted in `running`;
        // below, the job is withdrawn and `running` awaited before either reference ends. No panic can skip that: the
        // one call in between catches.
        let (body, shared_panic) = unsafe {
            (
                std::mem::transmute::<Body<'_>, Body<'static>>(task),
                std::mem::transmute::<&FirstPanic, &'static FirstPanic>(&panic),
            )
        };
        lock(&self.shared.state).job = Some(Job { body, panic: shared_panic, next: 1, end: count });
        self.shared.start.notify_all();

        panic.catch(|| task(0));

        let mut state = lock(&self.shared.state);
        state.job = None;
        while state.running > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.busy.store(false, Ordering::Release);
        panic.resume();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.start.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches every panic, so there is none to pass on.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tersor::Parallel;

    fn on_pool(threads: usize) -> Parallel {
        Parallel::Host(Arc::new(Pool::new(threads).unwrap()))
    }

    #[test]
    fn every_piece_runs_once_also_from_several_callers() {
        let parallel = on_pool(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for pieces in [0, 1, 2, 3, 5, 1000] {
                        let counts: Vec<_> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                        parallel.run(pieces, &|i| {
                            counts[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        });
    }

    #[test]
    fn helpers_help() {
        let parallel = on_pool(3);
        let here = std::thread::current().id();
        // Every piece waits until three threads are in one: with fewer this would never end.
        let barrier = std::sync::Barrier::new(3);
        let strangers = AtomicUsize::new(0);
        parallel.run(3, &|_| {
            barrier.wait();
            strangers.fetch_add(usize::from(std::thread::current().id() != here), Ordering::Relaxed);
        });
        assert_eq!(strangers.into_inner(), 2);
    }

    #[test]
    fn a_panic_on_a_helper_reaches_the_caller_and_the_pool_works_on() {
        let parallel = on_pool(2);
        for _ in 0..3 {
            let barrier = std::sync::Barrier::new(2);
            let here = std::thread::current().id();
            let result = catch_unwind(AssertUnwindSafe(|| {
                parallel.run(2, &|_| {
                    barrier.wait();
                    assert_eq!(std::thread::current().id(), here, "a helper");
                });
            }));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        parallel.run(10, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn a_panic_never_crosses_the_hosts_frames() {
        extern "C" fn in_order(_user: *mut c_void, count: usize, task: tersor_task, data: *const c_void) {
            (0..count).for_each(|index| task.unwrap()(data, index));
        }
        let host = HostThreads { threads: 2, parallel_for: in_order, user: std::ptr::null_mut() };
        let result = catch_unwind(AssertUnwindSafe(|| {
            Parallel::Host(Arc::new(host)).run(5, &|i| assert_ne!(i, 3, "piece 3"));
        }));
        assert!(result.unwrap_err().downcast_ref::<String>().unwrap().contains("piece 3"));
    }
}
