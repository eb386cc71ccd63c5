//! What the tests of the C ABI share: the repository, the libraries as a program would link them, C compilers.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

pub mod header;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Whether the tests were built for another machine than this one's kind, where a C compiler may be missing.
#[allow(clippy::eq_op)] // the same text only where target and host are the same
pub fn is_cross() -> bool {
    env!("TERSOR_TARGET") != env!("TERSOR_HOST")
}

/// The libraries as they are shipped, and what a linker needs beside the static one.
pub struct Libraries {
    pub static_library: PathBuf,
    pub dynamic_library: PathBuf,
    /// What rustc says (`--print native-static-libs`).
    pub native_static_libs: String,
}

/// Builds the libraries and asks cargo where they are.
///
/// Why a cargo inside of cargo: `cargo test` promises no static or dynamic library at any known path (for these crate
/// types it may not build the library at all), and `cargo test --workspace` builds with the features of all members
/// together, so with rayon, which is not what is shipped. Asking for exactly this package gives what a user would link.
/// The outer cargo does not hold its lock while tests run.
pub fn libraries() -> &'static Libraries {
    static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root());
        command.args(["rustc", "--package", "tersor-capi", "--lib", "--message-format", "json"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        if is_cross() {
            command.args(["--target", env!("TERSOR_TARGET")]);
        }
        command.args(["--", "--print", "native-static-libs"]);
        // The outer cargo's variables describe the package under test, not the build that is wanted.
        for (name, _) in std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
        let output = run(&mut command);
        let messages: Vec<serde_json::Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let files: Vec<PathBuf> = messages
            .iter()
            .filter(|message| {
                message["reason"] == "compiler-artifact"
                    && message["manifest_path"].as_str().is_some_and(|path| {
                        Path::new(path) == Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
                    })
            })
            .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
            .map(|file| PathBuf::from(file.as_str().unwrap()))
            .collect();
        let find = |extensions: &[&str]| {
            let matches = |file: &&PathBuf| {
                extensions.iter().any(|extension| file.extension().is_some_and(|found| found == *extension))
            };
            files.iter().find(matches).unwrap_or_else(|| panic!("no {extensions:?} in {files:?}")).clone()
        };
        let native_static_libs = messages
            .iter()
            .filter_map(|message| message["message"]["message"].as_str())
            .find_map(|message| message.strip_prefix("native-static-libs: "))
            .expect("rustc did not print the native static libraries")
            .to_owned();
        Libraries {
            static_library: find(&["a", "lib"]),
            dynamic_library: find(&["so", "dylib", "dll"]),
            native_static_libs,
        }
    })
}

/// A compiler for the target. On the machine itself a missing one is an error; for a cross build it is `None`.
pub fn compiler(language: Language) -> Option<Command> {
    let (variable, name) = match language {
        Language::C => ("CC", "gcc"),
        Language::Cpp => ("CXX", "g++"),
    };
    let target = env!("TERSOR_TARGET");
    let name = if is_cross() {
        let configured = std::env::var(format!("{variable}_{}", target.replace('-', "_")));
        configured.unwrap_or_else(|_| format!("{}-{name}", target.replace("-unknown", "")))
    } else {
        std::env::var(variable).unwrap_or_else(|_| name.to_owned())
    };
    match Command::new(&name).arg("--version").output() {
        Ok(output) if output.status.success() => Some(Command::new(name)),
        _ if is_cross() => {
            eprintln!("skipped: there is no {name}, which would compile for {target}");
            None
        }
        _ => panic!("{name} is needed to test the C ABI; name another compiler with {variable}"),
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Language {
    C,
    Cpp,
}

/// How a program for the target is run: directly, or as cargo was told to (an emulator).
pub fn runner(program: &Path) -> Command {
    let variable = format!("CARGO_TARGET_{}_RUNNER", env!("TERSOR_TARGET").to_uppercase().replace('-', "_"));
    let runner = std::env::var(variable).unwrap_or_default();
    let mut words = runner.split_whitespace().chain([program.to_str().unwrap()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
