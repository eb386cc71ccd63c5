//! What the machine can do at most: multiplying in registers, and reading at a range of footprints.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Steps of one run of a peak's loop.
#[cfg(target_arch = "x86_64")]
const STEPS: u64 = 1000;

/// Prints a line for each limit: its name, `GOP/s` (two operations a multiplication) or the footprint in bytes and `GB/s`.
/// Each is the best of several runs: a limit that was measured while others disturbed it is no limit.
pub fn print(threads: usize, quick: bool) {
    let runs = if quick { 3 } else { 15 };
    for (name, operations, body) in peaks() {
        println!("peak\t{name}\t{:.1}", best(threads, runs, operations, &|_| body()));
    }
    for shift in 16..=28 {
        // Every second power of two, and the ends.
        if shift % 2 == 1 {
            continue;
        }
        let bytes = 1_usize << shift;
        let arrays: Vec<Vec<u64>> = (0..threads).map(|_| vec![1_u64; bytes / 8 / threads]).collect();
        let rate = best(threads, runs, (bytes / threads) as f64, &|thread| {
            if let Some(array) = arrays.get(thread) {
                black_box(read(array));
            }
        });
        println!("read\t{bytes}\t{rate:.1}");
    }
}

/// How many times what one thread multiplies in registers `threads` of them do together, right now. Less than `threads` where
/// two processors of a virtual machine are threads of one core for the moment.
pub fn processors(threads: usize) -> f64 {
    let Some((_, operations, body)) = peaks().into_iter().next() else { return threads as f64 };
    let rate = |threads| best(threads, 1, operations, &|_| body());
    rate(threads) / rate(1)
}

/// The most that `threads` threads together do of `work` units a call, in units a nanosecond.
fn best(threads: usize, runs: usize, work: f64, body: &(dyn Fn(usize) + Sync)) -> f64 {
    let began = Instant::now();
    body(0);
    body(0);
    let once = began.elapsed().as_secs_f64() / 2.0;
    let calls = (0.01 / once.max(1e-9)).ceil() as usize;
    (0..runs)
        .map(|_| {
            let barrier = Barrier::new(threads);
            let seconds = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|thread| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            body(thread);
                            barrier.wait();
                            let began = Instant::now();
                            for _ in 0..calls {
                                body(thread);
                            }
                            began.elapsed().as_secs_f64()
                        })
                    })
                    .collect();
                workers.into_iter().filter_map(|worker| worker.join().ok()).fold(0.0, f64::max)
            });
            threads as f64 * work * calls as f64 / seconds * 1e-9
        })
        .fold(0.0, f64::max)
}

type Peak = (&'static str, f64, Box<dyn Fn() + Sync>);

#[cfg(not(target_arch = "x86_64"))]
fn peaks() -> Vec<Peak> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn peaks() -> Vec<Peak> {
    let mut peaks: Vec<Peak> = Vec::new();
    let mut add = |name, lanes: f64, body: unsafe fn()| {
        // SAFETY: each is added below where its instruction set was found.
        let body = Box::new(move || unsafe { body() });
        peaks.push((name, 2.0 * lanes * STEPS as f64, body));
    };
    if is_x86_feature_detected!("avx512f") {
        add("fma-avx512", 24.0 * 16.0, fma_512);
        add("fma-avx512-loaded", 24.0 * 16.0, fma_512_loaded);
        if is_x86_feature_detected!("avx512vnni") {
            add("int8-avx512", 24.0 * 64.0, vnni_512);
            add("int8-avx512-loaded", 24.0 * 64.0, vnni_512_loaded);
            if has_tiles() {
                add("fma-amx", 24.0 * 16.0, fma_512);
                // Of a tile, 64 products of each of 16 rows and 16 outputs.
                add("int8-amx", 4.0 * 64.0 * 256.0, tiles);
            }
        }
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        add("fma-avx2", 12.0 * 8.0, fma_256);
        // Exact int8 without dot products: 16 products of int16, added in pairs, then to the sums.
        add("int8-avx2", 6.0 * 16.0, madd_256);
    }
    if is_x86_feature_detected!("avxvnni") {
        add("fma-avx-vnni", 12.0 * 8.0, fma_256);
        add("int8-avx-vnni", 12.0 * 32.0, vnni_256);
    }
    peaks
}

/// Assembles what comes before, and `STEPS` rounds of the lines.
#[cfg(target_arch = "x86_64")]
macro_rules! rounds {
    ([$($setup:expr,)*] [$($line:expr,)*]) => {
        // SAFETY: registers only, all of them declared; the caller has the instruction set.
        unsafe {
            std::arch::asm!(
                $($setup,)*
                "2:",
                $($line,)*
                "dec {steps}",
                "jnz 2b",
                steps = inout(reg) STEPS => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _, out("xmm16") _, out("xmm17") _,
                out("xmm18") _, out("xmm19") _, out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _,
                out("xmm24") _, out("xmm25") _,
                options(nomem, nostack),
            );
        }
    };
}

/// A function that runs `STEPS` rounds of one instruction a register: none waits for another.
///
/// Arguments: its name, what clears a register, what is measured, the prefix of a register, the registers.
#[cfg(target_arch = "x86_64")]
macro_rules! peak {
    ($name:ident, $clear:literal, $instruction:literal, $bank:literal, [$($register:literal)*]) => {
        /// # Safety
        /// The machine must have the instruction set that the name ends in.
        unsafe fn $name() {
            rounds!(
                [
                    concat!($clear, " ", $bank, "14, ", $bank, "14, ", $bank, "14"),
                    concat!($clear, " ", $bank, "15, ", $bank, "15, ", $bank, "15"),
                    $(concat!($clear, " ", $bank, $register, ", ", $bank, $register, ", ", $bank, $register),)*
                ]
                [$(concat!($instruction, " ", $bank, $register, ", ", $bank, "14, ", $bank, "15"),)*]
            );
        }
    };
}

/// As `peak!`, with operands from the first cache, as a kernel of 12 rows and 32 outputs loads them: what is left of the peak where
/// loads share the core.
///
/// Arguments: its name, what loads one number for all lanes, what is measured, and 12 pairs of sums.
#[cfg(target_arch = "x86_64")]
macro_rules! loaded_peak {
    ($name:ident, $broadcast:literal, $instruction:literal, [$($row:literal $left:literal $right:literal)*]) => {
        /// # Safety
        /// The machine must have AVX-512 and the instruction.
        unsafe fn $name() {
            /// Steps until the operands come again: 20 KB of them.
            const TURN: u64 = 125;
            static ROWS: [[u32; 12]; TURN as usize] = [[0; 12]; TURN as usize];
            static WEIGHTS: [[u32; 32]; TURN as usize] = [[0; 32]; TURN as usize];
            // SAFETY: the steps of a turn are the lengths of both arrays; all registers are declared; the caller has the instruction set.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "mov {row}, {rows}",
                    "mov {weight}, {weights}",
                    "mov {step:e}, {turn}",
                    "3:",
                    "vmovups zmm24, [{weight}]",
                    "vmovups zmm25, [{weight} + 64]",
                    $(
                        concat!($broadcast, " zmm26, [{row} + 4 * ", $row, "]"),
                        concat!($instruction, " zmm", $left, ", zmm26, zmm24"),
                        concat!($instruction, " zmm", $right, ", zmm26, zmm25"),
                    )*
                    "add {row}, 48",
                    "add {weight}, 128",
                    "dec {step}",
                    "jnz 3b",
                    "dec {turns}",
                    "jnz 2b",
                    turn = const TURN,
                    turns = inout(reg) STEPS / TURN => _,
                    rows = in(reg) &raw const ROWS,
                    weights = in(reg) &raw const WEIGHTS,
                    row = out(reg) _,
                    weight = out(reg) _,
                    step = out(reg) _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _, out("xmm16") _, out("xmm17") _,
                    out("xmm18") _, out("xmm19") _, out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _,
                    out("xmm24") _, out("xmm25") _, out("xmm26") _,
                    options(readonly, nostack),
                );
            }
        }
    };
}

/// As `peak!`, of an instruction whose result is then added up: pairs of a temporary and a sum.
#[cfg(target_arch = "x86_64")]
macro_rules! peak_with_sum {
    ($name:ident, $multiply:literal, $add:literal, $bank:literal, [$($temporary:literal $sum:literal)*]) => {
        /// # Safety
        /// The machine must have the instruction set that the name ends in.
        unsafe fn $name() {
            rounds!(
                [
                    concat!("vpxor ", $bank, "14, ", $bank, "14, ", $bank, "14"),
                    concat!("vpxor ", $bank, "15, ", $bank, "15, ", $bank, "15"),
                ]
                [$(
                    concat!($multiply, " ", $bank, $temporary, ", ", $bank, "14, ", $bank, "15"),
                    concat!($add, " ", $bank, $sum, ", ", $bank, $sum, ", ", $bank, $temporary),
                )*]
            );
        }
    };
}

#[cfg(target_arch = "x86_64")]
peak!(fma_512, "vpxord", "vfmadd231ps", "zmm", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 16 17 18 19 20 21 22 23 24 25]);
#[cfg(target_arch = "x86_64")]
peak!(vnni_512, "vpxord", "vpdpbusd", "zmm", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 16 17 18 19 20 21 22 23 24 25]);
#[cfg(target_arch = "x86_64")]
loaded_peak!(fma_512_loaded, "vbroadcastss", "vfmadd231ps", [0 0 1 1 2 3 2 4 5 3 6 7 4 8 9 5 10 11 6 12 13 7 14 15 8 16 17 9 18 19 10 20 21 11 22 23]);
#[cfg(target_arch = "x86_64")]
loaded_peak!(vnni_512_loaded, "vpbroadcastd", "vpdpbusd", [0 0 1 1 2 3 2 4 5 3 6 7 4 8 9 5 10 11 6 12 13 7 14 15 8 16 17 9 18 19 10 20 21 11 22 23]);
#[cfg(target_arch = "x86_64")]
peak!(fma_256, "vpxor", "vfmadd231ps", "ymm", [0 1 2 3 4 5 6 7 8 9 10 11]);
#[cfg(target_arch = "x86_64")]
peak!(vnni_256, "vpxor", "{{vex}} vpdpbusd", "ymm", [0 1 2 3 4 5 6 7 8 9 10 11]);
#[cfg(target_arch = "x86_64")]
peak_with_sum!(madd_256, "vpmaddwd", "vpaddd", "ymm", [0 6 1 7 2 8 3 9 4 10 5 11]);

/// Whether there are AMX's int8 products and this process may use them; Linux has to be asked.
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    const TILES_AND_INT8: u32 = 3 << 24;
    unsafe extern "C" {
        fn syscall(number: std::ffi::c_long, ...) -> std::ffi::c_long;
    }
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    // SAFETY: the call (`arch_prctl`, which requests permission for the registers) takes numbers alone.
    features & TILES_AND_INT8 == TILES_AND_INT8 && unsafe { syscall(158, 0x1023, 18) } == 0
}

/// # Safety
/// [`has_tiles`] must have said so.
#[cfg(target_arch = "x86_64")]
unsafe fn tiles() {
    /// Palette 1, and eight registers of 16 rows of 64 bytes.
    #[repr(align(64))]
    struct Configuration([u8; 64]);
    let mut configuration = Configuration([0; 64]);
    configuration.0[0] = 1;
    for register in 0..8 {
        configuration.0[16 + 2 * register] = 64;
        configuration.0[48 + register] = 16;
    }
    // SAFETY: the configuration is whole; what it sets up is left again.
    unsafe {
        std::arch::asm!(
            "ldtilecfg [{configuration}]",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 2b",
            "tilerelease",
            configuration = in(reg) &raw const configuration,
            steps = inout(reg) STEPS => _,
            options(nostack, readonly),
        );
    }
}

#[cfg(target_arch = "x86_64")]
use read_x86_64::read;

#[cfg(target_arch = "x86_64")]
mod read_x86_64 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_loadu_si256, _mm256_or_si256, _mm256_setzero_si256, _mm256_storeu_si256,
        _mm512_loadu_si512, _mm512_or_si512, _mm512_reduce_or_epi64, _mm512_setzero_si512,
    };

    /// Reads everything once with the widest loads of the machine.
    pub(super) fn read(array: &[u64]) -> u64 {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instruction set was found.
            return unsafe { read_512(array) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the instruction set was found.
            return unsafe { read_256(array) };
        }
        array.iter().fold(0, |sum, value| sum | value)
    }

    #[target_feature(enable = "avx512f")]
    fn read_512(array: &[u64]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 8];
        for chunk in array.as_chunks::<64>().0 {
            for (sum, part) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
                // SAFETY: a part is 64 bytes, and the load needs no alignment.
                let part: __m512i = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
                *sum = _mm512_or_si512(*sum, part);
            }
        }
        sums.into_iter().fold(0, |all, sum| all | _mm512_reduce_or_epi64(sum) as u64)
    }

    #[target_feature(enable = "avx2")]
    fn read_256(array: &[u64]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); 8];
        for chunk in array.as_chunks::<32>().0 {
            for (sum, part) in sums.iter_mut().zip(chunk.as_chunks::<4>().0) {
                // SAFETY: a part is 32 bytes, and the load needs no alignment.
                let part: __m256i = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
                *sum = _mm256_or_si256(*sum, part);
            }
        }
        let mut lanes = [0_u64; 4];
        let all = sums.into_iter().fold(_mm256_setzero_si256(), |all, sum| _mm256_or_si256(all, sum));
        // SAFETY: 32 bytes of our own.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), all) };
        lanes.into_iter().fold(0, |all, lane| all | lane)
    }
}

/// Reads everything once.
#[cfg(not(target_arch = "x86_64"))]
fn read(array: &[u64]) -> u64 {
    array.iter().fold(0, |all, value| all | value)
}
