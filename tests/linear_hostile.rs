//! Packed bytes that somebody has damaged, cut or made up: an error, or other numbers; never a panic, never a byte outside.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, Array4};
use proptest::prelude::*;
use support::every_isa;
use support::guard::Guarded;
use tersor::linear::{Conv2d, Format, PackedLinear, Weights, Window, write_bias};
use tersor::quant::{CodeType, Params};
use tersor::{Error, f16};

fn params(code_type: CodeType) -> Params {
    Params::new(code_type, vec![0.5], vec![3], None).unwrap()
}

/// Packed bytes of every format.
fn packed(kind: usize, outputs: usize, inputs: usize) -> Vec<u8> {
    let w = Array2::from_shape_fn(
        (outputs, inputs),
        |(n, k)| if (n + k) % 3 == 0 { (n + k) as f32 } else { 0.0 },
    );
    let half = w.map(|w| f16::from_f32(*w));
    let codes = w.map(|w| *w as i8);
    // Whole blocks of 16 outputs.
    let tall = Array2::from_shape_fn((outputs, inputs), |(_, k)| if k % 8 < 4 { 0 } else { k as i8 | 1 });
    let tall_floats = tall.map(|w| f32::from(*w));
    // Few single outputs of four inputs.
    let low = Array2::from_shape_fn((outputs, inputs), |(n, k)| i8::from((n + k / 4) % 9 == 0));
    let nibbles = w.map(|w| (*w as i8 & 15) - 8);
    let scales = Array2::from_elem((outputs, inputs.div_ceil(8)), 0.5);
    let zeros = scales.map(|_| 3);
    // Whole runs of blocks, and a shorter one.
    let runs = Array2::from_shape_fn((outputs, inputs + 64), |(n, k)| {
        if (n / 16 + k / 64) % 2 == 0 { (n + k) as i8 | 1 } else { 0 }
    });
    let weights = match kind {
        0 => Weights::from(w.view()),
        1 => Weights::from(half.view()),
        2 => Weights::from(w.view()).sparse(),
        3 => Weights::int8(codes.view(), &[0.5], &[]),
        4 => Weights::int8(codes.view(), &[0.5], &[3]),
        5 => Weights::int8(codes.view(), &[0.5], &[]).sparse(),
        6 => Weights::int8(tall.view(), &[0.5], &[]).sparse(),
        7 => Weights::from(tall_floats.view()).sparse(),
        8 => Weights::int4(nibbles.view(), 8, scales.view(), None),
        11 => Weights::int8(low.view(), &[0.5], &[]).sparse(),
        12 => Weights::from(w.view()).bf16_dot(),
        13 => Weights::int8(runs.view(), &[0.5], &[]).sparse(),
        _ => Weights::int4(nibbles.view(), 8, scales.view(), Some(zeros.view())),
    };
    let layer = PackedLinear::new(weights).unwrap();
    let layer = if kind == 10 { layer.with_float_input().unwrap() } else { layer };
    let layer = match kind % 3 {
        0 => layer.with_clamp(0.0, 6.0).unwrap().with_output_params(&params(CodeType::U8)).unwrap(),
        1 => layer.with_output_params(&params(CodeType::I8)).unwrap(),
        _ => layer,
    };
    layer.as_bytes().to_vec()
}

/// Runs whatever the bytes are taken for, at a page's edge: those as well whose places and bits are wrong.
fn run(bytes: &[u8]) {
    let guarded = Guarded::new(bytes);
    let Ok(layer) = PackedLinear::from_trusted_bytes(&guarded) else {
        assert!(PackedLinear::from_bytes(&guarded).is_err());
        return;
    };
    let (outputs, inputs) = (layer.out_features(), layer.in_features());
    // Bytes that were accepted back up their shape, so this allocates no more than a multiple of them.
    assert!(outputs <= bytes.len() && (outputs == 0 || inputs / 4 <= 140_358.max(bytes.len())));
    if inputs > 1 << 20 {
        return;
    }
    for rows in [1, 17] {
        let x = Array2::from_elem((rows, inputs), 1.0_f32);
        let codes = Array2::from_elem((rows, inputs), 255_u8);
        let scratch = layer.scratch_bytes(rows).unwrap();
        let mut sums: Option<Array2<i32>> = None;
        for context in every_isa() {
            context.scope(|| {
                // The numbers come from `x` and the bytes, not from what the memory held before.
                let [y, again] = [0_u8, 0xff].map(|before| {
                    let mut y = Array2::from_elem((rows, outputs), f32::from(before));
                    layer.forward_with(x.view(), y.view_mut(), &mut vec![before; scratch]).unwrap();
                    y.map(|y| y.to_bits())
                });
                assert!(y == again, "{layer:?} {rows} rows {context:?}");
                // Either is refused, or not, as the header says; none reads or writes elsewhere.
                let _ = layer.forward(codes.view(), Array2::<i8>::zeros((rows, outputs)).view_mut());
                let _ = layer.forward(x.view(), Array2::<u8>::zeros((rows, outputs)).view_mut());
                for before in [0_u8, 0xff] {
                    let mut y = Array2::from_elem((rows, outputs), i32::from(before));
                    let scratch = &mut vec![before; scratch];
                    let result = layer.forward_codes_with(codes.view(), &[], y.view_mut(), scratch);
                    let format = layer.format();
                    assert_eq!(result.is_ok(), format.is_integer() && format != Format::Int4);
                    if result.is_ok() {
                        // Where activations are taken as int8, wrong sums of weights make other numbers.
                        if before == 0 && !cfg!(target_arch = "x86_64") {
                            sums = None;
                        }
                        let first = sums.get_or_insert_with(|| y.clone());
                        assert!(*first == y, "{layer:?} {rows} rows {context:?}");
                    }
                }
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(
        kind in 0_usize..14,
        outputs in 0_usize..40,
        inputs in 0_usize..40,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = packed(kind, outputs, inputs);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        run(&bytes);
    }

    /// Headers whose checksum is right, so that all other checks are reached.
    #[test]
    fn forged_headers_never_panic(
        kind in 0_usize..14,
        field in 12_usize..120,
        byte in any::<u8>(),
        cut in 0_usize..3,
    ) {
        let mut bytes = packed(kind, 9, 13);
        bytes[field] = byte;
        forge(&mut bytes);
        bytes.truncate(bytes.len() - 64 * cut);
        run(&bytes);
    }

    #[test]
    fn foreign_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let is_layout = matches!(PackedLinear::from_bytes(&bytes), Err(Error::Layout { .. }));
        prop_assert!(is_layout);
    }
}

/// Makes the header's checksum right again.
fn forge(bytes: &mut [u8]) {
    let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    bytes[120..128].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn sizes_that_nothing_has_are_refused() {
    for kind in 0..14 {
        for field in [24, 32] {
            for size in [u64::MAX, 1 << 63, u64::MAX / 2, 1 << 62, 1 << 40] {
                let mut bytes = packed(kind, 9, 13);
                bytes[field..field + 8].copy_from_slice(&size.to_le_bytes());
                forge(&mut bytes);
                let refused = matches!(PackedLinear::from_bytes(&bytes), Err(Error::Layout { .. }));
                assert!(refused, "{kind} {field} {size}");
            }
        }
    }
}

/// Without outputs a layer of floats may have any number of inputs: nothing that is counted of them overflows.
#[test]
#[cfg(target_pointer_width = "64")]
fn any_number_of_inputs_of_no_outputs_is_counted() {
    for inputs in [1 << 20, isize::MAX as usize / 8, isize::MAX as usize / 4] {
        let layer = PackedLinear::new(Array2::<f32>::zeros((0, inputs)).view()).unwrap();
        assert!(layer.scratch_bytes(0).is_ok() && PackedLinear::from_bytes(layer.as_bytes()).is_ok());
        for context in every_isa() {
            let (x, mut y) = (Array2::<f32>::zeros((0, inputs)), Array2::<f32>::zeros((0, 0)));
            context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
        }
        assert!(layer.scratch_bytes(1 << 44).is_err());
    }
}

#[test]
fn damaged_bytes_say_what_is_wrong() {
    for kind in 0..14 {
        let bytes = packed(kind, 9, 13);
        let message = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let error = PackedLinear::from_bytes(&bytes).unwrap_err();
            assert!(matches!(error, Error::Layout { .. }), "{error:?}");
            let mut copy = bytes.clone();
            assert_eq!(write_bias(&mut copy, &[0.0; 9]).is_err(), copy == bytes);
            error.to_string()
        };
        assert!(message(&|b| b[0] = b'X').contains("not a packed layer"));
        assert!(message(&|b| b[8] = 9).contains("version is 9"));
        assert!(message(&|b| b[24] ^= 1).contains("checksum"));
        assert!(message(&|b| b.truncate(100)).contains("there are 100 bytes"));
        assert!(message(&|b| b.truncate(b.len() - 1)).contains("needs"));
        assert!(message(&|b| b.push(0)).contains("needs"));
        for at in 0..128 {
            message(&|b| b[at] ^= 0x10);
        }
        let forged = |at: usize, value: u8| {
            message(&|b| {
                b[at] = value;
                forge(b);
            })
        };
        assert!(forged(12, 99).contains("format 99"));
        assert!(forged(16, 2).contains("layout is 2"));
        // Runs, which 13 inputs are too few for.
        assert!(kind == 13 || forged(21, 1).contains("flags"));
        assert!(forged(21, 2).contains("flags") && forged(21, 3).contains("flags"));
        assert!(forged(112, 1).contains("flags") && forged(20, 0x60).contains("flags"));
        assert!((8..=10).contains(&kind) || forged(20, 0x80).contains("flags"));
        assert!(forged(20, 0x84).contains("flags") && forged(20, 0x88).contains("flags"));
        assert!(kind % 3 == 2 || forged(103, 0x7f).contains("zero_point"));
        assert!(kind % 3 != 0 || forged(91, 0x7f).contains("high is 6"));
        assert!(forged(80, 3).contains("blocks of 3 outputs"));
        assert!(forged(84, 6).contains("group_size") && forged(85, 1).contains("group_size"));
        assert!(forged(31, 0xff).contains("overflows") || forged(31, 0xff).contains("does not fit"));
    }
    // A sparse body that leads elsewhere.
    for kind in [2, 5, 6, 7, 11, 13] {
        let bytes = packed(kind, 9, 13);
        let found = (128..bytes.len()).any(|at| {
            let mut bytes = bytes.clone();
            bytes[at] = 0xff;
            PackedLinear::from_bytes(&bytes).is_err_and(|error| error.to_string().contains("place"))
        });
        assert!(found);
    }
}

/// Places past the last input count nothing, whatever kernel reads them; only who opens the bytes for the first time says so.
#[test]
fn places_past_the_last_input_count_nothing() {
    let (outputs, inputs) = (70, 150);
    let few = Array2::from_shape_fn((outputs, inputs), |(n, k)| if (n + k) % 3 == 0 { n % 7 + 1 } else { 0 });
    let tall = Array2::from_shape_fn((outputs, inputs), |(n, k)| if k % 8 < 4 { 0 } else { (n + k) % 7 + 1 });
    let low = Array2::from_shape_fn((outputs, inputs), |(n, k)| usize::from((n + k / 4) % 9 == 0));
    for (weights, integer, block) in
        [(&few, false, (1, 1)), (&tall, false, (16, 1)), (&low, true, (1, 4)), (&tall, true, (16, 4))]
    {
        let mut floats = weights.map(|&w| w as f32);
        let codes = weights.map(|&w| w as i8);
        let layer = PackedLinear::new(match integer {
            true => Weights::int8(codes.view(), &[1.0], &[]).sparse(),
            false => Weights::from(floats.view()).sparse(),
        })
        .unwrap();
        assert_eq!(layer.block(), Some(block));
        let mut bytes = layer.as_bytes().to_vec();
        // Bias, and in int8 scales and sums; then where the places of each output, or of 16, begin; then these.
        let offsets = 128 + outputs.div_ceil(32) * 128 * if integer { 3 } else { 1 };
        let bands = outputs.div_ceil(block.0);
        let places = offsets + (4 * (bands + 1)).next_multiple_of(64);
        let offset = |bytes: &[u8], band: usize| {
            u32::from_le_bytes(bytes[offsets + 4 * band..][..4].try_into().unwrap()) as usize
        };
        let past = [inputs.div_ceil(block.1) as u16, 0x7fff, 0x8000, 0xffff];
        for band in 0..bands {
            for index in (offset(&bytes, band)..offset(&bytes, band + 1)).filter(|index| index % 3 == 0) {
                let spot = &mut bytes[places + 2 * index..][..2];
                let place = usize::from(u16::from_le_bytes([spot[0], spot[1]]));
                spot.copy_from_slice(&past[index / 3 % 4].to_le_bytes());
                for n in (band * block.0..(band + 1) * block.0).filter(|&n| n < outputs) {
                    let first = place * block.1;
                    (first..inputs.min(first + block.1)).for_each(|k| floats[[n, k]] = 0.0);
                }
            }
        }
        if integer {
            // Kernels that take activations as int8 need the sums of the weights that are left.
            let first = 128 + outputs.div_ceil(32) * 128 * 2;
            for (row, sum) in floats.rows().into_iter().zip(bytes[first..].as_chunks_mut::<4>().0) {
                *sum = (row.sum() as i32).to_le_bytes();
            }
        }
        let error = PackedLinear::from_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains("a place is 65535"), "{error}");
        let guarded = Guarded::new(&bytes);
        let damaged = PackedLinear::from_trusted_bytes(&guarded).unwrap();
        for rows in [1, 2, 3, 4, 8, 16, 17, 40, 70] {
            // Small enough to be exact in any order.
            let x = Array2::from_shape_fn((rows, inputs), |(m, k)| ((3 * m + 5 * k) % 11) as f32);
            let expected = x.dot(&floats.t());
            for context in every_isa() {
                // What is behind `x` in scratch is NaN in f32.
                let mut scratch = vec![0xff; damaged.scratch_bytes(rows).unwrap()];
                let y = context.scope(|| {
                    let mut y = Array2::from_elem((rows, outputs), -1.0);
                    match integer {
                        true => {
                            let mut sums = Array2::from_elem((rows, outputs), -1);
                            let x = x.map(|&x| x as u8);
                            damaged.forward_codes_with(x.view(), &[], sums.view_mut(), &mut scratch).unwrap();
                            y.assign(&sums.map(|&sum| sum as f32));
                        }
                        false => damaged.forward_with(x.view(), y.view_mut(), &mut scratch).unwrap(),
                    }
                    y
                });
                assert!(y == expected, "{damaged:?} {block:?} {rows} rows {context:?}");
            }
        }
    }
}

/// Views that repeat one number, or have none: what a call would allocate for them is more than any address space.
#[test]
#[cfg(target_pointer_width = "64")]
fn what_memory_cannot_hold_is_an_error_before_it_is_allocated() {
    const MANY: usize = 1 << 50;
    let refused = |result: tersor::Result<()>, name: &str, sizes: &[usize]| match result.unwrap_err() {
        Error::SizeOverflow { argument, sizes: found } => {
            assert_eq!((argument.as_ref(), &found[..]), (name, sizes))
        }
        error => panic!("{error}"),
    };
    let one = Array2::<f32>::ones((1, 1));
    let wide = one.broadcast((MANY, 3)).unwrap();
    let int8 = PackedLinear::new(Weights::int8(Array2::<i8>::ones((0, 3)).view(), &[1.0], &[])).unwrap();
    refused(int8.forward(wide, Array2::<f32>::zeros((MANY, 0)).view_mut()), "x", &[MANY, 3]);
    let codes = Array2::<u8>::ones((1, 1));
    let y = &mut Array2::<i32>::zeros((MANY, 0));
    refused(int8.forward_codes(codes.broadcast((MANY, 3)).unwrap(), &[], y.view_mut()), "x", &[MANY, 3]);
    let image = Array4::<f32>::ones((1, 1, 1, 1));
    let conv = Conv2d::new(int8, Window::new((1, 1))).unwrap();
    let y = &mut Array4::<f32>::zeros((MANY, 1, 1, 0));
    let x = image.broadcast((MANY, 1, 1, 3)).unwrap();
    refused(conv.forward(x, y.view_mut()), "x", &[MANY, 1, 1, 3]);
}
