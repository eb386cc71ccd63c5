//! Packing for the dot product of bf16: weights are rounded once, and two inputs of an output stand side by side.

use super::in_place::check_finite;
use super::layout::{Format, Header, Sections, TILE};
use super::pack::{Counts, set};
use super::weights::{Values, Weights};
use crate::error::{Error, Result};
use half::bf16;

/// The smallest number that rounds to infinity in bf16: half a step beyond the largest bf16.
const BF16_INFINITE: f32 = f32::from_bits(0x7f7f_8000);

impl Weights<'_> {
    /// The format, if it can hold such weights.
    pub(super) fn pairs_format(&self) -> Result<Format> {
        let codes = matches!(self.values, Values::Int8 { .. } | Values::Int4(_));
        let what = match (codes, self.sparse) {
            (false, false) => return Ok(Format::Bf16Dot),
            (true, _) => "the dot product of bf16 with weights that are codes",
            (false, true) => "the dot product of bf16 in a sparse layer",
        };
        let instead = "pack f32, f16 or bf16 weights that are not sparse".into();
        Err(Error::Unsupported { what: what.into(), instead })
    }

    /// Refuses survivors that are not finite, or too large for bf16.
    pub(super) fn count_pairs(&self) -> Result<Counts> {
        let (outputs, inputs) = self.dim();
        let indices = || (0..outputs).flat_map(|n| (0..inputs).map(move |k| (n, k)));
        check_finite("weights", indices().map(|(n, k)| self.number(n, k)))?;
        if let Some((index, (n, k))) =
            indices().enumerate().find(|&(_, (n, k))| !self.brain(n, k).is_finite())
        {
            let argument = format!("element {index} (row-major) of weights");
            let limit = format!("below {BF16_INFINITE:e} in magnitude, from which on bf16 is infinite");
            return Err(Error::out_of_range(argument, format!("{:e}", self.number(n, k)), limit));
        }
        Ok(self.count(1, |n, k| self.brain(n, k).to_f32() != 0.0))
    }

    pub(super) fn write_pairs(&self, header: &Header, sections: &Sections, packed: &mut [u8]) {
        for n in 0..header.outputs {
            for k in 0..header.inputs {
                let pair = (n / TILE * header.places() + k / 2) * TILE + n % TILE;
                set(packed, &sections.values, 2 * pair + k % 2, self.brain(n, k).to_le_bytes());
            }
        }
    }

    /// A weight as bf16; 0 if it does not survive.
    fn brain(&self, n: usize, k: usize) -> bf16 {
        bf16::from_f32(self.number(n, k))
    }

    /// A weight as it was passed; 0 if it does not survive.
    fn number(&self, n: usize, k: usize) -> f32 {
        match &self.values {
            Values::F32(view) => self.float(view, n, k),
            Values::F16(view) => self.float(view, n, k).to_f32(),
            Values::Bf16(view) => self.float(view, n, k).to_f32(),
            Values::Int8 { .. } | Values::Int4(_) => 0.0,
        }
    }
}
