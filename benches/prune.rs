//! The time to decide over 16M f32 weights, beside the time to read them once.
//!
//! ```text
//! cargo bench --bench prune
//! ```
//!
//! Every result is checked before it is timed. One thread, and all of rayon's.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use ndarray::Array2;
use std::hint::black_box;
use tersor::prune::{Magnitude, Pattern, Pruner};
use tersor::{Context, Parallel};

const ROWS: usize = 4096;
const COLS: usize = 4096;

/// SplitMix64.
fn bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Roughly normal: the sum of four uniform numbers.
fn normal(state: &mut u64) -> f32 {
    let bits = bits(state);
    (0..4).map(|i| (bits >> (16 * i) & 0xffff) as f32 / 65536.0 - 0.5).sum()
}

type Weights = Array2<f32>;

fn data() -> Vec<(&'static str, Weights)> {
    let mut state = 1;
    let normal = Weights::from_shape_simple_fn((ROWS, COLS), || normal(&mut state));
    let heavy = normal.mapv(|x| (x * 12.0).exp());
    let mut sorted = normal.clone();
    sorted.as_slice_mut().unwrap().sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    vec![
        ("normal", normal),
        ("heavy tailed", heavy),
        ("sorted", sorted),
        ("constant", Weights::from_elem((ROWS, COLS), 0.5)),
    ]
}

/// Reads everything once, as fast as this machine does.
fn read(context: &Context, weights: &[f32]) -> u32 {
    let sum = std::sync::atomic::AtomicU32::new(0);
    let pieces: Vec<&[f32]> = weights.chunks(1 << 16).collect();
    context.parallel().run(pieces.len(), &|index| {
        let mut lanes = [0_u32; 64];
        for chunk in pieces[index].as_chunks::<64>().0 {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane |= value.to_bits();
            }
        }
        let piece = lanes.iter().fold(0, |a, b| a | b);
        sum.fetch_or(piece, std::sync::atomic::Ordering::Relaxed);
    });
    sum.into_inner()
}

fn decide(group: &mut BenchmarkGroup<'_, WallTime>, context: &Context, kind: &str, weights: &Weights) {
    let len = weights.len();
    for percent in [50, 90] {
        let k = len - len * percent / 100;
        let pruner = Pruner::new(Magnitude::l1()).survivors(k);
        let decision = context.scope(|| pruner.decide(weights.view())).unwrap();
        let threshold = decision.rankings[0].threshold.unwrap();
        let values = weights.as_slice().unwrap();
        assert_eq!(decision.mask.count(), k);
        assert!(decision.mask.survivors().all(|index| values[index].abs() >= threshold));
        assert!(decision.mask.not().survivors().all(|index| values[index].abs() <= threshold));
        group.bench_function(format!("{percent}% of {kind}"), |b| {
            b.iter(|| context.scope(|| pruner.mask(black_box(weights.view()))).unwrap());
        });
    }
}

fn benchmark(c: &mut Criterion) {
    let data = data();
    let parallel = Context::new().unwrap();
    for context in [parallel.clone().with_parallel(Parallel::Serial), parallel] {
        let threads = context.parallel().threads();
        let mut group = c.benchmark_group(format!("16M f32, {threads} thread(s)"));
        group.sample_size(10).throughput(Throughput::Bytes((ROWS * COLS * 4) as u64));
        let weights = &data[0].1;
        group.bench_function("read once", |b| {
            b.iter(|| read(&context, black_box(weights.as_slice().unwrap())));
        });
        for (kind, weights) in &data {
            decide(&mut group, &context, kind, weights);
        }

        let two_of_four = Pruner::new(Magnitude::l1()).pattern(Pattern::n_of_m(2, 4).unwrap());
        let mask = context.scope(|| two_of_four.mask(weights.view())).unwrap();
        for (group, weights) in weights.as_slice().unwrap().chunks(4).enumerate() {
            let alive = |i: &usize| mask.get(4 * group + i).unwrap();
            let least = (0..4).filter(alive).map(|i| weights[i].abs()).fold(f32::INFINITY, f32::min);
            let most = (0..4).filter(|i| !alive(i)).map(|i| weights[i].abs()).fold(0.0, f32::max);
            assert!((0..4).filter(alive).count() == 2 && least >= most);
        }
        group.bench_function("2 of 4", |b| {
            b.iter(|| context.scope(|| two_of_four.mask(black_box(weights.view()))).unwrap());
        });
        let blocks = Pruner::new(Magnitude::l1()).pattern(Pattern::block(4, 4).unwrap()).sparsity(0.5);
        assert_eq!(context.scope(|| blocks.mask(weights.view())).unwrap().count(), ROWS * COLS / 2);
        group.bench_function("50% of blocks of 4 x 4", |b| {
            b.iter(|| context.scope(|| blocks.mask(black_box(weights.view()))).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
