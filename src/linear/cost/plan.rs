//! What is timed for each kernel, and what follows from the times.

use super::super::layout::{Format, TILE};
use super::calibration::{Kernel, MOST_ROWS, STORED_OUTPUTS, Times, is_whole, rounded};
use super::grid::Grid;

/// Bytes of weights of a layer whose times should show nothing of memory. So many outputs as fit: what happens to `x` before
/// the products is taken off, and should be the smaller part.
const NEAR_BYTES: f64 = 524_288.0;

/// The same where fewer would not be as many outputs as a dense kernel for a single row takes at once.
const MOST_NEAR_BYTES: f64 = 655_360.0;

/// The most outputs of such a layer.
const MOST_NEAR_OUTPUTS: usize = 32 * TILE;

/// The same where many rows are measured: no more elements of `y` than near caches hold.
const MOST_MATRIX_OUTPUTS: usize = 16 * TILE;

/// Outputs that a dense kernel for a single row takes at once.
pub(super) const TILES: usize = 4 * TILE;

/// Inputs of layers that are large.
pub(super) const FAR_INPUTS: usize = 1040;

/// Rows of layers whose outputs are what matters; of the fewest inputs that are measured.
const MANY_ROWS: usize = MOST_ROWS as usize;

/// A call to be timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// See [`Kernel::parts`].
    pub(super) part: f64,
    pub(super) rows: usize,
    /// Whether its weights or `y` may lie far from the processor, and have to come near it first.
    pub(super) far: bool,
}

/// The calls of a kernel; those with the same layer follow each other. `output_bytes`: of an output of a large layer.
pub(super) fn calls(kernel: Kernel, output_bytes: f64) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut push = |shape: (usize, usize), part, rows: usize, far| {
        calls.push(Call { outputs: shape.0, inputs: shape.1, part, rows, far });
    };
    for inputs in kernel.inputs().map(|inputs| inputs as usize) {
        for part in kernel.staged_parts() {
            let rows = kernel.staged_rows().iter().filter(|rows| !is_larger(kernel, **rows, inputs as f64));
            rows.for_each(|rows| push((0, inputs), *part, *rows as usize, false));
        }
        for part in kernel.parts() {
            let shape = (near_outputs(kernel, inputs as f64, *part), inputs);
            kernel.rows().iter().for_each(|rows| push(shape, *part, *rows as usize, false));
        }
        push((TILE, inputs), 0.0, 1, false);
    }
    for elements in STORED_OUTPUTS {
        push((many_outputs(elements), fewest_inputs(kernel)), far_part(kernel), MANY_ROWS, true);
    }
    for footprint in kernel.footprints() {
        let shape = (far_outputs(*footprint, output_bytes), FAR_INPUTS);
        // The fewer the rows, the more of their time is waiting for weights, and the more calls have brought those near before.
        let rows = kernel.waiting_rows().iter().rev().chain(&[1.0]);
        rows.for_each(|rows| push(shape, far_part(kernel), *rows as usize, true));
    }
    calls
}

/// What the times of these calls, in nanoseconds, say of the kernel.
pub(super) fn times(kernel: Kernel, output_bytes: f64, measured: &[f64]) -> Times {
    let mut times = Times::new(kernel);
    let parts = kernel.parts();
    let mut measured = measured.iter().copied();
    let mut next = || measured.next().unwrap_or_default();
    let all_inputs = kernel.inputs();
    for (k, inputs) in all_inputs.iter().copied().enumerate() {
        let staged_parts = kernel.staged_parts().len();
        for p in 0..staged_parts {
            for (m, rows) in kernel.staged_rows().iter().enumerate() {
                if !is_larger(kernel, *rows, inputs) {
                    times.staging.set((m * all_inputs.len() + k) * staged_parts + p, next());
                }
            }
        }
        extend_staging(kernel, k, &mut times.staging);
        for (p, part) in parts.iter().enumerate() {
            let outputs = near_outputs(kernel, inputs, *part) as f64;
            for (m, rows) in kernel.rows().iter().enumerate() {
                let products = next() - times.staging.at(&[*rows, inputs, *part]);
                let index = (m * all_inputs.len() + k) * parts.len() + p;
                times.output.set(index, products.max(0.0) / outputs);
            }
        }
        times.alone.set(k, (next() - times.staging.at(&[1.0, inputs, 0.0])).max(0.0) / TILE as f64);
    }
    times.staging.make_rising(2, |_| true);
    (0..all_inputs.len()).for_each(|k| extend_staging(kernel, k, &mut times.staging));
    extend(kernel, &mut times.output);
    times.output.fit_rising(0, is_whole);
    times.output.fit_rising(2, |part| kernel.is_even(part));
    // What is extended depends on what rises and the other way round: until neither changes, so that times that are measured
    // again, by what was made of them, are the same.
    for _ in 0..MOST_TURNS {
        let before = times.output.clone();
        extend(kernel, &mut times.output);
        times.output.make_rising(0, is_whole);
        times.output.make_rising(2, |part| kernel.is_even(part));
        times.output.values_mut().iter_mut().for_each(|value| *value = rounded(*value));
        if times.output == before {
            break;
        }
    }
    // What an output of a layer takes longer than one of a small layer.
    let longer = |times: &Times, time: f64, outputs: usize, rows: usize, inputs: usize| {
        let (rows, inputs) = (rows as f64, inputs as f64);
        let near = times.output.at(&[rows, inputs, far_part(kernel)]);
        ((time - times.staging.at(&[rows, inputs, far_part(kernel)])) / outputs as f64 - near).max(0.0)
    };
    for (index, elements) in STORED_OUTPUTS.into_iter().enumerate() {
        let longer = longer(&times, next(), many_outputs(elements), MANY_ROWS, fewest_inputs(kernel));
        times.store.set(index, longer / MANY_ROWS as f64);
    }
    let footprints = kernel.footprints();
    for (index, footprint) in footprints.iter().enumerate() {
        let outputs = far_outputs(*footprint, output_bytes);
        for (m, rows) in kernel.waiting_rows().iter().enumerate().rev() {
            let several = longer(&times, next(), outputs, *rows as usize, FAR_INPUTS);
            times.rows_stall.set(m * footprints.len() + index, several / output_bytes);
        }
        let one = longer(&times, next(), outputs, 1, FAR_INPUTS);
        times.stall.set(index, one / output_bytes);
    }
    times.rows_stall.make_rising(1, |_| true);
    times.store.make_rising(0, |_| true);
    times.stall.make_rising(0, |_| true);
    times.round();
    times
}

/// What was not measured of so many inputs takes as much longer as there are more of them.
fn extend_staging(kernel: Kernel, k: usize, staging: &mut Grid) {
    let parts = kernel.staged_parts().len();
    let inputs = kernel.inputs();
    let larger = |rows: f64| is_larger(kernel, rows, inputs[k]);
    for (m, _) in kernel.staged_rows().iter().enumerate().filter(|(_, rows)| larger(**rows)) {
        for p in 0..parts {
            let index = (m * inputs.len() + k) * parts + p;
            let before = staging.values().get(index - parts).copied();
            staging.set(index, rounded(before.unwrap_or_default()) * inputs[k] / inputs[k - 1]);
        }
    }
}

/// How often an output's times are made to fit each other, at most. Each time halves how far they are from that, and they have
/// four digits.
const MOST_TURNS: usize = 64;

/// A single row of more inputs than were measured of it takes as much longer.
fn extend(kernel: Kernel, output: &mut Grid) {
    let parts = kernel.parts();
    let all_inputs = kernel.inputs();
    for (k, inputs) in all_inputs.iter().copied().enumerate().skip(1) {
        for (p, _) in parts.iter().enumerate().filter(|(_, part)| is_extended(kernel, inputs, **part)) {
            let index = k * parts.len() + p;
            let before = output.values().get(index - parts.len()).copied();
            output.set(index, rounded(before.unwrap_or_default()) * inputs / all_inputs[k - 1]);
        }
    }
}

/// What these calls took, by what [`times`] made of them.
pub(super) fn measured(kernel: Kernel, output_bytes: f64, times: &Times) -> Vec<f64> {
    let staging = |rows: f64, inputs: f64, part: f64| times.staging.at(&[rows, inputs, part]);
    let output = |rows: f64, inputs: f64, part: f64| times.output.at(&[rows, inputs, part]);
    let mut measured = Vec::new();
    for inputs in *kernel.inputs() {
        for part in kernel.staged_parts() {
            let rows = kernel.staged_rows().iter().filter(|rows| !is_larger(kernel, **rows, inputs));
            measured.extend(rows.map(|rows| staging(*rows, inputs, *part)));
        }
        for part in kernel.parts() {
            let outputs = near_outputs(kernel, inputs, *part) as f64;
            let time = |rows: f64| staging(rows, inputs, *part) + outputs * output(rows, inputs, *part);
            measured.extend(kernel.rows().iter().map(|rows| time(*rows)));
        }
        measured.push(staging(1.0, inputs, 0.0) + TILE as f64 * times.alone.at(&[inputs]));
    }
    let part = far_part(kernel);
    for (elements, store) in STORED_OUTPUTS.into_iter().zip(times.store.values()) {
        let (rows, inputs, outputs) =
            (MANY_ROWS as f64, fewest_inputs(kernel) as f64, many_outputs(elements) as f64);
        measured.push(staging(rows, inputs, part) + outputs * (output(rows, inputs, part) + rows * store));
    }
    for footprint in kernel.footprints() {
        let (inputs, outputs) = (FAR_INPUTS as f64, far_outputs(*footprint, output_bytes) as f64);
        let several =
            kernel.waiting_rows().iter().rev().map(|rows| (*rows, times.rows_stall.at(&[*rows, *footprint])));
        for (rows, stall) in several.chain([(1.0, times.stall.at(&[*footprint]))]) {
            let each = output(rows, inputs, part) + stall * output_bytes;
            measured.push(staging(rows, inputs, part) + outputs * each);
        }
    }
    measured
}

/// Whole tiles, and as many of them as a kernel for a single row takes at once where there are so many.
fn near_outputs(kernel: Kernel, inputs: f64, part: f64) -> usize {
    // What is stored for each input of an output: of blocks their place as well.
    let bytes = match (kernel.format, kernel.height) {
        (Format::F16 | Format::Bf16 | Format::Bf16Dot, _) => 2.0,
        (Format::Int8 | Format::Int4, _) => 1.0,
        (Format::SparseInt8, 1) => 1.5 * part,
        (Format::SparseInt8, TILE) => 0.625,
        (Format::SparseF32, 1) => 6.0 * part,
        (Format::SparseInt8, _) => part,
        (Format::SparseF32, _) => 4.0 * part,
        _ => 4.0,
    };
    let limit = if kernel.has_matrix { MOST_MATRIX_OUTPUTS } else { MOST_NEAR_OUTPUTS };
    let most = |room: f64| ((room / (inputs * bytes).max(1.0)) as usize).clamp(TILE, limit);
    let fit = most(NEAR_BYTES).max(most(MOST_NEAR_BYTES).min(TILES));
    let whole = if fit < TILES { TILE } else { TILES };
    fit / whole * whole
}

/// Whether a layer of so many inputs has not as many outputs as a dense kernel for a single row wants. Its time is then what
/// follows from fewer inputs.
fn is_extended(kernel: Kernel, inputs: f64, part: f64) -> bool {
    kernel.is_dense() && near_outputs(kernel, inputs, part) < TILES
}

/// Whether so many rows of so many inputs are as large as would take long to measure. Their time is then what follows from fewer
/// inputs, which are larger than near caches already.
fn is_larger(kernel: Kernel, rows: f64, inputs: f64) -> bool {
    let all = kernel.inputs();
    rows >= MOST_ROWS && inputs >= all[all.len() - 1]
}

fn fewest_inputs(kernel: Kernel) -> usize {
    kernel.inputs()[0] as usize
}

/// How many outputs make so many elements of `y`: no power of two, which would be a matter of its own.
fn many_outputs(elements: f64) -> usize {
    elements.exp2() as usize / MANY_ROWS + TILE
}

pub(super) fn far_outputs(footprint: f64, output_bytes: f64) -> usize {
    (footprint.exp2() / output_bytes) as usize / TILES * TILES
}

/// Not all blocks of a sparse layer, which would lie in order.
pub(super) fn far_part(kernel: Kernel) -> f64 {
    let parts = kernel.parts();
    parts.get(parts.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::calibration::kernels;
    use super::*;

    /// Without a matrix unit, and those that have one.
    fn all_kernels() -> impl Iterator<Item = Kernel> {
        kernels("avx512").into_iter().chain(kernels("amx").into_iter().filter(|kernel| kernel.has_matrix))
    }

    #[test]
    fn a_call_that_was_disturbed_moves_no_other() {
        for kernel in all_kernels() {
            let (inputs, part) = (kernel.inputs()[2], kernel.parts()[kernel.parts().len() - 1]);
            let time = |call: &Call| {
                let output = call.rows as f64 * (3.0 + call.inputs as f64 * (0.01 + 0.25 * call.part));
                100.0 + (call.rows * call.inputs) as f64 * 0.5 + call.outputs as f64 * output
            };
            let calls = calls(kernel, 2048.0);
            let mut measured: Vec<f64> = calls.iter().map(time).collect();
            let calm = times(kernel, 2048.0, &measured).output;
            let is_disturbed = |call: &&Call| {
                !call.far
                    && call.outputs > 0
                    && (call.rows, call.inputs as f64, call.part) == (16, inputs, part)
            };
            let index = calls.iter().position(|call| is_disturbed(&call)).unwrap();
            measured[index] *= 50.0;
            let disturbed = times(kernel, 2048.0, &measured).output;
            let moved =
                calm.values().iter().zip(disturbed.values()).filter(|(calm, now)| calm != now).count();
            assert!(moved <= 1, "{kernel:?}: {moved}");
        }
    }

    #[test]
    fn times_are_found_where_the_calls_put_them() {
        for kernel in all_kernels() {
            let output_bytes = 2048.0;
            // A kernel whose times are known, with weights that take longer from 2^24 bytes on.
            let staging = |call: &Call| 100.0 + (call.rows * call.inputs) as f64 * 0.5;
            let output = |rows: usize, inputs: usize, part: f64| {
                rows as f64 * (3.0 + inputs as f64 * (0.01 + 0.25 * part))
            };
            let time = |call: &Call| {
                let bytes = call.outputs as f64 * output_bytes;
                let stall = if call.far && bytes > 1e7 { 0.125 * bytes } else { 0.0 };
                staging(call) + call.outputs as f64 * output(call.rows, call.inputs, call.part) + stall
            };
            let calls = calls(kernel, output_bytes);
            let times = times(kernel, output_bytes, &calls.iter().map(time).collect::<Vec<_>>());
            let is_near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 2e-3;
            for call in &calls {
                let place = [call.rows as f64, call.inputs as f64, call.part];
                let is_extended = call.rows == 1 && is_extended(kernel, call.inputs as f64, call.part);
                assert!(is_near(times.staging.at(&place), staging(call)), "{kernel:?} {call:?}");
                if call.outputs > 0 && !call.far && !is_extended {
                    let found = times.output.at(&[place[0], place[1], call.part]);
                    let expected = output(call.rows, call.inputs, call.part);
                    assert!(is_near(found, expected), "{kernel:?} {call:?}: {found} {expected}");
                }
            }
            assert!(is_near(times.stall.at(&[24.0]), 0.125) && times.stall.at(&[22.0]) < 1e-3, "{kernel:?}");
            for rows in kernel.waiting_rows() {
                assert!(is_near(times.rows_stall.at(&[*rows, 24.0]), 0.125), "{kernel:?} {rows}");
            }
            assert!(times.is_sound(kernel), "{kernel:?}");
            // And back, but for what was measured of too few outputs.
            let back = measured(kernel, output_bytes, &times);
            assert_eq!(back.len(), calls.len());
            for (call, back) in calls.iter().zip(&back) {
                let is_extended = call.rows == 1 && is_extended(kernel, call.inputs as f64, call.part);
                assert!(
                    is_extended || is_near(*back, time(call)),
                    "{kernel:?} {call:?}: {back} {}",
                    time(call)
                );
            }
            assert_eq!(super::times(kernel, output_bytes, &back), times, "{kernel:?}");
        }
    }

    /// On a busy machine some calls take many times as long as others that are larger.
    #[test]
    fn times_of_any_calls_stay_as_they_are() {
        let mut seed = 1_u64;
        for kernel in all_kernels() {
            let output_bytes = 2048.0;
            for _ in 0..20 {
                let spiky = |call: &Call| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let longer = if seed >> 61 == 0 { (seed >> 32) as f64 * 1e-7 } else { 1.0 };
                    (100.0 + (call.rows * call.inputs * call.outputs.max(1)) as f64 * 0.01) * longer
                };
                let measured_once = calls(kernel, output_bytes).iter().map(spiky).collect::<Vec<_>>();
                let once = times(kernel, output_bytes, &measured_once);
                assert!(once.is_sound(kernel), "{kernel:?}");
                let again = times(kernel, output_bytes, &measured(kernel, output_bytes, &once));
                assert_eq!(again, once, "{kernel:?}");
            }
        }
    }
}
