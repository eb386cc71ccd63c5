//! Convolutions: f32, int8 with f32 images (quantization included) and int8 with codes in and out, in the shapes of ResNet-50 and
//! MobileNet; depthwise ones with codes. Each result is checked before it is timed.
//!
//! `cargo bench --bench conv`, with `TERSOR_ISA=avx2` for another instruction set. One thread.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Array4, ArrayView4, Axis};
use std::hint::black_box;
use tersor::linear::{Conv2d, DepthwiseConv2d, PackedLinear, Weights, Window};
use tersor::quant::{CodeType, Params, Scheme};
use tersor::{Context, Parallel};

/// Height and width, channels, outputs, window, stride.
const SHAPES: [(usize, usize, usize, usize, usize); 5] =
    [(112, 3, 32, 3, 2), (56, 64, 64, 3, 1), (56, 64, 256, 1, 1), (28, 128, 128, 3, 1), (14, 256, 256, 3, 1)];
const DEPTHWISE: [(usize, usize, usize, usize); 4] =
    [(112, 32, 3, 1), (56, 128, 3, 1), (28, 256, 3, 2), (28, 120, 5, 1)];

/// Pseudorandom in -1..1.
fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_fn((rows, cols), |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// The output in the middle by its definition. `weight(ky, kx, c)` is that of output 0, or of channel 0 alone.
fn check(
    x: ArrayView4<'_, f32>,
    y: &Array4<f32>,
    (size, stride): (usize, usize),
    weight: impl Fn(usize, usize, usize) -> f32,
    channels: usize,
    tolerance: f32,
) {
    let (oy, ox) = (y.dim().1 / 2, y.dim().2 / 2);
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (ky, kx) in (0..size).flat_map(|ky| (0..size).map(move |kx| (ky, kx))) {
        for c in 0..channels {
            let term =
                x[[0, oy * stride + ky - size / 2, ox * stride + kx - size / 2, c]] * weight(ky, kx, c);
            sum += term;
            magnitude += term.abs();
        }
    }
    assert!((y[[0, oy, ox, 0]] - sum).abs() <= tolerance * magnitude, "{} {sum}", y[[0, oy, ox, 0]]);
}

fn images(side: usize, channels: usize) -> Array4<f32> {
    random(side * side, channels, 1).into_shape_with_order((1, side, side, channels)).unwrap()
}

/// Of numbers from -1 to 1, and of outputs.
fn params() -> (Params, Params) {
    let params = |scale: f32| Params::new(CodeType::U8, vec![scale], vec![128], None).unwrap();
    (params(1.0 / 127.0), params(0.1))
}

fn conv(c: &mut Criterion) {
    let context = Context::new().unwrap().with_parallel(Parallel::Serial);
    let (x_params, y_params) = params();
    for (side, channels, outputs, size, stride) in SHAPES {
        let x = images(side, channels);
        let w = random(outputs, size * size * channels, 2);
        let q = Scheme::int8().symmetric().per_channel(Axis(0)).quantize(w.view()).unwrap();
        let window = Window::new((size, size)).stride((stride, stride)).padding((size / 2, size / 2));
        let (height, width) = window.output_size((side, side)).unwrap();
        let mut group = c.benchmark_group(format!(
            "conv {side}x{side}x{channels} {size}x{size} to {outputs} {}",
            context.isa()
        ));
        group.throughput(Throughput::Elements((2 * height * width * outputs * w.ncols()) as u64));
        let mut y = Array4::<f32>::zeros((1, height, width, outputs));
        let weight = |ky: usize, kx: usize, c: usize| w[[0, (ky * size + kx) * channels + c]];
        context.scope(|| {
            for (name, layer, tolerance) in [
                ("f32", PackedLinear::new(w.view()).unwrap(), 1e-4),
                ("int8", PackedLinear::new(&q).unwrap(), 1e-2),
            ] {
                let conv = Conv2d::new(layer, window).unwrap();
                let mut scratch = vec![0; conv.scratch_bytes([1, side, side]).unwrap()];
                conv.forward_with(x.view(), y.view_mut(), &mut scratch).unwrap();
                check(x.view(), &y, (size, stride), weight, channels, tolerance);
                group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                    bencher
                        .iter(|| conv.forward_with(black_box(x.view()), y.view_mut(), &mut scratch).unwrap());
                });
            }
            let layer = PackedLinear::new(&q).unwrap().with_input_params(&x_params).unwrap();
            let conv = Conv2d::new(layer.with_output_params(&y_params).unwrap(), window).unwrap();
            let codes = x.mapv(|x| (x * 127.0).round_ties_even() as i32 as u8 ^ 128);
            let mut y = Array4::<u8>::zeros((1, height, width, outputs));
            let mut scratch = vec![0; conv.scratch_bytes([1, side, side]).unwrap()];
            group.bench_function(BenchmarkId::from_parameter("int8 codes"), |bencher| {
                bencher
                    .iter(|| conv.forward_with(black_box(codes.view()), y.view_mut(), &mut scratch).unwrap());
            });
        });
        group.finish();
    }
    for (side, channels, size, stride) in DEPTHWISE {
        let x = images(side, channels);
        let w = random(channels, size * size, 2);
        let codes = w.mapv(|w| (w * 127.0) as i8);
        let layer = PackedLinear::new(Weights::int8(codes.view(), &[1.0 / 127.0], &[])).unwrap();
        let layer = layer.with_input_params(&x_params).unwrap().with_output_params(&y_params).unwrap();
        let window = Window::new((size, size)).stride((stride, stride)).padding((size / 2, size / 2));
        let (height, width) = window.output_size((side, side)).unwrap();
        let conv = DepthwiseConv2d::new(layer, window).unwrap();
        let mut group = c.benchmark_group(format!(
            "depthwise {side}x{side}x{channels} {size}x{size}/{stride} {}",
            context.isa()
        ));
        group.throughput(Throughput::Elements((2 * height * width * channels * size * size) as u64));
        context.scope(|| {
            let mut scratch = vec![0; conv.scratch_bytes([1, side, side]).unwrap()];
            let mut y = Array4::<f32>::zeros((1, height, width, channels));
            conv.forward_with(x.view(), y.view_mut(), &mut scratch).unwrap();
            let weight = |ky: usize, kx: usize, _: usize| f32::from(codes[[0, ky * size + kx]]) / 127.0;
            check(x.view(), &y, (size, stride), weight, 1, 2e-2);
            let codes = x.mapv(|x| (x * 127.0).round_ties_even() as i32 as u8 ^ 128);
            let mut y = Array4::<u8>::zeros((1, height, width, channels));
            group.bench_function(BenchmarkId::from_parameter("int8 codes"), |bencher| {
                bencher
                    .iter(|| conv.forward_with(black_box(codes.view()), y.view_mut(), &mut scratch).unwrap());
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = conv
}
criterion_main!(benches);
