//! Quantization: scheme x range -> parameters -> codes.
//!
//! A [`Scheme`] says what kind of codes are wanted (type, symmetry, granularity, and by whose rules). A [`Range`] says
//! how an [`Observer`]'s statistics become the limits of what is represented. Together they give [`Params`] (scales and
//! zero points), and those turn values into codes and back: [`QuantizedArray`]. [`FakeQuantize`] is the same rounding
//! with a gradient, for training. [`GroupedInt4`] is int4 weights with a scale for each
//! group of inputs. [`cast`] is the 16-bit road, which needs no parameters. [`Distortion`] says what a
//! choice cost. How codes are multiplied is left to `linear`; which weights are zero to `prune` (zero always has an exact
//! code, so a pruned weight stays exactly zero through everything here).
//!
//! ```
//! use ndarray::{Axis, array};
//! use tersor::quant::Scheme;
//!
//! let weights = array![[1.27_f32, 0.0, -0.64], [0.02, 0.254, 0.0]];
//! let q = Scheme::int8().symmetric().per_channel(Axis(0)).quantize(weights.view())?;
//! assert_eq!(q.codes().as_i8().unwrap(), array![[127, 0, -64], [10, 127, 0]]);
//! assert_eq!(q.params().scales(), [0.01, 0.002]);
//! assert_eq!(q.dequantize()?[[1, 2]], 0.0);
//! # Ok::<(), tersor::Error>(())
//! ```
#![forbid(unsafe_code)]

mod cast;
mod channels;
mod code;
mod compat;
mod distortion;
mod elementwise;
mod exact_sum;
mod extrema;
mod fake;
mod grouped;
mod histogram;
mod observer;
mod params;
mod quantized;
#[cfg(feature = "linear")]
mod quotient;
mod range;
mod rounding;
mod saved;
mod scheme;

pub use cast::{cast, cast_into};
pub use code::{Code, CodeType};
pub use compat::Compat;
pub use distortion::Distortion;
pub use extrema::Interval;
pub use fake::{FakeQuantize, FakeQuantizeView};
pub use grouped::GroupedInt4;
pub use histogram::Histogram;
pub use observer::{MeanRange, MinMax, MovingAverage, Observer};
pub use params::{Params, ParamsView};
pub use quantized::{Codes, QuantizedArray};
pub use range::Range;
pub use rounding::Arithmetic;
pub use scheme::Scheme;
#[cfg(feature = "linear")]
pub(crate) use {extrema::Extrema, quotient::Divisor};
