//! One C program (`tests/c`) and one C++ program (`tests/cpp`) use all of the C API, linked as users would link them; so
//! do the README's quick starts (`examples/c/quickstart.c`, `examples/cpp/quickstart.cpp`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Language, compiler, libraries, root, run, runner};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Static,
    Dynamic,
}

/// Compiles and links; `None` where a cross compiler is missing. Warnings are errors.
fn build(
    language: Language,
    standard: &str,
    sources: &[PathBuf],
    link: Link,
    directory: &Path,
    extra: &[&str],
) -> Option<PathBuf> {
    let program = directory.join("program");
    let mut command = compiler(language)?;
    command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1", "-D_POSIX_C_SOURCE=200809L"]);
    command.arg(format!("-std={standard}")).args(extra);
    let calibration = root().join("tests/support/calibration.txt");
    command.arg(format!("-DCALIBRATION=\"{}\"", calibration.display()));
    command.arg("-I").arg(root().join("include")).args(sources).arg("-o").arg(&program);
    let libraries = libraries();
    match link {
        Link::Static => {
            command.arg(&libraries.static_library);
            command.args(libraries.native_static_libs.split_whitespace());
        }
        Link::Dynamic => {
            // As a package installs it: linkers find one name, and programs the other when they start.
            let folder = directory.join("lib");
            std::fs::create_dir_all(&folder).unwrap();
            let names: &[&str] =
                if cfg!(target_os = "linux") { &["libtersor.so", "libtersor.so.0"] } else { &[] };
            let found = libraries.dynamic_library.file_name().unwrap();
            for name in names.iter().map(|name| name.as_ref()).chain([found]) {
                std::fs::copy(&libraries.dynamic_library, folder.join(name)).unwrap();
            }
            command.arg("-L").arg(&folder).arg("-ltersor");
            command.arg(format!("-Wl,-rpath,{}", folder.display())).args(["-lm", "-lpthread"]);
        }
    }
    run(&mut command);
    Some(program)
}

fn c_sources() -> Vec<PathBuf> {
    let folder = root().join("capi/tests/c");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    sources
}

fn builds_and_says(language: Language, standard: &str, sources: &[PathBuf], link: Link, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = build(language, standard, sources, link, directory.path(), &[]) else { return };
    let output = run(&mut runner(&program));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn the_c_program_runs_with_the_static_library() {
    builds_and_says(Language::C, "c99", &c_sources(), Link::Static, "ok\n");
}

#[test]
fn the_c_program_runs_with_the_dynamic_library() {
    builds_and_says(Language::C, "c99", &c_sources(), Link::Dynamic, "ok\n");
}

/// Its sources are C++ too, so C++ uses all of the C API as well.
#[test]
fn the_c_program_is_a_cpp_program() {
    let directory = tempfile::tempdir().unwrap();
    let sources: Vec<PathBuf> = c_sources()
        .iter()
        .map(|source| {
            // Named so that the compiler takes them for C++, and what comes after them, libraries, for what it is.
            let copy = directory.path().join(source.with_extension("cpp").file_name().unwrap());
            std::fs::copy(source, &copy).unwrap();
            copy
        })
        .collect();
    let folder = root().join("capi/tests/c");
    let flags = ["-I", folder.to_str().unwrap()];
    let Some(program) = build(Language::Cpp, "c++17", &sources, Link::Static, directory.path(), &flags)
    else {
        return;
    };
    assert_eq!(String::from_utf8(run(&mut runner(&program)).stdout).unwrap(), "ok\n");
}

#[test]
fn the_cpp_program_runs_with_both_libraries() {
    // Two sources that include the header: what it defines must be inline.
    let sources = ["all.cpp", "other.cpp"].map(|name| root().join("capi/tests/cpp").join(name));
    builds_and_says(Language::Cpp, "c++17", &sources, Link::Static, "ok\n");
    builds_and_says(Language::Cpp, "c++17", &sources, Link::Dynamic, "ok\n");
}

/// Casts, masks, packed layers and training steps, as the header says; counted where the linker can interpose.
#[cfg(target_os = "linux")]
#[test]
fn what_runs_over_and_over_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let source = [root().join("capi/tests/allocation/kernels.c")];
    let wrap = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign"];
    let Some(program) = build(Language::C, "c99", &source, Link::Static, directory.path(), &wrap) else {
        return;
    };
    assert_eq!(String::from_utf8(run(&mut runner(&program)).stdout).unwrap(), "ok\n");
}

/// What crosses the border is watched by the sanitizers on the C side, and by valgrind on both where there is one.
/// valgrind does not know AVX-512, so the program runs on what is below it.
#[test]
fn the_c_program_is_clean_under_sanitizers_and_valgrind() {
    if support::is_cross() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let program = build(Language::C, "c99", &c_sources(), Link::Static, directory.path(), &flags).unwrap();
    run(&mut runner(&program));

    if !Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no valgrind");
        return;
    }
    let program = build(Language::C, "c99", &c_sources(), Link::Static, directory.path(), &[]).unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=3", "--leak-check=full", "--show-leak-kinds=definite"]);
    run(valgrind.args(["--errors-for-leak-kinds=definite"]).arg(&program));
}

/// Not under emulation, where a calibration takes minutes.
#[test]
fn a_machine_is_measured_from_c() {
    if support::is_cross() {
        return;
    }
    let source = [root().join("capi/tests/measure/measure.c")];
    builds_and_says(Language::C, "c99", &source, Link::Static, "ok\n");
}

#[test]
fn the_quick_start_runs() {
    let source = [root().join("examples/c/quickstart.c")];
    builds_and_says(Language::C, "c99", &source, Link::Static, "6.6 12.5\n");
}

#[test]
fn the_cpp_quick_start_runs() {
    let source = [root().join("examples/cpp/quickstart.cpp")];
    builds_and_says(Language::Cpp, "c++17", &source, Link::Static, "7.2 11.2\n");
}

/// The README shows the quick starts exactly as they are compiled above.
#[test]
fn the_readme_shows_the_quick_starts_as_they_run() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (language, path) in [("c", "examples/c/quickstart.c"), ("cpp", "examples/cpp/quickstart.cpp")] {
        let program = std::fs::read_to_string(root().join(path)).unwrap();
        let begins = format!("```{language}\n");
        let mut shown = readme.split(&begins).skip(1).filter_map(|block| block.split("```").next());
        assert!(
            shown.any(|block| block == program),
            "README.md has no ```{language} block that equals {path}"
        );
    }
}

/// A function that no C program calls is one that nobody has seen working from C.
#[test]
fn every_export_is_used_by_the_c_program() {
    let sources: String = c_sources().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let exports = std::fs::read_to_string(root().join("capi/exports.txt")).unwrap();
    let unused: Vec<&str> = exports
        .lines()
        .filter(|name| {
            // The training steps are called through one macro, by rule and type.
            let pasted = name.rsplit_once("_step_").is_some_and(|(rule, kind)| {
                let rule = rule.trim_start_matches("tersor_");
                sources.contains(&format!("ALL_TYPES({rule},"))
                    && sources.contains(&format!("tersor_##rule##_step_{kind}("))
            });
            !pasted && !sources.contains(&format!("{name}("))
        })
        .collect();
    assert!(unused.is_empty(), "not called: {unused:?}");
}
