//! Which instruction sets this machine has. An [`Isa`] value is the proof: it can only be had by detection.

use crate::error::{Error, Result};
use std::ffi::CStr;
use std::fmt;
use std::sync::OnceLock;

/// The instruction sets that kernels are compiled for, from the plainest to the richest of each architecture.
///
/// The order is that of preference: of those that a machine has, the last is the fastest, and [`Isa::detected`] takes it. It does
/// not say that a machine has what comes before: many with `Avx512` lack `AvxVnni`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    Scalar,
    #[cfg(kernels = "x86_64")]
    Avx2,
    #[cfg(kernels = "x86_64")]
    AvxVnni,
    #[cfg(kernels = "x86_64")]
    Avx512,
    #[cfg(kernels = "x86_64")]
    Amx,
    #[cfg(kernels = "aarch64")]
    Neon,
    #[cfg(kernels = "aarch64")]
    NeonDotprod,
    #[cfg(kernels = "aarch64")]
    NeonI8mm,
}

/// Proof that this machine has an instruction set.
///
/// | name | features |
/// |---|---|
/// | `scalar` | what every processor of the architecture has; the reference for all others |
/// | `avx2` | AVX2, FMA, F16C, BMI1, BMI2, POPCNT |
/// | `avx-vnni` | those, and AVX-VNNI |
/// | `avx512` | those of `avx2`, and AVX-512 F, BW, CD, DQ, VL, VNNI |
/// | `amx` | those, and AMX with its products of int8 and of bf16 |
/// | `neon` | NEON |
/// | `neon-dotprod` | NEON with SDOT/UDOT |
/// | `neon-i8mm` | those, with SMMLA/UMMLA |
///
/// Linux gives AMX's registers to a process that asks for them, which looking for the best does (`arch_prctl`); elsewhere there is no
/// `amx` yet. It does not where a thread has an alternate signal stack of less than `AT_MINSIGSTKSZ` (some 12 KiB), and where it did, it
/// refuses such stacks from then on (`sigaltstack`). Where `TERSOR_ISA` names another instruction set nothing is asked, but
/// by [`Isa::available`], by [`Isa::detected`], and by [`Isa::named`] for `amx` or what does not exist.
/// Under `avx512` and `amx` sparse int8 layers also use VBMI2 where the processor has it; results are the same without.
///
/// The environment variable `TERSOR_ISA` forces one for a process, [`Context::with_isa`](crate::Context::with_isa) for
/// a scope.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Level);

impl Isa {
    /// The reference: plain code that every processor of this architecture runs.
    pub fn scalar() -> Self {
        Isa(Level::Scalar)
    }

    /// The best instruction set of this machine. Detected once.
    pub fn detected() -> Self {
        Isa::available().last().copied().unwrap_or(Isa::scalar())
    }

    /// Every instruction set that this machine can run, from the plainest to the best. Tests run on each of them.
    pub fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let mut found = Isa::unasked().to_vec();
            found.extend(ask(&found));
            found
        })
    }

    /// Those for which the system need not be asked.
    fn unasked() -> &'static [Isa] {
        static UNASKED: OnceLock<Vec<Isa>> = OnceLock::new();
        UNASKED.get_or_init(detect)
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// [`Error::Isa`] when there is none or when this machine cannot run it.
    pub fn named(name: &str) -> Result<Self> {
        Isa::find(name, "name")
    }

    /// What `TERSOR_ISA` names, else [`Isa::detected`]. Read once.
    ///
    /// # Errors
    /// [`Error::Isa`] when `TERSOR_ISA` names an instruction set that does not exist or that this machine lacks.
    pub fn selected() -> Result<Self> {
        static SELECTED: OnceLock<Result<Isa>> = OnceLock::new();
        SELECTED
            .get_or_init(|| match std::env::var("TERSOR_ISA") {
                Ok(name) if !name.is_empty() => Isa::find(&name, "TERSOR_ISA"),
                Err(std::env::VarError::NotUnicode(name)) => Isa::find(&name.to_string_lossy(), "TERSOR_ISA"),
                _ => Ok(Isa::detected()),
            })
            .clone()
    }

    /// The name that `TERSOR_ISA` takes.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    /// The same for C.
    #[doc(hidden)]
    pub fn c_name(self) -> &'static CStr {
        match self.0 {
            Level::Scalar => c"scalar",
            #[cfg(kernels = "x86_64")]
            Level::Avx2 => c"avx2",
            #[cfg(kernels = "x86_64")]
            Level::AvxVnni => c"avx-vnni",
            #[cfg(kernels = "x86_64")]
            Level::Avx512 => c"avx512",
            #[cfg(kernels = "x86_64")]
            Level::Amx => c"amx",
            #[cfg(kernels = "aarch64")]
            Level::Neon => c"neon",
            #[cfg(kernels = "aarch64")]
            Level::NeonDotprod => c"neon-dotprod",
            #[cfg(kernels = "aarch64")]
            Level::NeonI8mm => c"neon-i8mm",
        }
    }

    pub(super) fn level(self) -> Level {
        self.0
    }

    fn find(name: &str, argument: &'static str) -> Result<Self> {
        let among = |all: &[Isa]| all.iter().copied().find(|isa| isa.name().eq_ignore_ascii_case(name));
        among(Isa::unasked()).or_else(|| among(Isa::available())).ok_or_else(|| Error::Isa {
            argument: argument.into(),
            value: name.to_owned(),
            available: Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isa({})", self.name())
    }
}

#[cfg(kernels = "x86_64")]
fn detect() -> Vec<Isa> {
    use std::arch::is_x86_feature_detected as has;
    let mut found = vec![Isa(Level::Scalar)];
    // Exactly the features of `Run::run_avx2`, `run_avx_vnni` and `run_avx512`: detection and use must not drift apart.
    let avx2 = has!("avx2") && has!("fma") && has!("f16c") && has!("bmi1") && has!("bmi2") && has!("popcnt");
    if avx2 {
        found.push(Isa(Level::Avx2));
    }
    if avx2 && super::x86_64::has_dpbusd() {
        found.push(Isa(Level::AvxVnni));
    }
    let avx512 = has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl")
        && has!("avx512vnni");
    if avx2 && avx512 {
        found.push(Isa(Level::Avx512));
    }
    found
}

/// What there is besides if the system is asked for it, once.
#[cfg(kernels = "x86_64")]
fn ask(found: &[Isa]) -> Option<Isa> {
    (found.contains(&Isa(Level::Avx512)) && super::x86_64_amx::has_amx()).then_some(Isa(Level::Amx))
}

#[cfg(not(kernels = "x86_64"))]
fn ask(_: &[Isa]) -> Option<Isa> {
    None
}

#[cfg(kernels = "aarch64")]
fn detect() -> Vec<Isa> {
    use std::arch::is_aarch64_feature_detected as has;
    let mut found = vec![Isa(Level::Scalar)];
    if has!("neon") {
        found.push(Isa(Level::Neon));
        if has!("dotprod") {
            found.push(Isa(Level::NeonDotprod));
            if has!("i8mm") {
                found.push(Isa(Level::NeonI8mm));
            }
        }
    }
    found
}

#[cfg(kernels = "portable")]
fn detect() -> Vec<Isa> {
    vec![Isa(Level::Scalar)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_foreign_names_say_what_there_is() {
        for &isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
        let error = Isa::named("altivec").unwrap_err().to_string();
        assert!(error.contains("altivec") && error.contains("scalar"), "{error}");
        assert_eq!(Isa::available().first(), Some(&Isa::scalar()));
    }
}
