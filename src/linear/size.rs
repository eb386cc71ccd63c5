//! Sizes of packed layers without their weights: for a caller who allocates first.

use super::layout::{Format, GROUP, Header};
use crate::error::{Error, Result};

impl Format {
    /// How many bytes [`Weights::pack_into`](super::Weights::pack_into) writes for `outputs x inputs` weights of a dense
    /// format but int4. `zero_points`: whether some zero point is not that of symmetric weights (int8 only).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a sparse format, whose size depends on the weights, and for int4, whose size depends on
    /// its groups, see [`int4_packed_bytes`](Format::int4_packed_bytes); [`Error::SizeOverflow`];
    /// [`Error::OutOfRange`] for more inputs than int32 sums allow.
    pub fn packed_bytes(self, outputs: usize, inputs: usize, zero_points: bool) -> Result<usize> {
        if self.is_sparse() {
            return Err(Error::Unsupported {
                what: format!("the size of a {self} layer without its weights"),
                instead: "ask Weights::packed_bytes".into(),
            });
        }
        if self == Format::Int4 {
            return Err(Error::Unsupported {
                what: "the size of an int4 layer without the size of its groups".into(),
                instead: "ask Format::int4_packed_bytes".into(),
            });
        }
        dense(self, outputs, inputs, 0, zero_points && self.is_integer())
    }

    /// How many bytes [`Weights::pack_into`](super::Weights::pack_into) writes for `outputs x inputs` int4 weights in groups of
    /// `group_size` inputs. `zero_points`: whether some zero point is not that of symmetric weights.
    ///
    /// # Errors
    /// [`Error::SizeOverflow`]; [`Error::OutOfRange`] for a size of groups that [`Weights::int4`](super::Weights::int4) does not
    /// take, and for more inputs than int32 sums allow.
    pub fn int4_packed_bytes(
        outputs: usize,
        inputs: usize,
        group_size: usize,
        zero_points: bool,
    ) -> Result<usize> {
        dense(Format::Int4, outputs, inputs, stored_group_size(group_size, inputs)?, zero_points)
    }
}

/// The size of groups as the header has it: a multiple of [`GROUP`], of which one that has all inputs is the least that does.
pub(super) fn stored_group_size(group_size: usize, inputs: usize) -> Result<usize> {
    if group_size < inputs.max(1) && (group_size == 0 || !group_size.is_multiple_of(GROUP)) {
        return Err(Error::out_of_range(
            "group_size",
            group_size,
            format!("a multiple of {GROUP} above 0, or at least the {inputs} inputs"),
        ));
    }
    let whole = inputs.checked_next_multiple_of(GROUP).unwrap_or(inputs).max(GROUP);
    Ok(if group_size < inputs { group_size } else { whole })
}

fn dense(
    format: Format,
    outputs: usize,
    inputs: usize,
    group_size: usize,
    zero_points: bool,
) -> Result<usize> {
    crate::error::checked_product("weights", &[outputs, inputs])?;
    let header = Header {
        format,
        outputs,
        inputs,
        non_zeros: 0,
        stored: 0,
        height: 0,
        runs: false,
        group_size,
        bias: false,
        zero_points,
        input: None,
        clamp: None,
        output: None,
    };
    Ok(header.sections()?.total)
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
        let groups =
            [(1, 1, 1), (3, 5, 4), (33, 64, 32), (64, 129, 128), (2, 0, 8), (5, 33, 99), (5, 33, usize::MAX)];
        let whole = (1..=9).flat_map(|k| (k..k + 6).map(move |size| (3, k, size)));
        for (n, k, group_size) in groups.into_iter().chain(whole) {
            let codes = Array2::<i8>::ones((n, k));
            let scales = Array2::ones((n, k.div_ceil(stored_group_size(group_size, k).unwrap())));
            for zero in [None, Some(0), Some(1)] {
                let zero_points = zero.map(|zero| scales.map(|_: &f32| zero));
                let weights = Weights::int4(
                    codes.view(),
                    group_size,
                    scales.view(),
                    zero_points.as_ref().map(|zero_points| zero_points.view()),
                );
                let affine = zero == Some(1) && k > 0;
                let packed = weights.packed_bytes().unwrap();
                assert_eq!(Format::int4_packed_bytes(n, k, group_size, affine), Ok(packed));
            }
        }
        assert!(Format::Int4.packed_bytes(8, 8, false).is_err());
        assert!(Format::int4_packed_bytes(8, 8, 6, false).is_err());
        assert!(Format::F32.packed_bytes(usize::MAX, 2, false).is_err());
        assert!(Format::F32.packed_bytes(1 << 31, 1 << 31, false).is_err());
        assert!(Format::SparseF32.packed_bytes(1, 1, false).is_err());
    }
}
