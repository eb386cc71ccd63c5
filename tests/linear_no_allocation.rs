//! `forward_with` and `forward_codes_with` allocate nothing, in any format, nor do convolutions. A program of its own, because
//! it counts.

#![allow(unsafe_code, clippy::unwrap_used)]

use ndarray::{Array2, Array4, ArrayView4, ArrayViewMut4};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tersor::linear::{Conv2d, DepthwiseConv2d, Format, Operand, PackedLinear, Weights, Window};
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

/// A program counts what all of its threads allocate, so everything is one test.
#[test]
fn forward_with_allocates_nothing() {
    let (outputs, inputs) = (70, 90);
    let w = Array2::from_shape_fn((outputs, inputs), |(n, k)| if (n + k) % 4 == 0 { 0.5_f32 } else { 0.0 });
    let half = w.map(|w| f16::from_f32(*w));
    let codes = w.map(|w| (w * 100.0) as i8);
    // In blocks of one output, which are few enough to be stored as such.
    let low = Array2::from_shape_fn((outputs, inputs), |(n, k)| i8::from((n + k / 4) % 9 == 0));
    let ones = (Array2::<f32>::ones((outputs, inputs)), Array2::<i8>::ones((outputs, inputs)));
    let nibbles = codes.map(|code| code & 7);
    let scales = Array2::from_elem((outputs, 3), 0.5);
    let zeros = Array2::ones((outputs, 3));
    let layers = [
        Weights::from(w.view()),
        Weights::from(half.view()),
        Weights::from(half.view()).bf16_dot(),
        Weights::from(w.view()).sparse(),
        Weights::int8(codes.view(), &[0.5], &[]),
        Weights::int8(codes.view(), &[0.5], &[1]),
        Weights::int8(codes.view(), &[0.5], &[]).sparse(),
        Weights::int8(low.view(), &[0.5], &[]).sparse(),
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
    let mut layers = layers.to_vec();
    assert_eq!([6, 7].map(|index| layers[index].block()), [Some((1, 1)), Some((1, 4))]);
    layers.extend(layers.clone().into_iter().filter_map(|layer| layer.with_float_input().ok()));
    assert_eq!(layers.len(), 14);
    for rows in [1, 40] {
        let x = Array2::from_elem((rows, inputs), 1.0_f32);
        let narrow = x.map(|x| f16::from_f32(*x));
        let codes = Array2::from_elem((rows, inputs), 3_u8);
        let mut y = Array2::<f32>::zeros((rows, outputs));
        let mut y_codes = Array2::<i8>::zeros((rows, outputs));
        let mut sums = Array2::<i32>::zeros((rows, outputs));
        for layer in &layers {
            let params = Params::new(CodeType::U8, vec![0.1], vec![5], None).unwrap();
            let chained = layer.quantizes_input().then(|| layer.clone().with_input_params(&params).unwrap());
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
    for layer in &layers {
        for window in [Window::new((1, 1)), Window::new((3, 2)).padding((1, 1))] {
            let taps = if window == Window::new((1, 1)) { 1 } else { 6 };
            check_images(&Convolution::All(Conv2d::new(layer.clone(), window).unwrap()), inputs / taps);
        }
    }
    let params = Params::new(CodeType::I8, vec![0.5], vec![3], None).unwrap();
    let codes = Array2::from_elem((inputs, 6), 3_i8);
    let layer = PackedLinear::new(Weights::int8(codes.view(), &[0.5], &[])).unwrap();
    let layer = layer.with_output_params(&params).unwrap();
    let conv = DepthwiseConv2d::new(layer, Window::new((3, 2)).padding((1, 1))).unwrap();
    check_images(&Convolution::Depthwise(conv), inputs);
}

enum Convolution<'a> {
    All(Conv2d<'a>),
    Depthwise(DepthwiseConv2d<'a>),
}

impl Convolution<'_> {
    fn forward<X: Operand, Y: Operand>(
        &self,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
        scratch: &mut [u8],
    ) {
        match self {
            Convolution::All(conv) => conv.forward_with(x, y, scratch).unwrap(),
            Convolution::Depthwise(conv) => conv.forward_with(x, y, scratch).unwrap(),
        }
    }
}

/// Images side by side and apart, of numbers and of codes.
fn check_images(conv: &Convolution<'_>, channels: usize) {
    let image = [2, 5, 4];
    let (layer, window, scratch_bytes) = match conv {
        Convolution::All(conv) => (conv.layer(), conv.window(), conv.scratch_bytes(image)),
        Convolution::Depthwise(conv) => (conv.layer(), conv.window(), conv.scratch_bytes(image)),
    };
    let (height, width) = window.output_size((5, 4)).unwrap();
    let x = Array4::from_elem((2, 5, 4, channels), 1.0_f32);
    let apart = Array4::from_elem((2, channels, 5, 4), f16::ONE);
    let mut y = Array4::<f32>::zeros((2, height, width, layer.out_features()));
    let mut codes = Array4::<i8>::zeros((2, layer.out_features(), height, width));
    let mut scratch = vec![0; scratch_bytes.unwrap()];
    for &isa in Isa::available() {
        let context = Context::new().unwrap().with_isa(isa).with_parallel(Parallel::Serial);
        context.scope(|| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            conv.forward(x.view(), y.view_mut(), &mut scratch);
            let apart = apart.view().permuted_axes([0, 2, 3, 1]);
            conv.forward(apart, codes.view_mut().permuted_axes([0, 2, 3, 1]), &mut scratch);
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "{layer:?} {window:?} on {isa}");
        });
    }
}
