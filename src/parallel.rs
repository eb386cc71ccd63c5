//! Who runs the loop: this thread, rayon's current pool, or threads that the host lends.
//!
//! Library code splits its work into *fixed* pieces (never by the number of threads, so that results do not depend on
//! it) and asks a [`Parallel`] to run them. Nothing else in the crate names rayon.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that a host lends: an inference engine's own pool, say.
pub trait ParallelFor: Send + Sync {
    /// How many pieces can run at the same time; at least 1.
    fn threads(&self) -> usize;

    /// Calls `task(i)` for each `i` below `count`, in any order, on any threads, and returns when all calls have.
    ///
    /// A host that makes fewer calls than it was asked for costs speed, not correctness: the caller does the rest.
    fn parallel_for(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// How many times a thread of a pool that has no more work looks whether the others are done, before the pool may send it to
/// sleep: 10 to 30 microseconds (28 on a Zen 4), about what a piece takes. To wake it takes about as long, and the next
/// operation comes at once.
#[cfg(feature = "rayon")]
const PATIENCE: usize = 1 << 10;

/// Who runs the independent pieces of an operation.
#[derive(Clone)]
#[non_exhaustive]
pub enum Parallel {
    /// The calling thread, alone.
    Serial,
    /// Rayon's current pool: the one whose `install` is running, else the global one.
    ///
    /// The calling thread works too. From outside of the pool it begins at once, and each other thread that takes part costs one
    /// small allocation; inside (`install`) nothing is allocated.
    #[cfg(feature = "rayon")]
    Rayon,
    /// Threads that the host lends.
    Host(Arc<dyn ParallelFor>),
}

impl Default for Parallel {
    /// Rayon's current pool with the feature `rayon`, else the calling thread.
    fn default() -> Self {
        #[cfg(feature = "rayon")]
        return Parallel::Rayon;
        #[cfg(not(feature = "rayon"))]
        return Parallel::Serial;
    }
}

impl fmt::Debug for Parallel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parallel::Serial => f.write_str("Serial"),
            #[cfg(feature = "rayon")]
            Parallel::Rayon => f.write_str("Rayon"),
            Parallel::Host(host) => write!(f, "Host({} threads)", host.threads()),
        }
    }
}

impl Parallel {
    /// How many pieces can run at the same time; at least 1.
    pub fn threads(&self) -> usize {
        match self {
            Parallel::Serial => 1,
            #[cfg(feature = "rayon")]
            Parallel::Rayon => rayon::current_num_threads(),
            Parallel::Host(host) => host.threads().max(1),
        }
    }

    /// Runs `task(i)` exactly once for each `i` below `pieces`, and returns when all have run.
    ///
    /// The workers take pieces from a shared counter instead of being told which to run. So the load balances itself,
    /// and a host whose `parallel_for` repeats or forgets an index can neither run a piece twice (two threads writing
    /// to the same memory) nor lose one.
    pub fn run(&self, pieces: usize, task: &(dyn Fn(usize) + Sync)) {
        let workers = self.threads().min(pieces);
        if workers <= 1 {
            (0..pieces).for_each(task);
            return;
        }
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let work = |_worker: usize| {
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    break;
                }
                task(piece);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        match self {
            Parallel::Serial => {}
            #[cfg(feature = "rayon")]
            Parallel::Rayon => {
                use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
                let work = |worker| {
                    work(worker);
                    for _ in 0..PATIENCE {
                        if done.load(Ordering::Relaxed) >= pieces {
                            break;
                        }
                        std::hint::spin_loop();
                    }
                };
                if rayon::current_thread_index().is_some() {
                    (0..workers).into_par_iter().with_max_len(1).for_each(work);
                } else {
                    // An iterator would leave all of the work to the pool, whose threads take tens of microseconds to wake.
                    let work = &work;
                    rayon::in_place_scope(|scope| {
                        (1..workers).for_each(|worker| scope.spawn(move |_| work(worker)));
                        work(0);
                    });
                }
            }
            Parallel::Host(host) => host.parallel_for(workers, &work),
        }
        work(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that forgets all but the first call and repeats that one.
    struct Careless;

    impl ParallelFor for Careless {
        fn threads(&self) -> usize {
            4
        }
        fn parallel_for(&self, _count: usize, task: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                scope.spawn(|| task(0));
                scope.spawn(|| task(0));
            });
        }
    }

    fn counts(parallel: &Parallel, pieces: usize) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
        parallel.run(pieces, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_piece_runs_exactly_once_whoever_runs_it() {
        for parallel in [Parallel::Serial, Parallel::default(), Parallel::Host(Arc::new(Careless))] {
            for pieces in [0, 1, 2, 3, 4, 5, 63, 1000] {
                assert_eq!(counts(&parallel, pieces), vec![1; pieces], "{parallel:?}, {pieces} pieces");
            }
        }
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn a_caller_from_outside_of_the_pool_works_too() {
        let both = std::sync::Barrier::new(2);
        let callers = std::sync::Mutex::new(Vec::new());
        if Parallel::Rayon.threads() < 2 {
            println!("one thread here");
            return;
        }
        Parallel::Rayon.run(2, &|_| {
            both.wait();
            callers.lock().unwrap().push(std::thread::current().id());
        });
        let callers = callers.into_inner().unwrap();
        assert!(callers.contains(&std::thread::current().id()), "{callers:?}");
    }
}
