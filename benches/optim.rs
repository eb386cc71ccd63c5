//! The mixed-precision AdamW step (f16 gradients and weights, f32 master and moments) against a plain copy of as many
//! bytes, in cache and out of it. The result is checked before anything is timed.
//!
//! A step reads the gradient twice (once for the check), master and both moments, and writes master, moments and weights:
//! 2 + 2 + 12 + 12 + 2 = 30 bytes a parameter.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tersor::ndarray::Array1;
use tersor::optim::{AdamW, LossScaler, MixedPrecision, Parameter, Step};
use tersor::{Context, DType, Isa, Parallel, f16};

const BYTES_PER_PARAMETER: usize = 30;
const SCALE: f32 = 1024.0;

fn setup(len: usize) -> (MixedPrecision<AdamW>, [Parameter; 1], [Array1<f16>; 1]) {
    let trainer = MixedPrecision::new(AdamW::default(), LossScaler::fixed(SCALE).unwrap());
    let trainer = trainer.clip_global_norm(1.0).unwrap();
    let weights = Array1::from_shape_fn(len, |i| (i as f32 * 0.37).sin());
    let parameters = [trainer.parameter("weights", weights.view(), DType::F16).unwrap()];
    let gradients = [weights.mapv(|weight| f16::from_f32(weight.cos() * SCALE))];
    (trainer, parameters, gradients)
}

/// The first step of AdamW moves every weight by the learning rate against the gradient's sign, after the decay.
fn check(len: usize) {
    let (mut trainer, mut parameters, gradients) = setup(len);
    let before = parameters[0].master().to_vec();
    let outcome = trainer.step(&mut parameters, &gradients).unwrap();
    assert!(matches!(outcome, Step::Applied { held: None, saturated: 0, .. }), "{outcome:?}");
    let AdamW { learning_rate, weight_decay, .. } = AdamW::default();
    let weights = parameters[0].weights::<f16>().unwrap();
    for (((&before, &after), &stored), &gradient) in
        before.iter().zip(parameters[0].master()).zip(&weights).zip(&gradients[0])
    {
        let decayed = f64::from(before) * (1.0 - learning_rate * weight_decay);
        let expected = decayed - learning_rate * f64::from(gradient.to_f32().signum());
        // The clipped gradients are small enough for epsilon to matter a little.
        assert!((f64::from(after) - expected).abs() < 2e-4, "{before} became {after}, not {expected}");
        assert_eq!(stored, f16::from_f32(after));
    }
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adamw f16");
    group.sample_size(20);
    for (name, len) in [("64K", 1 << 16), ("1M", 1 << 20), ("16M", 1 << 24)] {
        check(len);
        group.throughput(Throughput::Bytes((len * BYTES_PER_PARAMETER) as u64));
        // A copy reads and writes: half as many bytes each way.
        let source = vec![1_u8; len * BYTES_PER_PARAMETER / 2];
        let mut target = vec![0_u8; source.len()];
        group.bench_function(BenchmarkId::new("copy of the same bytes", name), |bencher| {
            bencher.iter(|| {
                target.copy_from_slice(black_box(&source));
                black_box(&mut target);
            });
        });
        for (threads, parallel) in [("1 thread", Parallel::Serial), ("all threads", Parallel::default())] {
            for isa in [Isa::scalar(), Isa::detected()] {
                let context = Context::new().unwrap().with_isa(isa).with_parallel(parallel.clone());
                let (mut trainer, mut parameters, gradients) = setup(len);
                let id = BenchmarkId::new(format!("step, {}, {threads}", isa.name()), name);
                group.bench_function(id, |bencher| {
                    context.scope(|| bencher.iter(|| trainer.step(&mut parameters, &gradients).unwrap()));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
