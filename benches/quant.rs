//! Quantize, dequantize, fake-quantize, cast and min-max against a plain copy of the same bytes, in cache (64K elements)
//! and out of it (16M).
//!
//! `cargo bench --bench quant`; a shorter run: `cargo bench --bench quant -- --quick 64K`.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput};
use ndarray::{Array2, Axis};
use std::hint::black_box;
use tersor::quant::{CodeType, FakeQuantize, Histogram, Observer, Params, Scheme, cast_into};
use tersor::{Context, Parallel, f16};

fn sizes() -> [(&'static str, usize, usize); 2] {
    [("64K", 64, 1024), ("16M", 16_384, 1024)]
}

fn weights(rows: usize, cols: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |(i, j)| ((i * 31 + j * 17) % 1009) as f32 / 504.0 - 1.0)
}

/// The time to move as many bytes as the operation reads and writes: half of them read, half written.
fn copy(c: &mut Criterion, name: &str, size: &str, bytes: usize) {
    let source = vec![1_u8; bytes / 2];
    let mut target = vec![0_u8; bytes / 2];
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new("copy", size), |b| {
        b.iter(|| black_box(&mut target[..]).copy_from_slice(black_box(&source)));
    });
}

fn measure(c: &mut Criterion, name: &str, kind: &str, size: &str, bytes: usize, mut body: impl FnMut()) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(BenchmarkId::new(kind, size), |b| b.iter(&mut body));
}

/// The codes of a few rows, element by element in plain words: what is timed below is right.
fn check(x: &Array2<f32>, codes: &Array2<i8>, params: &Params) {
    for (index, &x) in x.indexed_iter().step_by(997) {
        let channel = match params.axis() {
            None => 0,
            Some(axis) => [index.0, index.1][axis.0],
        };
        let expected =
            (x / params.scales()[channel]).round_ties_even() as i32 + params.zero_points()[channel];
        let (lowest, highest) = params.limits();
        assert_eq!(i32::from(codes[index]), expected.clamp(lowest, highest));
    }
}

fn all(c: &mut Criterion) {
    for (size, rows, cols) in sizes() {
        let x = weights(rows, cols);
        let len = x.len();
        let mut codes = Array2::<i8>::zeros(x.raw_dim());
        let mut y = Array2::<f32>::zeros(x.raw_dim());
        let mut halves = Array2::<f16>::default(x.raw_dim());

        copy(c, "quantize", size, 5 * len);
        let symmetric = Scheme::int8().symmetric();
        for (kind, scheme) in [
            ("per tensor", symmetric),
            ("per row", symmetric.per_channel(Axis(0))),
            ("per column", symmetric.per_channel(Axis(1))),
        ] {
            let params = scheme.params(x.view()).unwrap();
            params.quantize_into(x.view(), codes.view_mut()).unwrap();
            check(&x, &codes, &params);
            measure(c, "quantize", kind, size, 5 * len, || {
                params.quantize_into(black_box(x.view()), black_box(codes.view_mut())).unwrap();
            });
        }

        let params = Params::new(CodeType::I8, vec![1.0 / 127.0], vec![0], None).unwrap();
        params.quantize_into(x.view(), codes.view_mut()).unwrap();
        check(&x, &codes, &params);
        params.dequantize_into(codes.view(), y.view_mut()).unwrap();
        assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= 0.502 / 127.0));
        copy(c, "dequantize", size, 5 * len);
        measure(c, "dequantize", "per tensor", size, 5 * len, || {
            params.dequantize_into(black_box(codes.view()), black_box(y.view_mut())).unwrap();
        });

        let expected = y.clone();
        let fake = FakeQuantize::new(params);
        fake.forward(x.view(), y.view_mut()).unwrap();
        assert_eq!(y, expected);
        copy(c, "fake quantize", size, 8 * len);
        measure(c, "fake quantize", "forward", size, 8 * len, || {
            fake.forward(black_box(x.view()), black_box(y.view_mut())).unwrap();
        });

        cast_into(x.view(), halves.view_mut()).unwrap();
        assert!(x.iter().zip(&halves).all(|(&x, &half)| f16::from_f32(x) == half));
        copy(c, "cast", size, 6 * len);
        measure(c, "cast", "f32 to f16", size, 6 * len, || {
            cast_into(black_box(x.view()), black_box(halves.view_mut())).unwrap();
        });
        measure(c, "cast", "f16 to f32", size, 6 * len, || {
            cast_into(black_box(halves.view()), black_box(y.view_mut())).unwrap();
        });

        copy(c, "observe", size, 4 * len);
        measure(c, "observe", "min and max", size, 4 * len, || {
            black_box(symmetric.params(black_box(x.view())).unwrap());
        });
        let mut histogram = Histogram::new();
        histogram.observe(x.view()).unwrap();
        assert_eq!(histogram.count(), len as u64);
        measure(c, "observe", "histogram", size, 4 * len, || {
            histogram.observe(black_box(x.view())).unwrap();
        });
    }
}

fn main() {
    let mut c = Criterion::default().sample_size(10).configure_from_args();
    // One thread, as the copy is.
    let context = Context::new().unwrap().with_parallel(Parallel::Serial);
    context.scope(|| all(&mut c));
    c.final_summary();
}
