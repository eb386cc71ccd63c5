//! Predicting: the tables of a calibration, added up for a workload.

use super::super::layout::{Format, Header, TILE};
use super::super::{blocks, dense, sparse};
use super::calibration::{Calibration, KERNELS, Kernel, PANEL, STORED_OUTPUTS, Team, Times};
use super::grid::Grid;
use super::plan::TILES;
use super::workload::Workload;
use crate::error::{Error, Result};

/// Rows of `x` that one thread makes ready at a time, about.
const STAGED_PIECE: usize = 8;

/// What a layer is predicted to cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// How long [`forward_with`](super::super::PackedLinear::forward_with) takes, from f32 to f32, when it was called before.
    pub seconds: f64,
    /// How many bytes the packed layer has; for a sparse format what is expected.
    pub bytes: usize,
}

impl Calibration {
    /// Predicts what a layer costs.
    ///
    /// The time is the sum of a call with everything that happens to `x` before the products, of the products with weights
    /// in a near cache, and of the waiting for weights that lie farther away.
    ///
    /// # Errors
    /// As [`Workload::packed_bytes`], and [`Error::OutOfRange`] for no threads or more than were measured.
    pub fn predict(&self, workload: &Workload) -> Result<Prediction> {
        let (header, sections) = workload.packed()?;
        let team = self.speedup(workload.threads)?;
        let kernel = KERNELS.iter().zip(&self.times);
        let found = kernel.into_iter().find(|(kernel, _)| {
            kernel.format == header.format && (kernel.height == header.height || !header.format.is_sparse())
        });
        let Some((_, times)) = found else {
            return Err(Error::out_of_range("format", header.format, "one that was measured"));
        };
        let nanoseconds = match workload.rows {
            0 => 0.0,
            rows => times.nanoseconds(&header, sections.total, rows, team),
        };
        Ok(Prediction { seconds: nanoseconds * 1e-9, bytes: sections.total })
    }

    /// What the layer costs in every format that can hold it, the fastest first.
    ///
    /// Sparse formats leave out what `workload` says is zero; the others take the same time whatever is.
    ///
    /// # Errors
    /// As [`predict`](Calibration::predict), for the format of `workload`.
    pub fn compare(&self, workload: &Workload) -> Result<Vec<(Format, Prediction)>> {
        self.predict(workload)?;
        let mut costs: Vec<(Format, Prediction)> = Vec::new();
        for Kernel { format, .. } in KERNELS {
            if costs.iter().any(|(done, _)| *done == format) {
                continue;
            }
            costs.extend(self.predict(&Workload { format, ..*workload }).map(|cost| (format, cost)));
        }
        costs.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
        Ok(costs)
    }

    /// From which sparsity on the sparse layer is predicted to be faster than the dense one, whatever the sparsity above it;
    /// `None` if it never is. What `sparse` says of its sparsity does not matter.
    ///
    /// # Errors
    /// As [`predict`](Calibration::predict), for either.
    pub fn pays_from(&self, dense: &Workload, sparse: &Workload) -> Result<Option<f64>> {
        const STEPS: u32 = 100;
        let limit = self.predict(dense)?.seconds;
        let pays = |sparsity: f64| -> Result<bool> {
            Ok(self.predict(&Workload { sparsity, ..*sparse })?.seconds < limit)
        };
        let mut lowest = None;
        for step in (0..=STEPS).rev() {
            let sparsity = f64::from(step) / f64::from(STEPS);
            if pays(sparsity)? {
                lowest = Some(sparsity);
                continue;
            }
            let Some(mut high) = lowest else { return Ok(None) };
            let mut low = sparsity;
            for _ in 0..20 {
                let middle = (low + high) / 2.0;
                if pays(middle)? { high = middle } else { low = middle }
            }
            return Ok(Some(high));
        }
        Ok(lowest)
    }

    /// What so many threads give, between those that were measured.
    fn speedup(&self, threads: usize) -> Result<Speedup> {
        let most = self.max_threads();
        if threads == 0 || threads > most {
            let limit = format!("1 to {most}, which were measured");
            return Err(Error::out_of_range("threads", threads, limit));
        }
        let mut below = Speedup { threads: 1, fork: 0.0, products: 1.0, reads: 1.0 };
        for team in self.teams.iter().map(Team::speedup) {
            if team.threads >= threads {
                let share = (threads - below.threads) as f64 / (team.threads - below.threads) as f64;
                let between = |low: f64, high: f64| low + (high - low) * share;
                return Ok(Speedup {
                    threads,
                    fork: between(below.fork, team.fork),
                    products: between(below.products, team.products),
                    reads: between(below.reads, team.reads),
                });
            }
            below = team;
        }
        Ok(below)
    }
}

/// What so many threads give and cost.
#[derive(Clone, Copy)]
struct Speedup {
    threads: usize,
    /// Nanoseconds from one thread to all and back.
    fork: f64,
    /// How many times as fast as one thread they multiply what lies in caches.
    products: f64,
    /// The same for reading weights from memory.
    reads: f64,
}

impl Team {
    fn speedup(&self) -> Speedup {
        let threads = self.threads as f64;
        let fork = (self.small[1] - self.small[0] / threads).max(0.0);
        let times = |[alone, together]: [f64; 2]| (alone / together.max(1.0)).clamp(1.0, threads);
        // A call of many pieces quantizes `x` in pieces as well.
        let products = times([self.products[0], self.products[1] - 2.0 * fork]);
        Speedup { threads: self.threads, fork, products, reads: times(self.reads) }
    }
}

/// The pieces that a loop is cut into.
struct Cut {
    sizes: (usize, usize),
    piece: (usize, usize),
}

impl Cut {
    /// Where there are more pieces for each thread, that they are not equal hardly matters.
    const MOST_PIECES: usize = 64;

    fn count(&self) -> usize {
        self.sizes.0.div_ceil(self.piece.0.max(1)) * self.sizes.1.div_ceil(self.piece.1.max(1))
    }

    /// Which fraction of the time of one thread so many take: each takes the next piece when it is free.
    fn longest(&self, threads: usize) -> f64 {
        if self.count() > Self::MOST_PIECES * threads {
            return 1.0 / threads as f64;
        }
        let parts = |size: usize, piece: usize| {
            (0..size).step_by(piece.max(1)).map(move |start| (size - start).min(piece.max(1)) as f64)
        };
        let mut busy = vec![0.0_f64; threads.min(self.count()).max(1)];
        for rows in parts(self.sizes.0, self.piece.0) {
            for cols in parts(self.sizes.1, self.piece.1) {
                if let Some(first) = busy.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                    *first += rows * cols;
                }
            }
        }
        let all: f64 = busy.iter().sum();
        busy.iter().fold(0.0_f64, |longest, time| longest.max(*time)) / all.max(1.0)
    }
}

impl Times {
    fn nanoseconds(&self, header: &Header, bytes: usize, rows: usize, team: Speedup) -> f64 {
        let inputs = header.inputs as f64;
        let cells = header.outputs.div_ceil(header.height.max(1)) * header.places();
        let part = match header.group_size {
            0 => header.stored as f64 / cells.max(1) as f64,
            _ => header.groups() as f64 / inputs.max(1.0),
        };
        let outputs = header.outputs.next_multiple_of(match header.height {
            0 => TILE,
            height => height,
        });
        let per_output = header.non_zeros / header.outputs.max(1);
        let piece = match header.height {
            0 if header.format.is_integer() => dense::piece(rows, header.inputs),
            0 => dense::float_piece((rows, header.outputs), header.inputs),
            1 => sparse::piece(per_output, sparse::cut(rows).most()),
            _ => blocks::piece(per_output, rows),
        };
        let cut = Cut { sizes: (rows, header.outputs), piece };
        let products = |rows: usize| outputs as f64 * self.output_of(rows, inputs, part);
        let single = products(1) + self.alone_longer(header, (outputs, piece.1), part);
        // A panel that is not full takes as long as a full one.
        let padded = if header.height == 1 && rows > 1 { rows.next_multiple_of(piece.0) } else { rows };
        let bytes = bytes as f64;
        let last = |grid: &Grid, axis| grid.axis(axis).last().copied().unwrap_or_default();
        let footprint = bytes.log2().min(last(&self.stall, 0));
        let waiting = (rows as f64).min(last(&self.rows_stall, 0));
        let [stall, rows_stall] = [self.stall.at(&[footprint]), self.rows_stall.at(&[waiting, footprint])]
            .map(|stall| bytes * stall * team.products / team.reads.max(1.0));
        let passes = rows.div_ceil(piece.0) as f64;
        let elements = (rows * header.outputs).max(1) as f64;
        let store = elements * self.store.at(&[elements.log2().min(STORED_OUTPUTS[2])]);
        let several = if rows > 1 { products(padded) + passes * rows_stall } else { 0.0 };
        let products = several.max(single + stall) + store;
        let call = self.staging.at(&[0.0, 0.0, 0.0]);
        let staging = (self.staging.at(&[rows as f64, inputs, part]) - call).max(0.0);
        let staged = Cut { sizes: (rows, 1), piece: (STAGED_PIECE, 1) };
        let mut total = call;
        for (time, cut) in [(staging, staged), (products, cut)] {
            total += if team.threads == 1 || cut.count() <= 1 {
                time
            } else {
                team.fork + time * cut.longest(team.threads) * team.threads as f64 / team.products
            };
        }
        total
    }

    /// What a single row takes longer because not all outputs of a piece come in the numbers that its kernel takes at once.
    fn alone_longer(&self, header: &Header, (outputs, piece): (usize, usize), part: f64) -> f64 {
        if header.format.is_sparse() {
            return 0.0;
        }
        let inputs = header.inputs as f64;
        let alone = outputs / piece * (piece % TILES) + outputs % piece % TILES;
        let longer = self.alone.at(&[inputs]) - self.output.at(&[1.0, inputs, part]);
        alone as f64 * longer.max(0.0)
    }

    /// Nanoseconds of an output of `rows` rows.
    fn output_of(&self, rows: usize, inputs: f64, part: f64) -> f64 {
        let at = |rows: usize| self.output.at(&[rows as f64, inputs, part]);
        let most = self.output.axis(0).last().map_or(1, |&most| most as usize);
        let (whole, rest) = (rows / most, rows % most);
        let (panels, over) = (rest / PANEL * PANEL, rest % PANEL);
        // Up to two panels are measured, whatever their rows. Rows that fill no panel take as long as they do after one.
        let rest = match over {
            _ if whole == 0 && rest <= 2 * PANEL => at(rest),
            0 if panels == 0 => 0.0,
            0 => at(panels),
            _ => {
                let before = if panels == 0 { 0.0 } else { at(panels) };
                before + (at(PANEL + over) - at(PANEL)).max(0.0)
            }
        };
        whole as f64 * if whole > 0 { at(most) } else { 0.0 } + rest
    }
}
