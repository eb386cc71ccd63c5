//! The compressed network as a safetensors file.
//!
//! | tensor | type and shape | content |
//! |---|---|---|
//! | `layerN.mask` | U8 | which weights survive, and their shape: [`Mask::to_bytes`] |
//! | `layerN.codes` | I8 `[survivors]` | their codes, in row-major order |
//! | `layerN.scales` | F32 `[outputs]` | weight = code * scale |
//! | `layerN.bias` | F32 `[outputs]` | |
//! | `layerN.input_scale` | F32 `[1]` | how the layer's input becomes codes |
//! | `layerN.input_zero_point` | U8 `[1]` | |
//! | `held_out` | U32 `[2]` | how many images it recognized when it was written, and of how many |
//!
//! N counts from 1. The metadata say `format: tersor pipeline 1`.

use crate::Result;
use crate::data::{CLASSES, PIXELS};
use crate::int8::{Int8Layer, Int8Network};
use ndarray::{Array2, Axis};
use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, serialize};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use tersor::Mask;
use tersor::quant::{CodeType, Codes, Params, QuantizedArray};

const FORMAT: &str = "tersor pipeline 1";
/// No network of this program comes near; so a wrong file costs no more memory than this.
const LARGEST_FILE: u64 = 16 << 20;

/// A network, and what it did when it was written.
pub struct Saved {
    pub network: Int8Network,
    /// Of how many held-out images.
    pub images: usize,
    /// How many of them it recognized.
    pub correct: usize,
}

impl Saved {
    /// The same bytes for the same network.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Vec::new();
        for (index, layer) in self.network.layers.iter().enumerate() {
            let codes: Vec<u8> = match layer.weight.codes() {
                Codes::I8(codes) => codes.iter().map(|&code| code as u8).collect(),
                _ => return Err("only int8 codes can be written".into()),
            };
            let survivors = layer.mask.survivors().filter_map(|index| codes.get(index).copied()).collect();
            let floats =
                |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
            let Some(zero_point) = layer.input.zero_points().first() else {
                return Err("no zero point".into());
            };
            for (name, dtype, bytes) in [
                ("mask", Dtype::U8, layer.mask.to_bytes()),
                ("codes", Dtype::I8, survivors),
                ("scales", Dtype::F32, floats(layer.weight.params().scales())),
                ("bias", Dtype::F32, floats(&layer.bias)),
                ("input_scale", Dtype::F32, floats(layer.input.scales())),
                ("input_zero_point", Dtype::U8, vec![u8::try_from(*zero_point)?]),
            ] {
                tensors.push((format!("layer{}.{name}", index + 1), dtype, bytes));
            }
        }
        let held_out = [u32::try_from(self.correct)?, u32::try_from(self.images)?];
        tensors.push(("held_out".into(), Dtype::U32, held_out.map(u32::to_le_bytes).concat()));
        let views = tensors.iter().map(|(name, dtype, bytes)| {
            let len = bytes.len() / (dtype.bitsize() / 8);
            Ok((name, TensorView::new(*dtype, vec![len], bytes)?))
        });
        // One entry only: the order of several is not the same in every run.
        let metadata = HashMap::from([("format".to_owned(), FORMAT.to_owned())]);
        Ok(serialize(views.collect::<Result<Vec<_>>>()?, Some(metadata))?)
    }

    /// Reads a file that [`to_bytes`](Saved::to_bytes) has made, or says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(
                format!("this is more than {LARGEST_FILE} bytes, and no network of this program").into()
            );
        }
        Saved::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let format = metadata.metadata().as_ref().and_then(|metadata| metadata.get("format"));
        if format.is_none_or(|format| format != FORMAT) {
            return Err(format!("the format is {format:?}, but only {FORMAT:?} can be read").into());
        }
        let tensors = SafeTensors::deserialize(bytes)?;
        let mut layers = Vec::new();
        let mut width = PIXELS;
        while tensors.tensor(&format!("layer{}.mask", layers.len() + 1)).is_ok() {
            let layer = read_layer(&tensors, layers.len() + 1, width)?;
            width = layer.bias.len();
            layers.push(layer);
        }
        if layers.is_empty() || width != CLASSES {
            return Err(
                format!("the last of {} layers has {width} outputs, not {CLASSES}", layers.len()).into()
            );
        }
        let held_out = tensor(&tensors, "held_out", Dtype::U32)?;
        let ([correct, images], []) = held_out.as_chunks::<4>() else {
            return Err("held_out: two numbers are needed".into());
        };
        let count = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
        Ok(Saved { network: Int8Network { layers }, images: count(images), correct: count(correct) })
    }
}

/// Layer `number`, which must have `inputs` inputs. Its sizes are believed only as far as the bits of its mask go.
fn read_layer(tensors: &SafeTensors<'_>, number: usize, inputs: usize) -> Result<Int8Layer> {
    let get = |name: &str, dtype| tensor(tensors, &format!("layer{number}.{name}"), dtype);
    let floats = |name: &str| -> Result<Vec<f32>> {
        let (values, _) = get(name, Dtype::F32)?.as_chunks::<4>();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let wrong = |what: String| format!("layer{number}: {what}");

    let mask = Mask::from_bytes(get("mask", Dtype::U8)?)?;
    let &[outputs, found] = mask.shape() else {
        return Err(wrong(format!("the mask has {} axes, not 2", mask.shape().len())).into());
    };
    if found != inputs || outputs == 0 {
        return Err(wrong(format!("the shape is [{outputs}, {found}], but {inputs} inputs come in")).into());
    }
    let codes = get("codes", Dtype::I8)?;
    if codes.len() != mask.count() {
        return Err(wrong(format!("there are {} codes for {} survivors", codes.len(), mask.count())).into());
    }
    let mut weight = vec![0_i8; mask.len()];
    for (place, &code) in mask.survivors().zip(codes) {
        weight[place] = code as i8;
    }
    let scales = floats("scales")?;
    let params = Params::new(CodeType::I8, scales, vec![0; outputs], Some(Axis(0)))?;
    let weight = QuantizedArray::new(Codes::I8(Array2::from_shape_vec((outputs, inputs), weight)?), params)?;
    let bias = floats("bias")?;
    if bias.len() != outputs {
        return Err(wrong(format!("there are {} biases for {outputs} outputs", bias.len())).into());
    }
    let zero_points = get("input_zero_point", Dtype::U8)?.iter().map(|&code| i32::from(code)).collect();
    let input = Params::new(CodeType::U8, floats("input_scale")?, zero_points, None)?;
    Ok(Int8Layer { weight, mask, bias, input })
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8]> {
    let tensor = tensors.tensor(name)?;
    if tensor.dtype() != dtype {
        return Err(format!("{name}: the type is {:?}, not {dtype:?}", tensor.dtype()).into());
    }
    Ok(tensor.data())
}
