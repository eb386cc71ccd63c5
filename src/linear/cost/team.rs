//! Threads that share the pieces of a call: how late they come, who runs which piece, and when the last is done.

use super::super::by_matrix;
use super::grid::Grid;

/// For how long the other threads had nothing to do before a loop, in nanoseconds: after a while they sleep, and are woken.
pub(super) const PAUSES: [f64; 6] = [0., 1e4, 2e4, 4e4, 8e4, 3.2e5];

/// What was measured of so many threads, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Team {
    pub(super) threads: usize,
    /// `[PAUSES]`: how much later than the calling thread the others take their first piece.
    pub(super) late: Grid,
    /// What a piece takes besides its work.
    pub(super) piece: f64,
    /// Calls of the layer of [`shared`], of which each thread reads all that was quantized: without its outputs and with them on
    /// one thread, and on all.
    pub(super) shared: [f64; 3],
    /// Calls of one thread and of all: many pieces, with weights in caches.
    pub(super) products: [f64; 2],
    /// The same with weights that come from memory.
    pub(super) reads: [f64; 2],
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        Team {
            threads,
            late: Grid::new(&[&PAUSES]),
            piece: 0.0,
            shared: [0.0; 3],
            products: [0.0; 2],
            reads: [0.0; 2],
        }
    }

    /// Each time as short as in one of both.
    pub(super) fn merge(&self, other: &Team) -> Team {
        let mut merged = self.clone();
        merged.slots().flatten().zip(other.clone().slots().flatten()).for_each(|(a, b)| *a = a.min(*b));
        merged
    }

    /// The numbers of its line, in their order, without its threads.
    pub(super) fn slots(&mut self) -> impl Iterator<Item = &mut [f64]> {
        let Team { threads: _, late, piece, shared, products, reads } = self;
        let one = std::slice::from_mut;
        [late.values_mut(), one(piece), &mut shared[..], products, reads].into_iter()
    }

    /// How many times as fast as one thread so many multiply what lies in caches, and read weights from memory.
    fn speedups(&self) -> (f64, f64) {
        let threads = self.threads as f64;
        let times = |[alone, together]: [f64; 2]| (alone / together.max(1.0)).clamp(1.0, threads);
        // A call of many pieces quantizes `x` in pieces as well.
        let late = 2.0 * self.late.at(&[0.0]) * (1.0 - 1.0 / threads);
        (times([self.products[0], self.products[1] - late]), times(self.reads))
    }

    /// What it takes to read a byte that another thread wrote: as much as makes the prediction of [`shared`] right.
    fn moved(&self, has_matrix: bool) -> f64 {
        let [quantizing, alone, together] = self.shared;
        let (products, _) = self.speedups();
        let mut sharing = Sharing {
            threads: self.threads,
            late: self.late.clone(),
            piece: self.piece,
            moved: 0.0,
            products,
            reads: 1.0,
        };
        let mut at = |moved: f64| {
            sharing.moved = moved;
            let piece = shared_piece(has_matrix);
            sharing.call(0.0, &shared(self.threads, piece, [quantizing, (alone - quantizing).max(0.0)]))
        };
        let there = at(0.0);
        ((together - there) / (at(1.0) - there).max(1.0)).max(0.0)
    }
}

/// What so many threads give and cost, between those that were measured.
#[derive(Clone)]
pub(super) struct Sharing {
    pub(super) threads: usize,
    late: Grid,
    piece: f64,
    /// To read a byte that another thread wrote.
    moved: f64,
    /// How many times as fast as one thread they multiply what lies in caches.
    pub(super) products: f64,
    /// The same for reading weights from memory.
    pub(super) reads: f64,
}

impl Sharing {
    /// `None` for more threads than there are teams for, and for none.
    pub(super) fn among(threads: usize, teams: &[Team], has_matrix: bool) -> Option<Self> {
        let mut below = Sharing {
            threads: 1,
            late: Grid::new(&[&PAUSES]),
            piece: 0.0,
            moved: 0.0,
            products: 1.0,
            reads: 1.0,
        };
        for team in teams {
            if below.threads >= threads {
                break;
            }
            let reached = team.threads.min(threads);
            let share = (reached - below.threads) as f64 / (team.threads - below.threads) as f64;
            let between = |low: f64, high: f64| low + (high - low) * share;
            let (products, reads) = team.speedups();
            let mut late = team.late.clone();
            let low = below.late.values();
            late.values_mut().iter_mut().zip(low).for_each(|(late, low)| *late = between(*low, *late));
            below = Sharing {
                threads: reached,
                late,
                piece: between(below.piece, team.piece),
                moved: between(below.moved, team.moved(has_matrix)),
                products: between(below.products, products),
                reads: between(below.reads, reads),
            };
        }
        (below.threads == threads).then_some(below)
    }

    /// How late a thread comes that had nothing to do for so long.
    fn late(&self, pause: f64) -> f64 {
        self.late.at(&[pause.min(PAUSES[PAUSES.len() - 1])])
    }

    /// Nanoseconds of a call that follows others of its kind: some that cannot be shared, then loops one after the other, each
    /// with the nanoseconds that one thread takes for it.
    pub(super) fn call(&self, alone: f64, loops: &[Loop]) -> f64 {
        if self.threads == 1 {
            return alone + loops.iter().map(|each| each.time).sum::<f64>();
        }
        let mut clock = Clock { sharing: self, now: 0.0, free: vec![0.0; self.threads - 1] };
        let mut before = 0.0;
        // Before the first the others are awake: from the second on calls repeat themselves, or nearly.
        for _ in 0..CALLS {
            before = clock.now;
            clock.now += alone;
            for each in loops {
                match each.cut.count() {
                    0 | 1 => clock.now += each.time,
                    _ => clock.run(each),
                }
            }
        }
        clock.now - before
    }
}

/// A call for an int8 layer of which each thread multiplies a piece with all rows, and how long quantizing and multiplying take one.
fn shared(threads: usize, piece: (usize, usize), [quantizing, multiplying]: [f64; 2]) -> [Loop; 2] {
    let (rows, inputs) = SHARED;
    let codes = (rows * inputs) as f64;
    let quantized = Cut { sizes: (rows, 1), piece: (QUANTIZED_ROWS, 1) };
    let cut = Cut { sizes: (rows, piece.1 * threads), piece };
    [
        Loop { time: quantizing, cut: quantized, written: codes, read: 0.0 },
        Loop { time: multiplying, cut, written: 0.0, read: codes },
    ]
}

/// Rows and inputs of that layer.
pub(super) const SHARED: (usize, usize) = (64, 2224);

/// A piece of its `y`, of which a matrix unit takes larger ones.
pub(super) fn shared_piece(has_matrix: bool) -> (usize, usize) {
    let (rows, inputs) = SHARED;
    by_matrix::Piece { rows, inputs, most: rows }.cut(has_matrix)
}

/// Rows of `x` that one thread quantizes at a time.
pub(super) const QUANTIZED_ROWS: usize = 8;

/// How many calls are followed; the last counts.
const CALLS: usize = 3;

/// What the threads do.
struct Clock<'a> {
    sharing: &'a Sharing,
    /// Where the calling thread is.
    now: f64,
    /// From when on each of the others has nothing to do.
    free: Vec<f64>,
}

impl Clock<'_> {
    /// Who is free takes the next piece: a pool gives each thread a share first, which ends at the same time where they are alike.
    fn run(&mut self, Loop { time, cut, written, read }: &Loop) {
        let threads = self.sharing.threads as f64;
        // The others had all but one part of what a thread needs: of what it writes, since the call before, its own part.
        let moved = (threads - 1.0) / threads * (written + read * threads * cut.read(self.sharing.threads));
        let time = time * threads / self.sharing.products + moved * self.sharing.moved;
        let besides = self.sharing.piece * cut.count() as f64;
        let mut own = self.now;
        for free in &mut self.free {
            if *free <= self.now {
                *free = self.now + self.sharing.late(self.now - *free);
            }
        }
        let mut last = own;
        let all = (cut.sizes.0 * cut.sizes.1).max(1) as f64;
        let pieces = cut.count().min(Cut::MOST_PIECES * self.sharing.threads) as f64;
        cut.for_each(self.sharing.threads, |size| {
            let first = self.free.iter_mut().min_by(|a, b| a.total_cmp(b));
            let taker = match first {
                Some(free) if *free < own => free,
                _ => &mut own,
            };
            *taker += time * (size / all) + besides / pieces;
            last = last.max(*taker);
        });
        // The calling thread may have been sent to sleep as well.
        let woken = self.sharing.late(last - own) - self.sharing.late(0.0);
        self.now = last + if last > own { woken.max(0.0) } else { 0.0 };
    }
}

/// A loop of a call.
pub(super) struct Loop {
    /// How long one thread takes for it.
    pub(super) time: f64,
    pub(super) cut: Cut,
    /// Bytes that it writes for the loops after it, and those of loops before it that it reads.
    pub(super) written: f64,
    pub(super) read: f64,
}

/// The pieces that a loop is cut into.
pub(super) struct Cut {
    pub(super) sizes: (usize, usize),
    pub(super) piece: (usize, usize),
}

impl Cut {
    /// Where there are more pieces for each thread, that they are not equal hardly matters.
    const MOST_PIECES: usize = 32;

    fn count(&self) -> usize {
        self.sizes.0.div_ceil(self.piece.0.max(1)) * self.sizes.1.div_ceil(self.piece.1.max(1))
    }

    /// Which part of the rows a thread comes across: its own, and those that it shares with others.
    fn read(&self, threads: usize) -> f64 {
        let across = self.sizes.1.div_ceil(self.piece.1.max(1));
        across.clamp(1, threads) as f64 / threads as f64
    }

    /// The size of each piece, in the order in which they are taken; of as many equal ones where there are very many.
    fn for_each(&self, threads: usize, mut body: impl FnMut(f64)) {
        let most = Self::MOST_PIECES * threads;
        if self.count() > most {
            let size = (self.sizes.0 * self.sizes.1) as f64 / most as f64;
            return (0..most).for_each(|_| body(size));
        }
        let parts = |size: usize, piece: usize| {
            (0..size).step_by(piece.max(1)).map(move |start| (size - start).min(piece.max(1)) as f64)
        };
        for rows in parts(self.sizes.0, self.piece.0) {
            parts(self.sizes.1, self.piece.1).for_each(|cols| body(rows * cols));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads, of which the second comes late by a tenth of the pause before.
    fn two() -> Sharing {
        let mut team = Team { products: [200.0, 100.0], reads: [200.0, 100.0], ..Team::new(2) };
        for (late, pause) in team.late.values_mut().iter_mut().zip(PAUSES) {
            *late = pause / 10.0;
        }
        Sharing::among(2, &[team], false).unwrap()
    }

    fn each(time: f64, sizes: (usize, usize), piece: (usize, usize)) -> Loop {
        Loop { time, cut: Cut { sizes, piece }, written: 0.0, read: 0.0 }
    }

    #[test]
    fn a_call_is_as_long_as_its_longest_share_of_pieces() {
        let two = two();
        let call = |alone, loops: &[Loop]| two.call(alone, loops);
        assert_eq!(call(7.0, &[each(600.0, (1, 3), (1, 3))]), 607.0);
        assert_eq!(call(0.0, &[each(600.0, (1, 2), (1, 1))]), 300.0);
        // Two pieces of 200 and one of 100: the last of three goes to who is free first, and both wait for it.
        assert!((call(0.0, &[each(500.0, (1, 5), (1, 2))]) - 300.0).abs() < 30.0);
        // Very many are shared evenly, and none is nothing.
        assert_eq!(call(0.0, &[each(600.0, (1000, 1000), (1, 1))]), 300.0);
        assert_eq!(call(5.0, &[each(0.0, (0, 4), (1, 1))]), 5.0);
        let one = Sharing::among(1, &[], false).unwrap();
        assert_eq!(one.call(7.0, &[each(600.0, (1, 2), (1, 1))]), 607.0);
    }

    #[test]
    fn who_had_nothing_to_do_comes_late() {
        // Alone for 40 us, so the other comes 4 us late, and both share what is left: 40 + (80 + 4) / 2.
        let time = two().call(4e4, &[each(8e4, (80, 100), (1, 100))]);
        assert!((time - 8.2e4).abs() < 1e3, "{time}");
        // A piece that is done before the other comes is not shared.
        assert_eq!(two().call(3.2e5, &[each(1e3, (1, 2), (1, 1))]), 3.21e5);
    }

    #[test]
    fn what_others_wrote_is_read_from_them() {
        let two = Sharing { moved: 1.0, piece: 5.0, ..two() };
        let of = |piece| Loop { written: 40.0, read: 100.0, ..each(600.0, (4, 4), piece) };
        // Each thread has two pieces, writes 20 bytes of which the other had half, and reads what it multiplies: all rows, or half.
        assert_eq!(two.call(0.0, &[of((2, 2))]), 300.0 + 2.0 * 5.0 + 10.0 + 50.0);
        assert_eq!(two.call(0.0, &[of((1, 4))]), 300.0 + 2.0 * 5.0 + 10.0 + 25.0);
        assert_eq!(two.call(0.0, &[of((4, 4))]), 600.0);
    }

    #[test]
    fn numbers_of_threads_between_teams_lie_between() {
        let team =
            |threads, time| Team { products: [400.0, time], reads: [400.0, time], ..Team::new(threads) };
        let teams = [team(2, 200.0), team(4, 100.0)];
        let products = |threads| Sharing::among(threads, &teams, false).map(|sharing| sharing.products);
        assert_eq!([1, 2, 3, 4].map(products), [Some(1.0), Some(2.0), Some(3.0), Some(4.0)]);
        assert_eq!([0, 5].map(products), [None, None]);
    }
}
