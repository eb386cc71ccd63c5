//! The whole road of a network, on real handwritten digits: train it in f32 and in mixed precision, prune it while it is
//! fine-tuned, quantize it, fine-tune it once more as int8, run what came out of every stage, and write it to a file.
//!
//! `cargo run --release --example pipeline`, and `--help` for what can be changed.

#![allow(clippy::print_stderr, reason = "a program talks to its terminal")]
#![allow(unreachable_pub, reason = "a program exports nothing; `pub` is for its other modules")]

mod data;
mod decisions;
mod file;
mod int8;
mod network;
mod options;
mod progress;
mod pruning;
mod random;
mod runner;
mod stages;
mod table;
mod timing;
mod train;

use clap::Parser;
use file::Saved;
use options::Options;
use runner::Runner;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipeline: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let threads =
        rayon::ThreadPoolBuilder::new().num_threads(options.threads.map_or(0, usize::from)).build()?;
    let report = threads.install(|| match &options.run {
        Some(path) => evaluate(path).map_err(|error| format!("{}: {error}", path.display()).into()),
        None => stages::compress(options),
    })?;
    Ok(std::io::stdout().write_all(report.as_bytes())?)
}

/// Runs the network in a file on the held-out images.
fn evaluate(path: &Path) -> Result<String> {
    let saved = Saved::read(path)?;
    let (_, held_out) = data::load()?;
    let mut runner = Runner::sparse_int8(&saved.network)?;
    let correct = runner.correct(&held_out)?;
    let percent = |correct: usize, images: usize| 100.0 * correct as f64 / images as f64;
    let report = format!(
        "{}: {} weights that are not zero, run as {}\nnow:              {correct} of {} held-out images, {:.2}%\nwhen \
         written:     {} of {}, {:.2}%\n",
        path.display(),
        runner.non_zeros(),
        runner.format(),
        held_out.len(),
        percent(correct, held_out.len()),
        saved.correct,
        saved.images,
        percent(saved.correct, saved.images),
    );
    if (correct, held_out.len()) != (saved.correct, saved.images) {
        return Err(format!("the network does not do what it did when it was written\n{report}").into());
    }
    Ok(report)
}
