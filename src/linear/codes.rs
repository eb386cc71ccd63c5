//! Activations as uint8 codes, quantized row by row in one pass, or taken as they are.

use super::activations::{CHUNK, ROWS, Row, contiguous};
use super::finish::{RowParameters, RowsParameters, StripParameters};
use super::layout::Quantization;
use super::operand::Source;
use super::scratch::Scratch;
use crate::context::Context;
use crate::element::Element;
use crate::element::private::FloatView;
use crate::error::{Error, Result};
use crate::kernels::{BLOCK, Matrix, Operation, Rows, Staged, Token, for_each_piece};
use crate::quant::{Code, CodeType, Divisor, Extrema};
use ndarray::ArrayView2;
use std::ops::Range;

/// Activations as uint8 codes (int8 ones moved by 128), staged as the kernels of the instruction set want them. Whatever
/// stands beside them counts in staged codes.
pub(super) struct CodeRows<'a> {
    /// `[rows][stride]` of the token's staged type, of which a row has `padded`.
    pub(super) codes: &'a mut [u8],
    /// A scale for each row.
    pub(super) scales: &'a mut [f32],
    /// A zero point for each row.
    pub(super) zero_points: &'a mut [i32],
    /// `[rows][spans]`: the sums of each row's codes, of all of them or group by group, times a factor; empty where the weights
    /// need none.
    pub(super) sums: &'a mut [i32],
    pub(super) spans: Spans,
    /// Inputs, padded to whole groups.
    pub(super) padded: usize,
    pub(super) stride: usize,
}

/// Which sums of a row's codes are needed.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    /// How many for each row; 0 for none.
    pub(super) count: usize,
    /// How many codes a sum is of; the last of a row may be of fewer.
    pub(super) len: usize,
    /// What the sums are multiplied by.
    pub(super) factor: i32,
    /// Whether the sums are of the uint8 codes, not of what those are staged as.
    pub(super) of_uint8: bool,
}

impl Spans {
    pub(super) const NONE: Self = Spans { count: 0, len: 0, factor: 0, of_uint8: false };
}

/// The size of a staged code.
pub(super) struct StagedBytes;

impl Operation for StagedBytes {
    type Output = usize;
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> usize {
        size_of::<T::Staged>()
    }
}

/// Codes from a row of so many to the next.
struct Stride(usize);

impl Operation for Stride {
    type Output = usize;
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> usize {
        // A matrix unit loads 64 bytes of each of 16 rows at a time: where these lie in two lines each, 1020 inputs took 1.7 times as long as
        // 1024. Shorter rows would take much more room.
        const LINE: usize = 64;
        let is_worth_it = T::Matrix::EXISTS && self.0 >= LINE;
        if is_worth_it { self.0.next_multiple_of(LINE) } else { self.0 }
    }
}

impl<'a> CodeRows<'a> {
    /// The scratch that any instruction set needs at most.
    pub(super) fn scratch_bytes(rows: usize, padded: usize, spans: Spans) -> Option<usize> {
        let codes = Scratch::bytes_for(rows.checked_mul(padded)?, size_of::<i16>())?;
        let sums = Scratch::bytes_for(rows.checked_mul(spans.count.max(1))?, 4)?;
        Scratch::bytes_for(rows, 4)?.checked_mul(2)?.checked_add(sums)?.checked_add(codes)
    }

    pub(super) fn take(
        context: &Context,
        rows: usize,
        padded: usize,
        spans: Spans,
        scratch: &mut Scratch<'a>,
    ) -> Self {
        let stride = context.isa().run(Stride(padded));
        CodeRows {
            codes: scratch.take(rows * stride * context.isa().run(StagedBytes)),
            scales: scratch.take(rows),
            zero_points: scratch.take(rows),
            sums: scratch.take(rows * spans.count),
            spans,
            padded,
            stride,
        }
    }

    /// Takes `x` as it is if it holds codes (of `input`, which is known then), else quantizes it.
    pub(super) fn fill(
        &mut self,
        context: &Context,
        x: Source<'_>,
        input: Option<Quantization>,
    ) -> Result<()> {
        let (scale, zero_point) = input.map_or((1.0, 0), |input| (input.scale, input.zero_point));
        match x {
            Source::Numbers(FloatView::F32(x)) => self.quantize(context, &x, input)?,
            Source::Numbers(FloatView::F16(x)) => self.quantize(context, &x, input)?,
            Source::Numbers(FloatView::Bf16(x)) => self.quantize(context, &x, input)?,
            Source::I8(x) => self.copy(context, &x, scale, &[zero_point]),
            Source::U8(x) => self.copy(context, &x, scale, &[zero_point]),
        }
        Ok(())
    }

    /// Quantizes `x` with fixed parameters, or with each row's own range.
    ///
    /// Dynamic: the range is widened to hold 0, `scale = (max - min) / 255`, `zero_point = round(-min / scale)`; a row of
    /// zeros (or of numbers too small for a normal scale) has scale 1. Both: `code = clamp(round(x / scale) + zero_point)`,
    /// all rounding to nearest even.
    fn quantize<X: Element>(
        &mut self,
        context: &Context,
        x: &ArrayView2<'_, X>,
        input: Option<Quantization>,
    ) -> Result<()> {
        self.for_each_rows(context, |first, rows| context.isa().run(Quantize { x, input, first, rows }));
        let Some(row) = self.scales.iter().position(|scale| scale.is_nan()) else { return Ok(()) };
        let column = (0..x.ncols()).find(|&k| !Element::to_f32(x[[row, k]]).is_finite()).unwrap_or(0);
        Err(Error::NotFinite {
            argument: "x".into(),
            index: row * x.ncols() + column,
            value: x.get([row, column]).map_or(f32::NAN, |&value| Element::to_f32(value)),
        })
    }

    /// Takes codes as they are, with a scale, and one zero point for all or one for each row.
    pub(super) fn copy<C: Code>(
        &mut self,
        context: &Context,
        x: &ArrayView2<'_, C>,
        scale: f32,
        zero_points: &[i32],
    ) {
        self.for_each_rows(context, |first, rows| {
            context.isa().run(Copy { x, scale, zero_points, first, rows });
        });
    }

    /// The first `rows` rows.
    pub(super) fn first(&mut self, context: &Context, rows: usize) -> CodeRows<'_> {
        let size = context.isa().run(StagedBytes);
        CodeRows {
            codes: self.codes.get_mut(..rows * self.stride * size).unwrap_or_default(),
            scales: self.scales.get_mut(..rows).unwrap_or_default(),
            zero_points: self.zero_points.get_mut(..rows).unwrap_or_default(),
            sums: self.sums.get_mut(..rows * self.spans.count).unwrap_or_default(),
            ..*self
        }
    }

    /// Calls `body(first, rows)`, which writes the rows from `first` on.
    pub(super) fn for_each_rows(&mut self, context: &Context, body: impl Fn(usize, Staging<'_>) + Sync) {
        let row_bytes = self.stride * context.isa().run(StagedBytes);
        let spans = self.spans;
        let sums = (spans.count > 0).then(|| Rows::new(&mut *self.sums, spans.count));
        let codes = Rows::new(&mut *self.codes, row_bytes);
        let parts = (&mut *self.scales, &mut *self.zero_points, sums, codes);
        for_each_piece(context, parts, ROWS, |first, (scales, zero_points, sums, codes)| {
            let sums = sums.map_or(&mut [][..], Rows::into_slice);
            let codes = codes.into_slice();
            body(first, Staging { scales, zero_points, sums, spans, codes, row_bytes });
        });
    }

    /// What belongs to `R` rows from `row` on, of `inputs` codes.
    #[inline(always)]
    pub(super) fn rows<const R: usize>(&self, row: usize, inputs: usize) -> RowsParameters<'_, R> {
        RowsParameters {
            scales: chunk(self.scales, row).unwrap_or(&[1.0; R]),
            zero_points: chunk(self.zero_points, row).unwrap_or(&[0; R]),
            sums: chunk(self.sums, row),
            inputs: inputs as i32,
        }
    }

    /// What belongs to `count` rows from `row` on, of `inputs` codes.
    #[inline(always)]
    pub(super) fn strip(&self, row: usize, count: usize, inputs: usize) -> StripParameters<'_> {
        StripParameters {
            scales: self.scales.get(row..row + count).unwrap_or_default(),
            zero_points: self.zero_points.get(row..row + count).unwrap_or_default(),
            sums: self.sums.get(row..row + count).unwrap_or_default(),
            inputs: inputs as i32,
        }
    }

    /// What belongs to row `row`, of `inputs` codes.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, inputs: usize) -> RowParameters {
        self.rows::<1>(row, inputs).row(0)
    }
}

/// `R` elements from `first` on, if there are as many.
#[inline(always)]
fn chunk<T, const R: usize>(slice: &[T], first: usize) -> Option<&[T; R]> {
    slice.get(first..).and_then(|rest| rest.first_chunk())
}

/// Scale and zero point of uint8 codes for a range that holds 0. The scale of NaN is NaN.
#[inline(always)]
pub(super) fn parameters_of(low: f32, high: f32) -> (f32, i32) {
    let range = high - low;
    // Beyond the largest f32 the range has to be divided before it is taken.
    let scale = if range.is_finite() { range / 255.0 } else { high / 255.0 - low / 255.0 };
    if scale < f32::MIN_POSITIVE {
        return (1.0, 0);
    }
    let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    (scale, zero_point as i32)
}

/// Some rows of a [`CodeRows`].
pub(super) struct Staging<'a> {
    scales: &'a mut [f32],
    zero_points: &'a mut [i32],
    sums: &'a mut [i32],
    spans: Spans,
    codes: &'a mut [u8],
    row_bytes: usize,
}

impl Staging<'_> {
    pub(super) fn len(&self) -> usize {
        self.scales.len().min(self.zero_points.len())
    }

    #[inline(always)]
    pub(super) fn codes<S: Staged>(&mut self, row: usize) -> &mut [S] {
        let bytes = self.codes.get_mut(row * self.row_bytes..(row + 1) * self.row_bytes);
        bytemuck::try_cast_slice_mut(bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// What a row ends with: its parameters (the zero point that of the uint8 code), zeros as padding, and the sums of its
    /// codes.
    #[inline(always)]
    pub(super) fn finish<S: Staged>(&mut self, row: usize, inputs: usize, (scale, zero_point): (f32, i32)) {
        self.scales[row] = scale;
        self.zero_points[row] = zero_point - S::OFFSET;
        let codes = self.codes::<S>(row);
        codes.get_mut(inputs..).unwrap_or_default().fill(S::zeroed());
        let Spans { count, len, factor, of_uint8 } = self.spans;
        for index in 0..count {
            let span =
                self.codes::<S>(row).get(index * len..inputs.min((index + 1) * len)).unwrap_or_default();
            let mut sum: i32 = span.iter().map(|&code| code.into()).sum();
            if of_uint8 {
                sum += S::OFFSET * span.len() as i32;
            }
            if let Some(slot) = self.sums.get_mut(row * count + index) {
                *slot = sum * factor;
            }
        }
    }
}

struct Quantize<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    input: Option<Quantization>,
    first: usize,
    rows: Staging<'a>,
}

impl<X: Element> Operation for Quantize<'_, '_, X> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        let mut first = 0;
        while first < self.rows.len() {
            let count = (self.rows.len() - first).min(ROWS);
            // The parameters of several rows at once, before any of them is written: each waits for a long chain of steps.
            let known = self.parameters(token, first..first + count, &mut raw, &mut buffer);
            for (offset, parameters) in known.into_iter().enumerate().take(count) {
                self.write(token, first + offset, parameters, &mut raw, &mut buffer);
            }
            first += count;
        }
    }
}

/// Scale and zero point of a row of uint8 codes.
type Parameters = (f32, i32);

impl<X: Element> Quantize<'_, '_, X> {
    /// Those of at most [`ROWS`] rows; the scale is NaN where one of a row's numbers is not finite.
    #[inline(always)]
    fn parameters<T: Token>(
        &self,
        token: T,
        rows: Range<usize>,
        raw: &mut [X; CHUNK],
        buffer: &mut [f32; CHUNK],
    ) -> [Parameters; ROWS] {
        if let Some(input) = self.input {
            return [(input.scale, input.zero_point + input.shift()); ROWS];
        }
        let (mut low, mut high) = ([0.0; ROWS], [0.0; ROWS]);
        for (row, (low, high)) in rows.zip(low.iter_mut().zip(&mut high)) {
            let source = Row { x: self.x, row: self.first + row };
            let mut range = Extrema::ZERO.wide();
            let mut start = 0;
            while start < self.x.ncols() {
                range.add(source.chunk(token, start, raw, buffer));
                start += source.step();
            }
            let range = range.all();
            (*low, *high) = if range.is_finite() { (range.min, range.max) } else { (f32::NAN, f32::NAN) };
        }
        let mut parameters = [(0.0, 0); ROWS];
        for r in 0..ROWS {
            parameters[r] = parameters_of(low[r], high[r]);
        }
        parameters
    }

    /// Writes row `row`; where the scale is NaN only this, which tells `CodeRows::quantize`.
    #[inline(always)]
    fn write<T: Token>(
        &mut self,
        token: T,
        row: usize,
        (scale, zero_point): Parameters,
        raw: &mut [X; CHUNK],
        buffer: &mut [f32; CHUNK],
    ) {
        if scale.is_nan() {
            self.rows.scales[row] = scale;
            return;
        }
        let (low, high) = self
            .input
            .map_or((0, 255), |input| (input.limits.0 + input.shift(), input.limits.1 + input.shift()));
        let divisor = Divisor::new(scale, low - zero_point, high - zero_point);
        let source = Row { x: self.x, row: self.first + row };
        let inputs = self.x.ncols();
        let codes = self.rows.codes::<T::Staged>(row);
        let mut start = 0;
        while start < inputs {
            let values = source.chunk(token, start, raw, buffer);
            let codes = codes.get_mut(start..).unwrap_or_default();
            stage(token, divisor, self.input.is_none(), zero_point, values, codes);
            start += source.step();
        }
        self.rows.finish::<T::Staged>(row, inputs, (scale, zero_point));
    }
}

/// Writes the codes of `values`; `bounded` says that their quotients are finite and below 2^9 in magnitude, and that only codes limit them.
#[inline(always)]
fn stage<T: Token>(
    token: T,
    divisor: Divisor,
    bounded: bool,
    zero_point: i32,
    values: &[f32],
    codes: &mut [T::Staged],
) {
    let codes = codes.get_mut(..values.len()).unwrap_or_default();
    let factors = divisor.factors().filter(|_| bounded);
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for (slots, values) in codes.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks) {
        stage_block(token, divisor, factors, zero_point, values, slots);
    }
    if rest.is_empty() {
        return;
    }
    // Some codes twice, rather than a copy of any length.
    if let (Some(values), Some(slots)) = (values.last_chunk(), codes.last_chunk_mut()) {
        return stage_block(token, divisor, factors, zero_point, values, slots);
    }
    let mut last = [0.0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let staged = token.stage(divisor.steps(&last), zero_point);
    let len = rest.len().min(codes.len());
    codes[..len].copy_from_slice(&staged[..len]);
}

#[inline(always)]
fn stage_block<T: Token>(
    token: T,
    divisor: Divisor,
    factors: Option<[f32; 2]>,
    zero_point: i32,
    values: &[f32; BLOCK],
    slots: &mut [T::Staged; BLOCK],
) {
    let staged = factors.is_some_and(|factors| token.stage_products(values, factors, zero_point, slots));
    if !staged {
        *slots = token.stage(divisor.steps(values), zero_point);
    }
}

struct Copy<'a, 'x, C> {
    x: &'a ArrayView2<'x, C>,
    scale: f32,
    zero_points: &'a [i32],
    first: usize,
    rows: Staging<'a>,
}

impl<C: Code> Operation for Copy<'_, '_, C> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, _token: T) {
        let shift = if C::TYPE == CodeType::I8 { 128 } else { 0 };
        for row in 0..self.rows.len() {
            let codes = self.rows.codes::<T::Staged>(row);
            let index = self.first + row;
            if let Some(source) = contiguous(self.x, index) {
                for (code, value) in codes.iter_mut().zip(source) {
                    *code = T::Staged::from_code(value.to_i32() + shift);
                }
            } else {
                for (code, value) in codes.iter_mut().zip(self.x.row(index)) {
                    *code = T::Staged::from_code(value.to_i32() + shift);
                }
            }
            let zero_point = match self.zero_points {
                [one] => *one,
                each => each.get(index).copied().unwrap_or(0),
            };
            self.rows.finish::<T::Staged>(row, self.x.ncols(), (self.scale, zero_point + shift));
        }
    }
}
