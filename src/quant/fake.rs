//! Fake quantization: the rounding of quantization in floating point, with a gradient, for training.

use super::channels::Channels;
use super::elementwise::{CHUNK, Grids, for_each_run, for_each_run_of_two};
use super::params::{Params, ParamsView};
use super::rounding::{Arithmetic, Divide, Grid, Reciprocal, Rounder, Shifted, to_integer};
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, Token};
use ndarray::{ArrayView, ArrayViewMut, Dimension};

/// Rounds values to what their codes would mean, so that training sees what inference will compute.
///
/// Forward it is exactly the value of the code: `dequantize(quantize(x))`, bit for bit. Backward it is the
/// straight-through estimator (Bengio et al. 2013; Jacob et al. 2018): the gradient passes where the code was not
/// saturated, and is 0 elsewhere.
///
/// ```
/// use ndarray::{Array1, array};
/// use tersor::quant::{CodeType, FakeQuantize, Params};
///
/// let fake = FakeQuantize::new(Params::new(CodeType::I8, vec![0.5], vec![0], None)?);
/// let x = array![0.3_f32, -0.2, 100.0];
/// let mut y = Array1::zeros(3);
/// fake.forward(x.view(), y.view_mut())?;
/// assert_eq!(y, array![0.5, 0.0, 63.5]);
///
/// let mut dx = Array1::zeros(3);
/// fake.backward(x.view(), array![1.0_f32, 2.0, 3.0].view(), dx.view_mut())?;
/// assert_eq!(dx, array![1.0, 2.0, 0.0]); // 100 was saturated
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantize {
    params: Params,
}

impl FakeQuantize {
    /// Fake quantization with those parameters.
    pub fn new(params: Params) -> Self {
        FakeQuantize { params }
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// As [`FakeQuantizeView::forward`].
    pub fn forward<E: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, E, D>,
        y: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        FakeQuantizeView::new(self.params.view()).forward(x, y)
    }

    /// As [`FakeQuantizeView::backward`].
    pub fn backward<E: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, E, D>,
        dy: ArrayView<'_, E, D>,
        dx: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        FakeQuantizeView::new(self.params.view()).backward(x, dy, dx)
    }
}

/// [`FakeQuantize`] with parameters that somebody else owns. Does the work, and allocates nothing if all arrays are
/// contiguous or have contiguous rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantizeView<'a> {
    params: ParamsView<'a>,
}

impl<'a> FakeQuantizeView<'a> {
    /// Fake quantization with those parameters.
    pub fn new(params: ParamsView<'a>) -> Self {
        FakeQuantizeView { params }
    }

    /// Writes to `y` the value of the code of each `x`. A NaN becomes 0, an infinity the value of the last code.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ, or the parameters are per channel and the axis has another length.
    pub fn forward<E: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, E, D>,
        y: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        let params = self.params;
        let channels = params.check_pair("x", x.shape(), "y", y.shape())?;
        let context = Context::current()?;
        let isa = context.isa();
        match params.arithmetic() {
            Arithmetic::Divide => for_each_run(&context, x, y, |start, x, y| {
                isa.run(Forward { params, channels, start, x, y, rounder: Divide });
            }),
            Arithmetic::Reciprocal => for_each_run(&context, x, y, |start, x, y| {
                isa.run(Forward { params, channels, start, x, y, rounder: Reciprocal });
            }),
            Arithmetic::Shifted => for_each_run(&context, x, y, |start, x, y| {
                isa.run(Forward { params, channels, start, x, y, rounder: Shifted });
            }),
        }
        Ok(())
    }

    /// Writes to `dx` the gradient for `x`, given the gradient `dy` for `y`: `dy` where the code of `x` lies within the
    /// limits before it is saturated, else 0 (also where `x` is a NaN). With [`Arithmetic::Shifted`], where `x` itself
    /// lies between the values of the limits.
    ///
    /// # Errors
    /// As [`forward`](FakeQuantizeView::forward).
    pub fn backward<E: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, E, D>,
        dy: ArrayView<'_, E, D>,
        dx: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        let params = self.params;
        let channels = params.check_pair("x", x.shape(), "dy", dy.shape())?;
        if dx.shape() != x.shape() {
            return Err(Error::shape("dx", dx.shape(), format!("the x' {:?}", x.shape())));
        }
        let context = Context::current()?;
        let isa = context.isa();
        match params.arithmetic() {
            Arithmetic::Divide => for_each_run_of_two(&context, (x, dy), dx, |start, x, dy, dx| {
                isa.run(Backward { params, channels, start, x, dy, dx, rounder: Divide });
            }),
            Arithmetic::Reciprocal => for_each_run_of_two(&context, (x, dy), dx, |start, x, dy, dx| {
                isa.run(Backward { params, channels, start, x, dy, dx, rounder: Reciprocal });
            }),
            Arithmetic::Shifted => for_each_run_of_two(&context, (x, dy), dx, |start, x, dy, dx| {
                isa.run(Backward { params, channels, start, x, dy, dx, rounder: Shifted });
            }),
        }
        Ok(())
    }
}

struct Forward<'a, E, R> {
    params: ParamsView<'a>,
    channels: Channels,
    start: usize,
    x: &'a [E],
    y: &'a mut [E],
    rounder: R,
}

impl<E: Element, R: Rounder> Operation for Forward<'_, E, R> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let (mut wide, mut rounded) = ([0.0; CHUNK], [0.0; CHUNK]);
        let rounder = self.rounder;
        self.params.for_each_chunk(self.channels, self.start, self.x.len(), |range, grids| {
            let x = E::widened(token, &self.x[range.clone()], &mut wide);
            let y = &mut rounded[..range.len()];
            // Through the integer, as codes go: a difference from it could only be the sign of a zero.
            grids.map(x, y, |x, grid: Grid| to_integer(rounder.steps(x, grid)) as f32 * grid.scale);
            E::narrow(token, y, &mut self.y[range]);
        });
    }
}

struct Backward<'a, E, R> {
    params: ParamsView<'a>,
    channels: Channels,
    start: usize,
    x: &'a [E],
    dy: &'a [E],
    dx: &'a mut [E],
    rounder: R,
}

impl<E: Element, R: Rounder> Operation for Backward<'_, E, R> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let mut wide = [0.0; CHUNK];
        let mut passes = [false; CHUNK];
        let rounder = self.rounder;
        self.params.for_each_chunk(self.channels, self.start, self.x.len(), |range, grids: Grids<'_>| {
            let x = E::widened(token, &self.x[range.clone()], &mut wide);
            let passes = &mut passes[..range.len()];
            grids.map(x, passes, |x, grid| rounder.inside(x, grid));
            for ((&passes, &dy), dx) in passes.iter().zip(&self.dy[range.clone()]).zip(&mut self.dx[range]) {
                *dx = if passes { dy } else { E::default() };
            }
        });
    }
}
