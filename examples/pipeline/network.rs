//! A multilayer perceptron with ReLU, and its backpropagation by hand.
//!
//! Weights, biases, activations and gradients are stored as `E`; products are summed in f32 and rounded to `E` once. With
//! `E = f16` a gradient that has been scaled too far really overflows.

use crate::int8::FakeQuantization;
use crate::random::Random;
use crate::train::Trainer;
use crate::{Result, data};
use ndarray::{Array1, Array2, ArrayD, ArrayView1, ArrayView2, Axis, Ix1, Ix2, Zip};
use std::marker::PhantomData;
use tersor::linear::matmul;
use tersor::optim::Parameter;
use tersor::quant::cast;
use tersor::{Element, Mask};

/// How wide the network is: 64-512-512-10.
pub const WIDTHS: [usize; 4] = [data::PIXELS, 512, 512, data::CLASSES];

/// Fully connected layers with a ReLU between each two, stored as `E`, and what training adds to each tensor.
#[derive(Clone)]
pub struct Network<E> {
    /// Weight `[outputs, inputs]` and bias `[outputs]` of each layer in turn.
    pub parameters: Vec<Parameter>,
    stored_as: PhantomData<E>,
}

/// A layer as it is stored: `y = x weight^T + bias`.
pub struct Layer<'a, E> {
    pub weight: ArrayView2<'a, E>,
    pub bias: ArrayView1<'a, E>,
    pub mask: Option<&'a Mask>,
}

/// What the way forward leaves for the way back.
pub struct Tape<E> {
    /// The input of each layer, `[batch, inputs]`, and what its product saw.
    steps: Vec<(Array2<E>, Operands)>,
    /// `[batch, classes]`
    pub logits: Array2<E>,
}

/// What a product saw: input and weight, widened, and fake-quantized where that was asked for.
struct Operands {
    input: Array2<f32>,
    weight: Array2<f32>,
}

impl<E: Element> Network<E> {
    /// Weights from He et al. (2015), uniform; biases of zero.
    pub fn random(trainer: &Trainer, random: &mut Random) -> Result<Self> {
        let mut parameters = Vec::new();
        for (index, widths) in WIDTHS.windows(2).enumerate() {
            let limit = (6.0 / widths[0] as f32).sqrt();
            let weight = Array2::from_shape_simple_fn((widths[1], widths[0]), || random.uniform(limit));
            let bias = Array1::<f32>::zeros(widths[1]);
            let name = format!("layer{}", index + 1);
            parameters.push(trainer.parameter(&format!("{name}.weight"), weight.view(), E::DTYPE)?);
            parameters.push(trainer.parameter(&format!("{name}.bias"), bias.view(), E::DTYPE)?);
        }
        Ok(Network { parameters, stored_as: PhantomData })
    }

    /// The layers as they are stored.
    pub fn layers(&self) -> Result<Vec<Layer<'_, E>>> {
        let mut layers = Vec::new();
        for [weight, bias] in self.parameters.as_chunks::<2>().0 {
            layers.push(Layer {
                weight: weight.weights::<E>()?.into_dimensionality::<Ix2>()?,
                bias: bias.weights::<E>()?.into_dimensionality::<Ix1>()?,
                mask: weight.mask(),
            });
        }
        Ok(layers)
    }

    /// Runs `images`, with numbers as coarse as int8 makes them where `fake` is given.
    pub fn forward(&self, images: ArrayView2<'_, f32>, fake: Option<&FakeQuantization>) -> Result<Tape<E>> {
        let layers = self.layers()?;
        let mut activation = cast(images)?;
        let mut steps = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let mut operands = Operands { input: cast(activation.view())?, weight: cast(layer.weight)? };
            if let Some(fake) = fake {
                operands.input = fake.input(index, operands.input.view())?;
                operands.weight = fake.weight(operands.weight.view())?;
            }
            let mut output = product(operands.input.view(), operands.weight.t())?;
            output += &cast::<E, f32, _>(layer.bias)?;
            if index + 1 < layers.len() {
                output.mapv_inplace(|value| value.max(0.0));
            }
            steps.push((std::mem::replace(&mut activation, cast(output.view())?), operands));
        }
        Ok(Tape { steps, logits: activation })
    }
}

impl<E: Element> Tape<E> {
    /// The input of each layer, `[batch, inputs]`.
    pub fn inputs(&self) -> impl Iterator<Item = &Array2<E>> {
        self.steps.iter().map(|(input, _)| input)
    }

    /// The gradients of `loss_scale` times the mean cross-entropy of the softmax, in the order of the parameters.
    pub fn backward(
        &self,
        labels: &[usize],
        loss_scale: f32,
        fake: Option<&FakeQuantization>,
    ) -> Result<Vec<ArrayD<E>>> {
        let mut delta: Array2<E> =
            cast(logit_gradients(cast(self.logits.view())?, labels, loss_scale).view())?;
        let mut gradients = Vec::new();
        for (index, (input, operands)) in self.steps.iter().enumerate().rev() {
            let wide = cast(delta.view())?;
            gradients.push(cast(wide.sum_axis(Axis(0)).into_dyn().view())?);
            gradients.push(cast(product(wide.t(), operands.input.view())?.into_dyn().view())?);
            if index > 0 {
                let mut upstream = product(wide.view(), operands.weight.view())?;
                if let Some(fake) = fake {
                    upstream = fake.input_gradient(index, input.view(), upstream.view())?;
                }
                // The ReLU: where it was shut, nothing passes, not even an infinity.
                Zip::from(&mut upstream).and(input).for_each(|gradient, &active| {
                    *gradient = if active > E::zero() { *gradient } else { 0.0 };
                });
                delta = cast(upstream.view())?;
            }
        }
        gradients.reverse();
        Ok(gradients)
    }

    /// The mean cross-entropy of the softmax.
    pub fn loss(&self, labels: &[usize]) -> Result<f32> {
        let mut probabilities = cast(self.logits.view())?;
        softmax(&mut probabilities);
        let likelihoods = probabilities.outer_iter().zip(labels).map(|(row, &label)| row[label]);
        Ok(-likelihoods.map(|likelihood| likelihood.max(f32::MIN_POSITIVE).ln()).sum::<f32>()
            / labels.len() as f32)
    }
}

/// `loss_scale * (softmax - target) / batch`
fn logit_gradients(mut logits: Array2<f32>, labels: &[usize], loss_scale: f32) -> Array2<f32> {
    softmax(&mut logits);
    for (mut row, &label) in logits.outer_iter_mut().zip(labels) {
        row[label] -= 1.0;
    }
    logits * (loss_scale / labels.len() as f32)
}

fn softmax(logits: &mut Array2<f32>) {
    for mut row in logits.outer_iter_mut() {
        let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
        row.mapv_inplace(|logit| (logit - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
}

fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let mut c = Array2::zeros((a.nrows(), b.ncols()));
    matmul(a, b, c.view_mut())?;
    Ok(c)
}
