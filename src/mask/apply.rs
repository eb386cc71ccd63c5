//! Setting condemned elements to zero.

use super::BitSlice;
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, PIECE, Token, for_each_piece};

impl BitSlice<'_> {
    /// Sets every element whose bit is 0 to +0, whatever it was; the others keep their bits.
    ///
    /// # Errors
    /// [`Error::Length`] when there are not exactly as many elements as bits.
    pub fn apply<E: Element>(&self, elements: &mut [E]) -> Result<()> {
        if elements.len() != self.len() {
            return Err(Error::length(
                "elements",
                elements.len(),
                format!("{}, one for each bit", self.len()),
            ));
        }
        self.apply_in(&Context::current()?, elements);
        Ok(())
    }

    pub(super) fn apply_in<E: Element>(&self, context: &Context, elements: &mut [E]) {
        for_each_piece(context, elements, PIECE, |start, elements: &mut [E]| {
            let bits = self.slice(start, start + elements.len());
            context.isa().run(Apply { bits, elements });
        });
    }
}

struct Apply<'a, E> {
    bits: BitSlice<'a>,
    elements: &'a mut [E],
}

impl<E: Element> Operation for Apply<'_, E> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        for (index, elements) in self.elements.chunks_mut(64).enumerate() {
            clear_condemned(token, self.bits.word(index), elements);
        }
    }
}

/// Sets `elements[i]` to +0 where bit `i` of `word` is 0. At most 64 elements.
#[inline(always)]
pub(crate) fn clear_condemned<E: Element, T: Token>(token: T, word: u64, elements: &mut [E]) {
    // As integers: +0 is all zeros.
    if size_of::<E>() == 4 {
        let elements = bytemuck::cast_slice_mut::<E, u32>(elements);
        match elements.as_mut_array::<64>() {
            Some(elements) => token.keep_u32(word, elements),
            None => clear_tail(word, elements),
        }
    } else {
        let elements = bytemuck::cast_slice_mut::<E, u16>(elements);
        match elements.as_mut_array::<64>() {
            Some(elements) => token.keep_u16(word, elements),
            None => clear_tail(word, elements),
        }
    }
}

#[inline(always)]
fn clear_tail<U: num_traits::PrimInt>(word: u64, elements: &mut [U]) {
    for (bit, element) in elements.iter_mut().enumerate() {
        *element = if word >> bit & 1 != 0 { *element } else { U::zero() };
    }
}
