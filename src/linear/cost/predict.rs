//! Predicting: the tables of a calibration, added up for a workload.

use super::super::layout::{Format, Header, LANES, TILE};
use super::super::{bitmap, blocks, by_matrix, dense, int4, runs, sparse};
use super::calibration::{
    Calibration, FOOTPRINTS, Kernel, LEAST_OTHER_GROUPS, MOST_MATRIX_GROUPS, PANEL, STORED_OUTPUTS, Times,
    kernels,
};
use super::grid::Grid;
use super::plan::TILES;
use super::team::{Cut, Loop, QUANTIZED_ROWS, Sharing};
use super::workload::Workload;
use crate::error::{Error, Result};

/// Bytes of which the caches of a single core hold no more: what is beyond them comes from farther away, whoever wrote it.
const NEAR_BYTES: f64 = 1_048_576.0;

/// What a layer is predicted to cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// How long [`forward_with`](super::super::PackedLinear::forward_with) takes, from f32 to f32, when it is called again and
    /// again.
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
        let most = self.max_threads();
        let kernels = kernels(&self.isa);
        let has_matrix = kernels.iter().any(|kernel| kernel.has_matrix);
        let team = Sharing::among(workload.threads, &self.teams, has_matrix).ok_or_else(|| {
            Error::out_of_range("threads", workload.threads, format!("1 to {most}, which were measured"))
        })?;
        let mut all = kernels.into_iter().zip(&self.times);
        // Runs that are no matter of their own are blocks like others.
        let in_runs = header.runs && has_matrix;
        let found = all.clone().find(|(kernel, _)| {
            let is_alike = kernel.height == header.height && kernel.runs == in_runs;
            kernel.format == header.format && (is_alike || !header.format.is_sparse())
        });
        let int8 = all.find(|(kernel, _)| kernel.format == Format::Int8);
        let (Some((kernel, times)), Some((_, int8))) = (found, int8) else {
            return Err(Error::out_of_range("format", header.format, "one that was measured"));
        };
        let nanoseconds = match workload.rows {
            0 => 0.0,
            rows => times.nanoseconds(kernel, &header, sections.total, rows, &int8.staging, &team),
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
        for Kernel { format, .. } in kernels(&self.isa) {
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
    /// They may be of different shapes: a large layer that is pruned may replace a smaller dense one.
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
}

impl Times {
    /// `quantizing`: the times before the products of a layer that only quantizes `x`.
    fn nanoseconds(
        &self,
        kernel: Kernel,
        header: &Header,
        bytes: usize,
        rows: usize,
        quantizing: &Grid,
        team: &Sharing,
    ) -> f64 {
        let inputs = header.inputs as f64;
        let cells = header.outputs.div_ceil(header.height.max(1)) * header.places();
        let part = match header.group_size {
            _ if header.has_bitmaps() => 0.0,
            0 => header.stored as f64 / cells.max(1) as f64,
            // Groups that a matrix unit multiplies are one kind, smaller ones another.
            size => match header.groups() as f64 / inputs.max(1.0) {
                part if !kernel.has_matrix => part,
                part if int4::fills_steps(size) => part.min(MOST_MATRIX_GROUPS),
                part => part.max(LEAST_OTHER_GROUPS),
            },
        };
        let outputs = header.outputs.next_multiple_of(match header.height {
            0 => TILE,
            height => height,
        });
        let per_output = header.non_zeros / header.outputs.max(1);
        let by_matrix = kernel.has_matrix
            && match header.format {
                Format::Int8 => rows > 1,
                Format::Int4 => int4::gains_by_matrix(rows, header.group_size),
                Format::Bf16Dot => true,
                _ if kernel.runs => rows >= runs::FEWEST,
                _ => rows > bitmap::FEW_ROWS,
            };
        let piece = match header.height {
            0 | TILE if header.format.is_integer() => {
                let most = match header.format {
                    Format::Int8 => by_matrix::int8_rows(header.tiles() * TILE * header.padded_inputs()),
                    _ => dense::ROWS,
                };
                by_matrix::Piece { rows, inputs: header.inputs, most }.cut(by_matrix)
            }
            0 if by_matrix => by_matrix::piece(rows.min(dense::ROWS), header.places()),
            0 => dense::float_piece(rows, header.places()),
            1 => sparse::piece(per_output, lanes(header.format, rows)),
            _ if by_matrix => runs::piece(per_output, header.outputs, rows),
            _ => blocks::piece(per_output, rows),
        };
        let products = |rows: usize| {
            let each = match kernel.has_matrix {
                // It takes as long for what is left after whole steps, of 64 bytes of a row, as for a step.
                true if by_matrix && rows > 1 => {
                    let step = 64 / if header.format == Format::Bf16Dot { 2 } else { 1 };
                    self.matrix_output_of(rows, header.inputs.next_multiple_of(step) as f64, part)
                }
                true => self.matrix_output_of(rows, inputs, part),
                false => self.output_of(rows, inputs, part),
            };
            outputs as f64 * each
        };
        let single = products(1) + self.alone_longer(header, (outputs, piece.1), part);
        // A panel that is not full takes as long as a full one.
        let padded = if header.height == 1 && rows > 1 { rows.next_multiple_of(piece.0) } else { rows };
        let bytes = bytes as f64;
        let last = |grid: &Grid, axis| grid.axis(axis).last().copied().unwrap_or_default();
        let footprint = bytes.log2().min(last(&self.stall, 0));
        // Weights of half the smallest footprint are as near as those of the layers whose outputs were measured.
        let is_far = (footprint - FOOTPRINTS[0] + 1.0).clamp(0.0, 1.0);
        let waiting = (rows as f64).min(last(&self.rows_stall, 0));
        let [stall, rows_stall] = [self.stall.at(&[footprint]), self.rows_stall.at(&[waiting, footprint])]
            .map(|stall| bytes * stall * is_far * team.products / team.reads.max(1.0));
        // A matrix unit's pieces are lower where a near cache holds the weights for all of them.
        let is_near = by_matrix && piece.0 < dense::ROWS;
        let passes = if is_near { 1.0 } else { rows.div_ceil(piece.0) as f64 };
        let elements = (rows * header.outputs).max(1) as f64;
        let store = elements * self.store.at(&[elements.log2().min(STORED_OUTPUTS[2])]);
        let several = if rows > 1 { products(padded) + passes * rows_stall } else { 0.0 };
        let products = several.max(single + stall) + store;
        let call = self.staging.at(&[0.0, 0.0, 0.0]);
        let staging = (self.staging.at(&[rows as f64, inputs, part]) - call).max(0.0);
        // Quantized in pieces, then laid side by side in others.
        let turns = header.format.is_sparse() && !header.has_bitmaps() && !by_matrix;
        let quantizing = match header.format {
            Format::Int8 | Format::Int4 => staging,
            Format::SparseInt8 if !turns => staging,
            Format::SparseInt8 => {
                let alone = quantizing.at(&[rows as f64, inputs, 0.0]) - quantizing.at(&[0.0, 0.0, 0.0]);
                alone.clamp(0.0, staging)
            }
            _ => 0.0,
        };
        let times = [quantizing, staging - quantizing, products];
        team.call(call, &loops(header, turns, rows, times, Cut { sizes: (padded, outputs), piece }))
    }

    /// What a single row takes longer because not all outputs of a piece come in the numbers that its kernel takes at once.
    fn alone_longer(&self, header: &Header, (outputs, piece): (usize, usize), part: f64) -> f64 {
        if header.format.is_sparse() && !header.has_bitmaps() {
            return 0.0;
        }
        let inputs = header.inputs as f64;
        let alone = outputs / piece * (piece % TILES) + outputs % piece % TILES;
        let longer = self.alone.at(&[inputs]) - self.output.at(&[1.0, inputs, part]);
        alone as f64 * longer.max(0.0)
    }

    /// Nanoseconds of an output of `rows` rows where a matrix unit may multiply them.
    fn matrix_output_of(&self, rows: usize, inputs: f64, part: f64) -> f64 {
        let at = |rows: usize| self.output.at(&[rows as f64, inputs, part]);
        let most = self.output.axis(0).last().map_or(1, |&most| most as usize);
        let (whole, rest) = (rows / most, rows % most);
        let whole = if whole > 0 { whole as f64 * at(most) } else { 0.0 };
        whole + if rest > 0 { at(rest) } else { 0.0 }
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

/// What a call does, loop after loop: quantizing `x`, laying rows side by side, multiplying in pieces of `y`.
fn loops(header: &Header, turns: bool, rows: usize, times: [f64; 3], products: Cut) -> [Loop; 3] {
    let elements = rows as f64 * header.inputs as f64;
    let (codes, turned) = match header.format {
        Format::Int8 | Format::Int4 => (elements, 0.0),
        Format::SparseInt8 if !turns => (elements, 0.0),
        Format::SparseInt8 => (elements, elements),
        Format::Bf16Dot => (0.0, 2.0 * elements),
        _ => (0.0, 4.0 * elements),
    };
    let [codes, turned] = [codes, turned].map(|bytes| bytes.min(NEAR_BYTES));
    let panel = match header.height {
        0 => dense::MOST_ROWS,
        1 => lanes(header.format, rows),
        _ => LANES,
    };
    let by_rows = |piece| Cut { sizes: (rows, 1), piece: (piece, 1) };
    let [quantizing, turning, multiplying] = times;
    let read = if turned > 0.0 { turned } else { codes };
    [
        Loop { time: quantizing, cut: by_rows(QUANTIZED_ROWS), written: codes, read: 0.0 },
        Loop { time: turning, cut: by_rows(panel), written: turned, read: codes },
        Loop { time: multiplying, cut: products, written: 0.0, read },
    ]
}

/// Rows that a sparse layer of single outputs takes at a time.
fn lanes(format: Format, rows: usize) -> usize {
    match format {
        Format::SparseInt8 => sparse::int8_cut(rows).most(),
        _ => sparse::float_cut(rows).most(),
    }
}
