//! Exact selection: the key of the k-th best unit, and where ties with it must be cut.
//!
//! An interval of keys that holds the k-th best is narrowed until it is a single key: a pass counts the keys above the
//! interval and, in 2048 bins, those inside. Three passes settle any 32-bit key, whatever the data; a first interval
//! guessed from a sample usually makes it two, of which both skip almost every key with a vector comparison. All counts
//! are integers, so threads may add them in any order, and a bad guess costs a pass but never the right answer.

use super::bits::Rule;
use super::criterion::Criterion;
use super::scan::{CHUNK, DEAD, Tensor, Visit, scan};
use crate::context::Context;
use crate::element::Element;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const BINS: usize = 2048;
/// Below this, the keys fit on the stack and are selected there.
const SMALL: usize = 1024;
/// A piece reads about so many weights.
const PIECE_WEIGHTS: usize = 1 << 16;
/// A guess, should it fail, costs one; three settle 32 bits.
const MAX_PASSES: usize = 4;
/// A sample is taken from this many units on.
pub(super) const SAMPLED_UNITS: usize = 1 << 19;
/// The sample is made of runs of so many units: whole cache lines.
const SAMPLE_RUN: usize = 32;

/// Those who compete: units of one or of several tensors, in this order.
pub(super) struct Field<'f, 'a, C, E: Element> {
    pub(super) context: &'f Context,
    pub(super) criterion: &'f C,
    pub(super) tensors: &'f [Tensor<'a, E>],
    /// The units of `tensors` that compete.
    pub(super) units: &'f [Range<usize>],
}

/// Some weight or score is not finite; [`first_not_finite`](super::scan::first_not_finite) finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotFinite;

/// How many keys are above a key, and how many are equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) key: u32,
    pub(super) above: usize,
    pub(super) equal: usize,
}

/// A piece of the field: a tensor, and some of its units.
struct Piece {
    tensor: usize,
    units: Range<usize>,
}

impl<C: Criterion, E: Element> Field<'_, '_, C, E> {
    /// How many compete.
    pub(super) fn len(&self) -> usize {
        self.units.iter().map(Range::len).sum()
    }

    /// The standing of the `k`-th best, from 1 up to the number of the living.
    pub(super) fn best(&self, k: usize) -> Result<Standing, NotFinite> {
        let len = self.len();
        let k = k.clamp(1, len.max(1));
        if len <= SMALL {
            return self.best_of_few(k);
        }
        let mut interval = if len >= SAMPLED_UNITS { self.guess(k, len)? } else { (DEAD, u32::MAX) };
        for _ in 0..MAX_PASSES {
            let (low, high) = interval;
            if low == high {
                // What a sample of (nearly) constant scores gives; no bins are needed to count.
                let standing = self.standing(low)?;
                interval = if k <= standing.above {
                    (high.saturating_add(1), u32::MAX)
                } else if k > standing.above + standing.equal {
                    (DEAD, low.saturating_sub(1))
                } else {
                    return Ok(standing);
                };
                continue;
            }
            let bins = self.count(low, high)?;
            let inside: usize = bins.counts.iter().sum();
            interval = if k <= bins.above {
                (high.saturating_add(1), u32::MAX)
            } else if k > bins.above + inside {
                (DEAD, low.saturating_sub(1))
            } else {
                let mut above = bins.above;
                let mut bin = BINS - 1;
                while bin > 0 && above + bins.counts[bin] < k {
                    above += bins.counts[bin];
                    bin -= 1;
                }
                let low = low + ((bin as u32) << bins.shift);
                if bins.shift == 0 {
                    return Ok(Standing { key: low, above, equal: bins.counts[bin] });
                }
                (low, low.saturating_add((1 << bins.shift) - 1).min(high))
            };
        }
        // Only a criterion whose scores change between passes gets here; it gets a mask, if not one that means anything.
        self.standing(interval.0)
    }

    /// The standing of a key that is given.
    pub(super) fn standing(&self, key: u32) -> Result<Standing, NotFinite> {
        let (above, equal) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let finite = self.pass(
            || Standing { key, above: 0, equal: 0 },
            |_, found| {
                above.fetch_add(found.above, Ordering::Relaxed);
                equal.fetch_add(found.equal, Ordering::Relaxed);
            },
        );
        let standing = Standing { key, above: above.into_inner(), equal: equal.into_inner() };
        if finite { Ok(standing) } else { Err(NotFinite) }
    }

    /// For each tensor, the rule that lets exactly `k` of the field survive.
    pub(super) fn rules(&self, standing: Standing, k: usize) -> Vec<Rule> {
        let key = standing.key;
        let ties = k.saturating_sub(standing.above);
        if ties >= standing.equal {
            return vec![Rule { key, tie_end: usize::MAX }; self.units.len()];
        }
        let (last_tensor, tie_end) = self.tie_end(key, ties);
        let rule = |tensor: usize| match tensor.cmp(&last_tensor) {
            std::cmp::Ordering::Less => Rule { key, tie_end: usize::MAX },
            std::cmp::Ordering::Equal => Rule { key, tie_end },
            std::cmp::Ordering::Greater => Rule { key, tie_end: 0 },
        };
        (0..self.units.len()).map(rule).collect()
    }

    /// The tensor and the unit before which the field has exactly `ties` units with this key.
    fn tie_end(&self, key: u32, mut ties: usize) -> (usize, usize) {
        let counts: Vec<AtomicUsize> = (0..self.pieces()).map(|_| AtomicUsize::new(0)).collect();
        self.pass(
            || Ties { key, count: 0, wanted: usize::MAX, at: 0 },
            |index, found| {
                counts[index].store(found.count, Ordering::Relaxed);
            },
        );
        for (index, count) in counts.into_iter().map(AtomicUsize::into_inner).enumerate() {
            let piece = self.piece(index);
            if ties < count {
                let mut found = Ties { key, count: 0, wanted: ties, at: piece.units.end };
                self.scan(piece.tensor, piece.units, &mut found);
                return (piece.tensor, found.at);
            }
            ties -= count;
        }
        (self.units.len(), 0)
    }

    fn best_of_few(&self, k: usize) -> Result<Standing, NotFinite> {
        let mut few = Few { keys: [DEAD; SMALL], len: 0 };
        let mut finite = true;
        for (tensor, units) in self.units.iter().enumerate() {
            finite &= self.scan(tensor, units.clone(), &mut few);
        }
        if !finite {
            return Err(NotFinite);
        }
        let keys = &mut few.keys[..few.len];
        let index = k.clamp(1, keys.len().max(1)) - 1;
        if keys.is_empty() {
            return Ok(Standing { key: u32::MAX, above: 0, equal: 0 });
        }
        let key = *keys.select_nth_unstable_by(index, |a, b| b.cmp(a)).1;
        let above = keys.iter().filter(|&&other| other > key).count();
        let equal = keys.iter().filter(|&&other| other == key).count();
        Ok(Standing { key, above, equal })
    }

    /// An interval that probably holds the key of the `k`-th best: where it lies in a sample, and four standard
    /// deviations of that to either side.
    fn guess(&self, k: usize, len: usize) -> Result<(u32, u32), NotFinite> {
        let runs = (len / 128).min(1 << 16) / SAMPLE_RUN;
        let stride = len / runs.max(1);
        let mut sample = Sample { keys: Vec::with_capacity(runs * SAMPLE_RUN) };
        let mut finite = true;
        for run in 0..runs {
            let mut start = run * stride;
            for (tensor, units) in self.units.iter().enumerate() {
                if start < units.len() {
                    let start = units.start + start;
                    finite &= self.scan(tensor, start..(start + SAMPLE_RUN).min(units.end), &mut sample);
                    break;
                }
                start -= units.len();
            }
        }
        if !finite {
            return Err(NotFinite);
        }
        let keys = &mut sample.keys;
        let sampled = keys.len();
        let part = k as f64 / len as f64;
        let place = part * keys.len() as f64;
        let margin = 4.0 * (keys.len() as f64 * part * (1.0 - part)).sqrt() + SAMPLE_RUN as f64;
        let (best, worst) = ((place - margin).floor(), (place + margin).ceil() as usize);
        let mut nth = |index: usize| *keys.select_nth_unstable_by(index, |a, b| b.cmp(a)).1;
        let high = if best < 1.0 { u32::MAX } else { nth(best as usize) };
        let low = if worst >= sampled { DEAD } else { nth(worst) };
        Ok((low.min(high), high))
    }

    /// Counts the keys above `high`, and in bins those from `low` to `high`.
    fn count(&self, low: u32, high: u32) -> Result<Counts, NotFinite> {
        let span = high - low;
        let shift = (32 - span.leading_zeros()).saturating_sub(BINS.ilog2());
        let above = AtomicUsize::new(0);
        let counts: [AtomicUsize; BINS] = std::array::from_fn(|_| AtomicUsize::new(0));
        let new = || Bins { low, high, shift, above: 0, bins: [[0; BINS]; 2] };
        let finite = self.pass(new, |_, found| {
            above.fetch_add(found.above, Ordering::Relaxed);
            let [even, odd] = &found.bins;
            for ((total, even), odd) in counts.iter().zip(even).zip(odd) {
                if even + odd > 0 {
                    total.fetch_add((even + odd) as usize, Ordering::Relaxed);
                }
            }
        });
        let counts = counts.map(AtomicUsize::into_inner);
        if finite { Ok(Counts { above: above.into_inner(), counts, shift }) } else { Err(NotFinite) }
    }

    /// Scans every piece with a visitor of its own, on all threads, and hands each to `done` with the piece's number. Gives
    /// whether everything was finite.
    fn pass<V: Visit>(&self, new: impl Fn() -> V + Sync, done: impl Fn(usize, &V) + Sync) -> bool {
        let finite = AtomicBool::new(true);
        self.context.parallel().run(self.pieces(), &|index| {
            let piece = self.piece(index);
            let mut visitor = new();
            if !self.scan(piece.tensor, piece.units, &mut visitor) {
                finite.store(false, Ordering::Relaxed);
            }
            done(index, &visitor);
        });
        finite.into_inner()
    }

    fn scan<V: Visit>(&self, tensor: usize, units: Range<usize>, visitor: &mut V) -> bool {
        scan(self.context.isa(), self.criterion, &self.tensors[tensor], units, CHUNK, visitor)
    }

    fn pieces(&self) -> usize {
        self.units
            .iter()
            .zip(self.tensors)
            .map(|(units, tensor)| units.len().div_ceil(piece_units(tensor)))
            .sum()
    }

    fn piece(&self, mut index: usize) -> Piece {
        for (number, (units, tensor)) in self.units.iter().zip(self.tensors).enumerate() {
            let size = piece_units(tensor);
            let pieces = units.len().div_ceil(size);
            if index < pieces {
                let start = units.start + index * size;
                return Piece { tensor: number, units: start..(start + size).min(units.end) };
            }
            index -= pieces;
        }
        Piece { tensor: 0, units: 0..0 }
    }
}

/// How many units a piece has: enough weights to be worth a thread's while.
pub(super) fn piece_units<E: Element>(tensor: &Tensor<'_, E>) -> usize {
    (PIECE_WEIGHTS / (tensor.grid.block_rows * tensor.grid.block_cols).max(1)).max(64).next_multiple_of(64)
}

impl Visit for Standing {
    #[inline(always)]
    fn keys(&mut self, _first: usize, keys: &[u32]) {
        let (mut above, mut equal) = (0, 0);
        for &key in keys {
            above += u32::from(key > self.key);
            equal += u32::from(key == self.key);
        }
        self.above += above as usize;
        self.equal += equal as usize;
    }
}

/// The result of [`Field::count`].
struct Counts {
    above: usize,
    counts: [usize; BINS],
    shift: u32,
}

/// Counts the keys of a piece.
struct Bins {
    low: u32,
    high: u32,
    shift: u32,
    above: usize,
    /// Two tables, used in turn: equal keys would otherwise wait for each other's count.
    bins: [[u32; BINS]; 2],
}

impl Visit for Bins {
    #[inline(always)]
    fn keys(&mut self, _first: usize, keys: &[u32]) {
        const GROUP: usize = 16;
        let (low, high, shift) = (self.low, self.high, self.shift);
        let span = high - low;
        let mut inside = [0_u8; CHUNK];
        let mut above = 0;
        for (inside, &key) in inside.iter_mut().zip(keys) {
            *inside = u8::from(key.wrapping_sub(low) <= span);
            above += u32::from(key > high);
        }
        self.above += above as usize;
        for (inside, keys) in inside.as_chunks::<GROUP>().0.iter().zip(keys.chunks(GROUP)) {
            if u128::from_ne_bytes(*inside) == 0 {
                continue;
            }
            for (index, key) in keys.iter().enumerate() {
                let offset = key.wrapping_sub(low);
                if offset <= span {
                    self.bins[index % 2][(offset >> shift) as usize % BINS] += 1;
                }
            }
        }
    }
}

/// Counts the keys that are equal to one, and finds the one that has `wanted` before it.
struct Ties {
    key: u32,
    count: usize,
    wanted: usize,
    at: usize,
}

impl Visit for Ties {
    #[inline(always)]
    fn keys(&mut self, first: usize, keys: &[u32]) {
        let equal = keys.iter().map(|&key| u32::from(key == self.key)).sum::<u32>() as usize;
        if self.count <= self.wanted && self.wanted < self.count + equal {
            let mut found = keys.iter().enumerate().filter(|&(_, &key)| key == self.key);
            if let Some((offset, _)) = found.nth(self.wanted - self.count) {
                self.at = first + offset;
            }
        }
        self.count += equal;
    }
}

/// Keeps all keys, of which there are few.
struct Few {
    keys: [u32; SMALL],
    len: usize,
}

impl Visit for Few {
    #[inline(always)]
    fn keys(&mut self, _first: usize, keys: &[u32]) {
        self.keys[self.len..][..keys.len()].copy_from_slice(keys);
        self.len += keys.len();
    }
}

/// Keeps all keys.
struct Sample {
    keys: Vec<u32>,
}

impl Visit for Sample {
    #[inline(always)]
    fn keys(&mut self, _first: usize, keys: &[u32]) {
        self.keys.extend_from_slice(keys);
    }
}
