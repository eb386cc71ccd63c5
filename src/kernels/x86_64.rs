//! x86-64: the bodies of operations under AVX2, AVX-VNNI and AVX-512, and the tokens that prove the features to them.

use super::dispatch::Operation;

/// Four products of uint8 and int8 added to an int32, eight times: AVX-VNNI's, in the VEX encoding, which the intrinsic fixes.
#[cfg(not(tersor_vl_vnni))]
pub(super) use std::arch::x86_64::_mm256_dpbusd_avx_epi32 as dpbusd;

/// The same operation of AVX-512 VNNI with VL, in the EVEX encoding: so a machine that has only this one tests the kernels of
/// AVX-VNNI (`CONTRIBUTING.md`).
#[cfg(tersor_vl_vnni)]
pub(super) use std::arch::x86_64::_mm256_dpbusd_epi32 as dpbusd;

/// [`dpbusd`] in inline assembly.
#[cfg(not(tersor_vl_vnni))]
macro_rules! assembled_dpbusd {
    ($operands:literal) => {
        concat!("{{vex}} vpdpbusd ", $operands)
    };
}
#[cfg(tersor_vl_vnni)]
macro_rules! assembled_dpbusd {
    ($operands:literal) => {
        concat!("{{evex}} vpdpbusd ", $operands)
    };
}
pub(super) use assembled_dpbusd;

/// A line that no load crosses. Where sums, activations and weights take all of 16 registers, the compiler would load the next
/// weights early and keep sums in memory for it.
#[inline(always)]
pub(super) fn keep_loads_apart() {
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("", options(nostack, preserves_flags)) }
}

/// Whether the processor has [`dpbusd`].
pub(super) fn has_dpbusd() -> bool {
    use std::arch::is_x86_feature_detected as has;
    if cfg!(tersor_vl_vnni) { has!("avx512vnni") && has!("avx512vl") } else { has!("avxvnni") }
}

/// The body of an operation under the features of an instruction set.
///
/// Methods of the operation, so that rustc puts each beside its operation and compiles several at once; what functions of this
/// file were instantiated for would be one unit.
pub(super) trait Run: Operation + Sized {
    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` checks the same list).
    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt")]
    unsafe fn run_avx2(self) -> Self::Output {
        self.run(Avx2(()))
    }

    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` and [`has_dpbusd`] check the same list).
    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt")]
    #[cfg_attr(not(tersor_vl_vnni), target_feature(enable = "avxvnni"))]
    #[cfg_attr(tersor_vl_vnni, target_feature(enable = "avx512vnni,avx512vl"))]
    unsafe fn run_avx_vnni(self) -> Self::Output {
        self.run(AvxVnni(Avx2(())))
    }

    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` checks the same list), and AMX if `amx`.
    #[target_feature(
        enable = "avx2,fma,f16c,bmi1,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"
    )]
    unsafe fn run_avx512(self, amx: bool) -> Self::Output {
        self.run(Avx512 { amx })
    }
}

impl<O: Operation> Run for O {}

/// Made only by [`Run::run_avx2`].
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Made only by [`Run::run_avx_vnni`].
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(Avx2);

impl AvxVnni {
    /// What has AVX-VNNI has AVX2.
    #[inline(always)]
    pub(super) fn avx2(self) -> Avx2 {
        self.0
    }
}

/// Made only by [`Run::run_avx512`].
#[derive(Clone, Copy)]
pub(super) struct Avx512 {
    /// Whether there is AMX too. No level of its own: what the compiler makes is the same.
    amx: bool,
}

impl Avx512 {
    #[inline(always)]
    pub(super) fn has_amx(self) -> bool {
        self.amx
    }
}
