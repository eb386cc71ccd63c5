//! int8 weights that are stored one by one, with a bit for every weight: the same integers as the naive product's, no more bytes than
//! in blocks, and nothing read outside of bytes that lie about them.

#![allow(clippy::unwrap_used)]

mod support;

use ndarray::{Array2, s};
use support::guard::Guarded;
use support::layers::{random, random_codes, thin_in_blocks, thin_in_groups};
use support::{Random, every_isa, every_thread_count};
use tersor::linear::{PackedLinear, Weights};
use tersor::{Error, Mask};

fn sparse(codes: &Array2<i8>) -> PackedLinear<'static> {
    PackedLinear::new(Weights::int8(codes.view(), &[0.5], &[]).sparse()).unwrap()
}

/// Codes of which each is zero with this probability.
fn pruned(outputs: usize, inputs: usize, sparsity: f32) -> Array2<i8> {
    let mut random = Random(7);
    random_codes(outputs, inputs, 5).map(|w| if random.signed().abs() < sparsity { 0 } else { w | 1 })
}

/// Two of each four inputs of an output.
fn two_of_four(outputs: usize, inputs: usize) -> Array2<i8> {
    let first = random_codes(outputs, inputs.div_ceil(4), 6);
    let mut codes = random_codes(outputs, inputs, 5);
    for ((n, k), w) in codes.indexed_iter_mut() {
        let (a, b) = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)][(first[[n, k / 4]] as u8 % 6) as usize];
        *w = if k % 4 == a || k % 4 == b { *w | 1 } else { 0 };
    }
    codes
}

fn product(x: &Array2<u8>, zero: i32, w: &Array2<i8>) -> Array2<i32> {
    x.map(|&x| i32::from(x) - zero).dot(&w.map(|&w| i32::from(w)).t())
}

fn forward_codes(layer: &PackedLinear<'_>, x: &Array2<u8>, zero: i32) -> Array2<i32> {
    let mut y = Array2::from_elem((x.nrows(), layer.out_features()), i32::MIN);
    layer.forward_codes(x.view(), &[zero], y.view_mut()).unwrap();
    y
}

/// Around every edge of tiles, groups, chunks of groups, what a single row takes at a time, and what is on the stack at a time.
#[test]
fn products_are_exact_on_every_instruction_set() {
    let mut seen = 0;
    for (outputs, inputs) in [
        (32, 1),
        (31, 5),
        (33, 15),
        (64, 16),
        (65, 17),
        (128, 64),
        (127, 63),
        (129, 79),
        (300, 130),
        (40, 1020),
        (160, 1025),
        (64, 2060),
    ] {
        let patterns = [
            two_of_four(outputs, inputs),
            pruned(outputs, inputs, 0.1),
            pruned(outputs, inputs, 0.5),
            pruned(outputs, inputs, 0.75),
            pruned(outputs, inputs, 0.95),
            Array2::zeros((outputs, inputs)),
            Array2::from_elem((outputs, inputs), -128),
        ];
        let layers = patterns.map(|w| (sparse(&w), w));
        seen += layers.iter().filter(|(layer, _)| layer.block() == Some((1, 1))).count();
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 130] {
            let x = random_codes(rows, inputs, 1).map(|&x| x as u8);
            for (index, (layer, w)) in layers.iter().enumerate() {
                // Each with each pattern and with each number of rows; both with both would take twice as long under emulation.
                let zero = if (rows + index).is_multiple_of(2) { 0 } else { 131 };
                let expected = product(&x, zero, w);
                for context in every_isa() {
                    let y = context.scope(|| forward_codes(layer, &x, zero));
                    assert_eq!(y, expected, "{layer:?} {:?} {rows} rows {context:?}", layer.block());
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

/// From f32 to f32, in pieces.
#[test]
fn a_layer_gives_the_bytes_of_a_dense_one_at_any_thread_count() {
    let (outputs, inputs) = (2100, 1100);
    let w = two_of_four(outputs, inputs);
    let scales: Vec<f32> = (1..=outputs).map(|n| n as f32 * 1e-3).collect();
    let bias: Vec<f32> = random(1, outputs, 4).iter().copied().collect();
    let [dense, sparse] = [false, true].map(|sparse| {
        let weights = Weights::int8(w.view(), &scales, &[]);
        let weights = if sparse { weights.sparse() } else { weights };
        PackedLinear::new(weights).unwrap().with_bias(&bias).unwrap()
    });
    assert_eq!((dense.block(), sparse.block()), (None, Some((1, 1))));
    for rows in [1, 5, 140] {
        let x = random(rows, inputs, 3);
        let forward = |layer: &PackedLinear<'_>| {
            let mut y = Array2::<f32>::zeros((rows, outputs));
            layer.forward(x.view(), y.view_mut()).unwrap();
            y.map(|y| y.to_bits())
        };
        let expected = forward(&dense);
        for context in every_isa().chain(every_thread_count()) {
            assert!(context.scope(|| forward(&sparse)) == expected, "{rows} rows, {context:?}");
        }
        // Nothing more than the dense layer's scratch.
        assert_eq!(sparse.scratch_bytes(rows), dense.scratch_bytes(rows));
    }
}

/// What blocks of one output, and of 16, would take.
fn bytes_in_blocks(w: &Array2<i8>) -> [usize; 2] {
    let (outputs, inputs) = w.dim();
    [1, 16].map(|height| {
        let block = |n: usize, k: usize| w.slice(s![n..(n + height).min(outputs), k..(k + 4).min(inputs)]);
        let stored =
            |n: usize| (0..inputs).step_by(4).filter(|&k| block(n, k).iter().any(|&w| w != 0)).count();
        (0..outputs).step_by(height).map(stored).sum::<usize>() * (2 + 4 * height)
    })
}

#[test]
fn bitmaps_are_chosen_where_blocks_take_more() {
    let mut single = 0;
    for (outputs, inputs) in [(1, 1), (5, 40), (17, 33), (32, 64), (70, 90), (200, 300)] {
        let mut patterns = vec![
            two_of_four(outputs, inputs),
            Array2::zeros((outputs, inputs)),
            Array2::ones((outputs, inputs)),
            thin_in_groups(&Array2::ones((outputs, inputs)), 1),
            thin_in_blocks(&Array2::ones((outputs, inputs)), 4, 1),
        ];
        patterns.extend(
            [0.02, 0.1, 0.3, 0.5, 0.75, 0.9, 0.97, 0.99].map(|sparsity| pruned(outputs, inputs, sparsity)),
        );
        for w in patterns {
            let layer = sparse(&w);
            let [low, high] = bytes_in_blocks(&w);
            let bits = outputs.next_multiple_of(32) * inputs.next_multiple_of(4) / 8;
            let bitmaps = bits + layer.non_zeros();
            let is_single = layer.block() == Some((1, 1));
            single += usize::from(is_single);
            let limit = if high <= low { high } else { low - low / 9 };
            assert_eq!(is_single, bitmaps < limit, "{layer:?}: {bitmaps} {low} {high} {:?}", layer.block());
        }
    }
    assert!(single > 20, "{single}");
}

/// Patterns that pruning makes, in a layer of usual size.
#[test]
fn each_pattern_of_pruning_is_stored_as_runs_best() {
    let (outputs, inputs) = (256, 1024);
    // Blocks of which each is zero with this probability.
    let in_blocks =
        |height: usize, sparsity: f32| {
            let mut random = Random(8);
            let alive = Array2::from_shape_simple_fn((outputs / height, inputs / 4), || {
                random.signed().abs() >= sparsity
            });
            let codes = pruned(outputs, inputs, 0.0);
            Array2::from_shape_fn((outputs, inputs), |(n, k)| {
                if alive[[n / height, k / 4]] { codes[[n, k]] } else { 0 }
            })
        };
    for (w, block) in [
        (two_of_four(outputs, inputs), (1, 1)),
        (pruned(outputs, inputs, 0.5), (1, 1)),
        (pruned(outputs, inputs, 0.75), (1, 1)),
        (pruned(outputs, inputs, 0.9), (1, 1)),
        (in_blocks(1, 0.5), (1, 1)),
        (in_blocks(1, 0.65), (1, 4)),
        (in_blocks(1, 0.75), (1, 4)),
        (in_blocks(1, 0.9), (1, 4)),
        (in_blocks(16, 0.25), (16, 4)),
        (in_blocks(16, 0.5), (16, 4)),
        (in_blocks(16, 0.9), (16, 4)),
    ] {
        let layer = sparse(&w);
        assert_eq!(layer.block(), Some(block), "{layer:?}");
    }
    // 2 of 4: five bits of eight. Three quarters pruned: three.
    let dense = outputs * inputs;
    for (w, of_eight) in [(two_of_four(outputs, inputs), 5), (pruned(outputs, inputs, 0.75), 3)] {
        let layer = sparse(&w);
        assert_eq!(layer.non_zeros(), w.iter().filter(|&&w| w != 0).count());
        let beside = dense / 8 + layer.non_zeros() + 4 * outputs + 4 * (outputs / 32 + 1);
        assert_eq!(layer.weight_bytes(), beside);
        assert!(layer.as_bytes().len() < dense * of_eight / 8 + dense / 50);
    }
}

#[test]
fn packed_bytes_are_the_layer() {
    let w = pruned(75, 333, 0.6);
    let mask = Mask::from_fn(&[75, 333], |i| i % 3 != 0).unwrap();
    let weights = Weights::int8(w.view(), &[0.5], &[]).masked(&mask).sparse();
    let layer = PackedLinear::new(weights.clone()).unwrap();
    let mut packed = vec![0xff; weights.packed_bytes().unwrap()];
    weights.pack_into(&mut packed).unwrap();
    assert_eq!(layer.as_bytes(), packed);
    let mut masked = w.clone();
    masked.iter_mut().enumerate().for_each(|(i, w)| *w = if i % 3 != 0 { *w } else { 0 });
    let x = random_codes(9, 333, 1).map(|&x| x as u8);
    let expected = product(&x, 0, &masked);
    let borrowed = PackedLinear::from_bytes(&packed).unwrap();
    assert_eq!((borrowed.block(), borrowed.non_zeros()), (Some((1, 1)), layer.non_zeros()));
    assert_eq!(forward_codes(&borrowed, &x, 0), expected);
    assert_eq!(forward_codes(&borrowed.with_bias(&[1.0; 75]).unwrap(), &x, 0), expected);
    assert_eq!(forward_codes(&layer.clone().into_owned(), &x, 0), expected);
    // uint8 codes are the same weights.
    let unsigned = w.map(|&w| (w as u8) ^ 0x80);
    let weights = Weights::uint8(unsigned.view(), &[0.5], &[128]).masked(&mask).sparse();
    assert_eq!(PackedLinear::new(weights).unwrap().as_bytes(), packed);
}

/// Where the sections are: the last is the stream of bits and weights, the one before it the offsets.
fn sections(layer: &PackedLinear<'_>) -> (usize, usize) {
    let tiles = layer.out_features().div_ceil(32);
    let offsets = 128 + 3 * tiles * 128;
    (offsets, offsets + ((tiles + 1) * 4).next_multiple_of(64))
}

/// Bits that say that there are more weights, or fewer, and offsets that lead elsewhere, are refused.
#[test]
fn bytes_that_contradict_their_bits_are_refused() {
    // One chunk for each tile: of several, a wrong number of weights in one moves the bits of the next, whatever those say.
    let layer = sparse(&pruned(70, 16, 0.5));
    assert_eq!(layer.block(), Some((1, 1)));
    let (offsets, stream) = sections(&layer);
    let good = layer.as_bytes().to_vec();
    PackedLinear::from_bytes(&good).unwrap();
    let message = |at: usize, change: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= change;
        let error = PackedLinear::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, Error::Layout { .. }));
        error.to_string()
    };
    for at in stream..stream + 64 {
        assert!((0..8).all(|bit| message(at, 1 << bit).contains("place")));
    }
    for at in offsets..offsets + 16 {
        assert!([1, 0x80, 0xff].into_iter().all(|change| message(at, change).contains("place")));
    }
    // The weights themselves may be anything.
    let mut bytes = good.clone();
    let len = bytes.len();
    bytes[len - 64] ^= 0x55;
    PackedLinear::from_bytes(&bytes).unwrap();
}

/// The weights of a layer by its bits, read one by one; those that the bytes end before are 0.
fn weights_of(layer: &PackedLinear<'_>) -> Array2<i8> {
    let (outputs, inputs) = (layer.out_features(), layer.in_features());
    let (offsets, stream) = sections(layer);
    let bytes = layer.as_bytes();
    let end = stream
        + u32::from_le_bytes(bytes[offsets + 4 * outputs.div_ceil(32)..][..4].try_into().unwrap()) as usize;
    let mut w = Array2::zeros((outputs.next_multiple_of(32), inputs.next_multiple_of(4)));
    for tile in 0..outputs.div_ceil(32) {
        let start = u32::from_le_bytes(bytes[offsets + 4 * tile..][..4].try_into().unwrap());
        let mut stream = bytes[stream + start as usize..end].iter();
        for first in (0..w.ncols()).step_by(16) {
            let inputs = 16.min(w.ncols() - first);
            let bits: Vec<u8> = (0..4 * inputs).map(|_| stream.next().copied().unwrap_or_default()).collect();
            for index in (0..32 * inputs).filter(|index| bits[index / 8] >> (index % 8) & 1 != 0) {
                let (n, k) = (index % 128 / 4, index / 128 * 4 + index % 4);
                w[[tile * 32 + n, first + k]] = stream.next().map_or(0, |&byte| byte as i8);
            }
        }
    }
    w.slice(s![..outputs, ..inputs]).to_owned()
}

/// Bits that say anything, of bytes that are trusted: the weights are those that the bits say, and where the bytes end nothing.
#[test]
fn bits_that_lead_elsewhere_give_other_weights_and_no_harm() {
    let mut random = Random(9);
    for (outputs, inputs) in [(70, 16), (129, 79), (40, 1020), (300, 130)] {
        let layer = sparse(&pruned(outputs, inputs, 0.5));
        assert_eq!(layer.block(), Some((1, 1)));
        assert_eq!(weights_of(&layer), pruned(outputs, inputs, 0.5));
        let stream = sections(&layer).1;
        for kind in 0..4 {
            let mut bytes = layer.as_bytes().to_vec();
            for byte in &mut bytes[stream..] {
                *byte = match kind {
                    0 => 0xff,
                    1 => random.bits() as u8 | random.bits() as u8,
                    2 => random.bits() as u8,
                    _ => *byte & random.bits() as u8,
                };
            }
            let error = PackedLinear::from_bytes(&bytes).unwrap_err();
            assert!(error.to_string().contains("lead elsewhere"), "{error}");
            let w = weights_of(&PackedLinear::from_trusted_bytes(&bytes).unwrap());
            // Kernels that take activations as int8 need the sums of these weights; they lie behind bias and scales.
            let first = 128 + outputs.div_ceil(32) * 128 * 2;
            for (row, sum) in w.rows().into_iter().zip(bytes[first..].as_chunks_mut::<4>().0) {
                *sum = row.iter().map(|&w| i32::from(w)).sum::<i32>().to_le_bytes();
            }
            let guarded = Guarded::new(&bytes);
            let damaged = PackedLinear::from_trusted_bytes(&guarded).unwrap();
            for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 130] {
                let x = random_codes(rows, inputs, 1).map(|&x| x as u8);
                let expected = product(&x, 0, &w);
                for context in every_isa() {
                    let y = context.scope(|| forward_codes(&damaged, &x, 0));
                    assert!(y == expected, "{damaged:?} kind {kind} {rows} rows {context:?}");
                }
            }
        }
    }
}

/// Every number of the header that says how much there is, and offsets in another order, behind a checksum that is right.
#[test]
fn headers_and_offsets_that_lead_elsewhere_are_refused() {
    // Two tiles and a part of one, and five groups: a chunk and a part of one.
    let layer = sparse(&pruned(70, 18, 0.5));
    assert_eq!(layer.block(), Some((1, 1)));
    let (offsets, _) = sections(&layer);
    let good = layer.as_bytes().to_vec();
    let message = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = good.clone();
        change(&mut bytes);
        assert_ne!(bytes, good);
        let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        bytes[120..128].copy_from_slice(&sum.to_le_bytes());
        let error = PackedLinear::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, Error::Layout { .. }));
        // Without reading the bits only such offsets are taken as could be right with others.
        match PackedLinear::from_trusted_bytes(&bytes) {
            Err(same) => assert_eq!(same.to_string(), error.to_string()),
            Ok(_) => assert!(error.to_string().contains("lead elsewhere"), "{error}"),
        }
        error.to_string()
    };
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let with = |at: usize, value: u64| {
        message(&|bytes: &mut [u8]| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()))
    };
    let [outputs, inputs, non_zeros, stored, len] = [24, 32, 40, 48, 64].map(|at| number(&good, at));
    assert_eq!((outputs, inputs, non_zeros), (70, 18, layer.non_zeros() as u64));
    assert_eq!(stored, 3 * 5 * 16 + non_zeros);
    // Outputs and inputs of another number of tiles or groups, and of weights.
    for (at, values) in [(24, [0, 64, 97]), (32, [0, 16, 21])] {
        assert!(values.into_iter().all(|value| with(at, value).contains("but there are")));
    }
    for (at, now) in [(40, non_zeros), (48, stored)] {
        for value in [0, now - 1, now + 1, now + 64, u64::from(u32::MAX)] {
            let message = with(at, value);
            assert!(message.contains("there are"), "{at} {value}: {message}");
        }
        assert!(!with(at, u64::MAX).is_empty());
    }
    for value in [0, len - 1, len + 64, u64::MAX] {
        assert!(with(64, value).contains("needs") || value == u64::MAX);
    }
    // Another height: blocks of one output, of 16, of something else; and a format that has no bitmaps.
    for height in [0_u8, 1, 16, 31, 33, 64] {
        let message = message(&|bytes: &mut [u8]| bytes[80] = height);
        assert!(message.contains("blocks of") || message.contains("needs") || message.contains("not zero"));
    }
    let floats = PackedLinear::new(Weights::from(Array2::<f32>::eye(4).view()).sparse()).unwrap();
    let format = floats.as_bytes()[12];
    assert!(message(&|bytes: &mut [u8]| bytes[12] = format).contains("blocks of 32 outputs"));
    // Offsets: the first is 0, none is below the one before it or past the end, and each is where the bits say.
    let offset =
        |bytes: &[u8], tile: usize| u32::from_le_bytes(bytes[offsets + 4 * tile..][..4].try_into().unwrap());
    let set = |bytes: &mut [u8], tile: usize, value: u32| {
        bytes[offsets + 4 * tile..][..4].copy_from_slice(&value.to_le_bytes());
    };
    let [second, third, end] = [1, 2, 3].map(|tile| offset(&good, tile));
    assert_eq!((offset(&good, 0), u64::from(end)), (0, stored));
    for (tile, value) in [
        (0, 1),
        (0, u32::MAX),
        (1, 0),
        (1, second - 1),
        (1, second + 1),
        (1, third + 1),
        (2, second - 1),
        (2, end + 1),
        (2, u32::MAX),
        (3, end - 1),
        (3, end + 1),
        (3, u32::MAX),
    ] {
        assert!(message(&|bytes: &mut [u8]| set(bytes, tile, value)).contains("place"), "{tile} {value}");
    }
    let swapped = message(&|bytes: &mut [u8]| {
        set(bytes, 1, third);
        set(bytes, 2, second);
    });
    assert!(swapped.contains("begin at"), "{swapped}");
}

/// The stream of the last tile ends with the section, which ends with the page.
#[test]
fn nothing_is_read_behind_the_last_weight() {
    for (outputs, inputs) in [(32, 64), (64, 256), (160, 40), (33, 20)] {
        let w = pruned(outputs, inputs, 0.4);
        let layer = sparse(&w);
        let x = random_codes(1, inputs, 1).map(|&x| x as u8);
        let guarded = Guarded::new(layer.as_bytes());
        let borrowed = PackedLinear::from_bytes(&guarded).unwrap();
        for context in every_isa() {
            assert_eq!(context.scope(|| forward_codes(&borrowed, &x, 3)), product(&x, 3, &w), "{context:?}");
        }
    }
}
