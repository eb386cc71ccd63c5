//! Tiles of int8 weights of which only those that are not zero are stored, behind bits that say which these are.
//!
//! A tile is a stream of bytes: for each [`CHUNK`] groups of four inputs (or as many as are left) first a bit for each weight,
//! 16 bytes for a group, then the weights whose bits are set, one byte each; bits and weights in the order in which a dense tile
//! has the weights, the lowest bit of a byte first. Bits and weights lie in one stream, so that what is read of them comes in order.

use super::dot::{Group, TILE};

/// Groups whose bits lie together: those of a chunk fill a cache line.
pub(crate) const CHUNK: usize = 4;

/// Bytes of bits of a group.
pub(crate) const GROUP_BITS: usize = TILE * 4 / 8;

/// See [`Token::expand`](super::Token::expand).
#[inline(always)]
pub(super) fn expand(stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
    let mut at = 0;
    for groups in tile.chunks_mut(CHUNK) {
        let mut bits = stream.get(at..).unwrap_or_default().iter();
        at += groups.len() * GROUP_BITS;
        for weights in groups.as_flattened_mut().as_flattened_mut().chunks_mut(8) {
            let mut byte = bits.next().copied().unwrap_or_default();
            for weight in weights {
                *weight = 0;
                if byte & 1 != 0 {
                    *weight = stream.get(at).copied().unwrap_or_default() as i8;
                    at += 1;
                }
                byte >>= 1;
            }
        }
    }
    at.min(stream.len())
}
