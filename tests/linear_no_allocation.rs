//! `forward_with` and `forward_codes_with` allocate nothing, in any format. A program of its own, because it counts.

#![allow(unsafe_code, clippy::unwrap_used)]

use ndarray::Array2;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tersor::linear::{Format, PackedLinear, Weights};
use tersor::quant::{CodeType, Params};
use tersor::{Context, Isa, Parallel, f16};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn forward_with_allocates_nothing() {
    let (outputs, inputs) = (70, 90);
    let w = Array2::from_shape_fn((outputs, inputs), |(n, k)| if (n + k) % 4 == 0 { 0.5_f32 } else { 0.0 });
    let half = w.map(|w| f16::from_f32(*w));
    let codes = w.map(|w| (w * 100.0) as i8);
    let ones = (Array2::<f32>::ones((outputs, inputs)), Array2::<i8>::ones((outputs, inputs)));
    let nibbles = codes.map(|code| code & 7);
    let scales = Array2::from_elem((outputs, 3), 0.5);
    let zeros = Array2::ones((outputs, 3));
    let layers = [
        Weights::from(w.view()),
        Weights::from(half.view()),
        Weights::from(w.view()).sparse(),
        Weights::int8(codes.view(), &[0.5], &[]),
        Weights::int8(codes.view(), &[0.5], &[1]),
        Weights::int8(codes.view(), &[0.5], &[]).sparse(),
        Weights::int4(nibbles.view(), 32, scales.view(), None),
        Weights::int4(nibbles.view(), 32, scales.view(), Some(zeros.view())),
        // Stored in blocks of 16 outputs.
        Weights::from(ones.0.view()).sparse(),
        Weights::int8(ones.1.view(), &[0.5], &[]).sparse(),
    ]
    .map(|weights| {
        let params = Params::new(CodeType::I8, vec![0.5], vec![3], None).unwrap();
        PackedLinear::new(weights).unwrap().with_relu().unwrap().with_output_params(&params).unwrap()
    });
    for rows in [1, 40] {
        let x = Array2::from_elem((rows, inputs), 1.0_f32);
        let narrow = x.map(|x| f16::from_f32(*x));
        let codes = Array2::from_elem((rows, inputs), 3_u8);
        let mut y = Array2::<f32>::zeros((rows, outputs));
        let mut y_codes = Array2::<i8>::zeros((rows, outputs));
        let mut sums = Array2::<i32>::zeros((rows, outputs));
        for layer in &layers {
            let params = Params::new(CodeType::U8, vec![0.1], vec![5], None).unwrap();
            let chained =
                layer.format().is_integer().then(|| layer.clone().with_input_params(&params).unwrap());
            let mut scratch = vec![0; layer.scratch_bytes(rows).unwrap()];
            for &isa in Isa::available() {
                let context = Context::new().unwrap().with_isa(isa).with_parallel(Parallel::Serial);
                context.scope(|| {
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    layer.forward_with(x.view(), y.view_mut(), &mut scratch).unwrap();
                    layer.forward_with(narrow.t().reversed_axes(), y.view_mut(), &mut scratch).unwrap();
                    layer.forward_with(x.view(), y_codes.view_mut(), &mut scratch).unwrap();
                    if let Some(chained) = &chained {
                        chained.forward_with(codes.view(), y_codes.view_mut(), &mut scratch).unwrap();
                    }
                    if layer.format().is_integer() && layer.format() != Format::Int4 {
                        layer.forward_codes_with(codes.view(), &[5], sums.view_mut(), &mut scratch).unwrap();
                    }
                    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "{layer:?} on {isa}");
                });
            }
        }
    }
}
