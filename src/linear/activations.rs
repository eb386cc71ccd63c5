//! Activations made ready for the kernels: widened, quantized row by row, or turned so that rows lie side by side.

use super::layout::{GROUP, Input};
use super::scratch::Scratch;
use crate::context::Context;
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::kernels::{Operation, Staged as _, TileMut, Token, for_each_piece, for_each_tile};
use crate::quant::{Code, CodeType};
use ndarray::{ArrayView2, ArrayViewMut2};

/// How many elements of a row wait on the stack.
const CHUNK: usize = 256;

/// Rows that one thread takes at a time.
const ROWS: usize = 8;

/// A row of activations, of any type and stride.
#[derive(Clone, Copy)]
struct Row<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    row: usize,
}

impl<'a, 'x, X: Element> Row<'a, 'x, X> {
    /// The elements from `start` on, at most [`CHUNK`], as f32.
    #[inline(always)]
    fn chunk<'b, T: Token>(
        self,
        token: T,
        start: usize,
        raw: &'b mut [X; CHUNK],
        buffer: &'b mut [f32; CHUNK],
    ) -> &'b [f32]
    where
        'x: 'b,
    {
        let len = (self.x.ncols() - start).min(CHUNK);
        if let Some(slice) = contiguous(self.x, self.row) {
            return X::widened(token, &slice[start..start + len], buffer);
        }
        for (offset, raw) in raw.iter_mut().enumerate().take(len) {
            *raw = self.x[[self.row, start + offset]];
        }
        X::widened(token, &raw[..len], buffer)
    }
}

/// A row as a slice, where its elements lie side by side.
#[inline(always)]
fn contiguous<'a, X>(x: &ArrayView2<'a, X>, row: usize) -> Option<&'a [X]> {
    x.index_axis_move(ndarray::Axis(0), row).to_slice()
}

/// Activations in f32, where they are or in scratch.
pub(super) enum FloatRows<'a> {
    Borrowed(ArrayView2<'a, f32>),
    Staged(&'a [f32], usize),
}

impl FloatRows<'_> {
    /// Row `row`, whole.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[f32] {
        match self {
            FloatRows::Borrowed(x) => contiguous(x, row).unwrap_or_default(),
            FloatRows::Staged(rows, inputs) => rows.get(row * inputs..(row + 1) * inputs).unwrap_or_default(),
        }
    }
}

/// The view itself, if it is one of f32.
pub(super) fn as_f32<'a, X: Element>(x: &ArrayView2<'a, X>) -> Option<ArrayView2<'a, f32>> {
    X::f32_view(*x)
}

/// Whether [`stage_floats`] needs no scratch.
pub(super) fn is_ready<X: Element>(x: &ArrayView2<'_, X>) -> bool {
    X::DTYPE == DType::F32 && (x.nrows() == 0 || contiguous(x, 0).is_some())
}

/// The activations of `rows` as f32 rows.
pub(super) fn stage_floats(context: &Context, x: &ArrayView2<'_, impl Element>, staged: &mut [f32]) {
    let Ok(matrix) = ArrayViewMut2::from_shape(x.dim(), staged) else { return };
    for_each_tile(context, matrix, (ROWS, usize::MAX), |(first, _), tile| {
        context.isa().run(Widen { x, first, tile });
    });
}

struct Widen<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    first: usize,
    tile: TileMut<'a, f32>,
}

impl<X: Element> Operation for Widen<'_, '_, X> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        for row in 0..self.tile.rows() {
            let source = Row { x: self.x, row: self.first + row };
            for start in (0..self.x.ncols()).step_by(CHUNK) {
                let values = source.chunk(token, start, &mut raw, &mut buffer);
                self.tile.store_row(row, start, values);
            }
        }
    }
}

/// Turns blocks of `lanes` rows: `turned[block][k][lane]` is row `block * lanes + lane`; lanes past the last row are 0.
pub(super) fn turn_floats(
    context: &Context,
    x: &ArrayView2<'_, impl Element>,
    lanes: usize,
    turned: &mut [f32],
) {
    let (rows, inputs) = x.dim();
    let Ok(matrix) = ArrayViewMut2::from_shape((rows.div_ceil(lanes), inputs * lanes), turned) else {
        return;
    };
    for_each_tile(context, matrix, (1, usize::MAX), |(block, _), tile| {
        context.isa().run(Turn { x, lanes, block, tile });
    });
}

struct Turn<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    lanes: usize,
    block: usize,
    tile: TileMut<'a, f32>,
}

impl<X: Element> Operation for Turn<'_, '_, X> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        let first = self.block * self.lanes;
        let out = self.tile.row_mut(0);
        out.fill(0.0);
        for lane in 0..self.lanes.min(self.x.nrows() - first) {
            let source = Row { x: self.x, row: first + lane };
            for start in (0..self.x.ncols()).step_by(CHUNK) {
                let values = source.chunk(token, start, &mut raw, &mut buffer);
                let columns = out.chunks_exact_mut(self.lanes).skip(start);
                for (column, value) in columns.zip(values) {
                    column[lane] = *value;
                }
            }
        }
    }
}

/// Activations as uint8 codes (int8 ones moved by 128), staged as the kernels of the instruction set want them.
pub(super) struct CodeRows<'a> {
    /// `[rows][padded inputs]` of the token's staged type.
    pub(super) codes: &'a mut [u8],
    /// A scale for each row.
    pub(super) scales: &'a mut [f32],
    /// A zero point for each row, of the uint8 code.
    pub(super) zero_points: &'a mut [i32],
    /// The sum of each row's codes; empty where the weights need none.
    pub(super) sums: &'a mut [i32],
    pub(super) padded: usize,
}

/// The size of a staged code.
pub(super) struct StagedBytes;

impl Operation for StagedBytes {
    type Output = usize;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> usize {
        size_of::<T::Staged>()
    }
}

impl<'a> CodeRows<'a> {
    /// The scratch that any instruction set needs at most.
    pub(super) fn scratch_bytes(rows: usize, padded: usize) -> Option<usize> {
        let codes = Scratch::bytes_for(rows.checked_mul(padded)?, size_of::<i16>())?;
        Scratch::bytes_for(rows, 4)?.checked_mul(3)?.checked_add(codes)
    }

    pub(super) fn take(
        context: &Context,
        rows: usize,
        padded: usize,
        with_sums: bool,
        scratch: &mut Scratch<'a>,
    ) -> Self {
        CodeRows {
            codes: scratch.take(rows * padded * context.isa().run(StagedBytes)),
            scales: scratch.take(rows),
            zero_points: scratch.take(rows),
            sums: scratch.take(if with_sums { rows } else { 0 }),
            padded,
        }
    }

    /// Quantizes `x` with fixed parameters, or with each row's own range.
    ///
    /// Dynamic: the range is widened to hold 0, `scale = (max - min) / 255`, `zero_point = round(-min / scale)`; a row of
    /// zeros (or of numbers too small for a normal scale) has scale 1. Both: `code = clamp(round(x / scale) + zero_point)`,
    /// all rounding to nearest even.
    pub(super) fn quantize<X: Element>(
        &mut self,
        context: &Context,
        x: &ArrayView2<'_, X>,
        input: Option<Input>,
    ) -> Result<()> {
        if let Some(input) = input {
            self.scales.fill(input.scale);
            self.zero_points.fill(input.zero_point + input.shift());
        } else {
            let parameters = (&mut *self.scales, &mut *self.zero_points);
            for_each_piece(context, parameters, ROWS, |first, (scales, zero_points)| {
                context.isa().run(Ranges { x, first, scales, zero_points });
            });
            if let Some(row) = self.scales.iter().position(|scale| scale.is_nan()) {
                let column = (0..x.ncols()).find(|&k| !Element::to_f32(x[[row, k]]).is_finite()).unwrap_or(0);
                return Err(Error::NotFinite {
                    argument: "x".into(),
                    index: row * x.ncols() + column,
                    value: x.get([row, column]).map_or(f32::NAN, |&value| Element::to_f32(value)),
                });
            }
        }
        let limits =
            input.map_or((0, 255), |input| (input.limits.0 + input.shift(), input.limits.1 + input.shift()));
        let (scales, zero_points) = (&*self.scales, &*self.zero_points);
        let row_bytes = self.padded * context.isa().run(StagedBytes);
        let Ok(matrix) = ArrayViewMut2::from_shape((x.nrows(), row_bytes), &mut *self.codes) else {
            return Ok(());
        };
        for_each_tile(context, matrix, (ROWS, usize::MAX), |(first, _), tile| {
            context.isa().run(Quantize { x, first, tile, scales, zero_points, limits });
        });
        self.sum(context);
        Ok(())
    }

    /// Takes codes as they are.
    pub(super) fn copy<C: Code>(&mut self, context: &Context, x: &ArrayView2<'_, C>, zero_points: &[i32]) {
        let shift = if C::TYPE == CodeType::I8 { 128 } else { 0 };
        for (row, slot) in self.zero_points.iter_mut().enumerate() {
            *slot = shift
                + match zero_points {
                    [one] => *one,
                    each => each.get(row).copied().unwrap_or(0),
                };
        }
        self.scales.fill(1.0);
        let row_bytes = self.padded * context.isa().run(StagedBytes);
        let Ok(matrix) = ArrayViewMut2::from_shape((x.nrows(), row_bytes), &mut *self.codes) else { return };
        for_each_tile(context, matrix, (ROWS, usize::MAX), |(first, _), tile| {
            context.isa().run(Copy { x, first, tile, shift });
        });
        self.sum(context);
    }

    fn sum(&mut self, context: &Context) {
        let (codes, padded) = (&*self.codes, self.padded);
        for_each_piece(context, &mut *self.sums, ROWS, |first, sums| {
            context.isa().run(Sums { codes, padded, first, sums });
        });
    }
}

/// Scales and zero points; the scale of a row that is not finite is NaN.
struct Ranges<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    first: usize,
    scales: &'a mut [f32],
    zero_points: &'a mut [i32],
}

impl<X: Element> Operation for Ranges<'_, '_, X> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        let parameters = self.scales.iter_mut().zip(self.zero_points);
        for (row, (scale, zero_point)) in parameters.enumerate() {
            let source = Row { x: self.x, row: self.first + row };
            let (mut low, mut high, mut magnitude) = ([0.0_f32; 16], [0.0_f32; 16], [0_u32; 16]);
            for start in (0..self.x.ncols()).step_by(CHUNK) {
                let (chunks, rest) = source.chunk(token, start, &mut raw, &mut buffer).as_chunks::<16>();
                let mut last = [0.0; 16];
                last[..rest.len()].copy_from_slice(rest);
                for values in chunks.iter().chain([&last]) {
                    for lane in 0..16 {
                        let value = values[lane];
                        low[lane] = if value < low[lane] { value } else { low[lane] };
                        high[lane] = if value > high[lane] { value } else { high[lane] };
                        magnitude[lane] = magnitude[lane].max(value.to_bits() & 0x7fff_ffff);
                    }
                }
            }
            let low = low.into_iter().fold(0.0, f32::min);
            let high = high.into_iter().fold(0.0, f32::max);
            let finite = magnitude.into_iter().max() < Some(f32::INFINITY.to_bits());
            (*scale, *zero_point) = if finite { parameters_of(low, high) } else { (f32::NAN, 0) };
        }
    }
}

/// Scale and zero point of uint8 codes for a finite range that holds 0.
fn parameters_of(low: f32, high: f32) -> (f32, i32) {
    let range = high - low;
    // Beyond the largest f32 the range has to be divided before it is taken.
    let scale = if range.is_finite() { range / 255.0 } else { high / 255.0 - low / 255.0 };
    if scale < f32::MIN_POSITIVE {
        return (1.0, 0);
    }
    let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    (scale, zero_point as i32)
}

struct Quantize<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    first: usize,
    tile: TileMut<'a, u8>,
    scales: &'a [f32],
    zero_points: &'a [i32],
    /// The lowest and the highest code.
    limits: (i32, i32),
}

impl<X: Element> Operation for Quantize<'_, '_, X> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        // Adding 1.5 * 2^23 leaves an integer in the low bits, rounded to even by the processor.
        const MAGIC: f32 = 12_582_912.0;
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        for row in 0..self.tile.rows() {
            let index = self.first + row;
            let source = Row { x: self.x, row: index };
            let scale = self.scales.get(index).copied().unwrap_or(1.0);
            let zero_point = self.zero_points.get(index).copied().unwrap_or(0);
            let (low, high) = ((self.limits.0 - zero_point) as f32, (self.limits.1 - zero_point) as f32);
            let codes: &mut [T::Staged] =
                bytemuck::try_cast_slice_mut(self.tile.row_mut(row)).unwrap_or_default();
            let inputs = self.x.ncols();
            for start in (0..inputs).step_by(CHUNK) {
                let values = source.chunk(token, start, &mut raw, &mut buffer);
                for (code, value) in codes[start..].iter_mut().zip(values) {
                    let steps = value / scale;
                    let steps = if steps.is_nan() { 0.0 } else { steps };
                    let steps = if steps < low { low } else { steps };
                    let steps = if steps > high { high } else { steps };
                    let rounded = (steps + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32;
                    *code = T::Staged::from_code(rounded + zero_point);
                }
            }
            codes.get_mut(inputs..).unwrap_or_default().fill(T::Staged::from_code(0));
        }
    }
}

struct Copy<'a, 'x, C> {
    x: &'a ArrayView2<'x, C>,
    first: usize,
    tile: TileMut<'a, u8>,
    shift: i32,
}

impl<C: Code> Operation for Copy<'_, '_, C> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, _token: T) {
        for row in 0..self.tile.rows() {
            let codes: &mut [T::Staged] =
                bytemuck::try_cast_slice_mut(self.tile.row_mut(row)).unwrap_or_default();
            codes.fill(T::Staged::from_code(0));
            if let Some(source) = contiguous(self.x, self.first + row) {
                for (code, value) in codes.iter_mut().zip(source) {
                    *code = T::Staged::from_code(value.to_i32() + self.shift);
                }
                continue;
            }
            for (code, value) in codes.iter_mut().zip(self.x.row(self.first + row)) {
                *code = T::Staged::from_code(value.to_i32() + self.shift);
            }
        }
    }
}

struct Sums<'a> {
    codes: &'a [u8],
    padded: usize,
    first: usize,
    sums: &'a mut [i32],
}

impl Operation for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(self, _token: T) {
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.codes).unwrap_or_default();
        for (row, sum) in self.sums.iter_mut().enumerate() {
            let start = (self.first + row) * self.padded;
            let codes = codes.get(start..start + self.padded).unwrap_or_default();
            *sum = codes.iter().map(|&code| code.into()).sum();
        }
    }
}

/// Turns staged codes for the sparse kernel: `turned[block][group][lane][i]`.
pub(super) fn turn_codes(
    context: &Context,
    codes: &[u8],
    (rows, padded): (usize, usize),
    lanes: usize,
    turned: &mut [u8],
) {
    let size = context.isa().run(StagedBytes);
    let shape = (rows.div_ceil(lanes), padded * lanes * size);
    let Ok(matrix) = ArrayViewMut2::from_shape(shape, turned) else { return };
    for_each_tile(context, matrix, (1, usize::MAX), |(block, _), tile| {
        context.isa().run(TurnCodes { codes, rows, padded, lanes, block, tile });
    });
}

struct TurnCodes<'a> {
    codes: &'a [u8],
    rows: usize,
    padded: usize,
    lanes: usize,
    block: usize,
    tile: TileMut<'a, u8>,
}

impl Operation for TurnCodes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, _token: T) {
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.codes).unwrap_or_default();
        let out: &mut [T::Staged] = bytemuck::try_cast_slice_mut(self.tile.row_mut(0)).unwrap_or_default();
        out.fill(T::Staged::from_code(0));
        let (out, _) = out.as_chunks_mut::<GROUP>();
        let first = self.block * self.lanes;
        for lane in 0..self.lanes.min(self.rows - first) {
            let start = (first + lane) * self.padded;
            let row = codes.get(start..start + self.padded).unwrap_or_default();
            for (slot, group) in out.iter_mut().skip(lane).step_by(self.lanes).zip(row.as_chunks::<GROUP>().0)
            {
                *slot = *group;
            }
        }
    }
}
