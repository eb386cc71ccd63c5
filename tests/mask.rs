//! `Mask` through its public API: the algebra against booleans, every instruction set against scalar, damaged bytes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, Array3, s};
use proptest::prelude::*;
use support::guard::Guarded;
use support::{Random, awkward_lengths, every_isa, every_thread_count, scalar};
use tersor::{BitSlice, Element, Error, Mask, SavedMask, bf16, f16};

fn mask_of(bools: &[bool]) -> Mask {
    Mask::from_bools(Array1::from(bools.to_vec()).view()).unwrap()
}

proptest! {
    #[test]
    fn algebra_agrees_with_booleans(pairs in prop::collection::vec(any::<(bool, bool)>(), 0..300)) {
        let (a, b): (Vec<bool>, Vec<bool>) = pairs.iter().copied().unzip();
        let (mask_a, mask_b) = (mask_of(&a), mask_of(&b));
        let expect = |operation: fn(bool, bool) -> bool| {
            mask_of(&pairs.iter().map(|&(a, b)| operation(a, b)).collect::<Vec<_>>())
        };
        prop_assert_eq!(mask_a.and(&mask_b).unwrap(), expect(|a, b| a & b));
        prop_assert_eq!(mask_a.or(&mask_b).unwrap(), expect(|a, b| a | b));
        prop_assert_eq!(mask_a.not(), expect(|a, _| !a));
        prop_assert_eq!(mask_a.count(), a.iter().filter(|&&x| x).count());
        let survivors: Vec<usize> = a.iter().enumerate().filter(|(_, x)| **x).map(|(i, _)| i).collect();
        prop_assert_eq!(mask_a.survivors().collect::<Vec<_>>(), survivors);
        prop_assert_eq!((0..a.len()).map(|i| mask_a.get(i).unwrap()).collect::<Vec<_>>(), a.clone());
        prop_assert_eq!(mask_a.get(a.len()), None);
        prop_assert_eq!(Mask::from_bits(&[a.len()], mask_a.as_bytes()).unwrap(), mask_a.clone());
        prop_assert_eq!(Mask::from_bytes(&mask_a.to_bytes()).unwrap(), mask_a);
    }

    #[test]
    fn a_slice_at_any_bit_reads_what_is_there(
        bools in prop::collection::vec(any::<bool>(), 1..300),
        start in 0_usize..300,
        end in 0_usize..300,
    ) {
        let mask = mask_of(&bools);
        let end = end.min(bools.len());
        let start = start.min(end);
        let slice = mask.bits().slice(start, end);
        let expected = &bools[start..end];
        prop_assert_eq!(slice.len(), expected.len());
        prop_assert_eq!(slice.count(), expected.iter().filter(|&&x| x).count());
        for (index, &bit) in expected.iter().enumerate() {
            prop_assert_eq!(slice.get(index), Some(bit));
            prop_assert_eq!(slice.word(index / 64) >> (index % 64) & 1 == 1, bit);
        }
        prop_assert_eq!(slice.get(expected.len()), None);
        prop_assert_eq!(slice.word(slice.words()), 0);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_back_the_same(
        bools in prop::collection::vec(any::<bool>(), 0..100),
        damage in 0_usize..64,
        byte in any::<u8>(),
        cut in 0_usize..40,
    ) {
        let mut bytes = mask_of(&bools).to_bytes();
        let at = damage % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut).max(1));
        if let Ok(mask) = Mask::from_bytes(&bytes) {
            prop_assert_eq!(mask.to_bytes(), bytes);
        }
    }
}

#[test]
fn set_changes_one_bit() {
    let mut mask = Mask::zeros(&[70]).unwrap();
    mask.set(69, true).unwrap();
    mask.set(3, true).unwrap();
    mask.set(3, false).unwrap();
    assert_eq!(mask.survivors().collect::<Vec<_>>(), [69]);
    assert!(mask.set(70, true).is_err());
}

#[test]
fn rows_are_bit_slices_at_any_offset() {
    let bools = Array3::from_shape_fn((5, 7, 3), |(i, j, k)| (i * 31 + j * 7 + k) % 3 == 0);
    let mask = Mask::from_bools(bools.view()).unwrap();
    assert_eq!(mask.rows().len(), 5);
    for (row, bits) in mask.rows().enumerate() {
        let expected: Vec<bool> = bools.slice(s![row, .., ..]).iter().copied().collect();
        assert_eq!((0..bits.len()).map(|i| bits.get(i).unwrap()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(Mask::ones(&[]).unwrap().rows().len(), 1);
    assert_eq!(Mask::ones(&[0, 4]).unwrap().rows().len(), 0);
}

/// Bytes of elements with every kind of value in them.
fn elements<E: Element>(len: usize) -> Vec<E> {
    let special = [f32::NAN, f32::INFINITY, -0.0, 0.0, f32::MIN_POSITIVE / 2.0, -1.5];
    let mut random = Random(len as u64);
    (0..len)
        .map(|i| E::from_f32(if i % 3 == 0 { special[i / 3 % special.len()] } else { random.signed() }))
        .collect()
}

fn apply_is_the_same_everywhere<E: Element + support::guard::plain::Plain>() {
    let mut random = Random(7);
    for len in awkward_lengths() {
        for misalignment in 0..8 {
            let bytes: Vec<u8> = (0..(len + misalignment).div_ceil(8)).map(|_| random.bits() as u8).collect();
            let bytes = Guarded::new(&bytes);
            let bits =
                BitSlice::new(&bytes, len + misalignment).unwrap().slice(misalignment, len + misalignment);
            let original = elements::<E>(len + misalignment);
            let expected: Vec<E> = original[misalignment..]
                .iter()
                .enumerate()
                .map(|(i, &x)| if bits.get(i).unwrap() { x } else { E::from_f32(0.0) })
                .collect();
            for context in every_isa() {
                let mut buffer = Guarded::new(&original);
                context.scope(|| bits.apply(&mut buffer[misalignment..])).unwrap();
                let (untouched, applied) = buffer.split_at(misalignment);
                assert_eq!(bytemuck_bytes(untouched), bytemuck_bytes(&original[..misalignment]));
                assert_eq!(bytemuck_bytes(applied), bytemuck_bytes(&expected), "{context:?}, length {len}");
            }
        }
    }
}

fn bytemuck_bytes<E: Element>(elements: &[E]) -> Vec<u8> {
    bytemuck::cast_slice(elements).to_vec()
}

#[test]
fn apply_is_the_same_on_every_instruction_set() {
    apply_is_the_same_everywhere::<f32>();
    apply_is_the_same_everywhere::<f16>();
    apply_is_the_same_everywhere::<bf16>();
}

#[test]
fn apply_is_the_same_at_any_thread_count() {
    let len = 100_003;
    let mut random = Random(3);
    let mask = Mask::from_fn(&[len], |_| random.bits().is_multiple_of(3)).unwrap();
    let original = Array1::from(elements::<f16>(len));
    let mut expected = original.clone();
    scalar().scope(|| mask.apply(&mut expected)).unwrap();
    for context in every_thread_count() {
        let mut array = original.clone();
        context.scope(|| mask.apply(&mut array)).unwrap();
        assert_eq!(bytemuck_bytes(array.as_slice().unwrap()), bytemuck_bytes(expected.as_slice().unwrap()));
    }
}

#[test]
fn apply_follows_logical_order_in_any_layout() {
    let mask = Mask::from_fn(&[3, 4], |i| i % 3 != 0).unwrap();
    let values = Array2::from_shape_fn((3, 4), |(i, j)| (i * 4 + j + 1) as f32);
    let mut standard = values.clone();
    mask.apply(&mut standard).unwrap();
    let mut columns_first = Array2::zeros(ndarray::ShapeBuilder::f((3, 4)));
    columns_first.assign(&values);
    mask.apply(&mut columns_first).unwrap();
    assert_eq!(standard, columns_first);
    assert_eq!(standard[[0, 0]], 0.0);
    assert_eq!(standard[[0, 1]], 2.0);
}

#[test]
fn wrong_shapes_are_named_and_leave_everything_as_it_was() {
    let mask = Mask::zeros(&[2, 3]).unwrap();
    let mut array = Array2::from_elem((3, 2), 1.0_f32);
    let error = mask.apply(&mut array).unwrap_err();
    assert_eq!(error.to_string(), "array: the shape is [3, 2], but must be the mask's [2, 3]");
    assert_eq!(array, Array2::from_elem((3, 2), 1.0));

    assert!(matches!(Mask::ones(&[usize::MAX, 2]), Err(Error::SizeOverflow { .. })));
    assert!(matches!(mask.and(&Mask::zeros(&[6]).unwrap()), Err(Error::Shape { .. })));
    assert!(matches!(Mask::from_bits(&[9], &[0]), Err(Error::Length { .. })));
    assert!(matches!(BitSlice::new(&[0], 9), Err(Error::Length { .. })));
    assert!(matches!(BitSlice::new(&[0], 8).unwrap().apply(&mut [0.0_f32; 7]), Err(Error::Length { .. })));
}

/// Shapes whose weights can be counted, but whose bits no memory holds; and shapes that hide an overflow behind a 0.
#[test]
#[cfg(target_pointer_width = "64")]
fn sizes_that_do_not_fit_are_refused_before_memory_is_asked_for() {
    for shape in [&[isize::MAX as usize][..], &[1 << 31, 1 << 31], &[usize::MAX, 2, 0], &[0, usize::MAX, 2]] {
        for result in [Mask::ones(shape), Mask::zeros(shape), Mask::from_fn(shape, |_| true)] {
            match result {
                Err(Error::SizeOverflow { argument, sizes }) => {
                    assert_eq!((&*argument, &sizes[..]), ("shape", shape));
                }
                other => panic!("{shape:?}: {other:?}"),
            }
        }
    }
    let error = Mask::from_bits(&[isize::MAX as usize], &[0]).unwrap_err();
    assert!(matches!(error, Error::Length { found: 1, .. }), "{error}");
}

#[test]
fn what_is_written_can_be_read_whatever_the_number_of_axes() {
    for axes in [0, 1, 64, 65, 300] {
        let mask = Mask::ones(&vec![1; axes]).unwrap();
        assert_eq!(Mask::from_bytes(&mask.to_bytes()).unwrap(), mask, "{axes} axes");
    }
}

#[test]
fn damaged_bytes_say_what_is_wrong() {
    let bytes = Mask::from_fn(&[3, 5], |i| i % 2 == 0).unwrap().to_bytes();
    let message = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        Mask::from_bytes(&bytes).unwrap_err().to_string()
    };
    assert!(message(&|b| b[0] = b'X').contains("not a mask"));
    assert!(message(&|b| b[8] = 9).contains("version is 9"));
    assert!(message(&|b| b[12] = 200).contains("200 axes"));
    assert!(message(&|b| b[12..16].fill(0xff)).contains("4294967295 axes"));
    assert!(message(&|b| b.truncate(20)).contains("4 bytes are left"));
    assert!(message(&|b| b.truncate(30)).contains("2 axes, but 6 bytes are left"));
    assert!(message(&|b| b.push(0)).contains("3 bytes follow"));
    assert!(message(&|b| b[24 + 7] = 0xff).contains("overflows"));
    assert!(message(&|b| *b.last_mut().unwrap() |= 0x80).contains("past the last weight"));
    assert!(message(&|b| b[40] ^= 1).contains("survivors"));
}

#[test]
fn a_mask_is_saved_where_the_caller_wants_it() {
    for shape in [vec![], vec![0, 7], vec![3, 5], vec![8, 4, 2], vec![13, 1, 5]] {
        let mask = Mask::from_fn(&shape, |i| i % 3 == 0).unwrap();
        let mut bytes = vec![0xa5; SavedMask::size(&shape).unwrap()];
        SavedMask::save(&shape, mask.bits(), &mut bytes).unwrap();
        assert_eq!(bytes, mask.to_bytes());
        let saved = SavedMask::new(&bytes).unwrap();
        assert_eq!(saved.shape().collect::<Vec<_>>(), shape);
        assert!(saved.bits().survivors().eq(mask.survivors()));
        // Bits past the last weight, which a caller's bytes may have, are not saved.
        let ones = vec![0xff; mask.as_bytes().len()];
        SavedMask::save(&shape, BitSlice::new(&ones, mask.len()).unwrap(), &mut bytes).unwrap();
        assert_eq!(Mask::from_bytes(&bytes).unwrap(), Mask::ones(&shape).unwrap());
    }
    let bits = BitSlice::new(&[7], 3).unwrap();
    let mut bytes = [0; 33];
    assert!(matches!(SavedMask::size(&[usize::MAX, 2]), Err(Error::SizeOverflow { .. })));
    assert_eq!(SavedMask::size(&[1; 65]), Ok(24 + 65 * 8 + 1));
    assert!(matches!(SavedMask::save(&[4], bits, &mut bytes), Err(Error::Length { .. })));
    assert!(matches!(SavedMask::save(&[3], bits, &mut bytes[1..]), Err(Error::Length { .. })));
    assert_eq!(bytes, [0; 33]);
}
