//! Layers of codes where a matrix unit takes blocks of rows, if the machine has one: every way in which rows and inputs can
//! fall short of its blocks, and depths at which it takes inputs in parts.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::guard::Guarded;
use support::layers::{random, random_codes};
use support::{every_isa, scalar};
use tersor::linear::{PackedLinear, Weights};
use tersor::{Parallel, ParallelFor};

/// One tile and one output of another.
const OUTPUTS: usize = 33;

/// `(x - 3 m) (w - zero)^T` in i64, of uint8 codes `x` and weights.
fn reference(x: &Array2<u8>, w: &Array2<i8>, zero: i32) -> Array2<i32> {
    let x = Array2::from_shape_fn(x.dim(), |(m, k)| i64::from(x[[m, k]]) - i64::from(zero_of(m)));
    let w = w.mapv(|w| i64::from(w) - i64::from(zero));
    x.dot(&w.t()).mapv(|sum| i32::try_from(sum).unwrap())
}

fn zero_of(row: usize) -> i32 {
    (row * 3 % 256) as i32
}

fn check(rows: usize, inputs: usize) {
    // Rows of the largest codes among them.
    let x = random_codes(rows, inputs, 1).mapv(|x| if x > 100 { 255 } else { x as u8 });
    let w = random_codes(OUTPUTS, inputs, 2).mapv(|w| if w < -100 { -128 } else { w });
    let zeros: Vec<i32> = (0..rows).map(zero_of).collect();
    for zero in [0, -7] {
        let expected = reference(&x, &w, zero);
        let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[zero])).unwrap();
        let packed = Guarded::new(layer.as_bytes());
        let layer = PackedLinear::from_bytes(&packed).unwrap();
        let codes = Guarded::new(x.as_slice().unwrap());
        let codes = ArrayView2::from_shape((rows, inputs), &codes).unwrap();
        for context in every_isa() {
            let mut y = Guarded::new(&vec![i32::MIN; rows * OUTPUTS]);
            let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
            let view = ArrayViewMut2::from_shape((rows, OUTPUTS), &mut y).unwrap();
            context.scope(|| layer.forward_codes_with(codes, &zeros, view, &mut scratch)).unwrap();
            assert!(y.iter().eq(&expected), "{rows} rows, {inputs} inputs, {context:?}");
        }
    }
}

#[test]
fn any_rows_are_exact() {
    // From 513 on they are taken in pieces, the last of which has one row, two, or more than a block.
    for rows in (1..=50).chain([63, 64, 65, 95, 127, 128, 129, 150, 257, 512, 513, 514, 530, 1025]) {
        check(rows, 72);
    }
}

#[test]
fn any_inputs_are_exact() {
    for inputs in (1..=10).chain(55..=70).chain(120..=132) {
        for rows in [2, 16, 37] {
            check(rows, inputs);
        }
    }
}

#[test]
fn inputs_in_parts_are_exact() {
    // From 1,025 on they are taken in parts, the last of which is longer.
    for inputs in [1020, 1024, 1028, 1279, 1280, 1281, 1540, 2051] {
        for rows in [3, 16, 31, 32, 49, 130] {
            check(rows, inputs);
        }
    }
}

#[test]
fn the_largest_sums_of_many_rows_fit() {
    const INPUTS: usize = 65_793;
    let x = Array2::from_elem((18, INPUTS), 255_u8);
    for weight in [-128_i8, 127] {
        let w = Array2::from_elem((1, INPUTS), weight);
        let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[])).unwrap();
        for context in every_isa() {
            let mut y = Array2::zeros((18, 1));
            context.scope(|| layer.forward_codes(x.view(), &[], y.view_mut())).unwrap();
            assert!(y.iter().all(|&y| y == 255 * i32::from(weight) * INPUTS as i32), "{context:?}");
        }
    }
}

/// Scales belong to groups of inputs, whose products a matrix unit gives one after the other.
#[test]
fn int4_is_the_reference_to_the_bit() {
    for (inputs, group) in
        [(64_usize, 64), (130, 64), (320, 96), (200, 128), (1100, 256), (1100, 520), (700, 1024)]
    {
        let groups = inputs.div_ceil(group);
        let codes = random_codes(OUTPUTS, inputs, 3).mapv(|code| code as u8 & 15);
        let scales = Array2::from_shape_fn((OUTPUTS, groups), |(n, g)| 0.01 + (n * 7 + g * 3) as f32 * 1e-3);
        for zeros in [
            Array2::from_elem((OUTPUTS, groups), 8),
            Array2::from_shape_fn((OUTPUTS, groups), |(n, g)| ((n + g) % 16) as i32),
        ] {
            let weights = Weights::uint4(codes.view(), group, scales.view(), zeros.view());
            let layer = PackedLinear::new(weights).unwrap();
            for rows in [2, 15, 16, 17, 33, 49, 128, 130] {
                let x = random(rows, inputs, 4);
                let forward = || {
                    let mut y = Array2::from_elem((rows, OUTPUTS), f32::NAN);
                    layer.forward(x.view(), y.view_mut()).unwrap();
                    y.mapv(f32::to_bits)
                };
                let expected = scalar().scope(forward);
                for context in every_isa() {
                    assert!(
                        context.scope(forward) == expected,
                        "{rows} rows, {inputs} inputs by {group}, {context:?}"
                    );
                }
            }
        }
    }
}

/// Weights behind bits become a dense tile first, some inputs at a time.
#[test]
fn bitmaps_are_exact() {
    for (rows, inputs) in [(16, 72), (17, 72), (33, 1023), (49, 1024), (130, 1060), (150, 72), (33, 2200)] {
        let x = random_codes(rows, inputs, 5).mapv(|x| x as u8);
        // Two of four.
        let mut w = random_codes(OUTPUTS, inputs, 6);
        w.indexed_iter_mut().filter(|((n, k), _)| (n + k) % 4 < 2).for_each(|(_, w)| *w = 0);
        let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[]).sparse()).unwrap();
        let zeros: Vec<i32> = (0..rows).map(zero_of).collect();
        let expected = reference(&x, &w, 0);
        for context in every_isa() {
            let mut y = Array2::from_elem((rows, OUTPUTS), i32::MIN);
            context.scope(|| layer.forward_codes(x.view(), &zeros, y.view_mut())).unwrap();
            assert!(y == expected, "{rows} rows, {inputs} inputs, {context:?}, {layer:?}");
        }
    }
}

/// As a sparse layer with bitmaps and no inputs would be stored: none is ever packed.
fn bitmaps_without_inputs() -> PackedLinear<'static> {
    let layer =
        PackedLinear::new(Weights::int8(Array2::zeros((OUTPUTS, 0)).view(), &[1.0], &[]).sparse()).unwrap();
    let mut bytes = layer.as_bytes().to_vec();
    // The height of blocks; then fewer offsets, one for each tile.
    bytes[80] = 32;
    for cut in 0..3 {
        let len = layer.as_bytes().len() - 64 * cut;
        bytes.truncate(len);
        bytes[64..72].copy_from_slice(&(len as u64).to_le_bytes());
        let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        bytes[120..128].copy_from_slice(&sum.to_le_bytes());
        if let Ok(layer) = PackedLinear::from_bytes(&bytes) {
            return layer.into_owned();
        }
    }
    panic!("no such bytes are accepted");
}

#[test]
fn without_inputs_there_is_the_bias() {
    let none = Array2::zeros((OUTPUTS, 0));
    let uint4 = Array2::zeros((OUTPUTS, 0));
    let (scales, zeros) = (Array2::zeros((OUTPUTS, 0)), Array2::zeros((OUTPUTS, 0)));
    let bias: Vec<f32> = (0..OUTPUTS).map(|n| n as f32).collect();
    for layer in [
        PackedLinear::new(Weights::int8(none.view(), &[1.0], &[])).unwrap(),
        PackedLinear::new(Weights::int8(none.view(), &[1.0], &[]).sparse()).unwrap(),
        PackedLinear::new(Weights::uint4(uint4.view(), 4, scales.view(), zeros.view())).unwrap(),
        bitmaps_without_inputs(),
    ] {
        let layer = layer.with_bias(&bias).unwrap();
        for rows in [0, 1, 2, 17, 40, 130] {
            for context in every_isa() {
                let mut y = Array2::from_elem((rows, OUTPUTS), f32::NAN);
                context
                    .scope(|| layer.forward(Array2::<f32>::zeros((rows, 0)).view(), y.view_mut()))
                    .unwrap();
                assert!(
                    y.rows().into_iter().all(|y| y.iter().eq(&bias)),
                    "{rows} rows, {context:?}, {layer:?}"
                );
            }
        }
    }
}

/// A host of more threads than there are pieces, which counts what it is asked for.
#[derive(Default)]
struct Counted(AtomicUsize);

impl ParallelFor for Counted {
    fn threads(&self) -> usize {
        1000
    }

    fn parallel_for(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.fetch_max(count, Ordering::Relaxed);
        (0..count).for_each(task);
    }
}

/// Zero points that no weight was packed with, in bytes that are used all the same: what they give is the same everywhere, and for a row
/// in any company.
#[test]
fn zero_points_that_are_no_nibbles_count_as_they_are() {
    const SHAPE: (usize, usize) = (70, 256);
    let nibbles = random_codes(SHAPE.0, SHAPE.1, 7).mapv(|code| code as u8 & 15);
    let scales = Array2::from_elem((SHAPE.0, SHAPE.1 / 64), 0.01);
    let pack = |zero: i32| {
        let zeros = Array2::from_elem((SHAPE.0, SHAPE.1 / 64), zero);
        PackedLinear::new(Weights::uint4(nibbles.view(), 64, scales.view(), zeros.view())).unwrap()
    };
    let (three, five) = (pack(3), pack(5));
    // Where the bytes of two such layers are 3 and 5 are zero points; of the last tile, the others count for nothing.
    let places: Vec<usize> = (0..three.as_bytes().len())
        .filter(|&at| (three.as_bytes()[at], five.as_bytes()[at]) == (3, 5))
        .collect();
    assert!(places.len() >= SHAPE.0 * SHAPE.1 / 64);
    let x = random(20, SHAPE.1, 8);
    for zero in [128, 129, 200, 255] {
        let mut bytes = three.as_bytes().to_vec();
        bytes[places[5]] = zero;
        let layer = PackedLinear::from_bytes(&bytes).unwrap();
        let forward = |x: ArrayView2<'_, f32>| {
            let mut y = Array2::<f32>::zeros((x.nrows(), SHAPE.0));
            layer.forward(x, y.view_mut()).unwrap();
            y
        };
        let expected = scalar().scope(|| forward(x.view()));
        for context in every_isa() {
            context.scope(|| {
                assert_eq!(forward(x.view()), expected, "{zero} {context:?}");
                assert_eq!(
                    forward(x.slice(s![3..4, ..])),
                    expected.slice(s![3..4, ..]),
                    "{zero} {context:?}"
                );
            });
        }
    }
}

/// Few rows take as long as their weights do to arrive, so these are shared among threads as finely as without the unit.
#[test]
fn few_rows_leave_pieces_to_many_threads() {
    const SHAPE: (usize, usize) = (2048, 2048);
    let mut codes = random_codes(SHAPE.0, SHAPE.1, 7);
    let nibbles = codes.mapv(|code| code as u8 & 15);
    let int4 = |group: usize| {
        let scales = Array2::from_elem((SHAPE.0, SHAPE.1 / group), 0.01);
        let zeros = Array2::from_elem((SHAPE.0, SHAPE.1 / group), 8);
        PackedLinear::new(Weights::uint4(nibbles.view(), group, scales.view(), zeros.view())).unwrap()
    };
    let (fine, coarse) = (int4(32), int4(128));
    let dense = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[])).unwrap();
    codes.indexed_iter_mut().filter(|((n, k), _)| (n + k) % 4 < 2).for_each(|(_, w)| *w = 0);
    let bitmaps = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[]).sparse()).unwrap();
    for (layer, rows) in [(&dense, 2), (&coarse, 2), (&fine, 16), (&bitmaps, 2), (&bitmaps, 16)] {
        let x = random(rows, SHAPE.1, 8);
        let pieces = |context: tersor::Context| {
            let host = Arc::new(Counted::default());
            let context = context.with_parallel(Parallel::Host(host.clone()));
            let mut y = Array2::<f32>::zeros((rows, SHAPE.0));
            context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
            host.0.load(Ordering::Relaxed)
        };
        let expected = pieces(scalar());
        for context in every_isa() {
            assert!(pieces(context.clone()) >= expected, "{rows} rows, {context:?}, {layer:?}");
        }
    }
}
