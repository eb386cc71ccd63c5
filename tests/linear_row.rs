//! One row and weights that no cache keeps, which kernels read in another way: the same bytes as a layer of a part of them,
//! whose weights a cache does keep.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, ArrayView2, ShapeBuilder};
use support::every_isa;
use support::layers::{random, random_codes};
use tersor::Element;
use tersor::linear::{Format, PackedLinear, Weights};

/// No multiple of what a kernel takes at a time.
const INPUTS: usize = 1035;
const PART: usize = 300;
/// From here on weights count as read from memory.
const FAR: usize = 36 << 20;

/// `[outputs, INPUTS]` of few elements: output `n` begins with element `first + n`.
fn weights<T>(elements: &Array1<T>, first: usize, outputs: usize) -> ArrayView2<'_, T> {
    let shape = (outputs, INPUTS).strides((1, 1));
    ArrayView2::from_shape(shape, &elements.as_slice().unwrap()[first..]).unwrap()
}

/// `layer_of` makes a layer of the outputs from `first` on that have the second number as their count.
fn check<'a>(format: Format, bytes: usize, layer_of: impl Fn(usize, usize) -> PackedLinear<'a>) {
    // The last tile has one output alone.
    let outputs = (FAR / bytes / INPUTS).next_multiple_of(32) + 33;
    let layer = layer_of(0, outputs);
    assert_eq!(layer.format(), format);
    assert!(layer.as_bytes().len() > FAR);
    let x = random(1, INPUTS, 1);
    let forward = |layer: &PackedLinear<'_>| {
        let mut y = Array2::from_elem((1, layer.out_features()), f32::NAN);
        layer.forward(x.view(), y.view_mut()).unwrap();
        y.iter().map(|y| y.to_bits()).collect::<Vec<u32>>()
    };
    let starts = [0, 4096, outputs - PART];
    let parts = starts.map(|start| layer_of(start, PART));
    for context in every_isa() {
        context.scope(|| {
            let whole = forward(&layer);
            for (start, part) in starts.into_iter().zip(&parts) {
                assert!(
                    whole[start..start + PART] == forward(part),
                    "{format:?}, {PART} outputs from {start} on, {context:?}"
                );
            }
        });
    }
}

/// Elements of which every output begins with another.
fn floats<T: Element>() -> Array1<T> {
    random(1, 64 << 10, 2).mapv(T::from_f32).into_flat()
}

#[test]
fn floats_from_memory_give_the_same_as_from_a_cache() {
    let elements = floats::<f32>();
    check(Format::F32, 4, |first, count| PackedLinear::new(weights(&elements, first, count)).unwrap());
}

/// Other processors read 16 bits as they do from a cache.
#[cfg(target_arch = "x86_64")]
#[test]
fn halves_from_memory_give_the_same_as_from_a_cache() {
    let (f16s, bf16s) = (floats::<tersor::f16>(), floats::<tersor::bf16>());
    check(Format::F16, 2, |first, count| PackedLinear::new(weights(&f16s, first, count)).unwrap());
    check(Format::Bf16, 2, |first, count| PackedLinear::new(weights(&bf16s, first, count)).unwrap());
    check(Format::Bf16Dot, 2, |first, count| {
        PackedLinear::new(Weights::from(weights(&bf16s, first, count)).bf16_dot()).unwrap()
    });
}

#[test]
fn codes_from_memory_give_the_same_as_from_a_cache() {
    let codes = random_codes(1, 64 << 10, 3).into_flat();
    check(Format::Int8, 1, |first, count| {
        let scales: Vec<f32> = (first..first + count).map(|n| 0.01 + n as f32 * 1e-6).collect();
        PackedLinear::new(Weights::int8(weights(&codes, first, count), &scales, &[])).unwrap()
    });
}
