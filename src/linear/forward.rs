//! Running a packed layer: everything is checked, activations are made ready in scratch, then pieces of `y` are computed.

use super::bytes::affordable;
use super::codes::{CodeRows, Spans, StagedBytes};
use super::finish::{Epilogue, Exact, Finish, Scaled};
use super::layer::PackedLinear;
use super::layout::Format;
use super::operand::{Operand, Source, Written};
use super::panels::{Cut, turn_codes, turn_floats};
use super::scratch::Scratch;
use super::{bf16_dot, bitmap, blocks, dense, int4, int4_float, runs, sparse};
use crate::context::Context;
use crate::element::private::FloatView;
use crate::error::{Error, Result};
use crate::kernels::MIDDLE;
use crate::quant::Code;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice};

impl PackedLinear<'_> {
    /// How many bytes [`forward_with`](PackedLinear::forward_with) and
    /// [`forward_codes_with`](PackedLinear::forward_codes_with) need for `rows` rows: the same on every machine.
    ///
    /// # Errors
    /// [`Error::SizeOverflow`].
    pub fn scratch_bytes(&self, rows: usize) -> Result<usize> {
        let (inputs, padded) = (self.in_features(), self.padded_inputs());
        // The panels of a blocked layer, on any instruction set, are no wider than those of any other.
        let turned = |rows: usize, cut: Cut| rows.checked_next_multiple_of(cut.most());
        // Some rows at a time, of an `x` that can exist.
        let floats = |turned: Option<usize>| {
            rows.checked_mul(inputs)?.checked_mul(4)?;
            Scratch::bytes_for(turned?.checked_mul(inputs)?, 4)
        };
        let bytes = match self.format() {
            Format::Bf16Dot => {
                bf16_dot::room(rows, self.places()).and_then(|pairs| Scratch::bytes_for(pairs, 4))
            }
            _ if self.is_dense_float() => {
                floats(dense::room(rows.min(dense::stretch(self.out_features(), inputs))))
            }
            Format::SparseF32 => floats(match self.is_blocked() {
                true => turned(rows, sparse::float_cut(rows)),
                false => turned(rows.min(sparse::stretch(inputs)), sparse::float_cut(rows)),
            }),
            Format::SparseInt8 if !self.has_bitmaps() => CodeRows::scratch_bytes(rows, padded, self.spans())
                .and_then(|codes| {
                    Scratch::bytes_for(turned(rows, sparse::int8_cut(rows))?.checked_mul(padded)?, 2)?
                        .checked_add(codes)
                }),
            _ => CodeRows::scratch_bytes(rows, padded, self.spans()),
        };
        bytes
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| Error::SizeOverflow { argument: "x".into(), sizes: vec![rows, inputs] })
    }

    /// `y[M, N] = x[M, K] * w^T + bias`, of f32, f16 or bf16 each, or of codes. Views may have any strides.
    ///
    /// `x` may hold int8 or uint8 codes where the layer has [input parameters](PackedLinear::with_input_params) of that type,
    /// and `y` where it has [output parameters](PackedLinear::with_output_params) of that type: the codes that quantizing
    /// the f32 `y` would give.
    ///
    /// Allocates what [`forward_with`](PackedLinear::forward_with) would be given.
    ///
    /// # Errors
    /// [`Error::Shape`]; for dynamic quantization [`Error::NotFinite`] at the first NaN or
    /// infinity of `x`; [`Error::Unsupported`] for codes of which the layer has no parameters; [`Error::SizeOverflow`];
    /// [`Error::Isa`] as [`Context::current`]. `y` is untouched then.
    pub fn forward<X: Operand, Y: Operand>(
        &self,
        x: ArrayView2<'_, X>,
        y: ArrayViewMut2<'_, Y>,
    ) -> Result<()> {
        self.check_shapes(x.dim(), y.dim())?;
        self.check_types::<X, Y>()?;
        let shape = [x.nrows(), x.ncols()];
        let x = X::source(x);
        let needs_none = self.is_dense_float() && x.as_row().is_some();
        let bytes = if needs_none { 0 } else { affordable(self.scratch_bytes(x.rows())?, "x", &shape)? };
        self.run(x, Y::written(y), &mut vec![0; bytes])
    }

    /// As [`forward`](PackedLinear::forward), and allocates nothing, but see [`Parallel::Rayon`](crate::Parallel::Rayon) for calls from
    /// outside of a pool. What `scratch` holds, before and after, means nothing.
    ///
    /// # Errors
    /// As [`forward`](PackedLinear::forward), and [`Error::Length`] when `scratch` is shorter than
    /// [`scratch_bytes`](PackedLinear::scratch_bytes).
    pub fn forward_with<X: Operand, Y: Operand>(
        &self,
        x: ArrayView2<'_, X>,
        y: ArrayViewMut2<'_, Y>,
        scratch: &mut [u8],
    ) -> Result<()> {
        self.check_shapes(x.dim(), y.dim())?;
        self.check_types::<X, Y>()?;
        self.check_scratch(x.nrows(), scratch)?;
        self.run(X::source(x), Y::written(y), scratch)
    }

    /// The product of codes, for int8, dense or sparse: `y[M, N] = (x - x_zero) * (w_codes - w_zero)^T` in int32, exact, without
    /// scales and bias (as ONNX MatMulInteger).
    ///
    /// `zero_points` are those of `x`: none (0), one, or one for each row.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Length`] or [`Error::OutOfRange`] for zero points that do not fit,
    /// [`Error::Unsupported`] for a float format and for int4, whose scales differ between groups of inputs, and
    /// [`Error::Isa`] as [`Context::current`]. `y` is untouched then.
    pub fn forward_codes<X: Code>(
        &self,
        x: ArrayView2<'_, X>,
        zero_points: &[i32],
        y: ArrayViewMut2<'_, i32>,
    ) -> Result<()> {
        self.check_codes::<X>(x.dim(), zero_points, y.dim())?;
        let bytes = affordable(self.scratch_bytes(x.nrows())?, "x", &[x.nrows(), x.ncols()])?;
        self.run_codes(x, zero_points, y, &mut vec![0; bytes])
    }

    /// As [`forward_codes`](PackedLinear::forward_codes), and allocates nothing.
    ///
    /// # Errors
    /// As [`forward_codes`](PackedLinear::forward_codes), and [`Error::Length`] when `scratch` is too short.
    pub fn forward_codes_with<X: Code>(
        &self,
        x: ArrayView2<'_, X>,
        zero_points: &[i32],
        y: ArrayViewMut2<'_, i32>,
        scratch: &mut [u8],
    ) -> Result<()> {
        self.check_codes::<X>(x.dim(), zero_points, y.dim())?;
        self.check_scratch(x.nrows(), scratch)?;
        self.run_codes(x, zero_points, y, scratch)
    }

    fn check_shapes(&self, x: (usize, usize), y: (usize, usize)) -> Result<()> {
        let (inputs, outputs) = (self.in_features(), self.out_features());
        if x.1 != inputs {
            return Err(Error::shape("x", &[x.0, x.1], format!("[rows, {inputs}], the layer's inputs")));
        }
        if y != (x.0, outputs) {
            let expected = format!("[{}, {outputs}], the rows of x and the layer's outputs", x.0);
            return Err(Error::shape("y", &[y.0, y.1], expected));
        }
        Ok(())
    }

    /// Refuses codes of which the layer has no parameters.
    pub(super) fn check_types<X: Operand, Y: Operand>(&self) -> Result<()> {
        let sides = [("x", X::CODES, "input", self.input()), ("y", Y::CODES, "output", self.output())];
        for (argument, codes, side, params) in sides {
            let known = params.map(|params| params.code_type);
            if let Some(codes) = codes.filter(|&codes| known != Some(codes)) {
                let has = known.map_or("no".into(), |known| format!("other ({known})"));
                return Err(Error::Unsupported {
                    what: format!("{argument} of {codes} codes for a layer with {has} {side} parameters"),
                    instead: format!("give it such parameters, or use f32, f16 or bf16 for {argument}"),
                });
            }
        }
        Ok(())
    }

    fn check_scratch(&self, rows: usize, scratch: &[u8]) -> Result<()> {
        let needed = self.scratch_bytes(rows)?;
        if scratch.len() < needed {
            return Err(Error::length(
                "scratch",
                scratch.len(),
                format!("at least {needed} for {rows} rows"),
            ));
        }
        Ok(())
    }

    fn check_codes<X: Code>(&self, x: (usize, usize), zero_points: &[i32], y: (usize, usize)) -> Result<()> {
        // An int4 layer has a scale for each group, so its products have no common integer.
        if !self.format().is_integer() || self.format() == Format::Int4 {
            return Err(Error::Unsupported {
                what: format!("an integer product with {} weights", self.format()),
                instead: "pack int8 codes, or use `forward`".into(),
            });
        }
        self.check_shapes(x, y)?;
        if zero_points.len() > 1 && zero_points.len() != x.0 {
            let expected = format!("0, 1 or {}, one for each row", x.0);
            return Err(Error::length("zero_points", zero_points.len(), expected));
        }
        let (lowest, highest) = X::TYPE.limits();
        match zero_points.iter().enumerate().find(|(_, zero)| !(lowest..=highest).contains(*zero)) {
            None => Ok(()),
            Some((index, zero)) => Err(Error::out_of_range(
                format!("zero_points[{index}]"),
                zero,
                format!("{lowest} to {highest}"),
            )),
        }
    }

    /// Everything is checked but the numbers of `x`.
    fn run<'s, Y: Written>(
        &self,
        x: Source<'s>,
        y: ArrayViewMut2<'_, Y>,
        scratch: &'s mut [u8],
    ) -> Result<()> {
        let context = &Context::current()?;
        let mut scratch = Scratch::new(scratch);
        if self.quantizes_input() {
            let mut codes = self.code_rows(context, x.rows(), &mut scratch);
            codes.fill(context, x, self.input())?;
            self.multiply(context, codes, y, scratch);
        } else if let Source::Numbers(x) = x {
            self.multiply_floats(context, x, y, scratch);
        } // Codes as `x` were refused: there are no input parameters.
        Ok(())
    }

    /// A layer that quantizes its input.
    pub(super) fn multiply<Y: Written>(
        &self,
        context: &Context,
        codes: CodeRows<'_>,
        y: ArrayViewMut2<'_, Y>,
        scratch: Scratch<'_>,
    ) {
        match self.format() {
            Format::Int4 => int4::int4(context, self, &codes, y),
            _ => self.multiply_codes(context, Scaled::new(Epilogue::of(self)), codes, y, scratch),
        }
    }

    /// A layer that does not.
    pub(super) fn multiply_floats<'s, Y: Written>(
        &self,
        context: &Context,
        x: FloatView<'s>,
        y: ArrayViewMut2<'_, Y>,
        mut scratch: Scratch<'s>,
    ) {
        match self.format() {
            Format::Bf16Dot => bf16_dot::bf16_dot(context, self, x, y, scratch),
            Format::SparseF32 if self.is_blocked() => {
                let turned = self.turned(context, x, blocks::cut(context), &mut scratch);
                blocks::float(context, self, turned, y);
            }
            Format::SparseF32 if x.rows() == 1 => {
                sparse::float_row(context, self, x.row(context, &mut scratch), y);
            }
            Format::SparseF32 => {
                let stretch = (sparse::stretch(self.in_features()), sparse::float_cut);
                self.in_stretches(context, x, y, scratch, stretch, sparse::float);
            }
            format => {
                let multiply = if format == Format::Int4 { int4_float::int4_float } else { dense::float };
                if x.rows() == 1 {
                    return multiply(context, self, x.row(context, &mut scratch), y);
                }
                let stretch = dense::stretch(self.out_features(), self.in_features());
                let stretch = (stretch, |rows| dense::cut_for(context, rows));
                self.in_stretches(context, x, y, scratch, stretch, multiply);
            }
        }
    }

    /// Some rows of `x` at a time: laid side by side, and multiplied while caches have them.
    fn in_stretches<Y: Written>(
        &self,
        context: &Context,
        x: FloatView<'_>,
        mut y: ArrayViewMut2<'_, Y>,
        mut scratch: Scratch<'_>,
        (stretch, cut): (usize, impl Fn(usize) -> Cut),
        multiply: impl Fn(&Context, &Self, &[f32], ArrayViewMut2<'_, Y>),
    ) {
        let rows = x.rows();
        let most = rows.min(stretch);
        let turned = scratch.take(cut(most).room(most) * self.in_features());
        for first in (0..rows).step_by(stretch) {
            let stretch = Slice::from(first..rows.min(first + stretch));
            let y = y.slice_axis_mut(Axis(0), stretch);
            turn(context, x.slice_rows(stretch), cut(y.nrows()), turned);
            multiply(context, self, turned, y);
        }
    }

    /// Whether `x` is multiplied as f32 with all weights.
    fn is_dense_float(&self) -> bool {
        !self.quantizes_input() && !self.format().is_sparse() && self.format() != Format::Bf16Dot
    }

    /// Rows of `x` side by side.
    fn turned<'s>(
        &self,
        context: &Context,
        x: FloatView<'s>,
        cut: Cut,
        scratch: &mut Scratch<'s>,
    ) -> &'s [f32] {
        let turned = scratch.take(cut.room(x.rows()) * self.in_features());
        turn(context, x, cut, turned);
        turned
    }

    fn run_codes<X: Code>(
        &self,
        x: ArrayView2<'_, X>,
        zero_points: &[i32],
        y: ArrayViewMut2<'_, i32>,
        scratch: &mut [u8],
    ) -> Result<()> {
        let context = &Context::current()?;
        let mut scratch = Scratch::new(scratch);
        let mut codes = self.code_rows(context, x.nrows(), &mut scratch);
        codes.copy(context, &x, 1.0, zero_points);
        self.multiply_codes(context, Exact, codes, y, scratch);
        Ok(())
    }

    pub(super) fn code_rows<'s>(
        &self,
        context: &Context,
        rows: usize,
        scratch: &mut Scratch<'s>,
    ) -> CodeRows<'s> {
        CodeRows::take(context, rows, self.padded_inputs(), self.spans(), scratch)
    }

    /// The sums of activation codes that its zero points need: those of whole rows, or of the groups of an int4 layer.
    fn spans(&self) -> Spans {
        match self.format() {
            Format::Int4 => {
                let factor = if self.has_zero_points() { -1 } else { -i32::from(MIDDLE) };
                Spans { count: self.groups(), len: self.group_size(), factor, of_uint8: true }
            }
            _ => Spans {
                count: usize::from(self.has_zero_points()),
                len: self.padded_inputs(),
                factor: 1,
                of_uint8: false,
            },
        }
    }

    fn multiply_codes<F: Finish>(
        &self,
        context: &Context,
        finish: F,
        codes: CodeRows<'_>,
        y: ArrayViewMut2<'_, F::Out>,
        mut scratch: Scratch<'_>,
    ) {
        if !self.format().is_sparse() {
            return dense::int8(context, self, finish, &codes, y);
        }
        if self.has_bitmaps() {
            return bitmap::int8(context, self, finish, &codes, y);
        }
        let (rows, padded) = (y.nrows(), self.padded_inputs());
        if runs::is_faster(context, self, rows) {
            return runs::int8(context, self, finish, &codes, y);
        }
        let cut = if self.is_blocked() { blocks::cut(context) } else { sparse::int8_cut(rows) };
        let turned = scratch.take(cut.room(rows) * padded * context.isa().run(StagedBytes));
        turn_codes(context, &codes, rows, cut, turned);
        if self.is_blocked() {
            return blocks::int8(context, self, finish, turned, &codes, y);
        }
        sparse::int8(context, self, finish, turned, (codes.scales, codes.zero_points), padded, y);
    }
}

fn turn(context: &Context, x: FloatView<'_>, cut: Cut, turned: &mut [f32]) {
    match x {
        FloatView::F32(x) => turn_floats(context, &x, cut, turned),
        FloatView::F16(x) => turn_floats(context, &x, cut, turned),
        FloatView::Bf16(x) => turn_floats(context, &x, cut, turned),
    }
}
