//! `include/tersor.h` is current, stands by itself in every C and C++ that we promise, and says what the libraries export.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use support::{Language, compiler, libraries, root, run};

/// Rewrites the header with `TERSOR_BLESS=1`.
#[test]
fn the_header_is_what_the_sources_say() {
    let path = root().join("include/tersor.h");
    let fresh = support::header::generate();
    if std::env::var_os("TERSOR_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found.lines().zip(fresh.lines()).position(|(found, fresh)| found != fresh);
    assert!(
        found == fresh,
        "{} is stale from line {} on; run `TERSOR_BLESS=1 cargo test -p tersor-capi --test header`",
        path.display(),
        difference.unwrap_or(found.lines().count().min(fresh.lines().count())) + 1,
    );
}

#[test]
fn the_header_compiles_without_warnings_in_every_standard() {
    let standards =
        [(Language::C, "c", &["c99", "c11", "c17"]), (Language::Cpp, "c++", &["c++11", "c++17", "c++20"])];
    let directory = tempfile::tempdir().unwrap();
    for (language, name, standards) in standards {
        for standard in standards {
            // Twice, to see the include guard; alone, to see that it includes what it needs.
            let source = directory.path().join(format!("header.{}", if name == "c" { "c" } else { "cpp" }));
            std::fs::write(&source, "#include \"tersor.h\"\n#include \"tersor.h\"\nint unused_anchor;\n")
                .unwrap();
            let Some(mut command) = compiler(language) else { return };
            command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", name]);
            command.arg(format!("-std={standard}")).arg("-I").arg(root().join("include")).arg(&source);
            run(&mut command);
        }
    }
}

#[test]
fn the_cpp_header_compiles_without_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("header.cpp");
    std::fs::write(&source, "#include \"tersor.hpp\"\n#include \"tersor.hpp\"\n").unwrap();
    for standard in ["c++17", "c++20"] {
        let Some(mut command) = compiler(Language::Cpp) else { return };
        command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
        command.arg(format!("-std={standard}")).arg("-I").arg(root().join("include")).arg(&source);
        run(&mut command);
    }
}

/// Functions, types and constants say since when there are; fields were there with their struct unless they say otherwise.
#[test]
fn every_comment_says_since_when() {
    let header = support::header::generate();
    let items = header.split("\n/**\n").skip(1);
    let without: Vec<&str> = items
        .filter_map(|item| item.split_once(" */\n"))
        .filter(|(comment, _)| !comment.trim_end().lines().next_back().unwrap().ends_with("Since 0.1."))
        .filter_map(|(_, item)| item.lines().next())
        .collect();
    assert!(header.matches("\n/**\n").count() > 200 && without.is_empty(), "{without:?}");
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
    for start in ["#define ", "typedef ", "TERSOR_API\n"] {
        for (place, _) in declarations.match_indices(&format!("\n{start}")) {
            let item = declarations[place..].lines().nth(1).unwrap();
            assert!(declarations[..place].ends_with(" */"), "no comment: {item}");
        }
    }
}

/// The dynamic library exports what `exports.txt` lists, all of it `tersor_*`; the header declares the same set.
/// Rewrites the list with `TERSOR_BLESS=1`.
#[cfg(target_os = "linux")]
#[test]
fn the_dynamic_library_exports_exactly_the_listed_functions() {
    let library = &libraries().dynamic_library;
    let output = run(std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let exported: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_whitespace().next_back().unwrap().to_owned())
        .collect();
    let foreign: Vec<_> = exported.iter().filter(|name| !name.starts_with("tersor_")).collect();
    assert!(foreign.is_empty(), "exported, but not ours: {foreign:?}");

    let path = root().join("capi/exports.txt");
    let list = exported.iter().map(|name| format!("{name}\n")).collect::<String>();
    if std::env::var_os("TERSOR_BLESS").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        listed, list,
        "capi/exports.txt differs; a function must never disappear from it after a release"
    );

    let header = std::fs::read_to_string(root().join("include/tersor.h")).unwrap();
    let declared: BTreeSet<String> = declarations(&header).collect();
    assert_eq!(declared, exported, "declared in the header against exported by the library");
}

/// A library that replaces it has the same name only if programs need not be built again.
#[cfg(target_os = "linux")]
#[test]
fn the_dynamic_library_carries_the_number_of_its_abi() {
    let library = &libraries().dynamic_library;
    let output = run(std::process::Command::new("readelf").arg("-d").arg(library));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("(SONAME)"))
        .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
        .collect();
    assert_eq!(names, ["libtersor.so.0"]);
}

/// The names of the functions that the header declares.
fn declarations(header: &str) -> impl Iterator<Item = String> + '_ {
    header.split("\nTERSOR_API\n").skip(1).filter_map(|declaration| {
        let before = declaration.split_once('(')?.0;
        Some(before.rsplit([' ', '*']).next()?.to_owned())
    })
}

/// What a program that links the static library needs beside it; the packaging will say so from this file. Only for the
/// target on which it was recorded. Rewrites the record with `TERSOR_BLESS=1`.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn the_native_libraries_of_the_static_library_are_recorded() {
    let path = root().join("capi/native-static-libs.txt");
    let found = format!("{}\n", libraries().native_static_libs);
    if std::env::var_os("TERSOR_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        found,
        "capi/native-static-libs.txt is stale"
    );
}

/// A new kind of error gets a number of its own; the compiler cannot say so, because the enum may grow.
#[test]
fn every_error_has_a_status() {
    let errors = std::fs::read_to_string(root().join("src/error.rs")).unwrap();
    let variants = errors.split("pub enum Error {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants: Vec<&str> =
        variants.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {")).collect();
    assert!(variants.len() >= 9 && variants.contains(&"Layout"), "{variants:?}");
    let statuses = std::fs::read_to_string(root().join("capi/src/status.rs")).unwrap();
    for variant in variants {
        assert!(statuses.contains(&format!("Error::{variant} {{ .. }} => TERSOR_E_")), "Error::{variant}");
    }
}

/// `unsafe` blocks are where they can be reviewed: pointers in ffi.rs, lent work in threads.rs.
#[test]
fn unsafe_blocks_are_in_two_files_only() {
    for entry in std::fs::read_dir(root().join("capi/src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = std::fs::read_to_string(&path).unwrap();
        let library = source.split("#[cfg(test)]").next().unwrap();
        if !["ffi.rs", "threads.rs"].contains(&name) {
            let blocks = library.lines().filter(|line| line.contains("unsafe {")).count();
            assert_eq!(blocks, 0, "unsafe blocks in {}", path.display());
        }
    }
}
