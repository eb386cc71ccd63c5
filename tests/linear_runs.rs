//! Sparse int8 layers pruned in blocks of 16 outputs and 64 inputs, which a matrix unit multiplies if the machine has one: every way in
//! which rows, inputs and outputs can fall short of its blocks, and bytes that are not what they say.

#![allow(clippy::unwrap_used)]

mod support;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use std::sync::Arc;
use support::guard::Guarded;
use support::layers::{random, random_codes};
use support::{HostThreads, every_isa, scalar};
use tersor::linear::{Format, Operand, PackedLinear, Weights};
use tersor::quant::{CodeType, Params};
use tersor::{Context, Error, Parallel, f16};

const WIDE: Option<(usize, usize)> = Some((16, 64));

/// One of four blocks of 16 x 64 is left.
fn codes(outputs: usize, inputs: usize, seed: u64) -> Array2<i8> {
    let mut codes = random_codes(outputs, inputs, seed);
    codes.indexed_iter_mut().filter(|((n, k), _)| (n / 16 + k / 64) % 4 != 0).for_each(|(_, w)| *w = 0);
    codes
}

fn packed(codes: &Array2<i8>) -> PackedLinear<'static> {
    let scales: Vec<f32> = (0..codes.nrows()).map(|n| 0.01 + n as f32 * 1e-3).collect();
    PackedLinear::new(Weights::int8(codes.view(), &scales, &[]).sparse()).unwrap()
}

fn zero_of(row: usize) -> i32 {
    (row * 3 % 256) as i32
}

/// `(x - zeros) w^T` in i64.
fn reference(x: &Array2<u8>, w: &Array2<i8>) -> Array2<i32> {
    let x = Array2::from_shape_fn(x.dim(), |(m, k)| i64::from(x[[m, k]]) - i64::from(zero_of(m)));
    x.dot(&w.mapv(i64::from).t()).mapv(|sum| i32::try_from(sum).unwrap())
}

/// In memory that ends where it is not to be read or written any more.
fn check(rows: usize, w: &Array2<i8>, layer: &PackedLinear<'_>) {
    let (outputs, inputs) = w.dim();
    let x = random_codes(rows, inputs, 1).mapv(|x| if x > 100 { 255 } else { x as u8 });
    let zeros: Vec<i32> = (0..rows).map(zero_of).collect();
    let expected = reference(&x, w);
    let bytes = Guarded::new(layer.as_bytes());
    let layer = PackedLinear::from_bytes(&bytes).unwrap();
    let codes = Guarded::new(x.as_slice().unwrap());
    let codes = ArrayView2::from_shape((rows, inputs), &codes).unwrap();
    for context in every_isa() {
        let mut y = Guarded::new(&vec![i32::MIN; rows * outputs]);
        let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
        let view = ArrayViewMut2::from_shape((rows, outputs), &mut y).unwrap();
        context.scope(|| layer.forward_codes_with(codes, &zeros, view, &mut scratch)).unwrap();
        assert!(y.iter().eq(&expected), "{rows} rows, {layer:?}, {context:?}");
    }
}

#[test]
fn any_rows_are_exact() {
    let w = codes(70, 200, 2);
    let layer = packed(&w);
    assert_eq!(layer.block(), WIDE);
    // From 513 on they are taken in pieces, the last of which has one row, two, or more than a block.
    for rows in (0..=70).chain([95, 128, 130, 512, 513, 514, 530, 1025]) {
        check(rows, &w, &layer);
    }
}

#[test]
fn any_inputs_are_exact() {
    for inputs in [61, 62, 63, 64, 65, 68, 100, 127, 128, 132, 188, 1020, 1021, 1024, 1028] {
        // The last inputs of some bands are among those that are left, and those of some are not.
        let mut w = codes(64, inputs, 3);
        let last = (inputs - 1) / 64 * 64;
        w.slice_mut(s![..16, last..]).fill(1);
        w.slice_mut(s![16..32, last..]).fill(0);
        w.slice_mut(s![32..64, last..]).fill(-128);
        let layer = packed(&w);
        assert_eq!(layer.block(), WIDE, "{inputs} inputs");
        for rows in [3, 16, 37] {
            check(rows, &w, &layer);
        }
    }
    // Of less than a run of inputs there is none.
    for inputs in [4, 60] {
        let w = random_codes(32, inputs, 3).mapv(|w| w | 1);
        let layer = packed(&w);
        assert_eq!(layer.block(), Some((16, 4)));
        check(17, &w, &layer);
    }
}

#[test]
fn any_outputs_are_exact() {
    for outputs in [15, 16, 31, 32, 33, 47, 48, 49, 64] {
        let w = codes(outputs, 512, 4);
        let layer = packed(&w);
        assert_eq!(layer.block(), WIDE, "{outputs} outputs");
        check(20, &w, &layer);
    }
}

/// Bands meet in pairs, whose lists have different lengths, or none.
#[test]
fn bands_of_any_number_of_runs_are_exact() {
    for (a, b) in [(0, 0), (0, 1), (1, 0), (0, 5), (5, 0), (1, 4), (4, 1), (3, 3), (5, 5)] {
        let mut w = random_codes(64, 300, 5);
        for (band, runs) in [(0, a), (1, b), (2, b), (3, 5)] {
            w.slice_mut(s![16 * band..16 * (band + 1), 64 * runs.min(4) + if runs == 5 { 44 } else { 0 }..])
                .fill(0);
        }
        let layer = packed(&w);
        assert_eq!(layer.block(), WIDE);
        for rows in [3, 16, 32, 40] {
            check(rows, &w, &layer);
        }
    }
    let none = Array2::zeros((64, 300));
    check(40, &none, &packed(&none));
}

#[test]
fn the_largest_sums_fit() {
    const INPUTS: usize = 65_793;
    let x = Array2::from_elem((18, INPUTS), 255_u8);
    for weight in [-128_i8, 127] {
        let layer = packed(&Array2::from_elem((32, INPUTS), weight));
        assert_eq!(layer.block(), WIDE);
        for context in every_isa() {
            let mut y = Array2::zeros((18, 32));
            context.scope(|| layer.forward_codes(x.view(), &[], y.view_mut())).unwrap();
            assert!(y.iter().all(|&y| y == 255 * i32::from(weight) * INPUTS as i32), "{context:?}");
        }
    }
}

fn same_everywhere<Y: Operand + PartialEq + std::fmt::Debug>(layer: &PackedLinear<'_>, rows: usize) {
    let x = random(rows, layer.in_features(), 6);
    let forward = || {
        let mut y = Array2::from_elem((rows, layer.out_features()), Y::default());
        layer.forward(x.view(), y.view_mut()).unwrap();
        y
    };
    let expected = scalar().scope(forward);
    for context in every_isa() {
        assert!(context.scope(forward) == expected, "{rows} rows, {layer:?}, {context:?}");
    }
}

/// Dynamic and fixed input, bias, limits, numbers and codes as output.
#[test]
fn every_end_is_the_reference_to_the_bit() {
    let params = |code_type| Params::new(code_type, vec![0.02], vec![3], None).unwrap();
    for (outputs, inputs) in [(50, 200), (96, 256)] {
        let plain = packed(&codes(outputs, inputs, 7));
        let bias: Vec<f32> = (0..outputs).map(|n| n as f32 * 0.1 - 2.0).collect();
        let layer = plain.clone().with_bias(&bias).unwrap();
        let clamped = layer.clone().with_clamp(-1.0, 6.0).unwrap();
        let fixed = clamped.clone().with_input_params(&params(CodeType::I8)).unwrap();
        let to_u8 = fixed.clone().with_output_params(&params(CodeType::U8)).unwrap();
        let to_i8 = layer.clone().with_output_params(&params(CodeType::I8)).unwrap();
        for rows in [2, 3, 15, 16, 17, 33, 70] {
            for layer in [&plain, &layer, &clamped, &fixed] {
                assert_eq!(layer.block(), WIDE);
                same_everywhere::<f32>(layer, rows);
                same_everywhere::<f16>(layer, rows);
            }
            same_everywhere::<u8>(&to_u8, rows);
            same_everywhere::<i8>(&to_i8, rows);
        }
    }
}

#[test]
fn y_may_have_any_strides() {
    let (rows, outputs) = (37, 70);
    let layer = packed(&codes(outputs, 200, 8));
    let x = random(rows, 200, 9);
    let mut expected = Array2::<f32>::zeros((rows, outputs));
    scalar().scope(|| layer.forward(x.view(), expected.view_mut())).unwrap();
    for context in every_isa() {
        let mut wide = Array2::from_elem((2 * rows, 3 * outputs), -1.0_f32);
        let mut turned = Array2::<f32>::zeros((outputs, rows));
        context.scope(|| {
            layer.forward(x.view(), wide.slice_mut(s![..;2, ..outputs])).unwrap();
            assert_eq!(wide.slice(s![..;2, ..outputs]), expected);
            assert!(
                wide.slice(s![1..;2, ..])
                    .iter()
                    .chain(wide.slice(s![.., outputs..]).iter())
                    .all(|&y| y == -1.0)
            );
            layer.forward(x.view(), wide.slice_mut(s![..;-2, ..;3])).unwrap();
            assert_eq!(wide.slice(s![..;-2, ..;3]), expected);
            layer.forward(x.view(), turned.view_mut().reversed_axes()).unwrap();
            assert_eq!(turned.t(), expected);
        });
    }
}

#[test]
fn threads_give_the_same_bytes() {
    // Several pieces of rows, and of outputs.
    let (rows, outputs, inputs) = (600, 640, 1024);
    let layer = packed(&codes(outputs, inputs, 10));
    let x = random(rows, inputs, 11);
    let forward = |context: Context| {
        let mut y = Array2::<f32>::zeros((rows, outputs));
        context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
        y
    };
    for context in every_isa() {
        let expected = forward(context.clone());
        for threads in [2, 5] {
            let threads = Parallel::Host(Arc::new(HostThreads(threads)));
            assert!(forward(context.clone().with_parallel(threads)) == expected, "{context:?}");
        }
        #[cfg(feature = "rayon")]
        assert!(forward(context.clone().with_parallel(Parallel::Rayon)) == expected, "{context:?}");
    }
}

/// A block of a run that is zero by chance is stored with the others; of many such, blocks are stored one by one.
#[test]
fn a_few_blocks_of_zeros_do_not_end_runs() {
    let mut w = random_codes(32, 1024, 12).mapv(|w| w | 1);
    let whole = packed(&w);
    w.slice_mut(s![..16, 100..104]).fill(0);
    w.slice_mut(s![16..32, 1020..]).fill(0);
    let layer = packed(&w);
    assert_eq!((layer.block(), layer.non_zeros()), (WIDE, w.len() - 128));
    assert_eq!(layer.as_bytes().len(), whole.as_bytes().len());
    check(20, &w, &layer);
    // 512 blocks are stored in runs instead of 482, to which a sixteenth is added, but not instead of 481.
    let mut w = random_codes(32, 1024, 12).mapv(|w| w | 1);
    let runs = (0..2).flat_map(|band| (0..16).map(move |run| (16 * band, 64 * run + 4 * run)));
    for (zeros, (n, k)) in (1..).zip(runs) {
        w.slice_mut(s![n..n + 16, k..k + 4]).fill(0);
        let layer = packed(&w);
        assert_eq!(layer.block(), if zeros <= 30 { WIDE } else { Some((16, 4)) }, "{zeros} of 512");
    }
    let layer = packed(&w);
    assert!(layer.as_bytes().len() < whole.as_bytes().len());
    check(20, &w, &layer);
}

#[test]
fn runs_are_what_the_format_names() {
    assert_eq!((Format::SparseInt8.wide_block(), Format::SparseInt8.block()), (WIDE, Some((16, 4))));
    assert!(Format::SparseF32.wide_block().is_none() && Format::Int8.wide_block().is_none());
}

/// Where the places of a sparse int8 layer in blocks of 16 outputs begin.
fn places_of(layer: &PackedLinear<'_>) -> usize {
    let outputs = layer.out_features();
    128 + outputs.div_ceil(32) * 128 * 3 + (4 * (outputs.div_ceil(16) + 1)).next_multiple_of(64)
}

/// Makes the header's checksum right again.
fn forge(bytes: &mut [u8]) {
    let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    bytes[120..128].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn bytes_that_say_runs_and_have_none_are_refused() {
    let refused = |bytes: &[u8], reason: &str| {
        let error = PackedLinear::from_bytes(bytes).unwrap_err();
        assert!(matches!(error, Error::Layout { .. }) && error.to_string().contains(reason), "{error}");
    };
    let layer = packed(&random_codes(48, 200, 13).mapv(|w| w | 1));
    let places = places_of(&layer);
    let count = 3 * 50;
    for index in 0..count {
        for wrong in [0_u16, 1, 33, 49] {
            let mut bytes = layer.as_bytes().to_vec();
            let place = &mut bytes[places + 2 * index..][..2];
            if *place != wrong.to_le_bytes() {
                place.copy_from_slice(&wrong.to_le_bytes());
                refused(&bytes, "no whole runs");
            }
        }
    }
    let mut bytes = layer.as_bytes().to_vec();
    bytes[places] = 50;
    refused(&bytes, "a place is 50");
    // Blocks that are none, of layers that cannot have any and of one that could.
    let mut blocks = random_codes(48, 200, 13).mapv(|w| w | 1);
    for first in (0..200).step_by(8) {
        blocks.slice_mut(s![.., first..first + 4]).fill(0);
    }
    let few = random_codes(48, 60, 13).mapv(|w| w | 1);
    let dense = PackedLinear::new(Weights::int8(blocks.view(), &[1.0], &[])).unwrap();
    for (layer, reason) in [(packed(&blocks), "no whole runs"), (packed(&few), "flags"), (dense, "flags")] {
        let mut bytes = layer.as_bytes().to_vec();
        bytes[21] |= 1;
        forge(&mut bytes);
        refused(&bytes, reason);
    }
    // Without the flag they are blocks like others.
    let mut bytes = layer.as_bytes().to_vec();
    bytes[21] = 0;
    forge(&mut bytes);
    let plain = PackedLinear::from_bytes(&bytes).unwrap();
    assert_eq!(plain.block(), Some((16, 4)));
    let x = random(20, 200, 14);
    for context in every_isa() {
        let [mut a, mut b] = [0.0_f32, 1.0].map(|y| Array2::from_elem((20, 48), y));
        context
            .scope(|| layer.forward(x.view(), a.view_mut()).and(plain.forward(x.view(), b.view_mut())))
            .unwrap();
        assert_eq!(a, b, "{context:?}");
    }
}

/// Wherever places lead in bytes that are used all the same, each block counts where it says, and nowhere past the last input.
#[test]
fn damaged_places_count_as_they_are() {
    let (outputs, inputs) = (78, 200);
    let w = random_codes(outputs, inputs, 15).mapv(|w| w | 1);
    let layer = packed(&w);
    assert_eq!(layer.block(), WIDE);
    let (places, groups) = (places_of(&layer), inputs / 4);
    let check = |wrong: &[(usize, u16)]| {
        let mut bytes = layer.as_bytes().to_vec();
        let mut moved = w.mapv(i32::from);
        for &(index, place) in wrong {
            bytes[places + 2 * index..][..2].copy_from_slice(&place.to_le_bytes());
        }
        for n in 0..outputs {
            for &(index, _) in wrong.iter().filter(|(index, _)| index / groups == n / 16) {
                (0..4).for_each(|i| moved[[n, 4 * (index % groups) + i]] = 0);
            }
            for &(index, place) in wrong.iter().filter(|(index, _)| index / groups == n / 16) {
                for i in (0..4).filter(|_| usize::from(place) < groups) {
                    moved[[n, 4 * usize::from(place) + i]] += i32::from(w[[n, 4 * (index % groups) + i]]);
                }
            }
        }
        // Kernels that take activations as int8 need the sums of the weights that are left.
        for (row, sum) in moved.rows().into_iter().zip(bytes[128 + 3 * 128 * 2..].as_chunks_mut::<4>().0) {
            *sum = row.sum().to_le_bytes();
        }
        assert!(PackedLinear::from_bytes(&bytes).is_err(), "{wrong:?}");
        let guarded = Guarded::new(&bytes);
        let layer = PackedLinear::from_trusted_bytes(&guarded).unwrap();
        for rows in [1, 3, 16, 33] {
            let x = random_codes(rows, inputs, 16).mapv(|x| x as u8);
            let expected = x.mapv(i32::from).dot(&moved.t());
            let x = Guarded::new(x.as_slice().unwrap());
            let x = ArrayView2::from_shape((rows, inputs), &x).unwrap();
            for context in every_isa() {
                let mut y = Array2::from_elem((rows, outputs), -1);
                let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
                context.scope(|| layer.forward_codes_with(x, &[], y.view_mut(), &mut scratch)).unwrap();
                assert!(y == expected, "{wrong:?}, {rows} rows, {context:?}");
            }
        }
    };
    for damaged in [0, 5, 16, 31, 47, 48, 49, 50, 120, 249] {
        for wrong in [7, 34, 35, 50, 0x7fff, 0xfff0, 0xffff] {
            check(&[(damaged, wrong)]);
        }
    }
    // Whole runs, within the inputs and partly or all behind them.
    for first in [0, 16, 50, 166, 216] {
        for place in [1_u16, 33, 35, 36, 49, 50, 0x4000, 0xffe0, 0xfff0, 0xfff8] {
            let run: Vec<_> = (0..16).map(|i| (first + i, place.wrapping_add(i as u16))).collect();
            check(&run);
        }
    }
}
