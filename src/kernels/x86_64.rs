//! x86-64: the bodies of operations under AVX2 and AVX-512, and the tokens that prove the features to them.

use super::dispatch::Operation;

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
    /// The processor has every feature enabled here (`isa::detect` checks the same list).
    #[target_feature(
        enable = "avx2,fma,f16c,bmi1,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni"
    )]
    unsafe fn run_avx512(self) -> Self::Output {
        self.run(Avx512(()))
    }
}

impl<O: Operation> Run for O {}

/// Made only by [`Run::run_avx2`].
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Made only by [`Run::run_avx512`].
#[derive(Clone, Copy)]
pub(super) struct Avx512(());
