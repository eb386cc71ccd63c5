//! What of the weights is packed: all, what a mask keeps, and in which blocks.

#![allow(clippy::unwrap_used)]

mod support;

use support::layers::{random, random_codes, thin, thin_in_blocks, thin_in_groups};
use tersor::linear::{Format, PackedLinear, Weights};
use tersor::{Error, Mask};

/// Zeros that come in the blocks of the format are stored as blocks, and others are not; both say so.
#[test]
fn blocks_are_found_where_they_are() {
    let w = random(100, 90, 1);
    let codes = random_codes(100, 90, 2).map(|&w| w | 1);
    let block = |layer: tersor::Result<PackedLinear<'_>>| layer.unwrap().block();
    assert_eq!(block(PackedLinear::new(w.view())), None);
    assert_eq!(Format::F32.block(), None);
    assert_eq!(Format::SparseF32.block(), Some((16, 1)));
    assert_eq!(Format::SparseInt8.block(), Some((16, 4)));
    assert_eq!(block(PackedLinear::new(Weights::from(thin(&w, 3).view()).sparse())), Some((1, 1)));
    let high = thin_in_blocks(&w, 1, 3);
    assert_eq!(block(PackedLinear::new(Weights::from(high.view()).sparse())), Some((16, 1)));
    let low = thin_in_groups(&codes, 3);
    assert_eq!(block(PackedLinear::new(Weights::int8(low.view(), &[1.0], &[]).sparse())), Some((1, 4)));
    let single = codes.map(|&w| if w % 5 == 0 { w } else { 0 });
    assert_eq!(block(PackedLinear::new(Weights::int8(single.view(), &[1.0], &[]).sparse())), Some((1, 1)));
    let high = thin_in_blocks(&codes, 4, 3);
    let layer = PackedLinear::new(Weights::int8(high.view(), &[1.0], &[]).sparse()).unwrap();
    assert_eq!(layer.block(), Some((16, 4)));
    // Nothing that is zero is stored, but for the padding of the last outputs.
    let survivors = high.iter().filter(|&&w| w != 0).count();
    assert_eq!(layer.non_zeros(), survivors);
    assert!(layer.weight_bytes() < survivors * 2 * 7 / 6, "{} bytes", layer.weight_bytes());
}

#[test]
fn a_mask_decides_what_is_packed() {
    let w = random(33, 20, 1);
    let mask = Mask::from_fn(&[33, 20], |i| i % 7 == 0).unwrap();
    let mut masked = w.clone();
    mask.apply(&mut masked).unwrap();
    let dense = PackedLinear::new(Weights::from(w.view()).masked(&mask)).unwrap();
    assert_eq!(dense.as_bytes(), PackedLinear::new(masked.view()).unwrap().as_bytes());
    let sparse = PackedLinear::new(Weights::from(w.view()).masked_bits(mask.bits()).sparse()).unwrap();
    assert_eq!(
        sparse.as_bytes(),
        PackedLinear::new(Weights::from(masked.view()).sparse()).unwrap().as_bytes()
    );
    assert_eq!((dense.non_zeros(), sparse.non_zeros()), (mask.count(), mask.count()));
    assert!(sparse.weight_bytes() < dense.weight_bytes() / 3);

    let codes = random_codes(33, 20, 2).map(|&w| w | 1);
    let sparse = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[]).masked(&mask).sparse()).unwrap();
    assert_eq!(sparse.non_zeros(), mask.count());
    // A condemned weight may be anything.
    let mut w = w;
    w[[0, 1]] = f32::NAN;
    PackedLinear::new(Weights::from(w.view()).masked(&mask)).unwrap();
    let error = PackedLinear::new(w.view()).unwrap_err();
    assert!(matches!(error, Error::NotFinite { index: 1, .. }), "{error}");
}

/// The sizes that a message names are those that the caller passed.
#[test]
fn a_layer_larger_than_memory_is_named_by_its_shape() {
    let outputs = isize::MAX as usize;
    let error = Format::F32.packed_bytes(outputs, 1, false).unwrap_err();
    assert_eq!(error.to_string(), format!("weights: [{outputs}, 1] overflows the size of memory"));
}
