//! Packed layers side by side: f32 through the `gemm` crate, and our f32, f16, int8 (quantization of the input included) and
//! int4 (in groups of 128) ones; sparse ones of 90%, weight by weight and in the blocks that `Format::block` names. Each
//! result is checked before it is timed.
//!
//! `cargo bench --bench linear`, with `TERSOR_ISA=avx2` for another instruction set. One thread.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayView2, Axis};
use std::hint::black_box;
use tersor::linear::{PackedLinear, Weights, matmul};
use tersor::quant::{GroupedInt4, Scheme};
use tersor::{Context, Parallel, f16};

const SHAPES: [(usize, usize, usize); 5] =
    [(1, 512, 512), (64, 512, 512), (128, 512, 512), (1, 768, 3072), (128, 768, 3072)];

/// Pseudorandom in -1..1.
fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_fn((rows, cols), |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// The largest difference from the product in f64, against the largest magnitude of a sum.
fn check(x: ArrayView2<'_, f32>, w: ArrayView2<'_, f32>, y: &Array2<f32>, tolerance: f64, what: &str) {
    for (m, n) in [(0, 0), (x.nrows() / 2, w.nrows() / 2), (x.nrows() - 1, w.nrows() - 1)] {
        let terms =
            x.row(m).iter().zip(w.row(n)).map(|(x, w)| f64::from(*x) * f64::from(*w)).collect::<Vec<_>>();
        let exact: f64 = terms.iter().sum();
        let scale: f64 = terms.iter().map(|term| term.abs()).sum();
        assert!((f64::from(y[[m, n]]) - exact).abs() <= tolerance * scale, "{what}: {} {exact}", y[[m, n]]);
    }
}

fn linear(c: &mut Criterion) {
    let context = Context::new().unwrap().with_parallel(Parallel::Serial);
    for (m, k, n) in SHAPES {
        let x = random(m, k, 1);
        let w = random(n, k, 2);
        let mut rank = random(n, k, 3).into_iter();
        let thin = w.map(|&w| if rank.next().unwrap() < 0.8 { 0.0 } else { w });
        let alive = random(n.div_ceil(16), k.div_ceil(4), 4);
        let mut blocks = w.clone();
        blocks.indexed_iter_mut().for_each(|((n, k), w)| {
            if alive[[n / 16, k / 4]] < 0.8 {
                *w = 0.0
            }
        });
        let half = w.map(|w| f16::from_f32(*w));
        let scheme = Scheme::int8().symmetric().per_channel(Axis(0));
        let [q, q_thin, q_blocks] = [&w, &thin, &blocks].map(|w| scheme.quantize(w.view()).unwrap());
        let layers = [
            ("f32", PackedLinear::new(w.view()).unwrap(), &w, 1e-4),
            ("f16", PackedLinear::new(half.view()).unwrap(), &w, 1e-3),
            ("int8", PackedLinear::new(&q).unwrap(), &w, 1e-2),
            ("int4", PackedLinear::new(&GroupedInt4::symmetric(w.view(), 128).unwrap()).unwrap(), &w, 1e-1),
            ("sparse f32", PackedLinear::new(Weights::from(thin.view()).sparse()).unwrap(), &thin, 1e-4),
            (
                "sparse int8",
                PackedLinear::new(Weights::try_from(&q_thin).unwrap().sparse()).unwrap(),
                &thin,
                1e-2,
            ),
            (
                "sparse int8 in blocks",
                PackedLinear::new(Weights::try_from(&q_blocks).unwrap().sparse()).unwrap(),
                &blocks,
                1e-2,
            ),
        ];
        let mut group = c.benchmark_group(format!("linear {m}x{k}x{n} {}", context.isa()));
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        let mut y = Array2::<f32>::zeros((m, n));
        context.scope(|| {
            matmul(x.view(), w.t(), y.view_mut()).unwrap();
            check(x.view(), w.view(), &y, 1e-4, "gemm");
            group.bench_function(BenchmarkId::from_parameter("gemm f32"), |bencher| {
                bencher.iter(|| matmul(black_box(x.view()), w.t(), y.view_mut()).unwrap());
            });
            for (name, layer, weights, tolerance) in &layers {
                let mut scratch = vec![0; layer.scratch_bytes(m).unwrap()];
                layer.forward_with(x.view(), y.view_mut(), &mut scratch).unwrap();
                check(x.view(), weights.view(), &y, *tolerance, name);
                group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                    bencher.iter(|| {
                        layer.forward_with(black_box(x.view()), y.view_mut(), &mut scratch).unwrap();
                    });
                });
            }
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
    targets = linear
}
criterion_main!(benches);
