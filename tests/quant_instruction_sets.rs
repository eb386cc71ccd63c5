//! Casts, quantization, fake quantization and min-max on every instruction set against scalar: at every awkward length,
//! at every alignment, and up to an inaccessible page.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};
use support::guard::{Guarded, plain::Plain};
use support::{Random, awkward_lengths, every_isa, scalar};
use tersor::quant::{
    Arithmetic, Code, CodeType, FakeQuantize, Interval, MinMax, Observer, Params, Range, Scheme, cast_into,
};
use tersor::{Context, Element, Error, bf16, f16};

/// How far before the inaccessible page a buffer ends, in elements. With the lengths, every alignment there is: 0 to 16
/// elements are 64 bytes of f32, the widest vector.
const BEFORE_THE_END: [usize; 8] = [0, 1, 2, 3, 5, 8, 13, 16];

/// The longest buffer and room behind it.
const ROOM: usize = 2 * 1023 + 16;

/// Memory up to an inaccessible page, of which a test takes the piece it wants.
struct Memory<T>(Guarded<T>);

impl<T: Copy + Plain> Memory<T> {
    fn new(value: impl FnMut(usize) -> T) -> Self {
        Memory(Guarded::new(&(0..ROOM).map(value).collect::<Vec<T>>()))
    }

    fn piece(&self, len: usize, before_the_end: usize) -> &[T] {
        &self.0[ROOM - before_the_end - len..ROOM - before_the_end]
    }

    /// The piece, and every byte that is not in it is checked afterwards.
    fn write(&mut self, len: usize, before_the_end: usize, write: impl FnOnce(&mut [T])) -> Vec<u8>
    where
        T: bytemuck::Pod,
    {
        let untouched: Vec<T> = self.0.to_vec();
        let range = ROOM - before_the_end - len..ROOM - before_the_end;
        write(&mut self.0[range.clone()]);
        let bytes = bytemuck::cast_slice(&self.0[range.clone()]).to_vec();
        self.0[range.clone()].copy_from_slice(&untouched[range]);
        let (found, expected): (&[u8], &[u8]) =
            (bytemuck::cast_slice(&self.0), bytemuck::cast_slice(&untouched));
        assert!(found == expected, "something was written beside the {len} elements");
        bytes
    }
}

/// Ties, both zeros, subnormals, NaN, infinities, and ordinary numbers.
fn value<E: Element>(index: usize) -> E {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.25, -12.75, 1e-40, f32::MAX, 65520.0];
    let mut random = Random(index as u64);
    E::from_f32(match index % 4 {
        0 => special[index / 4 % special.len()],
        1 => (random.signed() * 100.0).round() / 20.0,
        _ => random.signed() * 16.0,
    })
}

/// Everything that `run` writes, on every instruction set, is what scalar writes. `run` gets a length and a place.
fn same_as_scalar(what: &str, mut run: impl FnMut(usize, usize) -> Vec<u8>) {
    let contexts: Vec<Context> = every_isa().collect();
    for len in awkward_lengths() {
        for before_the_end in BEFORE_THE_END {
            let expected = scalar().scope(|| run(len, before_the_end));
            for context in &contexts {
                let found = context.scope(|| run(len, before_the_end));
                assert!(
                    found == expected,
                    "{what}: {context:?}, length {len}, {before_the_end} before the end"
                );
            }
        }
    }
}

fn casts<A: Element + Plain, B: Element + Plain>() {
    let (src, mut dst) = (Memory::<A>::new(value), Memory::new(|_| B::from_f32(7.0)));
    same_as_scalar(&format!("cast of {} to {}", A::DTYPE, B::DTYPE), |len, place| {
        let src = ArrayView1::from(src.piece(len, place));
        dst.write(len, place, |dst| cast_into(src, ArrayViewMut1::from(dst)).unwrap())
    });
}

#[test]
fn casts_are_those_of_scalar() {
    casts::<f32, f32>();
    casts::<f32, f16>();
    casts::<f32, bf16>();
    casts::<f16, f32>();
    casts::<f16, bf16>();
    casts::<bf16, f32>();
    casts::<bf16, f16>();
}

/// One scale; one for each of two rows; one for each column.
fn params(code_type: CodeType, len: usize, arithmetic: Arithmetic) -> [Params; 3] {
    let mut random = Random(len as u64);
    let middle = if code_type == CodeType::I8 { 0 } else { 128 };
    [None, Some((Axis(0), 2)), Some((Axis(1), len.max(1)))].map(|axis| {
        let count = axis.map_or(1, |(_, count)| count);
        let scales = (0..count).map(|_| 0.05 + random.signed().abs()).collect();
        let zero_points = (0..count).map(|_| middle + (random.bits() % 101) as i32 - 50).collect();
        Params::new(code_type, scales, zero_points, axis.map(|(axis, _)| axis))
            .and_then(|params| params.with_arithmetic(arithmetic))
            .unwrap()
    })
}

fn two_rows<T>(elements: &[T]) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((2, elements.len() / 2), elements).unwrap()
}

fn two_rows_mut<T>(elements: &mut [T]) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((2, elements.len() / 2), elements).unwrap()
}

fn quantization<E: Element + Plain, C: Code + Plain + bytemuck::Pod>() {
    let (x, codes) = (Memory::<E>::new(value), Memory::new(|index| C::from_i32(index as i32 * 7)));
    let mut new_codes = Memory::new(|_| C::from_i32(77));
    let (mut y, mut dx) = (Memory::new(|_| E::from_f32(7.0)), Memory::new(|_| E::from_f32(7.0)));
    for arithmetic in [Arithmetic::Divide, Arithmetic::Reciprocal, Arithmetic::Shifted] {
        for kind in 0..3 {
            same_as_scalar(&format!("{} {} {arithmetic:?} {kind}", E::DTYPE, C::TYPE), |len, place| {
                let [one, rows, columns] = params(C::TYPE, len, arithmetic);
                let params = match kind {
                    0 => one,
                    1 => rows,
                    // An array without columns has none to scale.
                    _ if len == 0 => return Vec::new(),
                    _ => columns,
                };
                let x = two_rows(x.piece(2 * len, place));
                let mut bytes = new_codes.write(2 * len, place, |codes| {
                    params.quantize_into(x, two_rows_mut(codes)).unwrap();
                });
                let codes = two_rows(codes.piece(2 * len, place));
                bytes.extend(y.write(2 * len, place, |y| {
                    params.dequantize_into(codes, two_rows_mut(y)).unwrap();
                }));
                let fake = FakeQuantize::new(params);
                bytes.extend(y.write(2 * len, place, |y| fake.forward(x, two_rows_mut(y)).unwrap()));
                bytes.extend(dx.write(2 * len, place, |dx| {
                    fake.backward(x, x, two_rows_mut(dx)).unwrap();
                }));
                bytes
            });
        }
    }
}

#[test]
fn quantization_is_that_of_scalar() {
    quantization::<f32, i8>();
    quantization::<f16, u8>();
    quantization::<bf16, i8>();
}

/// Minimum and maximum: against a plain fold, per tensor, per row and per column, and with a number that is not finite at
/// every place.
fn min_max<E: Element + Plain>() {
    let finite = |index: usize| Some(value::<E>(index)).filter(|x| Element::to_f32(*x).abs() < 1e30);
    let mut x = Memory::<E>::new(|index| finite(index).unwrap_or(E::from_f32(-0.0)));
    for len in awkward_lengths().filter(|&len| len > 0) {
        for place in BEFORE_THE_END {
            for context in every_isa() {
                let piece = two_rows(x.piece(2 * len, place));
                let fold = |elements: &mut dyn Iterator<Item = &E>| {
                    let none = Interval { min: f32::INFINITY, max: f32::NEG_INFINITY };
                    let found = elements
                        .map(|&x| Element::to_f32(x))
                        .fold(none, |found, x| Interval { min: found.min.min(x), max: found.max.max(x) });
                    Interval { min: found.min + 0.0, max: found.max + 0.0 }
                };
                let check = |mut observer: MinMax, scheme: Scheme, expected: Vec<Interval>| {
                    context.scope(|| observer.observe(piece)).unwrap();
                    let found = observer.intervals(&scheme, Range::MinMax).unwrap();
                    assert_eq!(found, expected, "{context:?}, length {len}, {place} before the end");
                };
                let rows = piece.rows().into_iter().map(|row| fold(&mut row.iter())).collect();
                let columns = piece.columns().into_iter().map(|column| fold(&mut column.iter())).collect();
                let scheme = Scheme::uint8();
                check(MinMax::new(), scheme, vec![fold(&mut piece.iter())]);
                check(MinMax::per_channel(Axis(0)), scheme.per_channel(Axis(0)), rows);
                check(MinMax::per_channel(Axis(1)), scheme.per_channel(Axis(1)), columns);
            }
        }
    }
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for context in every_isa() {
            for index in 0..134 {
                let scheme = Scheme::uint8();
                for scheme in [scheme, scheme.per_channel(Axis(0)), scheme.per_channel(Axis(1))] {
                    x.write(134, 1, |x| {
                        x[index] = E::from_f32(bad);
                        let error = context.scope(|| scheme.params(two_rows(x))).unwrap_err();
                        let Error::NotFinite { index: found, value, .. } = error else { panic!("{error}") };
                        assert_eq!((found, value.is_nan()), (index, bad.is_nan()), "{context:?}");
                        assert!(bad.is_nan() || value == bad);
                    });
                }
            }
        }
    }
}

#[test]
fn min_max_is_that_of_a_plain_fold() {
    min_max::<f32>();
    min_max::<f16>();
    min_max::<bf16>();
}
