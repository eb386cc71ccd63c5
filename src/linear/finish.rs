//! What becomes of an exact int32 sum on its way into `y`.

use super::layout::TILE;
use crate::element::Element;
use crate::kernels::Token;
use bytemuck::Pod;
use std::marker::PhantomData;

/// The end of an integer product.
pub(super) trait Finish: Sync {
    /// What a sum becomes.
    type Value: Copy + Default;
    /// What `y` holds.
    type Out: Copy + Default + Send;

    /// `scale` is the product of the row's and the output's.
    fn value(sum: i32, scale: f32, bias: f32) -> Self::Value;

    /// Rounds values into what `y` holds; the lengths are the same.
    fn convert<T: Token>(token: T, values: &[Self::Value], out: &mut [Self::Out]);
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
    fn convert<T: Token>(_token: T, values: &[i32], out: &mut [i32]) {
        out.copy_from_slice(values);
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
    fn convert<T: Token>(token: T, values: &[f32], out: &mut [Y]) {
        Y::narrow(token, values, out);
    }
}

/// The numbers of tile `tile` in a section that holds one for each output; zeros where there is no section.
#[inline(always)]
pub(super) fn tile_of<T: Pod>(section: &[u8], tile: usize) -> [T; TILE] {
    const { assert!(size_of::<T>() == 4) };
    section
        .get(tile * TILE * 4..)
        .and_then(|rest| rest.first_chunk::<{ TILE * 4 }>())
        .map_or([T::zeroed(); TILE], |bytes| bytemuck::pod_read_unaligned(bytes))
}
