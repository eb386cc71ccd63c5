//! Sizes of packed layers without their weights: for a caller who allocates first.

use super::layout::{Format, Header};
use crate::error::{Error, Result};

impl Format {
    /// How many bytes [`Weights::pack_into`](super::Weights::pack_into) writes for `outputs x inputs` weights of a dense
    /// format. `zero_points`: whether some zero point is not that of symmetric weights (int8 only).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a sparse format, whose size depends on the weights; [`Error::SizeOverflow`];
    /// [`Error::OutOfRange`] for more inputs than int32 sums allow.
    pub fn packed_bytes(self, outputs: usize, inputs: usize, zero_points: bool) -> Result<usize> {
        if self.is_sparse() {
            return Err(Error::Unsupported {
                what: format!("the size of a {self} layer without its weights"),
                instead: "ask Weights::packed_bytes".into(),
            });
        }
        crate::error::checked_product("weights", &[outputs, inputs])?;
        let zero_points = zero_points && self.is_integer();
        let header = Header {
            format: self,
            outputs,
            inputs,
            non_zeros: 0,
            stored: 0,
            height: 0,
            bias: false,
            zero_points,
            input: None,
        };
        Ok(header.sections()?.total)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weights;
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_size_without_weights_is_the_size_with_them() {
        for (n, k) in [(1, 1), (3, 5), (33, 64), (64, 129)] {
            let (floats, codes) = (Array2::<f32>::ones((n, k)), Array2::<i8>::ones((n, k)));
            let weights = Weights::from(floats.view());
            assert_eq!(Format::F32.packed_bytes(n, k, false), weights.packed_bytes());
            for zero_points in [&[][..], &[0], &[1]] {
                let weights = Weights::int8(codes.view(), &[1.0], zero_points);
                let affine = zero_points == [1];
                assert_eq!(Format::Int8.packed_bytes(n, k, affine), weights.packed_bytes());
            }
        }
        assert!(Format::F32.packed_bytes(usize::MAX, 2, false).is_err());
        assert!(Format::F32.packed_bytes(1 << 31, 1 << 31, false).is_err());
        assert!(Format::SparseF32.packed_bytes(1, 1, false).is_err());
    }
}
