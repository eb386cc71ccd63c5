//! x86-64: dot products by AMX, the matrix unit of Intel's servers since 2023: exact ones of uint8 activations and int8 weights, and
//! those of bf16 in pairs.
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbusd` multiplies 16 rows of 64 codes by 64 codes of each of 16 outputs and adds
//! the products, exact, to 16 x 16 int32: eight times as much a cycle as two of AVX-512's `vpdpbusd`. The weights of a packed
//! tile lie as the unit wants them, four codes of each output side by side; the codes of a row do by themselves. All that is true of
//! `tdpbf16ps` and f32, with a pair of bf16 where there are four codes.
//!
//! The compiler knows neither the registers nor the instructions, so a block of sums is one piece of assembly from its first load
//! to its last store.

use super::bf16_dot::{Pair, StoredPair};
use super::dot::{Group, TILE};
use super::matrix::{Band, Codes, Matrix};
use super::prefetch::Beside;
#[cfg(not(tersor_model_amx))]
use std::arch::asm;
use std::arch::x86_64::{_mm512_maskz_loadu_epi32, _mm512_storeu_si512};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Rows of a tile register.
const ROWS: usize = 16;

/// Groups of inputs that a tile register holds of each row.
pub(super) const GROUPS: usize = 16;

/// Bytes from a group of a packed tile to the next, and from a row of sums to the next.
pub(super) const APART: usize = 128;

/// Whether the processor has AMX's tiles and both products, and the system lets this process use them: Linux wants to be asked, once,
/// because the registers make what it keeps of a thread larger by 8 KiB.
#[cfg(not(tersor_model_amx))]
pub(super) fn has_amx() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILES: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const BF16: u32 = 1 << 22;
    const ALL: u32 = TILES | INT8 | BF16;
    let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & ALL == ALL;
    has && may_use_tiles()
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri), not(tersor_model_amx)))]
fn may_use_tiles() -> bool {
    use std::ffi::{c_int, c_long};
    /// `SYS_arch_prctl`, its `ARCH_REQ_XCOMP_PERM`, and the number of the tiles' state.
    const ARCH_PRCTL: c_long = 158;
    const REQUEST_PERMISSION: c_int = 0x1023;
    const TILE_DATA: c_long = 18;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    // SAFETY: the call takes two integers; one that the system does not know is an error and nothing else.
    unsafe { syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(all(any(not(target_os = "linux"), not(target_pointer_width = "64"), miri), not(tersor_model_amx)))]
fn may_use_tiles() -> bool {
    false
}

/// A machine without AMX tests what is around the products (`CONTRIBUTING.md`).
#[cfg(tersor_model_amx)]
pub(super) fn has_amx() -> bool {
    true
}

/// The unit, set up for this thread until it is dropped.
pub(crate) struct Tiles {
    /// Rows of activations in a tile register.
    rows: usize,
    /// What was set up belongs to the thread.
    thread: PhantomData<*const ()>,
}

thread_local! {
    /// Whether the thread holds a unit: another would set the registers up for other rows than the first one stores.
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// What `ldtilecfg` takes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// The unit for `rows` rows; none for no rows, or where this thread holds one.
    ///
    /// # Safety
    /// [`has_amx`] said so.
    #[inline]
    pub(super) unsafe fn new(rows: usize) -> Option<Self> {
        if rows == 0 || HELD.replace(true) {
            return None;
        }
        let rows = rows.min(ROWS);
        let mut configuration =
            Configuration { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        configuration.row_bytes[..8].fill((GROUPS * size_of::<Group<u8>>()) as u16);
        // Sums and activations, then weights.
        configuration.rows[..6].fill(rows as u8);
        configuration.rows[6..8].fill(GROUPS as u8);
        // SAFETY: the caller vouches for the unit; what is loaded is whole and valid: palette 1 has eight registers of up to 16
        // rows of up to 64 bytes.
        #[cfg(not(tersor_model_amx))]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, preserves_flags, readonly));
        }
        Some(Tiles { rows, thread: PhantomData })
    }
}

impl Drop for Tiles {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: there is a `Tiles` only where the unit is. Without this, the system would go on to save its registers.
        #[cfg(not(tersor_model_amx))]
        unsafe {
            asm!("tilerelease", options(nostack, preserves_flags, nomem));
        }
        HELD.set(false);
    }
}

impl Matrix<u8> for Tiles {
    const EXISTS: bool = true;

    #[inline(always)]
    fn block(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn dot(
        &self,
        codes: Codes<'_, Group<u8>>,
        first: usize,
        tile: &[[Group<i8>; TILE]],
        add: bool,
        sums: &mut [[i32; TILE]],
        beside: Beside,
    ) {
        let tile = bytemuck::cast_slice(tile.as_flattened()).as_chunks().0;
        // SAFETY: a `Tiles` was set up for this thread, and whoever made it proved AVX-512.
        unsafe { self.dot_blocks::<_, false>(codes, first, tile, add, sums, beside) }
    }

    #[inline(always)]
    fn dot_pairs(
        &self,
        pairs: Codes<'_, Pair>,
        first: usize,
        tile: &[[StoredPair; TILE]],
        add: bool,
        sums: &mut [[f32; TILE]],
        beside: Beside,
    ) {
        let sums = bytemuck::cast_slice_mut(sums.as_flattened_mut()).as_chunks_mut().0;
        // SAFETY: as above.
        unsafe { self.dot_blocks::<_, true>(pairs, first, tile, add, sums, beside) }
    }

    #[inline(always)]
    fn dot_runs(
        &self,
        codes: Codes<'_, Group<u8>>,
        first: usize,
        bands: [Band<'_>; 2],
        sums: &mut [[i32; TILE]],
    ) {
        // SAFETY: as above.
        unsafe { self.dot_lists(codes, first, bands, sums) }
    }
}

/// Where the operands of some steps are, each of [`GROUPS`] groups. Laid out as the assembly reads it, in words of 8 bytes.
#[repr(C)]
struct Steps {
    count: usize,
    weights: *const i8,
    /// Codes of the first row of one block, and of another.
    rows: [*const u8; 2],
    /// Bytes from a row to the next.
    stride: usize,
    /// Whether these are the last ones.
    last: usize,
    /// What is asked for, and how many lines of it with each step.
    ahead: *const u8,
    lines: usize,
}

impl Tiles {
    /// See [`Matrix::dot`]; if `BF16`, [`Matrix::dot_pairs`], whose sums are the bits of f32.
    ///
    /// # Safety
    /// This thread is set up, and the processor has AVX-512F. A `G` is 4 bytes.
    #[target_feature(enable = "avx512f")]
    unsafe fn dot_blocks<G: Copy, const BF16: bool>(
        &self,
        codes: Codes<'_, G>,
        first: usize,
        tile: &[[[u8; 4]; TILE]],
        add: bool,
        sums: &mut [[i32; TILE]],
        beside: Beside,
    ) {
        const { assert!(size_of::<G>() == 4) };
        let len = codes.len.min(tile.len());
        if codes.rows < self.rows || len == 0 {
            if !add {
                sums.fill([0; TILE]);
            }
            return;
        }
        // No longer than the codes: the last step takes as many groups of a row as of the tile.
        let tile = &tile[..len];
        // What is left after whole steps is taken in one more, which begins earlier: of copies of the codes in which zeros stand for
        // those that were taken. A tile that has less than a step is copied too.
        let rest = len % GROUPS;
        let begin = len.saturating_sub(GROUPS);
        let mut copied_tile = MaybeUninit::<[[[u8; 4]; TILE]; GROUPS]>::uninit();
        let (last_tile, mask) = match tile.get(begin..begin + GROUPS) {
            Some(last) => (last, u16::MAX << ((GROUPS - rest) % GROUPS)),
            None => {
                let copy = copied_tile.write([[[0; 4]; TILE]; GROUPS]);
                copy[..len].copy_from_slice(tile);
                (&copy[..], u16::MAX >> (GROUPS - len))
            }
        };
        let mut copied_rows = MaybeUninit::<[[[[u8; 4]; GROUPS]; ROWS]; 2]>::uninit();
        for (pair, sums) in sums.chunks_mut(2 * self.rows).enumerate() {
            if sums.len() < self.rows {
                return;
            }
            let blocks = sums.len() / self.rows;
            let starts = [0, 1].map(|block| self.start(first + 2 * pair + block, codes.rows));
            if rest > 0 {
                for (block, start) in starts.into_iter().enumerate().take(blocks) {
                    for r in 0..self.rows {
                        // SAFETY: the row has `len` groups; from `begin` on, those under the mask are below that. There is a copy of 64 bytes for
                        // each row of two blocks.
                        unsafe {
                            let groups =
                                _mm512_maskz_loadu_epi32(mask, codes.row(start + r).add(begin).cast());
                            let copy =
                                copied_rows.as_mut_ptr().cast::<[[u8; 4]; GROUPS]>().add(block * ROWS + r);
                            _mm512_storeu_si512(copy.cast(), groups);
                        }
                    }
                }
            }
            let rows = blocks * self.rows;
            let (ahead, lines) = beside.part((starts[0], rows, codes.rows), len / GROUPS);
            let copies = copied_rows.as_ptr().cast::<u8>();
            let steps = [
                Steps {
                    count: len / GROUPS,
                    weights: tile.as_ptr().cast(),
                    rows: starts.map(|start| codes.row(start).cast()),
                    stride: 4 * codes.stride,
                    last: usize::from(rest == 0),
                    ahead,
                    lines,
                },
                Steps {
                    count: 1,
                    weights: last_tile.as_ptr().cast(),
                    rows: [copies, copies.wrapping_add(4 * GROUPS * ROWS)],
                    stride: 4 * GROUPS,
                    last: 1,
                    ahead,
                    lines: 0,
                },
            ];
            // SAFETY: a step reads 64 bytes of `self.rows` rows, and twice as many of 16 groups of the tile: of the codes and the tile, below
            // their lengths, or of the copies. The sums are those of the blocks, 128 bytes of each row.
            unsafe {
                if blocks == 2 {
                    multiply::<BF16, true>(&steps, add, sums.as_mut_ptr().cast(), self.rows);
                } else {
                    multiply::<BF16, false>(&steps, add, sums.as_mut_ptr().cast(), self.rows);
                }
            }
        }
    }
}

/// Sums of a block of `rows` rows, or of two, one below the other: those of the steps, added to what they hold if `add`.
///
/// # Safety
/// The thread is set up, the steps up to the last can be read, of which there is one at least, and the sums written.
#[cfg(not(tersor_model_amx))]
unsafe fn multiply<const BF16: bool, const TWO: bool>(
    steps: &[Steps; 2],
    add: bool,
    sums: *mut i32,
    rows: usize,
) {
    // What the offsets below are of; where words are shorter, the unit is not asked for.
    const { assert!(size_of::<Steps>() == 64 || size_of::<usize>() != 8) };
    // SAFETY: the caller vouches for the memory; the unit's registers are nobody else's; what is asked for may be anywhere.
    unsafe {
        asm!(
            "test {n:e}, {n:e}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            ".if {two}",
            "tilezero tmm2",
            "tilezero tmm3",
            ".endif",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{sums} + {apart}]",
            "tileloadd tmm1, [{sums} + {apart} + 64]",
            ".if {two}",
            "tileloadd tmm2, [{below} + {apart}]",
            "tileloadd tmm3, [{below} + {apart} + 64]",
            ".endif",
            "3:",
            "mov {count}, [{steps}]",
            "mov {weights}, [{steps} + 8]",
            "mov {a}, [{steps} + 16]",
            "mov {b}, [{steps} + 24]",
            "mov {stride}, [{steps} + 32]",
            "mov {ahead}, [{steps} + 48]",
            "test {count}, {count}",
            "jz 7f",
            "4:",
            "tileloadd tmm6, [{weights} + {apart}]",
            "tileloaddt1 tmm4, [{a} + {stride}]",
            "tileloadd tmm7, [{weights} + {apart} + 64]",
            ".if {bf16}",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ".else",
            "tdpbusd tmm0, tmm4, tmm6",
            ".endif",
            ".if {two}",
            "tileloaddt1 tmm5, [{b} + {stride}]",
            ".endif",
            ".if {bf16}",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ".else",
            "tdpbusd tmm1, tmm4, tmm7",
            ".endif",
            "add {weights}, 2048",
            "add {a}, 64",
            "add {b}, 64",
            // What is asked for with this step.
            "mov {n}, [{steps} + 56]",
            "test {n}, {n}",
            "jz 6f",
            "5:",
            "prefetcht1 [{ahead}]",
            "add {ahead}, 64",
            "dec {n}",
            "jnz 5b",
            "6:",
            ".if {two}",
            ".if {bf16}",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            ".else",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            ".endif",
            ".endif",
            "dec {count}",
            "jnz 4b",
            "7:",
            "add {steps}, 64",
            "cmp qword ptr [{steps} - 24], 0",
            "je 3b",
            "tilestored [{sums} + {apart}], tmm0",
            "tilestored [{sums} + {apart} + 64], tmm1",
            ".if {two}",
            "tilestored [{below} + {apart}], tmm2",
            "tilestored [{below} + {apart} + 64], tmm3",
            ".endif",
            two = const TWO as usize,
            bf16 = const BF16 as usize,
            n = inout(reg) usize::from(add) => _,
            sums = in(reg) sums,
            below = in(reg) sums.wrapping_add(rows * TILE),
            apart = in(reg) APART,
            steps = inout(reg) steps.as_ptr() => _,
            count = out(reg) _,
            weights = out(reg) _,
            a = out(reg) _,
            b = out(reg) _,
            stride = out(reg) _,
            ahead = out(reg) _,
            options(nostack),
        );
    }
}

#[cfg(tersor_model_amx)]
use model::multiply;

/// What the unit computes, by the definition of its instructions.
#[cfg(tersor_model_amx)]
mod model {
    use super::{APART, GROUPS, Steps, TILE};

    pub(super) unsafe fn multiply<const BF16: bool, const TWO: bool>(
        steps: &[Steps; 2],
        add: bool,
        sums: *mut i32,
        rows: usize,
    ) {
        let last = steps.iter().position(|steps| steps.last != 0).unwrap_or(1);
        // SAFETY: the caller vouches for the memory.
        unsafe {
            multiply_block::<BF16>(&steps[..=last], 0, add, sums, rows);
            if TWO {
                multiply_block::<BF16>(&steps[..=last], 1, add, sums.add(rows * TILE), rows);
            }
        }
    }

    /// A step of one sum.
    unsafe fn step<const BF16: bool>(codes: *const u8, weights: *const u8, sum: i32) -> i32 {
        // SAFETY: the caller vouches for the memory.
        let operands = |k: usize| unsafe {
            (codes.add(4 * k).cast::<[u8; 4]>().read(), weights.add(APART * k).cast::<[u8; 4]>().read())
        };
        if !BF16 {
            return (0..GROUPS).map(operands).fold(sum, |sum, (x, w)| {
                (0..4).fold(sum, |sum, i| sum + i32::from(x[i]) * i32::from(w[i].cast_signed()))
            });
        }
        let flushed = |value: f32| if value.is_subnormal() { 0.0 } else { value };
        let number = |[low, high]: [u8; 2]| flushed(f32::from_bits(u32::from_le_bytes([0, 0, low, high])));
        let mut halves = [0.0_f32; 2];
        for (x, w) in (0..GROUPS).map(operands) {
            for i in 0..2 {
                let (x, w) = (number([x[2 * i], x[2 * i + 1]]), number([w[2 * i], w[2 * i + 1]]));
                halves[i] = flushed(x.mul_add(w, halves[i]));
            }
        }
        let sum = flushed(f32::from_bits(sum.cast_unsigned())) + flushed(halves[0] + halves[1]);
        flushed(sum).to_bits().cast_signed()
    }

    unsafe fn multiply_block<const BF16: bool>(
        steps: &[Steps],
        block: usize,
        add: bool,
        sums: *mut i32,
        rows: usize,
    ) {
        for row in 0..rows {
            for n in 0..TILE {
                // SAFETY: the caller vouches for the memory.
                unsafe {
                    let at = sums.add(row * TILE + n);
                    let mut sum = if add { *at } else { 0 };
                    for steps in steps {
                        for k in 0..steps.count {
                            let codes = steps.rows[block].add(row * steps.stride + 4 * GROUPS * k);
                            let weights = steps.weights.cast::<u8>().add(APART * GROUPS * k + 4 * n);
                            sum = step::<BF16>(codes, weights, sum);
                        }
                    }
                    *at = sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dot::LANES;
    use super::*;
    use crate::Isa;

    /// The unit, if there is one here.
    fn unit(rows: usize) -> Option<Tiles> {
        // SAFETY: asked for only where it was found.
        Isa::named("amx").ok().and_then(|_| unsafe { Tiles::new(rows) })
    }

    /// `ARCH_GET_XCOMP_PERM`: whether this process asked for the tiles' state.
    #[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri), not(tersor_model_amx)))]
    fn asked() -> bool {
        use std::ffi::{c_int, c_long};
        unsafe extern "C" {
            fn syscall(number: c_long, ...) -> c_long;
        }
        const GET_PERMISSION: c_int = 0x1022;
        let mut permitted = 0_u64;
        // SAFETY: the call writes 8 bytes, or fails.
        let status = unsafe { syscall(158, GET_PERMISSION, &raw mut permitted) };
        status == 0 && permitted & 1 << 18 != 0
    }

    /// In processes of their own, since others of these tests ask.
    #[test]
    #[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri), not(tersor_model_amx)))]
    fn nothing_is_asked_where_another_instruction_set_is_named() {
        const CHILD: &str = "TERSOR_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let isa = crate::Context::new().unwrap().isa();
            assert_eq!(asked(), isa.name() == "amx");
            assert_eq!(Isa::named("amx").is_ok(), asked());
            return;
        }
        let test = "kernels::x86_64_amx::tests::nothing_is_asked_where_another_instruction_set_is_named";
        for isa in Isa::available().iter().map(|isa| isa.name()).chain([""]) {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let output =
                child.args(["--exact", test]).env("TERSOR_ISA", isa).env(CHILD, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{isa}: {said}");
        }
    }

    #[test]
    fn a_thread_holds_one() {
        let Some(first) = unit(3) else { return };
        assert!(unit(3).is_none());
        assert!(std::thread::spawn(|| unit(3).is_some()).join().unwrap());
        drop(first);
        assert!(unit(3).is_some() && unit(0).is_none() && unit(1).is_some());
    }

    /// What no kernel asks for yet.
    #[test]
    fn the_shorter_depth_counts() {
        let Some(unit) = unit(2) else { return };
        let codes: Vec<[u8; 4]> = (0..2 * 40).map(|k| [k % 40 + 1, 2, 3, 4]).collect();
        for (deep, thick) in [(3, 20), (20, 3), (15, 16), (16, 40), (17, 40), (40, 17), (0, 5), (5, 0)] {
            let tile = vec![[[1, 2, 0, -1]; TILE]; thick];
            // 1 + 2 + 3 and so on.
            let expected = (1..=deep.min(thick) as i32).sum::<i32>();
            for (add, before) in [(false, 0), (true, 7)] {
                let mut sums = [[7; TILE]; 2];
                unit.dot(
                    Codes::of(&codes, 2, 40, 40).part(0, deep),
                    0,
                    &tile,
                    add,
                    &mut sums,
                    Beside::NOTHING,
                );
                assert_eq!(sums, [[before + expected; TILE]; 2], "{deep} {thick}");
            }
        }
    }

    /// What no kernel asks for either: the unit is set up for more rows than there are.
    #[test]
    fn rows_that_are_not_there_count_nothing() {
        let Some(unit) = unit(3) else { return };
        let codes = [[1; 4]; 3 * GROUPS];
        let codes = Codes::of(&codes[..2 * GROUPS], 2, GROUPS, GROUPS);
        let mut sums = [[7; TILE]; 3];
        unit.dot(codes, 0, &[[[1; 4]; TILE]; GROUPS], false, &mut sums, Beside::NOTHING);
        assert_eq!(sums, [[0; TILE]; 3]);
        let places: Vec<[u8; 2]> = (0..GROUPS as u16).map(u16::to_le_bytes).collect();
        unit.dot_runs(codes, 0, [(&places, &[[[1; 4]; LANES]; GROUPS]); 2], &mut sums);
        assert_eq!(sums, [[64; TILE], [64; TILE], [0; TILE]]);
    }
}
