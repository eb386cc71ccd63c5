//! Convolutions against onnxruntime, and against the layer that they are, fed with windows that are cut out here.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, Array4, ArrayView4, s};
use serde_json::Value;
use support::golden::{Golden, name};
use support::guard::Guarded;
use support::layers::{every_format, random, random_codes};
use support::{every_isa, every_thread_count};
use tersor::linear::{Conv2d, DepthwiseConv2d, Format, Operand, PackedLinear, Weights, Window};
use tersor::quant::{Code, CodeType, Params};
use tersor::{Error, f16};

fn pair(case: &Value, key: &str) -> (usize, usize) {
    let numbers = case["options"][key].as_array().unwrap();
    (numbers[0].as_u64().unwrap() as usize, numbers[1].as_u64().unwrap() as usize)
}

/// Everything is an integer below 2^24, so f32 holds it.
fn run_golden<C: Code + Operand>(golden: &Golden, case: &Value, codes: Vec<C>) {
    let tensor = |key: &str| format!("{}.{key}", name(case));
    let shape = |key: &str| <[usize; 4]>::try_from(golden.shape(&tensor(key))).unwrap();
    let (x_shape, w_shape, y_shape) = (shape("x"), shape("w"), shape("y"));
    let x = Array4::from_shape_vec(x_shape, codes).unwrap();
    let w = Array4::from_shape_vec(w_shape, golden.i8(&tensor("w"))).unwrap();
    let expected = Array4::from_shape_vec(y_shape, golden.i32(&tensor("y"))).unwrap().mapv(|y| y as f32);
    let zero_point = match C::TYPE {
        CodeType::I8 => i32::from(golden.i8(&tensor("x_zero_point"))[0]),
        _ => i32::from(golden.u8(&tensor("x_zero_point"))[0]),
    };
    let padding: Vec<usize> =
        case["options"]["padding"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize).collect();
    let window = Window::new(pair(case, "window"))
        .stride(pair(case, "stride"))
        .dilation(pair(case, "dilation"))
        .padding_each((padding[0], padding[2]), (padding[1], padding[3]));
    let rows = w.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
    let rows = rows.into_shape_with_order((w_shape[0], w_shape[1] * w_shape[2] * w_shape[3])).unwrap();
    let layer = PackedLinear::new(Weights::int8(rows.view(), &[1.0], &[])).unwrap();
    let params = Params::new(C::TYPE, vec![1.0], vec![zero_point], None).unwrap();
    let layer = layer.with_input_params(&params).unwrap();
    // Both layouts: as the toolkit has them, and with channels side by side.
    let x = x.permuted_axes([0, 2, 3, 1]);
    for x in [x.view(), x.as_standard_layout().view()] {
        for context in every_isa() {
            let mut y = Array4::<f32>::from_elem(y_shape, f32::NAN).permuted_axes([0, 2, 3, 1]);
            let mut side_by_side = y.as_standard_layout().into_owned();
            context.scope(|| {
                if case["options"]["depthwise"].as_bool().unwrap() {
                    let conv = DepthwiseConv2d::new(layer.clone(), window).unwrap();
                    conv.forward(x, y.view_mut()).unwrap();
                    conv.forward(x, side_by_side.view_mut()).unwrap();
                } else {
                    let conv = Conv2d::new(layer.clone(), window).unwrap();
                    conv.forward(x, y.view_mut()).unwrap();
                    conv.forward(x, side_by_side.view_mut()).unwrap();
                }
            });
            assert_eq!(y.view().permuted_axes([0, 3, 1, 2]), expected, "{} {context:?}", name(case));
            assert_eq!(y, side_by_side, "{} {context:?}", name(case));
        }
    }
}

#[test]
fn convolutions_of_codes_are_those_of_onnxruntime() {
    let golden = Golden::load("onnxruntime_conv");
    for case in &golden.cases {
        let tensor = format!("{}.x", name(case));
        match case["options"]["signed"].as_bool().unwrap() {
            true => run_golden::<i8>(&golden, case, golden.i8(&tensor)),
            false => run_golden::<u8>(&golden, case, golden.u8(&tensor)),
        }
    }
    assert_eq!(golden.cases.len(), 20);
}

/// What the windows see, tap by tap.
fn lowered(x: ArrayView4<'_, f32>, window: Window, geometry: &Taps) -> Array2<f32> {
    let (batch, height, width, channels) = x.dim();
    let (out_height, out_width) = window.output_size((height, width)).unwrap();
    let Taps { size, stride, dilation, padding } = *geometry;
    Array2::from_shape_fn((batch * out_height * out_width, size.0 * size.1 * channels), |(row, column)| {
        let (n, oy, ox) = (row / (out_height * out_width), row / out_width % out_height, row % out_width);
        let (ky, kx, c) = (column / channels / size.1, column / channels % size.1, column % channels);
        let (y, x_) = (oy * stride.0 + ky * dilation.0, ox * stride.1 + kx * dilation.1);
        match (y.checked_sub(padding.0), x_.checked_sub(padding.1)) {
            (Some(y), Some(x_)) if y < height && x_ < width => x[[n, y, x_, c]],
            _ => 0.0,
        }
    })
}

struct Taps {
    size: (usize, usize),
    stride: (usize, usize),
    dilation: (usize, usize),
    padding: (usize, usize),
}

impl Taps {
    fn window(&self) -> Window {
        Window::new(self.size).stride(self.stride).dilation(self.dilation).padding(self.padding)
    }
}

/// Images, windows and outputs.
fn cases() -> [([usize; 4], Taps, usize); 6] {
    let one = (1, 1);
    [
        ([1, 1, 1, 1], Taps { size: one, stride: one, dilation: one, padding: (0, 0) }, 1),
        ([2, 7, 5, 8], Taps { size: one, stride: one, dilation: one, padding: (0, 0) }, 33),
        ([2, 6, 7, 3], Taps { size: (3, 3), stride: one, dilation: one, padding: one }, 40),
        ([1, 20, 19, 4], Taps { size: (3, 3), stride: (2, 2), dilation: one, padding: one }, 17),
        ([1, 9, 8, 5], Taps { size: (2, 3), stride: (1, 2), dilation: (3, 2), padding: (2, 1) }, 9),
        ([3, 1, 30, 2], Taps { size: (1, 5), stride: (1, 1), dilation: one, padding: (0, 2) }, 5),
    ]
}

fn images(shape: [usize; 4], seed: u64) -> Array4<f32> {
    random(shape[0] * shape[1], shape[2] * shape[3], seed).into_shape_with_order(shape).unwrap()
}

/// In every format: a convolution is its layer over the windows, to the bit where the layer's rows do not depend on how many
/// there are.
#[test]
fn convolutions_are_their_layer_over_windows() {
    for (shape, taps, outputs) in cases() {
        let (x, window) = (images(shape, 1), taps.window());
        let rows = lowered(x.view(), window, &taps);
        let (out_height, out_width) = window.output_size((shape[1], shape[2])).unwrap();
        let params = Params::new(CodeType::U8, vec![0.01], vec![100], None).unwrap();
        for layer in every_format(outputs, rows.ncols()) {
            let layer = layer.with_clamp(-0.75, 2.0).unwrap();
            let layer = match layer.quantizes_input() {
                true => layer.with_input_params(&params).unwrap(),
                false => layer,
            };
            let conv = Conv2d::new(layer.clone(), window).unwrap();
            for context in every_isa().chain(every_thread_count()) {
                context.scope(|| {
                    let mut expected = Array2::<f32>::zeros((rows.nrows(), outputs));
                    layer.forward(rows.view(), expected.view_mut()).unwrap();
                    let mut y = Array4::<f32>::zeros((shape[0], out_height, out_width, outputs));
                    conv.forward(x.view(), y.view_mut()).unwrap();
                    let is_same = |a: f32, b: f32| match layer.format() {
                        // Sums in an order that depends on the number of rows.
                        Format::SparseF32 => (a - b).abs() <= 1e-5,
                        _ => a.to_bits() == b.to_bits(),
                    };
                    for (&y, &expected) in y.iter().zip(&expected) {
                        assert!(is_same(y, expected), "{y} {expected} {layer:?} {window:?} {context:?}");
                    }
                    let mut apart =
                        Array4::<f32>::zeros((shape[0], 2 * out_height, out_width * 2, outputs * 3));
                    conv.forward(x.view(), apart.slice_mut(s![.., ..;-2, 1..;2, ..;3])).unwrap();
                    for (&y, &apart) in y.iter().zip(apart.slice(s![.., ..;-2, 1..;2, ..;3])) {
                        assert!(is_same(y, apart), "{y} {apart} {layer:?} {window:?} {context:?}");
                    }
                    assert!(apart.slice(s![.., .., ..;2, ..]).iter().all(|&y| y == 0.0));
                });
            }
        }
    }
}

/// Without input parameters each image has a range of its own.
#[test]
fn dynamic_quantization_takes_the_range_of_an_image() {
    for (shape, taps, outputs) in cases() {
        let mut x = images(shape, 2);
        x.slice_mut(s![-1, .., .., ..]).mapv_inplace(|x| x * 3.0 + 0.5);
        let window = taps.window();
        let w = random_codes(outputs, taps.size.0 * taps.size.1 * shape[3], 3);
        let layer = PackedLinear::new(Weights::int8(w.view(), &[0.02], &[])).unwrap();
        let conv = Conv2d::new(layer.clone(), window).unwrap();
        let (out_height, out_width) = window.output_size((shape[1], shape[2])).unwrap();
        for context in every_isa().chain(every_thread_count()) {
            context.scope(|| {
                let mut y = Array4::<f32>::zeros((shape[0], out_height, out_width, outputs));
                conv.forward(x.view(), y.view_mut()).unwrap();
                for n in 0..shape[0] {
                    let image = x.slice(s![n..=n, .., .., ..]);
                    let low = image.iter().fold(0.0_f32, |low, &x| low.min(x));
                    let high = image.iter().fold(0.0_f32, |high, &x| high.max(x));
                    let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
                    let zero_point = (-low / scale).round_ties_even() as i32;
                    let params = Params::new(CodeType::U8, vec![scale], vec![zero_point], None).unwrap();
                    let layer = layer.clone().with_input_params(&params).unwrap();
                    let rows = lowered(image, window, &taps);
                    let mut expected = Array2::<f32>::zeros((rows.nrows(), outputs));
                    layer.forward(rows.view(), expected.view_mut()).unwrap();
                    let found = y.slice(s![n, .., .., ..]);
                    assert!(found.iter().eq(&expected), "{window:?} {context:?}");
                }
            });
        }
    }
}

/// Each channel by itself is a convolution of all channels in which every other has weights of zero: windows of few taps and of
/// as many as there may be, the greatest sums, and images of other ranges behind more outputs than a piece has.
#[test]
fn depthwise_convolutions_are_those_of_all_channels_with_zeros() {
    let channels = 35;
    for (size, padding) in [((1, 1), 0), ((3, 3), 1), ((5, 5), 2), ((2, 15), 1), ((8, 16), 7)] {
        let taps = size.0 * size.1;
        let mut codes = random_codes(channels, taps, 1);
        codes.row_mut(0).fill(-128);
        codes.row_mut(33).fill(127);
        let among_zeros = Array2::from_shape_fn((channels, taps * channels), |(output, input)| {
            if input % channels == output { codes[[output, input / channels]] } else { 0 }
        });
        let mut x = images([3, 9, 17, channels], 2);
        x.slice_mut(s![1, .., .., ..]).fill(3.0);
        x.slice_mut(s![2, .., .., ..]).mapv_inplace(|x| 0.25 - x.abs());
        let window = Window::new(size).padding((padding, padding));
        let (height, width) = window.output_size((9, 17)).unwrap();
        let bias: Vec<f32> = (0..channels).map(|channel| channel as f32).collect();
        let [each, all] = [&codes, &among_zeros].map(|codes| {
            let layer = PackedLinear::new(Weights::int8(codes.view(), &[0.01], &[])).unwrap();
            layer.with_bias(&bias).unwrap()
        });
        let (each, all) = (DepthwiseConv2d::new(each, window).unwrap(), Conv2d::new(all, window).unwrap());
        for context in every_isa().chain(every_thread_count()) {
            context.scope(|| {
                let mut expected = Array4::<f32>::zeros((3, height, width, channels));
                all.forward(x.view(), expected.view_mut()).unwrap();
                let mut y = Array4::<f32>::zeros((3, height, width, channels));
                each.forward(x.view(), y.view_mut()).unwrap();
                assert!(
                    y.iter().zip(&expected).all(|(y, e)| y.to_bits() == e.to_bits()),
                    "{size:?} {context:?}"
                );
            });
        }
    }
}

/// Types and strides of `x`, codes as `y`, and scratch that ends at an inaccessible page.
#[test]
fn any_element_and_any_stride_give_the_same() {
    let (shape, taps) =
        ([2, 6, 7, 40], Taps { size: (3, 2), stride: (2, 1), dilation: (1, 1), padding: (1, 1) });
    let x = images(shape, 1).mapv(|x| f16::from_f32(x).to_f32());
    let half = x.mapv(f16::from_f32);
    let window = taps.window();
    let y_params = Params::new(CodeType::I8, vec![0.05], vec![3], None).unwrap();
    let (out_height, out_width) = window.output_size((6, 7)).unwrap();
    let mut channels_first = Array4::<f32>::zeros((2, 40, 6, 7));
    channels_first.assign(&x.view().permuted_axes([0, 3, 1, 2]));
    let mut apart = Array4::<f32>::zeros((2, 12, 14, 80));
    apart.slice_mut(s![.., ..;-2, ..;2, ..;2]).assign(&x);
    let views = [channels_first.view().permuted_axes([0, 2, 3, 1]), apart.slice(s![.., ..;-2, ..;2, ..;2])];
    let depthwise_codes = random_codes(40, 6, 4);
    let depthwise = PackedLinear::new(Weights::int8(depthwise_codes.view(), &[0.01], &[])).unwrap();
    let depthwise = depthwise.with_output_params(&y_params).unwrap();
    let mut convolutions: Vec<(Option<Conv2d<'_>>, Option<DepthwiseConv2d<'_>>, usize)> =
        vec![(None, Some(DepthwiseConv2d::new(depthwise, window).unwrap()), 40)];
    for layer in every_format(5, 240) {
        let conv = Conv2d::new(layer.with_output_params(&y_params).unwrap(), window).unwrap();
        convolutions.push((Some(conv), None, 5));
    }
    fn run<X: Operand, Y: Operand>(
        conv: &(Option<Conv2d<'_>>, Option<DepthwiseConv2d<'_>>, usize),
        x: ArrayView4<'_, X>,
        y: &mut Array4<Y>,
    ) {
        let (batch, height, width, _) = x.dim();
        match conv {
            (Some(conv), ..) => {
                let bytes = conv.scratch_bytes([batch, height, width]).unwrap();
                conv.forward_with(x, y.view_mut(), &mut Guarded::new(&vec![0xff_u8; bytes])).unwrap();
            }
            (_, Some(conv), _) => {
                let bytes = conv.scratch_bytes([batch, height, width]).unwrap();
                conv.forward_with(x, y.view_mut(), &mut Guarded::new(&vec![0xff_u8; bytes])).unwrap();
            }
            _ => unreachable!(),
        }
    }
    for conv in &convolutions {
        for context in every_isa() {
            context.scope(|| {
                let shape = (2, out_height, out_width, conv.2);
                let mut expected = Array4::<f32>::zeros(shape);
                run(conv, x.view(), &mut expected);
                for view in views.iter() {
                    let mut y = Array4::<f32>::zeros(shape);
                    run(conv, view.view(), &mut y);
                    assert_eq!(y, expected, "{context:?}");
                }
                let mut y = Array4::<f32>::zeros(shape);
                run(conv, half.view(), &mut y);
                assert_eq!(y, expected, "{context:?}");
                let mut codes = Array4::<i8>::zeros(shape);
                run(conv, x.view(), &mut codes);
                let flat = expected.clone().into_shape_with_order(expected.len()).unwrap();
                let of_numbers = y_params.quantize(flat.view()).unwrap();
                assert!(codes.iter().eq(of_numbers.codes().as_i8().unwrap().iter()), "{context:?}");
            });
        }
    }
}

#[test]
fn images_without_pixels_and_windows_in_the_padding_are_no_special_case() {
    let layer = PackedLinear::new(random(3, 4, 1).view()).unwrap().with_bias(&[1.0, 2.0, 3.0]).unwrap();
    let codes = random_codes(3, 4, 1);
    let int8 = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[])).unwrap();
    let int8 = int8.with_bias(&[1.0, 2.0, 3.0]).unwrap();
    for layer in [layer, int8.clone()] {
        let conv = Conv2d::new(layer, Window::new((2, 2)).padding((2, 3))).unwrap();
        // Nothing but padding.
        let mut y = Array4::<f32>::zeros((1, 3, 5, 3));
        conv.forward(Array4::<f32>::zeros((1, 0, 0, 1)).view(), y.view_mut()).unwrap();
        assert!(y.iter().enumerate().all(|(index, &y)| y == (index % 3 + 1) as f32), "{y}");
        let mut none = Array4::<f32>::zeros((0, 3, 5, 3));
        conv.forward(Array4::<f32>::zeros((0, 0, 0, 1)).view(), none.view_mut()).unwrap();
        let empty =
            PackedLinear::new(Array2::<f32>::zeros((2, 0)).view()).unwrap().with_bias(&[5.0, 6.0]).unwrap();
        let conv = Conv2d::new(empty, Window::new((2, 2))).unwrap();
        let mut y = Array4::<f32>::zeros((1, 1, 1, 2));
        conv.forward(Array4::<f32>::zeros((1, 2, 2, 0)).view(), y.view_mut()).unwrap();
        assert!(y.iter().eq(&[5.0, 6.0]));
    }
    let conv = DepthwiseConv2d::new(int8, Window::new((2, 2)).padding((2, 3))).unwrap();
    let mut y = Array4::<f32>::zeros((1, 3, 5, 3));
    conv.forward(Array4::<f32>::zeros((1, 0, 0, 3)).view(), y.view_mut()).unwrap();
    assert!(y.iter().enumerate().all(|(index, &y)| y == (index % 3 + 1) as f32), "{y}");
}

/// Every tap but the last is in the padding, and how far they are apart in pixels fits no integer.
#[test]
fn dilation_may_be_larger_than_any_image() {
    let apart = isize::MAX as usize - 1;
    let window = Window::new((2, 1)).dilation((apart, 1)).padding_each((apart, 0), (0, 0));
    let codes = random_codes(1, 2, 1);
    let layer = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[])).unwrap();
    let x = Array4::from_shape_fn((1, 1, 4, 1), |(_, _, x, _)| 255.0 - x as f32);
    let expected = x.mapv(|x| x * f32::from(codes[[0, 1]]));
    let mut y = Array4::<f32>::zeros((1, 1, 4, 1));
    DepthwiseConv2d::new(layer.clone(), window).unwrap().forward(x.view(), y.view_mut()).unwrap();
    assert_eq!(y, expected);
    y.fill(0.0);
    Conv2d::new(layer, window).unwrap().forward(x.view(), y.view_mut()).unwrap();
    assert_eq!(y, expected);
}

/// Where there is nothing to read or to write, nothing counts up to how many images or lines there would be.
#[test]
fn any_number_of_empty_images_is_done_at_once() {
    let many = 1 << (usize::BITS - 3);
    let none = PackedLinear::new(Array2::<f32>::zeros((0, 0)).view()).unwrap();
    let conv = Conv2d::new(none, Window::new((1, 1))).unwrap();
    let x = Array4::<f32>::zeros((many, 1, 1, 0));
    conv.forward(x.view(), x.clone().view_mut()).unwrap();
    let no_outputs = PackedLinear::new(Array2::<f32>::zeros((0, 1)).view()).unwrap();
    let conv = Conv2d::new(no_outputs, Window::new((1, 1)).padding_each((many - 1, 0), (0, 0))).unwrap();
    let mut y = Array4::<f32>::zeros((1, many, 1, 0));
    conv.forward(Array4::<f32>::zeros((1, 1, 1, 1)).view(), y.view_mut()).unwrap();
}

#[test]
fn bad_input_is_named_and_y_untouched() {
    let layer = PackedLinear::new(random(3, 18, 1).view()).unwrap();
    let message = |error: tersor::Result<()>| error.unwrap_err().to_string();
    let refused = |window: Window| Conv2d::new(layer.clone(), window).unwrap_err().to_string();
    assert!(refused(Window::new((5, 1))).contains("in_features is 18"));
    // The window itself comes first.
    let unit = Window::new((1, 1));
    let codes = random_codes(3, 1, 2);
    let depthwise = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[])).unwrap();
    for (window, start) in [
        (Window::new((0, 3)), "size of the window along the height is 0, but must be at least 1"),
        (Window::new((5, 0)), "size of the window along the width is 0, but must be at least 1"),
        (unit.stride((0, 1)), "stride of the window along the height is 0, but must be at least 1"),
        (unit.stride((1, 0)), "stride of the window along the width is 0, but must be at least 1"),
        (unit.dilation((0, 1)), "dilation of the window along the height is 0, but must be at least 1"),
        (unit.dilation((1, 0)), "dilation of the window along the width is 0, but must be at least 1"),
        (Window::new((usize::MAX, 2)), "size of the window: [18446744073709551615, 2] overflows"),
    ] {
        let error = refused(window);
        assert!(error.starts_with(start) || cfg!(not(target_pointer_width = "64")), "{error}");
        assert_eq!(DepthwiseConv2d::new(depthwise.clone(), window).unwrap_err().to_string(), error);
    }
    let conv = Conv2d::new(layer.clone(), Window::new((3, 3))).unwrap();
    let x = Array4::<f32>::zeros((1, 4, 4, 2));
    let mut y = Array4::from_elem((1, 2, 2, 3), 7.0_f32);
    let wrong = Array4::<f32>::zeros((1, 4, 4, 3));
    assert!(message(conv.forward(wrong.view(), y.view_mut())).contains("[1, 4, 4, 3]"));
    assert!(message(conv.forward(x.view(), y.slice_mut(s![.., ..1, .., ..]))).contains("[1, 2, 2, 3]"));
    let small = Array4::<f32>::zeros((1, 2, 4, 2));
    assert!(message(conv.forward(small.view(), y.view_mut())).contains("height of x is 2"));
    let needed = conv.scratch_bytes([1, 4, 4]).unwrap();
    let error = message(conv.forward_with(x.view(), y.view_mut(), &mut vec![0; needed - 1]));
    assert!(error.contains(&format!("at least {needed}")), "{error}");
    assert!(matches!(conv.scratch_bytes([usize::MAX, 4, 4]), Err(Error::SizeOverflow { .. })));
    assert!(matches!(conv.scratch_bytes([1, usize::MAX / 2, 4]), Err(Error::SizeOverflow { .. })));
    let mut codes = Array4::from_elem((1, 2, 2, 3), 7_i8);
    assert!(matches!(conv.forward(x.view(), codes.view_mut()), Err(Error::Unsupported { .. })));

    // The first number that is not finite, wherever it lies.
    let int8 = random_codes(3, 18, 2);
    let int8 = PackedLinear::new(Weights::int8(int8.view(), &[1.0], &[])).unwrap();
    let conv = Conv2d::new(int8.clone(), Window::new((3, 3))).unwrap();
    let mut two = Array4::<f32>::zeros((2, 4, 4, 2));
    let mut y_two = Array4::from_elem((2, 2, 2, 3), 7.0_f32);
    two[[1, 2, 3, 1]] = f32::NEG_INFINITY;
    two[[1, 3, 0, 0]] = f32::NAN;
    for context in every_isa() {
        let error = context.scope(|| conv.forward(two.view(), y_two.view_mut())).unwrap_err();
        let Error::NotFinite { index, .. } = error else { panic!("{error}") };
        assert_eq!(index, 32 + 2 * 8 + 3 * 2 + 1);
        let mut columns = Array4::<f32>::zeros((2, 2, 4, 4));
        columns.assign(&two.view().permuted_axes([0, 3, 1, 2]));
        let view = columns.view().permuted_axes([0, 2, 3, 1]);
        let error = context.scope(|| conv.forward(view, y_two.view_mut())).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 55, .. }), "{error}");
    }
    assert!(y.iter().chain(&y_two).all(|&y| y == 7.0) && codes.iter().all(|&y| y == 7));

    let refused = |layer: PackedLinear<'static>, size| {
        DepthwiseConv2d::new(layer, Window::new(size)).unwrap_err().to_string()
    };
    assert!(refused(layer, (3, 6)).contains("f32 weights"));
    assert!(refused(int8.clone(), (3, 3)).contains("in_features is 18, but must be 9"));
    assert!(refused(int8, (9, 15)).contains("1 to 128 taps"));
    let affine = random_codes(3, 18, 2);
    let affine = PackedLinear::new(Weights::int8(affine.view(), &[1.0], &[1])).unwrap();
    assert!(refused(affine, (3, 6)).contains("zero points"));
}
