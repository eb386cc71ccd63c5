//! A network that is ready to run: its layers packed for the kernels of `tersor::linear`.

use crate::Result;
use crate::data::Digits;
use crate::int8::{Int8Layer, Int8Network};
use crate::network::Network;
use ndarray::{Array2, ArrayView2, s};
use tersor::Element;
use tersor::f16;
use tersor::linear::{PackedLinear, Weights};
use tersor::quant::cast;

/// The most images that are run at a time.
pub const BATCH: usize = 64;

/// Packed layers, a ReLU between each two, and the memory that running them takes.
pub struct Runner {
    layers: Vec<PackedLinear<'static>>,
    outputs: Vec<Array2<f32>>,
    scratch: Vec<u8>,
}

impl Runner {
    /// Weights as they are stored.
    pub fn dense<E: Element>(network: &Network<E>) -> Result<Self>
    where
        for<'w> Weights<'w>: From<ArrayView2<'w, E>>,
    {
        let layers = network.layers()?;
        Runner::new(layers.iter().map(|layer| {
            let bias = cast(layer.bias)?;
            Ok(PackedLinear::new(Weights::from(layer.weight))?.with_bias(&bias.to_vec())?)
        }))
    }

    /// Only the weights that survive, in f32.
    pub fn sparse(network: &Network<f16>) -> Result<Self> {
        let layers = network.layers()?;
        Runner::new(layers.iter().map(|layer| {
            let (weight, bias) = (cast::<f16, f32, _>(layer.weight)?, cast(layer.bias)?);
            Ok(PackedLinear::new(Weights::from(weight.view()).sparse())?.with_bias(&bias.to_vec())?)
        }))
    }

    /// All codes, zeros too.
    pub fn int8(network: &Int8Network) -> Result<Self> {
        Runner::new(network.layers.iter().map(|layer| pack(layer, false)))
    }

    /// Only the codes that survive.
    pub fn sparse_int8(network: &Int8Network) -> Result<Self> {
        Runner::new(network.layers.iter().map(|layer| pack(layer, true)))
    }

    fn new(layers: impl Iterator<Item = Result<PackedLinear<'static>>>) -> Result<Self> {
        let layers: Vec<_> = layers.collect::<Result<_>>()?;
        let mut scratch = 0;
        for layer in &layers {
            scratch = layer.scratch_bytes(BATCH)?.max(scratch);
        }
        let outputs = layers.iter().map(|layer| Array2::zeros((BATCH, layer.out_features()))).collect();
        Ok(Runner { layers, outputs, scratch: vec![0; scratch] })
    }

    /// The logits of at most [`BATCH`] images.
    pub fn forward(&mut self, images: ArrayView2<'_, f32>) -> Result<ArrayView2<'_, f32>> {
        let rows = images.nrows();
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, after) = self.outputs.split_at_mut(index);
            let input = before.last().map_or(images, |input| input.slice(s![..rows, ..]));
            let mut output = after[0].slice_mut(s![..rows, ..]);
            layer.forward_with(input, output.view_mut(), &mut self.scratch)?;
            if index + 1 < self.layers.len() {
                output.mapv_inplace(|value| value.max(0.0));
            }
        }
        Ok(self.outputs[self.layers.len() - 1].slice(s![..rows, ..]))
    }

    /// How many of the images it recognizes.
    pub fn correct(&mut self, digits: &Digits) -> Result<usize> {
        let mut correct = 0;
        for (images, labels) in digits.batches(BATCH) {
            let logits = self.forward(images)?;
            correct += logits
                .outer_iter()
                .zip(labels)
                .filter(|(row, label)| {
                    // NaN is less than nothing: it never wins.
                    let wins = |best: usize, (class, &logit): (usize, &f32)| {
                        if logit > row[best] { class } else { best }
                    };
                    row.iter().enumerate().fold(0, wins) == **label
                })
                .count();
        }
        Ok(correct)
    }

    /// The bytes of the packed weights, with scales and places.
    pub fn weight_bytes(&self) -> usize {
        self.layers.iter().map(PackedLinear::weight_bytes).sum()
    }

    pub fn non_zeros(&self) -> usize {
        self.layers.iter().map(PackedLinear::non_zeros).sum()
    }

    /// How the weights are packed.
    pub fn format(&self) -> String {
        self.layers.first().map(|layer| layer.format().to_string()).unwrap_or_default()
    }
}

fn pack(layer: &Int8Layer, sparse: bool) -> Result<PackedLinear<'static>> {
    let weights = Weights::try_from(&layer.weight)?.masked(&layer.mask);
    let packed =
        PackedLinear::new(if sparse { weights.sparse() } else { weights })?.with_bias(&layer.bias)?;
    Ok(packed.with_input_params(&layer.input)?)
}
