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
    /// A host that makes fewer calls than it was asked for costs speed, not correctness: the caller does the rest. It is
    /// fastest where an index comes to the same thread every time, whose caches hold what the call before read and wrote.
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
    /// The workers take pieces from shared counters instead of being told which to run. So the load balances itself,
    /// and a host whose `parallel_for` repeats or forgets an index can neither run a piece twice (two threads writing
    /// to the same memory) nor lose one. Each begins at a share of its own, the same in every call with as many pieces: its
    /// caches still hold what it read and wrote there.
    pub fn run(&self, pieces: usize, task: &(dyn Fn(usize) + Sync)) {
        match self.threads().min(pieces) {
            0 | 1 => (0..pieces).for_each(task),
            workers => self.share(pieces, workers, task),
        }
    }

    /// Not within `run`, where the shares would lie on the stack of a single thread's kernels as well.
    #[inline(never)]
    fn share(&self, pieces: usize, workers: usize, task: &(dyn Fn(usize) + Sync)) {
        let shares = Shares::new(pieces, workers);
        let done = AtomicUsize::new(0);
        let work = |worker: usize, of: usize| {
            done.fetch_add(shares.take_all(worker, of, task), Ordering::Relaxed);
        };
        match self {
            Parallel::Serial => {}
            #[cfg(feature = "rayon")]
            Parallel::Rayon => {
                use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
                let work = |worker, of| {
                    work(worker, of);
                    for _ in 0..PATIENCE {
                        if done.load(Ordering::Relaxed) >= pieces {
                            break;
                        }
                        std::hint::spin_loop();
                    }
                };
                if rayon::current_thread_index().is_some() {
                    // By the thread, which has the caches, not by its turn in the iterator, which is chance.
                    let threads = self.threads();
                    (0..workers).into_par_iter().with_max_len(1).for_each(|worker| {
                        work(rayon::current_thread_index().unwrap_or(worker), threads);
                    });
                } else {
                    // An iterator would leave all of the work to the pool, whose threads take tens of microseconds to wake.
                    let work = &work;
                    rayon::in_place_scope(|scope| {
                        (1..workers).for_each(|worker| scope.spawn(move |_| work(worker, workers)));
                        work(0, workers);
                    });
                }
            }
            Parallel::Host(host) => host.parallel_for(workers, &|worker| work(worker, workers)),
        }
        work(0, workers);
    }
}

/// Pieces in contiguous shares, one for each worker.
struct Shares {
    pieces: usize,
    count: usize,
    /// How many pieces of each share are taken.
    taken: [Taken; Shares::MOST],
}

/// On a cache line of its own: while nobody takes from another's share, no line moves between processors.
#[repr(align(64))]
struct Taken(AtomicUsize);

impl Shares {
    /// They lie on the stack. Of more workers than that, some begin at the same share.
    const MOST: usize = 32;

    fn new(pieces: usize, workers: usize) -> Self {
        let taken = [const { Taken(AtomicUsize::new(0)) }; Self::MOST];
        Shares { pieces, count: workers.clamp(1, Self::MOST), taken }
    }

    /// Runs `task` with each piece that nobody has taken yet, beginning as far into the pieces as `worker` is into the `of`
    /// that there are; returns how many those were.
    fn take_all(&self, worker: usize, of: usize, task: &(dyn Fn(usize) + Sync)) -> usize {
        let own = worker % of.max(1) * self.count / of.max(1);
        let mut done = 0;
        for share in (own..self.count).chain(0..own) {
            let (first, end) = (self.start(share), self.start(share + 1));
            loop {
                let piece = first + self.taken[share].0.fetch_add(1, Ordering::Relaxed);
                if piece >= end {
                    break;
                }
                task(piece);
                done += 1;
            }
        }
        done
    }

    /// The first piece of share `share`.
    fn start(&self, share: usize) -> usize {
        self.pieces / self.count * share + share.min(self.pieces % self.count)
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

    #[test]
    fn a_worker_begins_at_its_share_and_then_takes_what_is_left() {
        for (pieces, workers) in [(1, 1), (2, 2), (7, 2), (10, 3), (3, 3), (100, 40), (1000, 64)] {
            for worker in 0..workers + 2 {
                let order = std::sync::Mutex::new(Vec::new());
                let shares = Shares::new(pieces, workers);
                let done = shares.take_all(worker, workers, &|piece| order.lock().unwrap().push(piece));
                assert_eq!(shares.take_all(worker, workers, &|_| panic!("all are taken")), 0);
                let order = order.into_inner().unwrap();
                assert_eq!(done, pieces);
                // Begun in the middle and gone around, so each once; no further off than a share and a rounding.
                assert!((0..pieces).all(|i| order[i] == (order[0] + i) % pieces), "{order:?}");
                let expected = worker % workers * pieces / workers;
                assert!(order[0].abs_diff(expected) <= pieces / workers.min(Shares::MOST) + 1, "{order:?}");
                assert_eq!(order[0] == 0, worker % workers < workers.div_ceil(Shares::MOST), "{order:?}");
            }
        }
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn a_thread_of_a_pool_takes_the_same_pieces_in_every_call() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for _ in 0..100 {
            let both = std::sync::Barrier::new(2);
            pool.install(|| {
                Parallel::Rayon.run(2, &|piece| {
                    both.wait();
                    assert_eq!(rayon::current_thread_index(), Some(piece));
                });
            });
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
