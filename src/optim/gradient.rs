//! Gradients of any storage type, as the step reads them: whether all are finite, and their norm, in one pass.

use super::rule::BLOCK;
use crate::context::Context;
use crate::element::{DType, Element, private::Sealed as _, private::WidenToken};
use crate::kernels::{Operation, PIECE, Token, reduce_pieces};
use crate::mask::{BitSlice, clear_condemned};
use half::{bf16, f16};
use ndarray::{ArrayBase, Data, Dimension};
use std::ops::Range;

/// The gradient of one tensor: borrowed, row-major, f32, f16 or bf16.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    elements: Elements<'a>,
    shape: Option<&'a [usize]>,
}

#[derive(Clone, Copy, Debug)]
enum Elements<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Gradient<'a> {
    /// A gradient from its elements, row-major.
    pub fn new<E: Element>(elements: &'a [E]) -> Self {
        let elements = match E::DTYPE {
            DType::F32 => Elements::F32(bytemuck::cast_slice(elements)),
            DType::F16 => Elements::F16(bytemuck::cast_slice(elements)),
            DType::Bf16 => Elements::Bf16(bytemuck::cast_slice(elements)),
        };
        Gradient { elements, shape: None }
    }

    /// The same, with a shape that the step compares with that of the parameter.
    #[must_use]
    pub fn with_shape(mut self, shape: &'a [usize]) -> Self {
        self.shape = Some(shape);
        self
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self.elements {
            Elements::F32(elements) => elements.len(),
            Elements::F16(elements) => elements.len(),
            Elements::Bf16(elements) => elements.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape, where one is known.
    pub fn shape(&self) -> Option<&'a [usize]> {
        self.shape
    }

    /// Copies the elements `start..start + dst.len()`, widened.
    #[inline(always)]
    pub(super) fn load<T: WidenToken>(&self, token: T, start: usize, dst: &mut [f32]) {
        let range = start..start + dst.len();
        match self.elements {
            Elements::F32(elements) => dst.copy_from_slice(&elements[range]),
            Elements::F16(elements) => _ = f16::widened(token, &elements[range], dst),
            Elements::Bf16(elements) => _ = bf16::widened(token, &elements[range], dst),
        }
    }

    fn get(&self, index: usize) -> f32 {
        match self.elements {
            Elements::F32(elements) => elements[index],
            Elements::F16(elements) => elements[index].to_f32(),
            Elements::Bf16(elements) => elements[index].to_f32(),
        }
    }

    /// The sum of the squares of the surviving elements, which is finite exactly when all of them are.
    ///
    /// f64 holds the square of every f32 without overflow or underflow, and the sum of as many as memory can hold. The
    /// blocking is fixed: the same bits on every instruction set and at every thread count.
    pub(super) fn sum_of_squares(&self, context: &Context, mask: Option<BitSlice<'_>>) -> f64 {
        let sum = |range: Range<usize>| context.isa().run(SumOfSquares { gradient: *self, mask, range });
        reduce_pieces(context, self.len(), PIECE, 0.0, sum, |a, b| a + b)
    }

    /// The first surviving element that is not finite, its value, and how many there are.
    pub(super) fn not_finite(&self, mask: Option<BitSlice<'_>>) -> Option<(usize, f32, usize)> {
        let survives = |index: usize| mask.is_none_or(|mask| mask.get(index) == Some(true));
        let mut places = (0..self.len()).filter(|&i| !self.get(i).is_finite() && survives(i));
        let first = places.next()?;
        Some((first, self.get(first), 1 + places.count()))
    }
}

struct SumOfSquares<'a> {
    gradient: Gradient<'a>,
    mask: Option<BitSlice<'a>>,
    range: Range<usize>,
}

/// How many partial sums run beside each other.
const LANES: usize = 16;

impl Operation for SumOfSquares<'_> {
    type Output = f64;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) -> f64 {
        let mask = self.mask.map(|mask| mask.slice(self.range.start, self.range.end));
        let mut sums = [0.0_f64; LANES];
        for (index, start) in self.range.clone().step_by(BLOCK).enumerate() {
            let mut block = [0.0_f32; BLOCK];
            let len = BLOCK.min(self.range.end - start);
            self.gradient.load(token, start, &mut block[..len]);
            if let Some(mask) = mask {
                clear_condemned(token, mask.word(index), &mut block);
            }
            for lanes in block.as_chunks::<LANES>().0 {
                for (sum, &gradient) in sums.iter_mut().zip(lanes) {
                    *sum += f64::from(gradient) * f64::from(gradient);
                }
            }
        }
        sums.iter().sum()
    }
}

/// What a caller may pass as a gradient: slices, vectors and ndarray's arrays of f32, f16 or bf16, and [`Gradient`].
pub trait AsGradient {
    /// The gradient; `None` when the elements do not lie in row-major order without gaps.
    fn as_gradient(&self) -> Option<Gradient<'_>>;
}

impl AsGradient for Gradient<'_> {
    fn as_gradient(&self) -> Option<Gradient<'_>> {
        Some(*self)
    }
}

impl<E: Element> AsGradient for &[E] {
    fn as_gradient(&self) -> Option<Gradient<'_>> {
        Some(Gradient::new(self))
    }
}

impl<E: Element> AsGradient for Vec<E> {
    fn as_gradient(&self) -> Option<Gradient<'_>> {
        Some(Gradient::new(self))
    }
}

impl<E: Element, S: Data<Elem = E>, D: Dimension> AsGradient for ArrayBase<S, D> {
    fn as_gradient(&self) -> Option<Gradient<'_>> {
        Some(Gradient::new(self.as_slice()?).with_shape(self.shape()))
    }
}
