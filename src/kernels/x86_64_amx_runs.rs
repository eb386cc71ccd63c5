//! x86-64: exact products of sparse weights by AMX, where the blocks that are left come in runs.
//!
//! The unit multiplies by 16 groups of inputs that lie side by side. So 16 blocks of as many outputs whose places follow each other
//! are, as they are stored, what it takes of weights, and the codes at their places what it takes of rows. Nothing is copied or turned
//! for it, and what is left out takes no time.
//!
//! As with a dense tile, a pair of blocks of rows meets two bands at a time: sums of less would have to wait for each other. The bands
//! have different runs, so each loads its own codes.

use super::dot::{Group, LANES, TILE};
use super::matrix::{Band, Codes, Matrix, dot_places};
use super::x86_64_amx::{APART, GROUPS, Tiles};
#[cfg(not(tersor_model_amx))]
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Bytes from a row of a run's weights to the next.
const LINE: usize = LANES * size_of::<Group<i8>>();

/// What a run's weights are.
type Run = [[Group<i8>; LANES]; GROUPS];

/// Runs of two bands, the longer list first. Laid out as the assembly reads it, in words of 8 bytes.
#[repr(C)]
struct Runs {
    /// How many both have.
    both: usize,
    /// How many more the first has.
    more: usize,
    weights: [*const Run; 2],
    /// The first place of each run, 32 bytes apart.
    places: [*const [u8; 2]; 2],
}

/// What is multiplied at once. Laid out as the assembly reads it.
#[repr(C)]
struct Products {
    /// Where the lists of runs end.
    end: *const Runs,
    /// Codes of the first row of the first block of rows, bytes from there to the other block, and from a row to the next.
    codes: *const u8,
    codes_below: usize,
    codes_stride: usize,
    /// Where the sums of the first block of rows go, of the first list and of the second, and bytes from there to those of the other.
    sums: [*mut i32; 2],
    sums_below: usize,
}

/// Whole runs of a band, and a shorter one that ends with the last group.
#[derive(Clone, Copy)]
struct List<'a> {
    places: &'a [[[u8; 2]; GROUPS]],
    weights: &'a [Run],
    last: &'a [[Group<i8>; LANES]],
}

impl<'a> List<'a> {
    /// None where the places are no such runs of rows of `len` groups.
    ///
    /// # Safety
    /// Needs AVX2.
    #[inline(always)]
    unsafe fn of((places, blocks): Band<'a>, len: usize) -> Option<Self> {
        let count = places.len().min(blocks.len());
        let (places, rest) = places.get(..count)?.as_chunks::<GROUPS>();
        let (weights, last) = blocks.get(..count)?.as_chunks::<GROUPS>();
        let first = len.checked_sub(rest.len())?;
        let ends =
            rest.iter().enumerate().all(|(i, place)| usize::from(u16::from_le_bytes(*place)) == first + i);
        // SAFETY: the caller vouches for AVX2; the places of a run are 32 bytes.
        let greatest = unsafe {
            let steps = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let (mut differ, mut most) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for run in places {
                let places = _mm256_loadu_si256(run.as_ptr().cast());
                let first = _mm256_broadcastw_epi16(_mm256_castsi256_si128(places));
                differ = _mm256_or_si256(differ, _mm256_xor_si256(places, _mm256_add_epi16(first, steps)));
                most = _mm256_max_epu16(most, first);
            }
            if _mm256_testz_si256(differ, differ) == 0 {
                return None;
            }
            _mm256_extract_epi16::<0>(most)
        };
        let fits = places.is_empty() || (greatest as usize) + GROUPS <= len;
        (fits && ends).then_some(List { places, weights, last })
    }
}

impl Tiles {
    /// See [`Matrix::dot_runs`].
    ///
    /// # Safety
    /// This thread is set up, and the processor has AVX-512F and AVX-512BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn dot_lists(
        &self,
        codes: Codes<'_, Group<u8>>,
        first: usize,
        bands: [Band<'_>; 2],
        sums: &mut [[i32; TILE]],
    ) {
        let (rows, len) = (self.block(), codes.len);
        // SAFETY: the caller vouches for the features.
        let lists = unsafe { [List::of(bands[0], len), List::of(bands[1], len)] };
        let last_place = len.checked_sub(GROUPS).and_then(|last| u16::try_from(last).ok());
        let ([Some(a), Some(b)], Some(last_place), true) = (lists, last_place, codes.rows >= rows) else {
            return self.dot_any(codes, first, bands, sums);
        };
        let swap = a.weights.len() < b.weights.len();
        let (a, b) = if swap { (b, a) } else { (a, b) };
        // Shorter runs are taken as whole ones that begin earlier, of weights in which zeros stand for what was not stored.
        let is_whole = a.last.is_empty() && b.last.is_empty();
        let mut last = [const { MaybeUninit::<Run>::uninit() }; 2];
        for (run, list) in last.iter_mut().zip([a, b]).filter(|_| !is_whole) {
            let run = run.write([[[0; 4]; LANES]; GROUPS]);
            run[GROUPS - list.last.len()..].copy_from_slice(list.last);
        }
        let last_place = last_place.to_le_bytes();
        let runs = [
            Runs {
                both: b.weights.len(),
                more: a.weights.len() - b.weights.len(),
                weights: [a.weights.as_ptr(), b.weights.as_ptr()],
                places: [a.places.as_ptr().cast(), b.places.as_ptr().cast()],
            },
            Runs {
                both: 1,
                more: 0,
                weights: [last[0].as_ptr(), last[1].as_ptr()],
                places: [&raw const last_place; 2],
            },
        ];
        let runs = if is_whole { &runs[..1] } else { &runs[..] };
        for (pair, sums) in sums.chunks_mut(2 * rows).enumerate() {
            if sums.len() < rows {
                return;
            }
            let blocks = sums.len() / rows;
            let starts = [0, 1].map(|block| self.start(first + 2 * pair + block, codes.rows));
            let begin = sums.as_mut_ptr().cast::<i32>();
            let halves = [begin, begin.wrapping_add(LANES)];
            let products = Products {
                end: runs.as_ptr_range().end,
                codes: codes.row(starts[0]).cast(),
                codes_below: 4 * codes.stride * (starts[1] - starts[0]),
                codes_stride: 4 * codes.stride,
                sums: if swap { [halves[1], halves[0]] } else { halves },
                sums_below: rows * APART,
            };
            // SAFETY: of each run that `List::of` let pass, and of the last, 16 groups from its place on are below the length of every row;
            // so are the rows of the blocks; weights are whole runs. The sums are those of the blocks, 128 bytes of each row.
            unsafe {
                if blocks == 2 {
                    multiply::<true>(runs, &products, rows);
                } else {
                    multiply::<false>(runs, &products, rows);
                }
            }
        }
    }

    /// The same of any places.
    #[cold]
    #[inline(never)]
    fn dot_any(
        &self,
        codes: Codes<'_, Group<u8>>,
        first: usize,
        bands: [Band<'_>; 2],
        sums: &mut [[i32; TILE]],
    ) {
        for (block, sums) in sums.chunks_exact_mut(self.block()).enumerate() {
            let start = self.start(first + block, codes.rows);
            for (r, sums) in sums.iter_mut().enumerate() {
                for (band, sums) in bands.into_iter().zip(sums.as_chunks_mut().0) {
                    *sums = dot_places(codes, start + r, band);
                }
            }
        }
    }
}

/// Adds the products of a run of one band, by registers for the weights and the sums of one block of rows and of the other.
#[cfg(not(tersor_model_amx))]
macro_rules! add_run {
    ($weights:literal, $places:literal, $register:literal, $sums:literal, $below:literal) => {
        concat!(
            "movzx {at:e}, word ptr [{",
            $places,
            "}]\n",
            // Weights pass by, codes are to stay in the first cache.
            "tileloaddt1 ",
            $register,
            ", [{",
            $weights,
            "} + {apart}]\n",
            "lea {at}, [{codes} + 4 * {at}]\n",
            "add {",
            $places,
            "}, 32\n",
            "add {",
            $weights,
            "}, 1024\n",
            "tileloadd tmm4, [{at} + {stride}]\n",
            "tdpbusd ",
            $sums,
            ", tmm4, ",
            $register,
            "\n",
            ".if {two}\n",
            "add {at}, {below}\n",
            "tileloadd tmm5, [{at} + {stride}]\n",
            "tdpbusd ",
            $below,
            ", tmm5, ",
            $register,
            "\n",
            ".endif\n",
        )
    };
}

/// Sums of a block of `rows` rows or of two, and of two lists of runs side by side.
///
/// # Safety
/// The thread is set up, the operands can be read, and the sums written.
#[cfg(not(tersor_model_amx))]
unsafe fn multiply<const TWO: bool>(runs: &[Runs], products: &Products, _rows: usize) {
    // What the offsets below are of; where words are shorter, the unit is not asked for.
    const { assert!((size_of::<Runs>() == 48 && size_of::<Products>() == 56) || size_of::<usize>() != 8) };
    // SAFETY: the caller vouches for the memory; the unit's registers are nobody else's.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            ".if {two}",
            "tilezero tmm2",
            "tilezero tmm3",
            ".endif",
            "mov {codes}, [{products} + 8]",
            "mov {below}, [{products} + 16]",
            "mov {stride}, [{products} + 24]",
            "2:",
            "mov {weights_a}, [{runs} + 16]",
            "mov {weights_b}, [{runs} + 24]",
            "mov {places_a}, [{runs} + 32]",
            "mov {places_b}, [{runs} + 40]",
            "mov {count}, [{runs}]",
            "test {count}, {count}",
            "jz 4f",
            "3:",
            add_run!("weights_a", "places_a", "tmm6", "tmm0", "tmm2"),
            add_run!("weights_b", "places_b", "tmm7", "tmm1", "tmm3"),
            "dec {count}",
            "jnz 3b",
            "4:",
            "mov {count}, [{runs} + 8]",
            "test {count}, {count}",
            "jz 6f",
            "5:",
            add_run!("weights_a", "places_a", "tmm6", "tmm0", "tmm2"),
            "dec {count}",
            "jnz 5b",
            "6:",
            "add {runs}, 48",
            "cmp {runs}, [{products}]",
            "jne 2b",
            "mov {weights_a}, [{products} + 32]",
            "mov {weights_b}, [{products} + 40]",
            "mov {below}, [{products} + 48]",
            "mov {stride:e}, 128",
            "tilestored [{weights_a} + {stride}], tmm0",
            "tilestored [{weights_b} + {stride}], tmm1",
            ".if {two}",
            "add {weights_a}, {below}",
            "add {weights_b}, {below}",
            "tilestored [{weights_a} + {stride}], tmm2",
            "tilestored [{weights_b} + {stride}], tmm3",
            ".endif",
            two = const TWO as usize,
            products = in(reg) products,
            runs = inout(reg) runs.as_ptr() => _,
            apart = in(reg) LINE,
            codes = out(reg) _,
            below = out(reg) _,
            stride = out(reg) _,
            weights_a = out(reg) _,
            weights_b = out(reg) _,
            places_a = out(reg) _,
            places_b = out(reg) _,
            count = out(reg) _,
            at = out(reg) _,
            options(nostack),
        );
    }
}

#[cfg(tersor_model_amx)]
use model::multiply;

/// What the unit computes, by the definition of its instructions.
#[cfg(tersor_model_amx)]
mod model {
    use super::{APART, GROUPS, LANES, LINE, Products, Runs};

    pub(super) unsafe fn multiply<const TWO: bool>(runs: &[Runs], products: &Products, rows: usize) {
        // SAFETY: the caller vouches for the memory.
        unsafe {
            multiply_block(runs, products, 0, rows);
            if TWO {
                multiply_block(runs, products, 1, rows);
            }
        }
    }

    unsafe fn multiply_block(runs: &[Runs], products: &Products, block: usize, rows: usize) {
        for row in 0..rows {
            for list in 0..2 {
                for n in 0..LANES {
                    // SAFETY: the caller vouches for the memory.
                    unsafe {
                        let codes =
                            products.codes.add(block * products.codes_below + row * products.codes_stride);
                        let mut sum = 0;
                        for runs in runs {
                            let count = runs.both + if list == 0 { runs.more } else { 0 };
                            for run in 0..count {
                                let place = runs.places[list].add(run * GROUPS).read();
                                let codes = codes.add(4 * usize::from(u16::from_le_bytes(place)));
                                let weights = runs.weights[list].add(run).cast::<i8>().add(4 * n);
                                for k in 0..GROUPS {
                                    for i in 0..4 {
                                        let (x, w) = (codes.add(4 * k + i), weights.add(LINE * k + i));
                                        sum += i32::from(x.read()) * i32::from(w.read());
                                    }
                                }
                            }
                        }
                        let sums = products.sums[list].cast::<u8>();
                        let at = sums.add(block * products.sums_below + row * APART).cast::<i32>();
                        at.add(n).write(sum);
                    }
                }
            }
        }
    }
}
