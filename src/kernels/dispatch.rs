//! One generic body, compiled for every instruction set.

#[cfg(kernels = "aarch64")]
use super::aarch64::Run;
use super::bf16_dot::{self, Pair, StoredPair};
use super::bitmap;
use super::cast;
use super::channels;
use super::dot::{self, BLOCK, Group, LANES, List, RowBlock, Staged, TILE};
use super::int4::{self, Int4Row, Int4Tile, Nibbles};
use super::int4_float;
use super::isa::{Isa, Level};
use super::matrix::{Matrix, NoMatrix};
use super::prefetch::Ahead;
#[cfg(kernels = "x86_64")]
use super::x86_64::Run;
use crate::element::DType;
use half::{bf16, f16};

/// A body that is compiled once for every instruction set.
///
/// [`run`](Operation::run), and everything it calls that should be vectorized, must be `#[inline(always)]`: only what is
/// inlined into the dispatching function is compiled with its features.
///
/// Rust never contracts `a * b + c` into a fused multiply-add by itself, so a body made of IEEE operations gives the same
/// bits everywhere.
pub(crate) trait Operation {
    /// What the body returns.
    type Output;

    /// Whether it has to do with 8-bit codes as kernels take them, [`Token::Staged`]. What has not is not compiled anew for instruction
    /// sets that add nothing but products of codes.
    const CODES: bool;

    /// The body. Mark the implementation `#[inline(always)]`.
    fn run<T: Token>(self, token: T) -> Self::Output;
}

/// What an instruction set offers a body beyond what the compiler finds by itself.
///
/// A token exists only inside a function that was compiled for its instruction set.
pub(crate) trait Token: Copy {
    /// What [`dot`](Token::dot) takes uint8 activations as.
    type Staged: Staged;

    /// What [`matrix`](Token::matrix) sets up.
    type Matrix: Matrix<Self::Staged>;

    /// Whether a kernel that keeps sums in registers has 32 of them, else 16: for how many rows at a time it runs best.
    const WIDE: bool = false;

    /// The most rows for which [`multiply_panel`](Token::multiply_panel) keeps all sums in registers: 4, 8 or 12.
    const ROWS: usize = 4;

    /// Whether [`multiply_panel`](Token::multiply_panel) reads the weights once: then they may as well come from the second
    /// cache, else they had better fit the first.
    const ONE_PASS: bool = false;

    /// The most rows for which [`dot_tiles`](Token::dot_tiles) and [`multiply_tiles`](Token::multiply_tiles) keep all sums in
    /// registers: a power of two, at most 16.
    const PANEL: usize = 4;

    /// `a * b + c`, rounded once where the instruction set can, else twice: only for results that state a bound.
    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    /// `sums[r][n] += sum over k of panel[k][r] * weights[k][n]`, in the order of k; over the shorter of the slices. Asks for what is
    /// read later where that gains.
    #[inline(always)]
    fn multiply_panel<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        let _ = ahead;
        let mut kept = *sums;
        for (rows, weights) in panel.iter().zip(weights) {
            for (x, kept) in rows.iter().zip(&mut kept) {
                for (sum, weight) in kept.iter_mut().zip(weights) {
                    *sum = self.multiply_add(*x, *weight, *sum);
                }
            }
        }
        *sums = kept;
    }

    /// `sums[r][n] += scales[n] * products`, where `products` is what [`multiply_panel`](Token::multiply_panel) adds to zeros.
    #[inline(always)]
    fn multiply_scaled<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        scales: &[f32; TILE],
        sums: &mut [[f32; TILE]; R],
    ) {
        let mut products = [[0.0; TILE]; R];
        self.multiply_panel(panel, weights, Ahead::NOTHING, &mut products);
        for r in 0..R {
            for n in 0..TILE {
                sums[r][n] = self.multiply_add(products[r][n], scales[n], sums[r][n]);
            }
        }
    }

    /// As [`multiply_panel`](Token::multiply_panel), of little-endian weights as they are stored, at any alignment; leaves them
    /// in `widened`, for the panels that come after.
    #[inline(always)]
    fn multiply_stored<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: DType,
        stored: &[u8],
        ahead: Ahead,
        widened: &mut [[f32; TILE]],
        sums: &mut [[f32; TILE]; R],
    ) {
        match weights {
            DType::F32 => {
                for (stored, widened) in stored.as_chunks::<{ 4 * TILE }>().0.iter().zip(&mut *widened) {
                    *widened = bytemuck::pod_read_unaligned(stored);
                }
            }
            DType::F16 => {
                for (stored, widened) in stored.as_chunks::<{ 2 * TILE }>().0.iter().zip(&mut *widened) {
                    self.widen_f16(&bytemuck::pod_read_unaligned::<[f16; TILE]>(stored), widened);
                }
            }
            DType::Bf16 => {
                for (stored, widened) in stored.as_chunks::<{ 2 * TILE }>().0.iter().zip(&mut *widened) {
                    self.widen_bf16(&bytemuck::pod_read_unaligned::<[bf16; TILE]>(stored), widened);
                }
            }
        }
        let len = (stored.len() / (TILE * weights.size())).min(widened.len());
        self.multiply_panel(panel, &widened[..len], ahead, sums);
    }

    /// `sums[t][n] += sum over k of row[k] * tiles[t][k][n]`, in the order of k, of 4 or 8 tiles of little-endian weights at any
    /// alignment; over the shortest of the slices. Weights pass by once, so they are widened on their way into registers.
    ///
    /// `FAR` says that they come from memory. False, and nothing is done, where [`multiply_panel`](Token::multiply_panel) of one
    /// row is as good.
    #[inline(always)]
    fn multiply_row<const N: usize, const FAR: bool>(
        self,
        row: &[f32],
        weights: DType,
        tiles: [&[u8]; N],
        sums: &mut [[f32; TILE]; N],
    ) -> bool {
        let _ = (row, weights, tiles, sums);
        false
    }

    /// `sums[r][n] += sum over k and i of panel[k][r][i] * weights[k][n][i]`, in the order of k, and of each pair `i = 1` before
    /// `i = 0`, as `vdpbf16ps` does it; over the shorter of the slices. Products of bf16 are exact in f32, so the bits are the same
    /// everywhere, but for subnormal numbers, which an instruction may take for zeros, and overflow.
    #[inline(always)]
    fn multiply_pairs<const R: usize>(
        self,
        panel: &[[Pair; R]],
        weights: &[[StoredPair; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        let _ = ahead;
        bf16_dot::multiply(self, panel, weights, sums);
    }

    /// As [`multiply_pairs`](Token::multiply_pairs) of one row and 4 or 8 tiles. Weights pass by once, and several streams of them
    /// come faster than one. `FAR` says that they come from memory.
    #[inline(always)]
    fn multiply_pairs_row<const N: usize, const FAR: bool>(
        self,
        row: &[Pair],
        tiles: [&[[StoredPair; TILE]]; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            self.multiply_pairs::<1>(row.as_chunks().0, tile, Ahead::NOTHING, std::array::from_mut(sums));
        }
    }

    /// The unit that multiplies blocks of rows, set up for `rows` of them; none where there is no such unit, or where so few rows do
    /// not gain. A thread holds one at a time: none where it holds one.
    #[inline(always)]
    fn matrix(self, rows: usize) -> Option<Self::Matrix> {
        let _ = rows;
        None
    }

    /// `sums[p][g][lane] += sum over j of columns[places[j]][g][lane] * values[j]` for the places and values of list `p`, in an
    /// order that depends on the instruction set; places (little-endian u16) past the last column count nothing; values are
    /// little-endian f32.
    ///
    /// Where places rise, several lists read the same columns at about the same time.
    #[inline(always)]
    fn multiply_places<const P: usize, const G: usize>(
        self,
        columns: &[[[f32; LANES]; G]],
        lists: [List<'_>; P],
        sums: &mut [[[f32; LANES]; G]; P],
    ) {
        for (sums, (places, values)) in sums.iter_mut().zip(lists) {
            for (place, value) in places.iter().zip(values) {
                let Some(column) = columns.get(usize::from(u16::from_le_bytes(*place))) else { continue };
                let value = f32::from_le_bytes(*value);
                for (sum, x) in sums.as_flattened_mut().iter_mut().zip(column.as_flattened()) {
                    *sum = self.multiply_add(value, *x, *sum);
                }
            }
        }
    }

    /// `sum over j of row[places[j]] * values[j]`, in an order that depends on the instruction set; places (little-endian u16)
    /// past the last input count nothing; values are little-endian f32.
    #[inline(always)]
    fn multiply_row_places(self, row: &[f32], places: &[[u8; 2]], values: &[[u8; 4]]) -> f32 {
        let x =
            |place: &[u8; 2]| row.get(usize::from(u16::from_le_bytes(*place))).copied().unwrap_or_default();
        let (place_ways, place_rest) = places.as_chunks::<8>();
        let (value_ways, value_rest) = values.as_chunks::<8>();
        let mut ways = [0.0_f32; 8];
        for (places, values) in place_ways.iter().zip(value_ways) {
            for way in 0..8 {
                ways[way] = self.multiply_add(f32::from_le_bytes(values[way]), x(&places[way]), ways[way]);
            }
        }
        let mut sum = 0.0;
        for way in ways {
            sum += way;
        }
        for (place, value) in place_rest.iter().zip(value_rest) {
            sum = self.multiply_add(f32::from_le_bytes(*value), x(place), sum);
        }
        sum
    }

    /// `sums[r][n] += sum over k and i of rows[r][k][i] * tile[k][n][i]`, of codes as they are staged, exact; over the
    /// shortest of the slices.
    #[inline(always)]
    fn dot<const R: usize>(
        self,
        rows: RowBlock<'_, Self::Staged, R>,
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        dot::dot(rows, tile, sums);
    }

    /// As [`dot`](Token::dot) of one row and several tiles. Weights pass by once, and several streams of them come faster than
    /// one. `FAR` says that they come from memory.
    #[inline(always)]
    fn dot_row<const N: usize, const FAR: bool>(
        self,
        row: &[Group<Self::Staged>],
        tiles: [&[[Group<i8>; TILE]]; N],
        sums: &mut [[i32; TILE]; N],
    ) {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            self.dot::<1>(RowBlock::of(row, row.len(), row.len()), tile, std::array::from_mut(sums));
        }
    }

    /// Makes a dense tile of one of which only the weights that are not zero are stored, see [`bitmap`]; returns how many bytes of
    /// the stream belong to it. What a stream is too short for is zero.
    #[inline(always)]
    fn expand(self, stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
        bitmap::expand(stream, tile)
    }

    /// As [`dot`](Token::dot) with each of some tiles as [`expand`](Token::expand) takes them, for as many groups of the rows as it
    /// likes: returns how many, a multiple of [`CHUNK`](bitmap::CHUNK), and leaves of the streams what is behind them.
    ///
    /// `None`, and nothing is done, where [`expand`](Token::expand) and [`dot`](Token::dot) are as good.
    #[inline(always)]
    fn dot_bitmaps<const R: usize, const N: usize>(
        self,
        rows: RowBlock<'_, Self::Staged, R>,
        streams: &mut [&[u8]; N],
        sums: &mut [[[i32; TILE]; R]; N],
    ) -> Option<usize> {
        let _ = (rows, streams, sums);
        None
    }

    /// `sums[g][r] += sum over j and i of columns[places[j]][g][r][i] * blocks[j][i]`, exact; places (little-endian u16)
    /// past the last column count nothing.
    #[inline(always)]
    fn dot_blocks<const G: usize>(
        self,
        columns: &[[[Group<Self::Staged>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    ) {
        dot::dot_blocks(columns, places, blocks, sums);
    }

    /// `sums[r][n] += sum over j of panel[places[j]][r] * tiles[j][n]`, in the order of j where `R` is above 1, else in one
    /// that depends on the instruction set; places past the end of the panel count nothing; tiles are little-endian f32.
    #[inline(always)]
    fn multiply_tiles<const R: usize>(
        self,
        panel: &[[f32; R]],
        places: &[[u8; 2]],
        tiles: &[[u8; 4 * LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        for (place, tile) in places.iter().zip(tiles) {
            let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { continue };
            for (x, sums) in rows.iter().zip(sums.iter_mut()) {
                for (sum, w) in sums.iter_mut().zip(tile.as_chunks::<4>().0) {
                    *sum = self.multiply_add(*x, f32::from_le_bytes(*w), *sum);
                }
            }
        }
    }

    /// `sums[r][n] += sum over j and i of panel[places[j]][r][i] * tiles[j][n][i]`, exact; places (little-endian u16) past
    /// the end of the panel count nothing.
    #[inline(always)]
    fn dot_tiles<const R: usize>(
        self,
        panel: &[[Group<Self::Staged>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        dot::dot_tiles(panel, places, tiles, sums);
    }

    /// `sums[r][n] += products * scales[group][n]` for each group of inputs in their order, where `products`, the sum over the
    /// group of `rows[r].codes[k][i] * (nibble of k, n and i - zero_points[group][n])`, is an exact int32 that is then rounded
    /// to f32; over the shortest of the slices. `*` and `+` are rounded each, so the bits are the same everywhere.
    #[inline(always)]
    fn multiply_int4<const R: usize>(
        self,
        rows: [Int4Row<'_, Self::Staged>; R],
        tile: Int4Tile<'_>,
        sums: &mut [[f32; TILE]; R],
    ) {
        int4::multiply(rows, tile, sums);
    }

    /// `sums[r][n] += sum over k and i of codes[taps[r][4 k + i] + n] * weights[k][n][i]`, exact; over the shorter of the slices.
    /// Taps of which fewer than a tile of codes are left count nothing.
    #[inline(always)]
    fn dot_channels<const K: usize>(
        self,
        codes: &[Self::Staged],
        taps: &[[usize; K]],
        weights: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]],
    ) {
        channels::dot_channels(codes, taps, weights, sums);
    }

    /// As [`multiply_int4`](Token::multiply_int4) of one row and several tiles, all of the same depth. Weights pass by once, and
    /// several streams of them come faster than one.
    #[inline(always)]
    fn multiply_int4_row<const N: usize>(
        self,
        row: Int4Row<'_, Self::Staged>,
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            self.multiply_int4([row], tile, std::array::from_mut(sums));
        }
    }

    /// Weights in steps of their scale, which is exact: `steps[4 * k + i][n] = (nibble of k, n and i) - zeros[n]`; over the shorter
    /// of the slices.
    #[inline(always)]
    fn widen_steps(self, codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
        int4_float::widen_steps(codes, zeros, steps);
    }

    /// `sums[t][n] += products * tiles[t].scales[group][n]` for each span of inputs in their order, where `products` is the sum over
    /// the span of `row[k] * (nibble of k and n - zero_points[group][n])` in the order of k, both in f32; over the shortest of the
    /// slices. A span is a group, or as much of it as [`SPAN`](int4_float::SPAN) allows. The tiles are of the same depth.
    #[inline(always)]
    fn multiply_int4_floats<const N: usize>(
        self,
        row: &[f32],
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            int4_float::multiply(self, row, tile, sums);
        }
    }

    /// `steps + zero_point`, codes from 0 to 255, as [`dot`](Token::dot) takes them.
    #[inline(always)]
    fn stage(self, steps: [[i32; LANES]; BLOCK / LANES], zero_point: i32) -> [Self::Staged; BLOCK] {
        let mut codes = [Self::Staged::from_code(0); BLOCK];
        for (code, step) in codes.iter_mut().zip(steps.as_flattened()) {
            *code = Self::Staged::from_code(step + zero_point);
        }
        codes
    }

    /// `round_half_even(values * factors[0]) + zero_point`, saturated to codes from 0 to 255, as [`dot`](Token::dot) takes them, for
    /// products below 2^15 in magnitude.
    ///
    /// False, and `codes` mean nothing, where the two `factors` do not give the same for each value, and where
    /// [`stage`](Token::stage) is as good.
    #[inline(always)]
    fn stage_products(
        self,
        values: &[f32; BLOCK],
        factors: [f32; 2],
        zero_point: i32,
        codes: &mut [Self::Staged; BLOCK],
    ) -> bool {
        let _ = (values, factors, zero_point, codes);
        false
    }

    /// `products - factor * sums`, wrapping.
    #[inline(always)]
    fn less<const N: usize>(self, products: [i32; N], factor: i32, sums: &[i32; N]) -> [i32; N] {
        let mut less = [0; N];
        for n in 0..N {
            less[n] = products[n].wrapping_sub(factor.wrapping_mul(sums[n]));
        }
        less
    }

    /// `sums * (scale * scales) + bias`, each operation rounded.
    #[inline(always)]
    fn scaled<const N: usize>(
        self,
        sums: [i32; N],
        scale: f32,
        scales: &[f32; N],
        bias: &[f32; N],
    ) -> [f32; N] {
        let mut values = [0.0; N];
        for n in 0..N {
            values[n] = sums[n] as f32 * (scale * scales[n]) + bias[n];
        }
        values
    }

    /// Lays rows of 4-byte elements side by side: `panel[k * step][r] = rows[r][k]`; over the shortest of the slices.
    #[inline(always)]
    fn interleave<const R: usize>(self, rows: [&[[u8; 4]]; R], panel: &mut [[[u8; 4]; R]], step: usize) {
        interleave(rows, panel, step);
    }

    /// Exact. `src` and `dst` have the same length, here and below.
    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        cast::widen_f16(src, dst);
    }

    /// Round to nearest even, subnormals kept, NaN stays a (quiet) NaN with the top of its payload.
    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [f16]) {
        cast::narrow_f16(src, dst);
    }

    /// Exact.
    #[inline(always)]
    fn widen_bf16(self, src: &[bf16], dst: &mut [f32]) {
        cast::widen_bf16(src, dst);
    }

    /// As [`narrow_f16`](Token::narrow_f16).
    #[inline(always)]
    fn narrow_bf16(self, src: &[f32], dst: &mut [bf16]) {
        cast::narrow_bf16(src, dst);
    }

    /// Sets `elements[i]` to 0 where bit `i` of `word` is 0.
    ///
    /// By hand where it can be: a compiler makes this stores under a mask, which stream half as fast as full ones.
    #[inline(always)]
    fn keep_u32(self, word: u64, elements: &mut [u32; 64]) {
        for (bit, element) in elements.iter_mut().enumerate() {
            *element &= ((word >> bit & 1) as u32).wrapping_neg();
        }
    }

    /// As [`keep_u32`](Token::keep_u32).
    #[inline(always)]
    fn keep_u16(self, word: u64, elements: &mut [u16; 64]) {
        for (bit, element) in elements.iter_mut().enumerate() {
            *element &= ((word >> bit & 1) as u16).wrapping_neg();
        }
    }
}

/// See [`Token::interleave`].
#[inline(always)]
pub(super) fn interleave<const R: usize>(rows: [&[[u8; 4]]; R], panel: &mut [[[u8; 4]; R]], step: usize) {
    for (r, row) in rows.into_iter().enumerate() {
        for (column, element) in panel.iter_mut().step_by(step).zip(row) {
            column[r] = *element;
        }
    }
}

/// The reference: nothing but the bodies themselves.
#[derive(Clone, Copy)]
struct Scalar;

impl Token for Scalar {
    type Staged = i16;
    type Matrix = NoMatrix;
}

/// The body of an operation for any processor; a method for the reason that `Run` has.
trait RunScalar: Operation + Sized {
    #[inline(never)]
    fn run_scalar(self) -> Self::Output {
        self.run(Scalar)
    }
}

impl<O: Operation> RunScalar for O {}

impl Isa {
    /// Runs `operation`, compiled for this instruction set.
    pub(crate) fn run<O: Operation>(self, operation: O) -> O::Output {
        match self.level() {
            Level::Scalar => operation.run_scalar(),
            // SAFETY: an `Isa` of this level exists only where detection found every feature that the function enables.
            #[cfg(kernels = "x86_64")]
            Level::AvxVnni if O::CODES => unsafe { operation.run_avx_vnni() },
            // SAFETY: as above; where there is AVX-VNNI, there is AVX2.
            #[cfg(kernels = "x86_64")]
            Level::Avx2 | Level::AvxVnni => unsafe { operation.run_avx2() },
            // SAFETY: as above.
            #[cfg(kernels = "x86_64")]
            Level::Avx512 => unsafe { operation.run_avx512(false) },
            // SAFETY: as above.
            #[cfg(kernels = "x86_64")]
            Level::Amx => unsafe { operation.run_avx512(true) },
            // SAFETY: as above.
            #[cfg(kernels = "aarch64")]
            Level::NeonDotprod if O::CODES => unsafe { operation.run_neon_dotprod() },
            // SAFETY: as above.
            #[cfg(kernels = "aarch64")]
            Level::NeonI8mm if O::CODES => unsafe { operation.run_neon_i8mm() },
            // SAFETY: as above; the others have NEON too.
            #[cfg(kernels = "aarch64")]
            Level::Neon | Level::NeonDotprod | Level::NeonI8mm => unsafe { operation.run_neon() },
        }
    }
}
