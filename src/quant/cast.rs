//! Casts between element types over whole arrays: f32, f16, bf16.

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, Token};
use ndarray::{Array, ArrayView, ArrayViewMut, Dimension};

use super::elementwise::{CHUNK, for_each_run};

/// `values` in another element type, as a new array.
///
/// Widening is exact. Narrowing rounds to nearest, ties to even; subnormals are kept, overflow gives infinity, and a NaN
/// stays a NaN. Between f16 and bf16 there is only this one rounding.
///
/// ```
/// use ndarray::array;
/// use tersor::{f16, quant::cast};
///
/// let halves = cast::<f32, f16, _>(array![1.0_f32, 65519.0, 1e-8, f32::NAN].view())?;
/// assert_eq!(halves.mapv(f16::to_bits), array![0x3c00, 0x7bff, 0x0000, 0x7e00]);
/// # Ok::<(), tersor::Error>(())
/// ```
///
/// # Errors
/// Only what [`Context::current`] reports.
pub fn cast<A: Element, B: Element, D: Dimension>(values: ArrayView<'_, A, D>) -> Result<Array<B, D>> {
    let mut result = Array::default(values.raw_dim());
    cast_into(values, result.view_mut())?;
    Ok(result)
}

/// As [`cast`], into an array that exists. Allocates nothing if both arrays are contiguous or have contiguous rows.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ.
pub fn cast_into<A: Element, B: Element, D: Dimension>(
    values: ArrayView<'_, A, D>,
    result: ArrayViewMut<'_, B, D>,
) -> Result<()> {
    if values.shape() != result.shape() {
        return Err(Error::shape("result", result.shape(), format!("the values' {:?}", values.shape())));
    }
    let context = Context::current()?;
    let isa = context.isa();
    for_each_run(&context, values, result, |_, src, dst| isa.run(Cast { src, dst }));
    Ok(())
}

struct Cast<'a, A, B> {
    src: &'a [A],
    dst: &'a mut [B],
}

impl<A: Element, B: Element> Operation for Cast<'_, A, B> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let mut buffer = [0.0; CHUNK];
        for (src, dst) in self.src.chunks(CHUNK).zip(self.dst.chunks_mut(CHUNK)) {
            B::narrow(token, A::widened(token, src, &mut buffer), dst);
        }
    }
}
