//! Which instruction sets this machine has: that each of them runs, that they are the ones that were expected, and that
//! `TERSOR_ISA` is obeyed or refused, never replaced.
//!
//! `TERSOR_EXPECT_ISA=scalar,neon,neon-dotprod` makes the first test fail on a machine that has any others: that is how
//! `.ci/run` proves which kernels an emulated processor ran.
//!
//! `TERSOR_ISA` is read once in a process, so two tests start this program again. Under an emulator that needs the
//! emulator too: it is taken from `CARGO_TARGET_<triple>_RUNNER`, the variable that made cargo use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use ndarray::Array1;
use std::process::{Command, Output};
use tersor::{Context, Error, Isa, Mask};

/// A name that no machine has.
const NONSENSE: &str = "altivec";

/// Every name that this architecture knows, from the plainest to the best.
fn known() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["scalar", "avx2", "avx-vnni", "avx512", "amx"],
        "aarch64" => &["scalar", "neon", "neon-dotprod", "neon-i8mm"],
        _ => &["scalar"],
    }
}

fn available() -> Vec<&'static str> {
    Isa::available().iter().map(|isa| isa.name()).collect()
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Zeroes every third value, and says what it must have made of them.
fn apply() -> (tersor::Result<()>, Array1<f32>, Array1<f32>) {
    let mask = Mask::from_fn(&[1000], |index| index % 3 != 0).unwrap();
    let mut values = Array1::from_shape_fn(1000, |index| index as f32 + 1.0);
    let expected = Array1::from_shape_fn(1000, |index| if index % 3 != 0 { index as f32 + 1.0 } else { 0.0 });
    (mask.apply(&mut values), values, expected)
}

/// The emulator that cargo runs this program under, if any, and its arguments.
fn runner() -> Vec<String> {
    let arch = std::env::consts::ARCH.to_uppercase();
    std::env::vars()
        .find(|(name, _)| name.starts_with(&format!("CARGO_TARGET_{arch}_")) && name.ends_with("_RUNNER"))
        .map(|(_, command)| command.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Runs one test of this program in a new process whose `TERSOR_ISA` is `isa`.
fn test_again_with(isa: &str, test: &str) -> Output {
    let mut words = runner();
    words.push(std::env::current_exe().unwrap().into_os_string().into_string().unwrap());
    words.extend(["--exact", test, "--nocapture"].map(str::to_owned));
    let output = Command::new(&words[0]).args(&words[1..]).env("TERSOR_ISA", isa).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{words:?}: {error}; an emulator must be named by the environment variable CARGO_TARGET_<triple>_RUNNER")
    });
    let printed = String::from_utf8_lossy(&output.stdout);
    // A filter that finds no test succeeds too, hence the second condition.
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "TERSOR_ISA={isa}: {:?}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn every_instruction_set_runs_and_is_one_that_was_expected() {
    let names = available();
    for context in support::every_isa() {
        let (result, values, expected) = context.scope(apply);
        result.unwrap();
        assert_eq!(values, expected, "{context:?}");
    }
    let missing: Vec<_> = known().iter().filter(|name| !names.contains(name)).copied().collect();
    println!(
        "INSTRUCTION SETS on this {} processor: {}; not there, so not run: {}",
        std::env::consts::ARCH,
        names.join(", "),
        if missing.is_empty() { "none".to_owned() } else { missing.join(", ") },
    );
    assert!(
        names.iter().all(|name| known().contains(name)),
        "{names:?} has a name that this test does not know"
    );
    if let Some(expected) = variable("TERSOR_EXPECT_ISA") {
        assert_eq!(names, expected.split(',').collect::<Vec<_>>(), "TERSOR_EXPECT_ISA is {expected}");
    }
}

#[test]
fn the_environment_chooses() {
    const TEST: &str = "the_environment_chooses";
    match variable("TERSOR_ISA") {
        Some(name) => {
            assert_eq!(Isa::selected().unwrap().name(), name);
            assert_eq!(Context::new().unwrap().isa().name(), name);
            assert_eq!(Context::current().unwrap().isa().name(), name);
            let (result, values, expected) = apply();
            result.unwrap();
            assert_eq!(values, expected);
        }
        None => {
            assert_eq!(Isa::selected(), Ok(Isa::detected()));
            assert_eq!(Isa::detected().name(), *available().last().unwrap());
            for name in available() {
                test_again_with(name, TEST);
            }
        }
    }
}

#[test]
fn an_unknown_name_is_an_error_of_every_operation_and_changes_nothing() {
    const TEST: &str = "an_unknown_name_is_an_error_of_every_operation_and_changes_nothing";
    if variable("TERSOR_ISA").as_deref() != Some(NONSENSE) {
        test_again_with(NONSENSE, TEST);
        return;
    }
    let refusal = Error::Isa {
        argument: "TERSOR_ISA".into(),
        value: NONSENSE.to_owned(),
        available: available().join(", "),
    };
    let message = refusal.to_string();
    assert!(
        message.contains("TERSOR_ISA") && message.contains(NONSENSE) && message.contains("scalar"),
        "{message}"
    );
    assert_eq!(Isa::selected(), Err(refusal.clone()));
    assert_eq!(Context::new().err(), Some(refusal.clone()));
    assert_eq!(Context::current().err(), Some(refusal.clone()));
    let (result, values, _) = apply();
    assert_eq!(result, Err(refusal));
    assert_eq!(
        values,
        Array1::from_shape_fn(1000, |index| index as f32 + 1.0),
        "written in spite of the error"
    );
}
