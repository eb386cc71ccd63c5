//! Lines of the cache that are asked for before they are needed.

/// How far ahead of their products weights are asked for, in bytes. With eight streams, about what is under way from memory at
/// 40 GB/s and 200 ns; fewer gain nothing from more.
#[cfg(kernels = "x86_64")]
const AHEAD: usize = 1024;

/// Bytes of a line.
const LINE: usize = 64;

/// Steps of a tile that a row takes before it goes on to the next tile: their lines lie side by side.
pub(super) const RUN: usize = 4;

/// How many lines [`Ahead`] asks for at most with each [`RUN`] of steps: as many as those steps read.
const MOST_LINES: usize = 8;

/// Bytes that a product reads later, and that it asks for into the second cache while it multiplies others: a few lines with
/// each [`RUN`] of steps. Alone, the first rows that meet new weights wait for the last cache or for memory.
#[cfg_attr(not(kernels = "x86_64"), allow(dead_code, reason = "no other kernel asks for anything yet"))]
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    start: *const u8,
    lines: usize,
}

impl Ahead {
    pub(crate) const NOTHING: Ahead = Ahead { start: std::ptr::null(), lines: 0 };

    /// Part `index` of `parts` of `bytes`, beside a product of `steps` steps: as many whole lines with each run as all parts need. The last
    /// of many parts ask for what lies behind: for nothing instead, f32 layers took 2 to 6% longer.
    #[inline(always)]
    pub(crate) fn part(bytes: &[u8], steps: usize, (index, parts): (usize, usize)) -> Self {
        let runs = (steps / RUN).max(1);
        let lines = bytes.len().div_ceil(LINE * runs * parts.max(1)).min(MOST_LINES);
        Ahead { start: bytes.as_ptr().wrapping_add(index * lines * runs * LINE), lines }
    }

    /// Asks for the lines that belong to the steps from `step` on, the first of a run.
    #[cfg(kernels = "x86_64")]
    #[inline(always)]
    pub(super) fn ask(self, step: usize) {
        for line in 0..self.lines {
            let address = self.start.wrapping_add((step / RUN * self.lines + line) * LINE);
            // SAFETY: every x86-64 processor has the instruction; it is a hint, at any address.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast()) };
        }
    }
}

/// Weights that come next, which a matrix unit asks for into the second cache while it multiplies blocks of rows, a part with each of
/// its steps.
#[cfg_attr(not(kernels = "x86_64"), allow(dead_code, reason = "no other instruction set has a unit yet"))]
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    weights: *const u8,
    lines: usize,
}

impl Beside {
    pub(crate) const NOTHING: Beside = Beside { weights: std::ptr::null(), lines: 0 };

    pub(crate) fn of(weights: &[u8]) -> Self {
        Beside { weights: weights.as_ptr(), lines: weights.len().div_ceil(LINE) }
    }

    /// The address from which on a block of `rows` rows from `first` on, of `all`, asks, and for how many lines with each of `steps` steps.
    #[cfg(kernels = "x86_64")]
    #[inline(always)]
    pub(super) fn part(self, (first, rows, all): (usize, usize, usize), steps: usize) -> (*const u8, usize) {
        let start = self.weights.wrapping_add(self.lines * first / all.max(1) * LINE);
        (start, (self.lines * rows).div_ceil(all.max(1) * steps.max(1)))
    }
}

/// Says that a line will soon be read or written.
#[inline(always)]
pub(super) fn near(address: *const i8) {
    #[cfg(kernels = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction; it is a hint, at any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    }
    #[cfg(not(kernels = "x86_64"))]
    let _ = address;
}

/// Asks for `len` bytes of weights, [`AHEAD`] of an address, from memory into the second cache. The processor's own prefetching
/// ends at every page of 4 KiB; in the first cache there is no room for these lines.
#[cfg(kernels = "x86_64")]
#[inline(always)]
pub(super) fn far(address: *const u8, len: usize) {
    for line in (0..len).step_by(LINE) {
        let address = address.wrapping_add(AHEAD + line).cast();
        // SAFETY: every x86-64 processor has the instruction; it is a hint, at any address.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address) };
    }
}

/// `for_runs!(len, run, |k, count| ...)`: the body for the first index of each `run` of `0..len` with `count = run`, a constant,
/// then for each index that is left with 1. Not a function: what a closure does is outlined without the features of the kernel.
#[cfg(kernels = "x86_64")]
macro_rules! for_runs {
    ($len:expr, $run:expr, |$k:ident, $count:ident| $body:block) => {{
        let (len, mut $k) = ($len, 0);
        while $k + $run <= len {
            let $count = $run;
            $body
            $k += $run;
        }
        while $k < len {
            let $count = 1;
            $body
            $k += 1;
        }
    }};
}
#[cfg(kernels = "x86_64")]
pub(super) use for_runs;
