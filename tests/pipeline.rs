//! The example `pipeline` as its user meets it: a short run, its file, and what it says to bad files and options.

#![cfg(all(feature = "linear", feature = "rayon"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Few rounds, and a sparsity that a network which has hardly learned anything bears.
const SHORT: [&str; 4] = ["--epochs", "2", "--sparsity", "0.5"];

/// The program, which `cargo test` builds beside the tests. `None`, said aloud, where it cannot be started.
fn pipeline() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let program = folder.join(format!("pipeline{}", std::env::consts::EXE_SUFFIX));
    match Command::new(&program).arg("--version").output() {
        Ok(output) if output.status.success() => Some(program),
        // This test runs in an emulator, which starts no other programs: ENOEXEC, or what a child exits with whose `exec`
        // has failed.
        Err(error) if cfg!(unix) && error.raw_os_error() == Some(8) => {
            eprintln!("SKIPPED: {} cannot be started here: {error}", program.display());
            None
        }
        Ok(output) if output.status.code() == Some(127) && !cfg!(target_arch = "x86_64") => {
            eprintln!("SKIPPED: {} cannot be started here", program.display());
            None
        }
        // arm64 is tested by `cargo test --lib --tests`, which builds no examples.
        Err(error) if error.kind() == ErrorKind::NotFound && !cfg!(target_arch = "x86_64") => {
            eprintln!("SKIPPED: {} was not built", program.display());
            None
        }
        result => panic!("build it with `cargo build --example pipeline`: {}: {result:?}", program.display()),
    }
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// It was refused: exit code 2, a message with these words on stderr and nothing on stdout.
fn assert_refused(output: &Output, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn a_short_run_gives_the_same_file_at_any_thread_count_and_the_file_runs() {
    let Some(program) = pipeline() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one"), path("two"));
    // Something longer stood there before.
    std::fs::write(&two, vec![7; 1 << 20]).unwrap();
    let start = |threads, file| {
        let arguments = [&SHORT[..], &["--threads", threads, "--output", file]].concat();
        let mut command = Command::new(&program);
        command.args(arguments).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let children = [start("1", &one), start("2", &two)];
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    for output in &outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap(), "the files differ");

    // The last row of the table is the network in the file.
    let report = text(&outputs[0].stdout);
    for stage in ["f32", "mixed precision", "pruned", "int8", "int8, fine-tuned"] {
        assert!(report.lines().any(|line| line.starts_with(stage)), "{stage}: {report}");
    }
    assert!(report.contains("steps overflowed and were skipped"), "{report}");
    let row = report.lines().rfind(|line| line.starts_with("int8, fine-tuned")).unwrap();
    let correct = row.split_whitespace().find_map(|word| word.strip_suffix("/359")).unwrap();
    assert!(correct.parse::<usize>().unwrap() > 200, "it has learned nothing: {report}");

    let again = run(&program, &["--run", &one]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let said = text(&again.stdout);
    assert_eq!(said.matches(&format!("{correct} of 359")).count(), 2, "{said}");
}

#[test]
fn bad_options_are_refused() {
    let Some(program) = pipeline() else { return };
    for (arguments, words) in [
        (&["--sparsity", "1"][..], ["--sparsity", "below 1"]),
        (&["--sparsity", "NaN"], ["--sparsity", "below 1"]),
        (&["--epochs", "0"], ["--epochs", "1..=1000"]),
        (&["--threads", "many"], ["--threads", "invalid"]),
        (&["--run", "a", "--seed", "1"], ["--run", "--seed"]),
        (&["--fast"], ["--fast", "unexpected"]),
        (&["--output", "/no/such/folder/file"], ["/no/such/folder/file", "No such"]),
        (&["--run", "/no/such/file"], ["/no/such/file", "No such"]),
    ] {
        assert_refused(&run(&program, arguments), &words);
    }
    let help = run(&program, &["--help"]);
    assert!(help.status.success());
    for word in ["--run", "--output", "--seed", "--epochs", "--sparsity", "--threads", "UCI"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
}

/// Files that are damaged in every way that a reader could stumble over.
#[test]
fn bad_files_are_refused() {
    let Some(program) = pipeline() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network");
    let path = path.to_str().unwrap();
    let made = run(&program, &[&["--epochs", "1", "--sparsity", "0.5", "--output", path][..]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let good = std::fs::read(path).unwrap();
    let refused = |bytes: &[u8], words: &[&str]| {
        std::fs::write(path, bytes).unwrap();
        let output = run(&program, &["--run", path]);
        assert_refused(&output, &[&[path], words].concat());
    };

    for length in [0, 1, 7, 8, 9, 100, 1000, good.len() / 2, good.len() - 1] {
        refused(&good[..length], &[]);
    }
    refused(b"not a network at all", &[]);
    refused(&[&good[..], &[0]].concat(), &[]);
    refused(&vec![0; (16 << 20) + 1], &["16777216"]);
    // A header that promises more than there is.
    refused(&[&u64::MAX.to_le_bytes()[..], &good[8..]].concat(), &[]);

    // The same length, another meaning.
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).expect("the file holds it");
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    refused(&replaced(b"tersor pipeline 1", b"tersor pipeline 2"), &["tersor pipeline 2"]);
    refused(&replaced(b"layer1.mask", b"layer7.mask"), &["layers"]);
    refused(&replaced(b"layer1.bias", b"layer1.wias"), &["layer1.bias"]);
    refused(&replaced(b"TERSMASK", b"TERSMISK"), &["TERSMASK"]);
    // A mask of 2^40 by 64: the bits for that are not there.
    let shape = |outputs: u64| [&outputs.to_le_bytes()[..], &64_u64.to_le_bytes()].concat();
    refused(&replaced(&shape(512), &shape(1 << 40)), &["bytes"]);
    refused(&replaced(&shape(512), &shape(u64::MAX)), &[]);
}
