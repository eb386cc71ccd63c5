//! The command line.

use clap::Parser;
use std::path::PathBuf;

/// Trains a digit classifier, prunes it to a tenth of its weights, quantizes it to int8, runs every stage
/// on images that it has not seen, and prints what each one costs.
///
/// The digits are built in: 1,797 handwritten 8x8 images from the "Optical Recognition of Handwritten
/// Digits" set of the UCI Machine Learning Repository (E. Alpaydin and C. Kaynak, 1998, CC BY 4.0).
/// Every fifth of them, counted digit by digit, is held out: no stage learns or decides anything from it.
/// The same options give the same file, byte for byte, at any number of threads.
#[derive(Parser)]
#[command(name = "pipeline", version, verbatim_doc_comment)]
pub struct Options {
    /// Run the network in FILE on the held-out images, and do nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "seed", "epochs", "sparsity"])]
    pub run: Option<PathBuf>,

    /// Where to write the compressed network
    #[arg(long, value_name = "FILE", default_value = "pipeline.safetensors")]
    pub output: PathBuf,

    /// What the first weights and the order of the images are drawn from
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// How often training goes through the images; pruning as often again, the last fine-tuning a quarter
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub epochs: u32,

    /// The fraction of the weights to prune, at least 0 and below 1
    #[arg(long, default_value_t = 0.9, value_parser = sparsity)]
    pub sparsity: f64,

    /// Threads to train on [default: one per processor, or RAYON_NUM_THREADS]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

fn sparsity(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "this is not a number".to_owned())?;
    if (0.0..1.0).contains(&value) { Ok(value) } else { Err("must be at least 0 and below 1".to_owned()) }
}
