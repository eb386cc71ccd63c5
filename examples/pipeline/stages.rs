//! From random numbers to a compressed network, stage by stage.

use crate::data::{self, Digits};
use crate::file::Saved;
use crate::int8::{self, FakeQuantization, Int8Network};
use crate::network::Network;
use crate::options::Options;
use crate::progress::Progress;
use crate::pruning::Pruning;
use crate::random::Random;
use crate::runner::{BATCH, Runner};
use crate::table::{Row, Table};
use crate::train::{History, Stage, steps, trainer};
use crate::{Result, decisions, timing};
use std::fs::OpenOptions;
use std::io::Write;
use tersor::f16;
use tersor::optim::{LossScaler, ScalerOptions};

const LEARNING_RATE: f64 = 2e-3;
/// Far too high for f16 gradients, so that overflows are met and survived.
const FIRST_LOSS_SCALE: f32 = (1 << 24) as f32;

/// Runs all stages, writes the file, and reports.
pub fn compress(options: &Options) -> Result<String> {
    let (training, held_out) = data::load()?;
    let epochs = options.epochs as usize;
    let random = |stream| Random::new(options.seed, stream);
    // Opened before any work, so that a path that cannot be written to is refused at once.
    let named = |error: std::io::Error| format!("{}: {error}", options.output.display());
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&options.output).map_err(named)?;

    // The reference.
    let mut full = trainer(LossScaler::none());
    let mut reference = Network::<f32>::random(&full, &mut random(0))?;
    let stage = Stage::new("f32", epochs, LEARNING_RATE, random(1));
    stage.run(&mut reference, &mut full, &training)?;

    // The same in 16 bits.
    let scaler = ScalerOptions { initial_scale: FIRST_LOSS_SCALE, ..ScalerOptions::bounded() };
    let mut mixed = trainer(LossScaler::new(scaler)?);
    let mut network = Network::<f16>::random(&mixed, &mut random(0))?;
    let stage = Stage::new("mixed precision", epochs, LEARNING_RATE, random(1));
    let history = stage.run(&mut network, &mut mixed, &training)?;
    let trained = network.clone();

    // Pruned while it is fine-tuned.
    let mut pruning = Pruning::new(options.sparsity, steps(&training, epochs))?;
    let stage = Stage::new("pruned", epochs, LEARNING_RATE, random(2)).with_pruning(&mut pruning);
    stage.run(&mut network, &mut mixed, &training)?;
    let pruned = network.clone();

    // Calibrated and quantized.
    let progress = Progress::start("int8", steps(&training, 1));
    let histograms = int8::observe(&network, &training, &progress)?;
    let inputs = int8::calibrate(&histograms)?;
    let quantized = Int8Network::new(&network, &inputs)?;
    progress.finish("calibrated");

    // Fine-tuned with the numbers of int8.
    let fake = FakeQuantization::new(&inputs);
    let stage =
        Stage::new("int8, fine-tuned", epochs.div_ceil(4), LEARNING_RATE / 10.0, random(3)).with_fake(&fake);
    stage.run(&mut network, &mut mixed, &training)?;
    let compressed = Int8Network::new(&network, &inputs)?;

    let stages = [
        ("f32", Runner::dense(&reference)?, 0),
        ("mixed precision", Runner::dense(&trained)?, 0),
        ("pruned", Runner::sparse(&pruned)?, 0),
        ("int8", Runner::int8(&quantized)?, 2),
        ("int8, fine-tuned", Runner::int8(&compressed)?, 2),
        ("int8, fine-tuned", Runner::sparse_int8(&compressed)?, 2),
    ];
    let (table, timing) = measure(stages, &held_out)?;
    let decisions = decisions::explain(&network, &compressed, &histograms, pruning.ranking.as_ref())?;

    let correct = table.rows.last().map_or(0, |row| row.correct);
    let bytes = Saved { network: compressed, images: held_out.len(), correct }.to_bytes()?;
    file.set_len(0).and_then(|()| file.write_all(&bytes)).map_err(named)?;
    let dense = table.rows.first().map_or(0, |row| row.weight_bytes);
    Ok(format!(
        "{} images to learn from, {} held out (UCI optical digits, E. Alpaydin and C. Kaynak); seed {}\n{}\n\n{table}\n{timing}\n\n{decisions}\n\n{}: {} bytes, {:.1}% of the f32 \
         weights\n",
        training.len(),
        held_out.len(),
        options.seed,
        overflows(&history),
        options.output.display(),
        bytes.len(),
        100.0 * bytes.len() as f64 / dense as f64,
    ))
}

/// Runs every stage's network on images it has not seen. The number is the row whose accuracy it should keep.
fn measure<const N: usize>(
    mut stages: [(&'static str, Runner, usize); N],
    held_out: &Digits,
) -> Result<(Table, String)> {
    let progress = Progress::start("running", 3);
    let mut correct = Vec::new();
    for (_, runner, _) in &mut stages {
        correct.push(runner.correct(held_out)?);
    }
    progress.step(String::new);
    let mut runners = stages.each_mut().map(|(_, runner, _)| runner);
    let single = timing::microseconds(&mut runners, held_out.images.view(), 1)?;
    progress.step(String::new);
    let batched = timing::microseconds(&mut runners, held_out.images.view(), BATCH)?;
    progress.finish("measured");

    let times = single.medians.iter().zip(&batched.medians).zip(correct);
    let rows =
        stages.iter().zip(times).map(|((stage, runner, against), ((&single, &batched), correct))| Row {
            stage,
            run_as: runner.format(),
            correct,
            against: *against,
            weight_bytes: runner.weight_bytes(),
            non_zeros: runner.non_zeros(),
            single,
            batched,
        });
    let table = Table { images: held_out.len(), batch: BATCH, rows: rows.collect() };
    let note = format!(
        "Times are medians of {} (batch 1) and {} (batch {BATCH}) calls for each stage, taken in turns, on one thread with {}.",
        single.calls,
        batched.calls,
        tersor::Context::current()?.isa()
    );
    Ok((table, note))
}

fn overflows(history: &History) -> String {
    match &history.first_overflow {
        None => "mixed precision: no gradient overflowed".into(),
        Some((overflow, scale, step)) => format!(
            "mixed precision: {} of {} steps overflowed and were skipped, until the loss scale had come from {scale} down to \
             {}\n  the first was step {step}: {overflow}",
            history.overflows, history.steps, history.last_scale
        ),
    }
}
