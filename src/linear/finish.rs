//! What becomes of a sum on its way into `y`.

use super::layer::PackedLinear;
use super::operand::Written;
use crate::kernels::{TileBlock, TileStrip, Token};
use crate::quant::Divisor;
use bytemuck::Pod;
use std::marker::PhantomData;

/// How many rows of `y` ahead of one that is written are asked for. Of more, where rows lie 4 KiB apart, lines in the first cache
/// would drive each other out.
pub(super) const AHEAD: usize = 8;

/// What happens to a value of `y` after its bias was added: it is clamped, then rounded to what `y` holds.
#[derive(Clone, Copy)]
pub(super) struct Epilogue {
    clamp: Option<(f32, f32)>,
    /// Steps of codes, where `y` holds codes.
    divisor: Divisor,
    zero_point: i32,
}

impl Epilogue {
    pub(super) fn of(layer: &PackedLinear<'_>) -> Self {
        let (divisor, zero_point) = match layer.output() {
            None => (Divisor::new(1.0, 0, 0), 0),
            Some(output) => {
                let (low, high) = output.limits;
                let zero_point = output.zero_point;
                (Divisor::new(output.scale, low - zero_point, high - zero_point), zero_point)
            }
        };
        Epilogue { clamp: layer.clamp(), divisor, zero_point }
    }

    #[inline(always)]
    pub(super) fn finish<Y: Written, T: Token, const N: usize>(
        self,
        token: T,
        mut values: [f32; N],
    ) -> [Y; N] {
        if let Some((low, high)) = self.clamp {
            // NaN is neither below nor above, so it stays.
            for value in &mut values {
                let raised = if *value < low { low } else { *value };
                *value = if raised > high { high } else { raised };
            }
        }
        Y::rounded(token, values, self.divisor, self.zero_point)
    }
}

/// The end of an integer product.
pub(super) trait Finish: Copy + Sync {
    /// What a sum becomes; of 4 bytes.
    type Value: Pod + Default;
    /// What `y` holds.
    type Out: Pod + Default + Send;

    /// `scale` is the product of the row's and the output's.
    fn value(sum: i32, scale: f32, bias: f32) -> Self::Value;

    /// Those of a row's sums, of outputs side by side.
    #[inline(always)]
    fn values<T: Token, const N: usize>(
        token: T,
        sums: [i32; N],
        scale: f32,
        scales: &[f32; N],
        bias: &[f32; N],
    ) -> [Self::Value; N] {
        let _ = token;
        let mut values = [Self::Value::default(); N];
        for n in 0..N {
            values[n] = Self::value(sums[n], scale * scales[n], bias[n]);
        }
        values
    }

    /// Values as `y` holds them.
    fn convert<T: Token, const N: usize>(self, token: T, values: [Self::Value; N]) -> [Self::Out; N];
}

/// The sum itself.
#[derive(Clone, Copy)]
pub(super) struct Exact;

impl Finish for Exact {
    type Value = i32;
    type Out = i32;

    #[inline(always)]
    fn value(sum: i32, _scale: f32, _bias: f32) -> i32 {
        sum
    }

    #[inline(always)]
    fn convert<T: Token, const N: usize>(self, _token: T, values: [i32; N]) -> [i32; N] {
        values
    }
}

/// `sum * scale + bias`, two roundings on every instruction set, then the epilogue.
#[derive(Clone, Copy)]
pub(super) struct Scaled<Y> {
    epilogue: Epilogue,
    y: PhantomData<Y>,
}

impl<Y> Scaled<Y> {
    pub(super) fn new(epilogue: Epilogue) -> Self {
        Scaled { epilogue, y: PhantomData }
    }
}

impl<Y: Written> Finish for Scaled<Y> {
    type Value = f32;
    type Out = Y;

    #[inline(always)]
    fn value(sum: i32, scale: f32, bias: f32) -> f32 {
        sum as f32 * scale + bias
    }

    #[inline(always)]
    fn values<T: Token, const N: usize>(
        token: T,
        sums: [i32; N],
        scale: f32,
        scales: &[f32; N],
        bias: &[f32; N],
    ) -> [f32; N] {
        token.scaled(sums, scale, scales, bias)
    }

    #[inline(always)]
    fn convert<T: Token, const N: usize>(self, token: T, values: [f32; N]) -> [Y; N] {
        self.epilogue.finish(token, values)
    }
}

/// What belongs to a row of `x`.
#[derive(Clone, Copy, Default)]
pub(super) struct RowParameters {
    pub(super) scale: f32,
    pub(super) zero_point: i32,
    /// The sum of the row's codes less their zero points; 0 where the weights have no zero points.
    pub(super) centred: i32,
}

/// What belongs to `R` rows of `x` one below the other, as it lies in memory: from a vector of scales each would have to be taken
/// out again.
#[derive(Clone, Copy)]
pub(super) struct RowsParameters<'a, const R: usize> {
    pub(super) scales: &'a [f32; R],
    pub(super) zero_points: &'a [i32; R],
    /// The sums of the rows' codes, where the weights have zero points.
    pub(super) sums: Option<&'a [i32; R]>,
    /// How many codes a row has.
    pub(super) inputs: i32,
}

impl<const R: usize> RowsParameters<'_, R> {
    #[inline(always)]
    pub(super) fn row(&self, r: usize) -> RowParameters {
        RowParameters {
            scale: self.scales[r],
            zero_point: self.zero_points[r],
            centred: self
                .sums
                .map_or(0, |sums| sums[r].wrapping_sub(self.zero_points[r].wrapping_mul(self.inputs))),
        }
    }
}

/// What belongs to rows of `x` one below the other, however many.
#[derive(Clone, Copy)]
pub(super) struct StripParameters<'a> {
    pub(super) scales: &'a [f32],
    pub(super) zero_points: &'a [i32],
    /// The sums of the rows' codes, where the weights have zero points; else nothing.
    pub(super) sums: &'a [i32],
    /// How many codes a row has.
    pub(super) inputs: i32,
}

/// What belongs to `N` outputs side by side.
pub(super) struct Outputs<const N: usize> {
    sums: [i32; N],
    zero_points: [i32; N],
    scales: [f32; N],
    pub(super) bias: [f32; N],
}

impl<const N: usize> Outputs<N> {
    /// Those from `index * N` on.
    #[inline(always)]
    pub(super) fn of(layer: &PackedLinear<'_>, index: usize) -> Self {
        Outputs {
            sums: numbers(layer.sums(), index),
            zero_points: numbers(layer.zero_points(), index),
            scales: numbers(layer.scales(), index),
            bias: numbers(layer.bias(), index),
        }
    }

    /// Products of codes become what `y` holds.
    #[inline(always)]
    pub(super) fn finish<F: Finish, T: Token>(
        &self,
        finish: F,
        token: T,
        products: &[i32; N],
        row: RowParameters,
    ) -> [F::Out; N] {
        // (x - zx) (w - zw) = x w - zx w - zw (x - zx), summed. Wrapping: the result fits, so its parts may not.
        let mut sums = token.less(*products, row.zero_point, &self.sums);
        if row.centred != 0 {
            sums = token.less(sums, row.centred, &self.zero_points);
        }
        finish.convert(token, F::values(token, sums, row.scale, &self.scales, &self.bias))
    }

    /// As [`finish`](Outputs::finish), of `R` rows, at most 16, into their places in `y`.
    #[inline(always)]
    pub(super) fn finish_rows<F: Finish, T: Token, const R: usize>(
        &self,
        finish: F,
        token: T,
        products: [[i32; N]; R],
        rows: RowsParameters<'_, R>,
        mut block: TileBlock<'_, F::Out, R, N>,
    ) {
        const { assert!(R <= 16) };
        if T::WIDE && block.is_whole() {
            // One by one: in a loop, an index that the compiler does not know would keep all products in memory.
            self.finish_row::<F, T, R, 0>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 1>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 2>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 3>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 4>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 5>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 6>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 7>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 8>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 9>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 10>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 11>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 12>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 13>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 14>(finish, token, &products, &rows, &mut block);
            self.finish_row::<F, T, R, 15>(finish, token, &products, &rows, &mut block);
        } else {
            // Of a copy, so that only this path has them in memory.
            let products = { products };
            for (offset, products) in products.iter().enumerate() {
                block.store(offset, self.finish(finish, token, products, rows.row(offset)));
            }
        }
    }

    /// As [`finish`](Outputs::finish), of rows whose products lie in memory.
    #[inline(always)]
    pub(super) fn finish_strip<F: Finish, T: Token>(
        &self,
        finish: F,
        token: T,
        products: &[[i32; N]],
        rows: StripParameters<'_>,
        mut strip: TileStrip<'_, F::Out, N>,
    ) {
        let each = products.iter().zip(rows.scales.iter().zip(rows.zero_points));
        if rows.sums.is_empty() {
            // Most layers. A loop of its own: what the other one needs would keep its pointers in memory.
            for (products, (&scale, &zero_point)) in each {
                strip.expect_store(AHEAD);
                let row = RowParameters { scale, zero_point, centred: 0 };
                strip.store_next(self.finish(finish, token, products, row));
            }
            return;
        }
        for ((products, (&scale, &zero_point)), sum) in each.zip(rows.sums) {
            strip.expect_store(AHEAD);
            let centred = sum.wrapping_sub(zero_point.wrapping_mul(rows.inputs));
            let row = RowParameters { scale, zero_point, centred };
            strip.store_next(self.finish(finish, token, products, row));
        }
    }

    /// Row `I` of `R`, if there is one: what [`finish`](Outputs::finish) gives.
    #[inline(always)]
    fn finish_row<F: Finish, T: Token, const R: usize, const I: usize>(
        &self,
        finish: F,
        token: T,
        products: &[[i32; N]; R],
        rows: &RowsParameters<'_, R>,
        block: &mut TileBlock<'_, F::Out, R, N>,
    ) {
        if I >= R {
            return;
        }
        block.store(I, self.finish(finish, token, &products[I], rows.row(I)));
    }
}

/// Numbers `index * N` and following of a section that holds one for each output; zeros where there is no section.
#[inline(always)]
pub(super) fn numbers<T: Pod, const N: usize>(section: &[u8], index: usize) -> [T; N] {
    const { assert!(size_of::<T>() == 4) };
    let words = section.as_chunks::<4>().0.get(index * N..).unwrap_or_default();
    let mut numbers = [T::zeroed(); N];
    if let Some(words) = words.first_chunk::<N>() {
        bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(words.as_flattened());
    }
    numbers
}
