//! What becomes of an exact int32 sum on its way into `y`.

use super::layer::PackedLinear;
use crate::element::Element;
use crate::kernels::Token;
use bytemuck::Pod;
use std::marker::PhantomData;

/// The end of an integer product.
pub(super) trait Finish: Sync {
    /// What a sum becomes.
    type Value: Copy + Default;
    /// What `y` holds.
    type Out: Pod + Default + Send;

    /// `scale` is the product of the row's and the output's.
    fn value(sum: i32, scale: f32, bias: f32) -> Self::Value;

    /// Rounds values to what `y` holds.
    fn convert<T: Token, const N: usize>(token: T, values: [Self::Value; N]) -> [Self::Out; N];
}

/// The sum itself.
pub(super) struct Exact;

impl Finish for Exact {
    type Value = i32;
    type Out = i32;

    #[inline(always)]
    fn value(sum: i32, _scale: f32, _bias: f32) -> i32 {
        sum
    }

    #[inline(always)]
    fn convert<T: Token, const N: usize>(_token: T, values: [i32; N]) -> [i32; N] {
        values
    }
}

/// `sum * scale + bias`, two roundings on every instruction set, then the one of `Y`.
pub(super) struct Scaled<Y>(PhantomData<Y>);

impl<Y: Element> Finish for Scaled<Y> {
    type Value = f32;
    type Out = Y;

    #[inline(always)]
    fn value(sum: i32, scale: f32, bias: f32) -> f32 {
        sum as f32 * scale + bias
    }

    #[inline(always)]
    fn convert<T: Token, const N: usize>(token: T, values: [f32; N]) -> [Y; N] {
        Y::narrowed(token, values)
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
        token: T,
        products: &[i32; N],
        row: RowParameters,
    ) -> [F::Out; N] {
        // (x - zx) (w - zw) = x w - zx w - zw (x - zx), summed. Wrapping: the result fits, so its parts may not.
        let mut sums = *products;
        for (sum, codes) in sums.iter_mut().zip(&self.sums) {
            *sum = sum.wrapping_sub(row.zero_point.wrapping_mul(*codes));
        }
        if row.centred != 0 {
            for (sum, zero_point) in sums.iter_mut().zip(&self.zero_points) {
                *sum = sum.wrapping_sub(row.centred.wrapping_mul(*zero_point));
            }
        }
        let mut values = [F::Value::default(); N];
        for n in 0..N {
            values[n] = F::value(sums[n], row.scale * self.scales[n], self.bias[n]);
        }
        F::convert(token, values)
    }
}

/// Numbers `index * N` and following of a section that holds one for each output; zeros where there is no section.
#[inline(always)]
pub(super) fn numbers<T: Pod, const N: usize>(section: &[u8], index: usize) -> [T; N] {
    const { assert!(size_of::<T>() == 4) };
    let words = section.as_chunks::<4>().0.get(index * N..).unwrap_or_default();
    words
        .first_chunk::<N>()
        .map_or([T::zeroed(); N], |words| words.map(|word| bytemuck::pod_read_unaligned(&word)))
}
