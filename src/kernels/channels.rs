//! Exact sums of products of channels with taps of their own, as a depthwise convolution has them: the reference body.

use super::dot::{Group, Staged, TILE};

/// See [`Token::dot_channels`](super::Token::dot_channels).
#[inline(always)]
pub(super) fn dot_channels<S: Staged, const K: usize>(
    codes: &[S],
    taps: &[[usize; K]],
    weights: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]],
) {
    // The weights of a tap side by side, as its codes are.
    let mut turned = [[0_i16; TILE]; K];
    for (taps, groups) in turned.as_chunks_mut::<4>().0.iter_mut().zip(weights) {
        for (n, group) in groups.iter().enumerate() {
            for i in 0..4 {
                taps[i][n] = group[i].into();
            }
        }
    }
    let turned = turned.get(..weights.len() * 4).unwrap_or_default();
    for (taps, sums) in taps.iter().zip(sums) {
        let mut kept = *sums;
        for (tap, weights) in taps.iter().zip(turned) {
            let Some(x) = codes.get(*tap..).and_then(|codes| codes.first_chunk::<TILE>()) else { continue };
            for n in 0..TILE {
                let x: i32 = x[n].into();
                kept[n] = kept[n].wrapping_add(x * i32::from(weights[n]));
            }
        }
        *sums = kept;
    }
}
