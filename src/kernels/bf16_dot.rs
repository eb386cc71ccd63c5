//! Products of bf16 numbers in pairs, summed in f32: the arrangement, and the body where no instruction does this.

use super::dispatch::Token;
use super::dot::TILE;
use super::prefetch::Ahead;
use half::bf16;

/// Two inputs of one row: what a dot-product instruction takes at once.
pub(crate) type Pair = [bf16; 2];

/// The same of one output, as it is stored: little-endian.
pub(crate) type StoredPair = [u8; 4];

/// Pairs that are widened at a time: both sides fit the first cache.
const DEPTH: usize = 32;

/// See [`Token::multiply_pairs`](super::Token::multiply_pairs).
#[inline(always)]
pub(super) fn multiply<T: Token, const R: usize>(
    token: T,
    panel: &[[Pair; R]],
    weights: &[[StoredPair; TILE]],
    sums: &mut [[f32; TILE]; R],
) {
    let mut wide_panel = [[[0.0; R]; 2]; DEPTH];
    let mut wide_weights = [[[0.0; TILE]; 2]; DEPTH];
    for (panel, weights) in panel.chunks(DEPTH).zip(weights.chunks(DEPTH)) {
        let len = panel.len().min(weights.len());
        for (wide, pairs) in wide_panel.iter_mut().zip(panel) {
            for r in 0..R {
                let [even, odd] = pairs[r].map(|x| f32::from_bits(u32::from(x.to_bits()) << 16));
                (wide[0][r], wide[1][r]) = (odd, even);
            }
        }
        for (wide, pairs) in wide_weights.iter_mut().zip(weights) {
            let pairs: [u32; TILE] = bytemuck::cast(*pairs);
            for n in 0..TILE {
                let pair = u32::from_le(pairs[n]);
                wide[0][n] = f32::from_bits(pair & 0xffff_0000);
                wide[1][n] = f32::from_bits(pair << 16);
            }
        }
        let (wide_panel, wide_weights) =
            (wide_panel[..len].as_flattened(), wide_weights[..len].as_flattened());
        token.multiply_panel(wide_panel, wide_weights, Ahead::NOTHING, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Operation};
    use super::*;

    /// What an instruction set does, and what it would do without an instruction for it.
    struct Both<'a> {
        row: &'a [Pair],
        tile: &'a [[StoredPair; TILE]],
    }

    impl Both<'_> {
        #[inline(always)]
        fn panel<T: Token, const R: usize>(&self, token: T) -> [Vec<u32>; 2] {
            let panel: Vec<[Pair; R]> = (0..self.row.len())
                .map(|k| std::array::from_fn(|r| self.row[(k + r) % self.row.len()]))
                .collect();
            let mut sums = [[[1.5; TILE]; R]; 2];
            token.multiply_pairs(&panel, self.tile, Ahead::NOTHING, &mut sums[0]);
            multiply(token, &panel, self.tile, &mut sums[1]);
            sums.map(|sums| sums.as_flattened().iter().map(|sum: &f32| sum.to_bits()).collect())
        }
    }

    impl Operation for Both<'_> {
        type Output = Vec<[Vec<u32>; 2]>;
        const CODES: bool = false;
        #[inline(always)]
        fn run<T: Token>(self, token: T) -> Self::Output {
            let mut sums = [[1.5; TILE]; 4];
            // Tiles that are not of the same length: the shortest counts.
            let tiles = [self.tile, self.tile, self.tile, &self.tile[..self.tile.len() / 2]];
            token.multiply_pairs_row::<4, false>(self.row, tiles, &mut sums);
            let short = sums[3].map(f32::to_bits).to_vec();
            let mut alone = [[1.5; TILE]];
            multiply(token, self.row.as_chunks().0, tiles[3], &mut alone);
            vec![
                self.panel::<T, 1>(token),
                self.panel::<T, 2>(token),
                self.panel::<T, 4>(token),
                self.panel::<T, 8>(token),
                [short, alone[0].map(f32::to_bits).to_vec()],
            ]
        }
    }

    #[test]
    fn the_instruction_gives_the_same_bytes_as_widening() {
        let mut seed = 1_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Of either sign, and between 2^-12 and 2^12, so that sums are rounded in every way.
            let exponent = 115 + (seed >> 40) % 24;
            bf16::from_bits(((seed >> 33) & 0x8000 | exponent << 7 | (seed >> 50) & 0x7f) as u16)
        };
        for len in [0, 1, 2, 31, 32, 33, 100] {
            let row: Vec<Pair> = (0..len).map(|_| [next(), next()]).collect();
            let stored = |pair: [bf16; 2]| {
                let [a, b] = pair.map(bf16::to_le_bytes);
                [a[0], a[1], b[0], b[1]]
            };
            let tile: Vec<[StoredPair; TILE]> =
                (0..len).map(|_| std::array::from_fn(|_| stored([next(), next()]))).collect();
            let reference = Isa::scalar().run(Both { row: &row, tile: &tile });
            for isa in Isa::available() {
                for (found, reference) in isa.run(Both { row: &row, tile: &tile }).iter().zip(&reference) {
                    assert_eq!(found[0], found[1], "{isa}, {len} pairs");
                    assert_eq!(found[0], reference[0], "{isa}, {len} pairs");
                }
            }
        }
    }
}
