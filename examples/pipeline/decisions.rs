//! What was decided for each layer, and why.

use crate::Result;
use crate::int8::{Int8Layer, Int8Network};
use crate::network::{Layer, Network};
use crate::pruning::block;
use tersor::f16;
use tersor::prune::Ranking;
use tersor::quant::{Distortion, Histogram};

/// A line on pruning, and three on each layer of `int8`. It was made of `network`, and the ranges of its inputs were
/// chosen from `histograms`.
pub fn explain(
    network: &Network<f16>,
    int8: &Int8Network,
    histograms: &[Histogram],
    ranking: Option<&Ranking>,
) -> Result<String> {
    let mut lines = vec![threshold(ranking)];
    let layers = network.layers()?;
    for (index, ((layer, int8), histogram)) in layers.iter().zip(&int8.layers).zip(histograms).enumerate() {
        let (outputs, inputs) = layer.weight.dim();
        lines.push(format!("layer {}, {inputs} to {outputs}", index + 1));
        lines.push(format!("  pruned   {}", survivors(int8)));
        lines.push(format!("  weights  {}", weights(layer, int8)?));
        lines.push(format!("  inputs   {}", inputs_of(int8, histogram)?));
    }
    Ok(lines.join("\n"))
}

fn threshold(ranking: Option<&Ranking>) -> String {
    let (outputs, inputs) = block();
    match ranking {
        Some(Ranking { threshold: Some(threshold), units, survivors, .. }) => format!(
            "pruned: in one competition of {units} blocks of {outputs} outputs and {inputs} inputs from all layers, the {survivors} with a mean \
             |weight| of at least {threshold:.5} survived"
        ),
        _ => "pruned: nothing survived".into(),
    }
}

fn survivors(layer: &Int8Layer) -> String {
    let dead = layer.mask.rows().filter(|row| row.count() == 0).count();
    format!(
        "{} of {} weights survived ({:.1}%); {dead} outputs lost all of theirs",
        layer.mask.count(),
        layer.mask.len(),
        100.0 * (1.0 - layer.mask.sparsity()),
    )
}

fn weights(stored: &Layer<'_, f16>, layer: &Int8Layer) -> Result<String> {
    let params = layer.weight.params();
    let alive = layer.mask.rows().zip(params.scales()).filter(|(row, _)| row.count() > 0);
    let limits: Vec<f32> = alive.map(|(_, scale)| scale * params.limits().1 as f32).collect();
    let (Some(least), Some(most)) =
        (limits.iter().copied().reduce(f32::min), limits.iter().copied().reduce(f32::max))
    else {
        return Ok("none are left".into());
    };
    let distortion = Distortion::measure(stored.weight, params)?;
    Ok(format!(
        "one symmetric range an output, from ±{least:.3} to ±{most:.3} (all weights fit): {distortion}"
    ))
}

fn inputs_of(layer: &Int8Layer, histogram: &Histogram) -> Result<String> {
    let (lowest, highest) = layer.input.limits();
    let (scale, zero_point) = (layer.input.scales()[0], layer.input.zero_points()[0]);
    let value = |code: i32| (code - zero_point) as f32 * scale;
    let seen = histogram.interval().map_or(0.0, |interval| interval.max);
    Ok(format!(
        "{:.3} to {:.3} of the 0 to {seen:.3} that was seen (least squared error): {}",
        value(lowest),
        value(highest),
        histogram.distortion(&layer.input)?
    ))
}
