//! The bit mask: which weights survive. Made by `prune`; obeyed by `optim`, `quant` and `linear`.
//!
//! [`Mask`] owns its bits and knows the shape it belongs to. [`BitSlice`] borrows bits, from a mask or from a C caller's
//! bytes, and does the work. How masks are made is left to `prune`.

mod apply;
mod bits;
mod serialize;

pub(crate) use apply::clear_condemned;
pub use bits::BitSlice;
pub use serialize::SavedMask;

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result, checked_product};
use crate::row_major::with_row_major_mut;
use ndarray::{ArrayBase, ArrayView, DataMut, Dimension};
use std::fmt;

/// A bit per weight: 1 survives, 0 is condemned.
///
/// Bit `i` belongs to the weight with row-major index `i`, and is bit `i % 8` (from the least significant) of byte
/// `i / 8`. Bits past the last weight are 0.
///
/// ```
/// use tersor::Mask;
/// use ndarray::array;
///
/// let mask = Mask::from_bools(array![[true, false, true], [false, false, true]].view())?;
/// assert_eq!((mask.len(), mask.count()), (6, 3));
/// assert_eq!(mask.survivors().collect::<Vec<_>>(), [0, 2, 5]);
///
/// let mut weights = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, f32::NAN]];
/// mask.not().apply(&mut weights)?; // what is condemned becomes +0, whatever it was
/// assert_eq!(weights, array![[0.0, 2.0, 0.0], [4.0, 5.0, 0.0]]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    shape: Vec<usize>,
    len: usize,
    words: Vec<u64>,
}

impl Mask {
    /// Every weight of `shape` survives.
    ///
    /// # Errors
    /// [`Error::SizeOverflow`] when the shape's product does not fit, or memory does not hold a bit for each weight.
    pub fn ones(shape: &[usize]) -> Result<Self> {
        Mask::from_words(shape, u64::MAX)
    }

    /// Every weight of `shape` is condemned.
    ///
    /// # Errors
    /// As [`Mask::ones`].
    pub fn zeros(shape: &[usize]) -> Result<Self> {
        Mask::from_words(shape, 0)
    }

    /// The weight with row-major index `i` survives where `survives(i)`.
    ///
    /// # Errors
    /// As [`Mask::ones`].
    pub fn from_fn(shape: &[usize], mut survives: impl FnMut(usize) -> bool) -> Result<Self> {
        let mut mask = Mask::zeros(shape)?;
        let len = mask.len;
        for (index, word) in mask.words.iter_mut().enumerate() {
            let start = index * 64;
            for bit in 0..64.min(len - start) {
                *word |= u64::from(survives(start + bit)) << bit;
            }
        }
        Ok(mask)
    }

    /// A mask from one boolean per weight.
    ///
    /// # Errors
    /// As [`Mask::ones`].
    pub fn from_bools<D: Dimension>(survives: ArrayView<'_, bool, D>) -> Result<Self> {
        let mut elements = survives.iter();
        Mask::from_fn(survives.shape(), |_| elements.next().copied().unwrap_or(false))
    }

    /// A mask from bits as [`Mask`] lays them out. `bytes` holds exactly one bit per weight, rounded up to bytes; bits
    /// past the last weight are ignored.
    ///
    /// # Errors
    /// [`Error::Length`] when `bytes` has another length, and as [`Mask::ones`].
    pub fn from_bits(shape: &[usize], bytes: &[u8]) -> Result<Self> {
        let needed = checked_product("shape", shape)?.div_ceil(8);
        if bytes.len() != needed {
            return Err(Error::length(
                "bytes",
                bytes.len(),
                format!("{needed}, a bit for each weight of the shape {shape:?}"),
            ));
        }
        let mut mask = Mask::zeros(shape)?;
        bytemuck::cast_slice_mut::<u64, u8>(&mut mask.words)[..needed].copy_from_slice(bytes);
        mask.clear_tail();
        Ok(mask)
    }

    /// The shape of the weights.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many weights there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many weights survive.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The fraction of weights that are condemned; 0 for a mask without weights.
    pub fn sparsity(&self) -> f64 {
        if self.len == 0 { 0.0 } else { (self.len - self.count()) as f64 / self.len as f64 }
    }

    /// Whether the weight with row-major index `index` survives; `None` past the last weight.
    pub fn get(&self, index: usize) -> Option<bool> {
        self.bits().get(index)
    }

    /// Decides for the weight with row-major index `index`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] past the last weight.
    pub fn set(&mut self, index: usize, survives: bool) -> Result<()> {
        if index >= self.len {
            return Err(Error::out_of_range(
                "index",
                index,
                format!("below {}, the number of weights", self.len),
            ));
        }
        let word = &mut self.words[index / 64];
        *word = *word & !(1 << (index % 64)) | u64::from(survives) << (index % 64);
        Ok(())
    }

    /// The bits, in row-major order.
    pub fn bits(&self) -> BitSlice<'_> {
        BitSlice::over(self.as_bytes(), 0, self.len)
    }

    /// The bytes that hold the bits: one bit per weight, rounded up.
    pub fn as_bytes(&self) -> &[u8] {
        &bytemuck::cast_slice::<u64, u8>(&self.words)[..self.len.div_ceil(8)]
    }

    /// The bits of each row: each index of the first axis, with all other axes flattened. A scalar has one row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = BitSlice<'_>> {
        let rows = self.shape.first().copied().unwrap_or(1);
        let cols = self.len.checked_div(rows).unwrap_or(0);
        (0..rows).map(move |row| BitSlice::over(self.as_bytes(), row * cols, cols))
    }

    /// The row-major indices of the weights that survive, ascending.
    pub fn survivors(&self) -> impl Iterator<Item = usize> {
        self.bits().survivors()
    }

    /// What survives in both.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ.
    pub fn and(&self, other: &Mask) -> Result<Mask> {
        self.combine(other, |a, b| a & b)
    }

    /// What survives in either.
    ///
    /// # Errors
    /// As [`Mask::and`].
    pub fn or(&self, other: &Mask) -> Result<Mask> {
        self.combine(other, |a, b| a | b)
    }

    /// The complement.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // beside `and` and `or`, which can fail and so are no operators either
    pub fn not(&self) -> Mask {
        let mut mask = self.clone();
        mask.words.iter_mut().for_each(|word| *word = !*word);
        mask.clear_tail();
        mask
    }

    /// Sets every condemned element of `array` (weights, or their gradients) to +0, whatever it was: also NaN and
    /// infinity. Survivors keep their bits.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ.
    pub fn apply<E, S, D>(&self, array: &mut ArrayBase<S, D>) -> Result<()>
    where
        E: Element,
        S: DataMut<Elem = E>,
        D: Dimension,
    {
        if array.shape() != self.shape {
            return Err(Error::shape("array", array.shape(), format!("the mask's {:?}", self.shape)));
        }
        let context = Context::current()?;
        with_row_major_mut(array, |slice| {
            self.bits().apply_in(&context, slice);
            Ok(())
        })
    }

    /// The bits as words, for code that makes whole words at a time. Bits past the last weight must stay 0.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    fn from_words(shape: &[usize], word: u64) -> Result<Self> {
        let len = checked_product("shape", shape)?;
        let count = len.div_ceil(64);
        let mut words = Vec::new();
        // Asked for, not taken: to a caller, an allocation that fails would be an abort.
        words
            .try_reserve_exact(count)
            .map_err(|_| Error::SizeOverflow { argument: "shape".into(), sizes: shape.to_vec() })?;
        words.resize(count, word);
        let mut mask = Mask { shape: shape.to_vec(), len, words };
        mask.clear_tail();
        Ok(mask)
    }

    fn clear_tail(&mut self) {
        if let (Some(last), tail @ 1..) = (self.words.last_mut(), self.len % 64) {
            *last &= (1 << tail) - 1;
        }
    }

    fn combine(&self, other: &Mask, operation: impl Fn(u64, u64) -> u64) -> Result<Mask> {
        if self.shape != other.shape {
            return Err(Error::shape("other", &other.shape, format!("the mask's {:?}", self.shape)));
        }
        let words = self.words.iter().zip(&other.words).map(|(&a, &b)| operation(a, b)).collect();
        Ok(Mask { shape: self.shape.clone(), len: self.len, words })
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({:?}, {} of {} survive)", self.shape, self.count(), self.len)
    }
}
