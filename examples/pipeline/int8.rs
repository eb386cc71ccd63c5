//! The network in int8: calibration, codes, and fake quantization for the last fine-tuning.

use crate::Result;
use crate::data::Digits;
use crate::network::Network;
use crate::progress::Progress;
use crate::train::BATCH;
use ndarray::{Array2, ArrayView2, Axis, Ix2};
use tersor::quant::{FakeQuantize, Histogram, Observer, Params, QuantizedArray, Range, Scheme, cast};
use tersor::{Element, Mask};

/// Weights: a scale for each output.
pub fn weight_scheme() -> Scheme {
    Scheme::int8().symmetric().per_channel(Axis(0))
}

/// Inputs of layers are pixels or come out of a ReLU: never negative.
fn input_scheme() -> Scheme {
    Scheme::uint8().affine()
}

/// What each layer's input looks like on the images to learn from.
pub fn observe<E: Element>(
    network: &Network<E>,
    training: &Digits,
    progress: &Progress,
) -> Result<Vec<Histogram>> {
    let mut histograms = vec![Histogram::new(); network.layers()?.len()];
    for (images, _) in training.batches(BATCH) {
        for (histogram, input) in histograms.iter_mut().zip(network.forward(images, None)?.inputs()) {
            histogram.observe(input.view())?;
        }
        progress.step(String::new);
    }
    Ok(histograms)
}

/// How to quantize those inputs: with the least squared error, clipping and rounding together.
pub fn calibrate(histograms: &[Histogram]) -> Result<Vec<Params>> {
    histograms.iter().map(|histogram| Ok(histogram.params(&input_scheme(), Range::Mse)?)).collect()
}

/// A layer in int8: pruned codes, and how its input is quantized.
pub struct Int8Layer {
    pub weight: QuantizedArray<Ix2>,
    pub mask: Mask,
    pub bias: Vec<f32>,
    pub input: Params,
}

pub struct Int8Network {
    pub layers: Vec<Int8Layer>,
}

impl Int8Network {
    pub fn new<E: Element>(network: &Network<E>, inputs: &[Params]) -> Result<Self> {
        let mut layers = Vec::new();
        for (layer, input) in network.layers()?.iter().zip(inputs) {
            layers.push(Int8Layer {
                weight: weight_scheme().quantize(layer.weight)?,
                mask: layer.mask.cloned().map_or_else(|| Mask::ones(layer.weight.shape()), Ok)?,
                bias: layer.bias.iter().map(|&bias| Element::to_f32(bias)).collect(),
                input: input.clone(),
            });
        }
        Ok(Int8Network { layers })
    }
}

/// Training sees numbers as coarse as int8 will make them.
pub struct FakeQuantization {
    inputs: Vec<FakeQuantize>,
}

impl FakeQuantization {
    /// Inputs are quantized as they were calibrated; weights always as they are now.
    pub fn new(inputs: &[Params]) -> Self {
        FakeQuantization { inputs: inputs.iter().cloned().map(FakeQuantize::new).collect() }
    }

    pub fn input(&self, layer: usize, input: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        forward(&self.inputs[layer], input)
    }

    /// The gradient passes where the input was within the range.
    pub fn input_gradient<E: Element>(
        &self,
        layer: usize,
        input: ArrayView2<'_, E>,
        gradient: ArrayView2<'_, f32>,
    ) -> Result<Array2<f32>> {
        let mut passed = Array2::zeros(gradient.raw_dim());
        self.inputs[layer].backward(cast(input)?.view(), gradient, passed.view_mut())?;
        Ok(passed)
    }

    /// Nothing is clipped, because the scale follows the largest weight: the gradient passes everywhere.
    pub fn weight(&self, weight: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        forward(&FakeQuantize::new(weight_scheme().params(weight)?), weight)
    }
}

fn forward(fake: &FakeQuantize, values: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let mut coarse = Array2::zeros(values.raw_dim());
    fake.forward(values, coarse.view_mut())?;
    Ok(coarse)
}
