//! Predictions of the cost model beside measurements: draws layers from a seed (format, shape, rows, sparsity, threads), and
//! counts how many predictions of their time are within 20% of the measured one.
//!
//! The clock of a machine moves, by a third on some. So calibrating and timing take turns, in rounds: calibrations are merged
//! (each call at its shortest), and of each layer the best median of all rounds counts. What is compared is the machine at its
//! best in the same minute. How far a single calibration, of one second, is from that is printed as well.
//!
//! `cargo bench --bench cost -- --seed 2`; `TERSOR_ISA=avx2` for another instruction set.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use clap::Parser;
use ndarray::Array2;
use std::time::{Duration, Instant};
use tersor::linear::{Calibration, Format, PackedLinear, Weights, Workload};
use tersor::{Context, Parallel, bf16, f16};

/// How often the machine is calibrated and each layer is timed.
const ROUNDS: usize = 5;

/// Predictions that count, in terms of what was measured.
const NEAR: std::ops::RangeInclusive<f64> = 0.8..=1.2;

#[derive(Parser)]
struct Arguments {
    /// What the layers are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many layers.
    #[arg(long, default_value_t = 50)]
    layers: usize,
    /// Print the calibration as well.
    #[arg(long)]
    calibration: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.bits() as usize % from.len()]
    }

    /// With the same probability for each doubling.
    fn size(&mut self, from: usize, to: usize) -> usize {
        let (low, high) = ((from as f64).ln(), (to as f64).ln());
        ((low + (high - low) * self.unit()).exp().round() as usize).clamp(from, to)
    }
}

/// What a layer is, but for its weights; and whether it is pruned 2 of 4, which is as half of the weights one by one.
fn draw(random: &mut Random, threads: usize) -> (Workload, bool) {
    let format = random.choose(&[
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Bf16Dot,
        Format::Int8,
        Format::Int4,
        Format::SparseF32,
        Format::SparseF32,
        Format::SparseInt8,
        Format::SparseInt8,
    ]);
    // Half of the sizes are usual, the others odd.
    let mut size = || {
        let size = random.size(64, 4096);
        if random.bits().is_multiple_of(2) { size.next_multiple_of(64) } else { size }
    };
    let (outputs, inputs) = (size(), size());
    let low = (1, format.block().map_or(1, |block| block.1));
    let block = format.block().unwrap_or(low);
    let mut workload = Workload {
        rows: random.size(1, 512),
        sparsity: 0.95 * random.unit(),
        block: random.choose(&[(1, 1), low, block, format.wide_block().unwrap_or(block)]),
        group_size: random.choose(&[32, 64, 128]),
        threads: random.choose(&[1, threads]),
        ..Workload::new(format, outputs, inputs)
    };
    let two_of_four =
        format == Format::SparseInt8 && workload.block == (1, 1) && random.bits().is_multiple_of(2);
    if two_of_four {
        workload.sparsity = 0.5;
    }
    (workload, two_of_four)
}

/// A layer of random weights.
fn layer((workload, two_of_four): &(Workload, bool), random: &mut Random) -> PackedLinear<'static> {
    let Workload { format, outputs, inputs, sparsity, block, group_size, .. } = *workload;
    let shape = (outputs, inputs);
    let sparsity = if format.is_sparse() { sparsity } else { 0.0 };
    let mut alive =
        Array2::from_shape_simple_fn((outputs.div_ceil(block.0), inputs.div_ceil(block.1)), || {
            random.unit() >= sparsity
        });
    if *two_of_four {
        const PAIRS: [[usize; 2]; 6] = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
        for mut group in alive.exact_chunks_mut((1, 4)) {
            let pair = random.choose(&PAIRS);
            group.iter_mut().enumerate().for_each(|(k, alive)| *alive = pair.contains(&k));
        }
    }
    let mut code = |(n, k): (usize, usize)| match alive[[n / block.0, k / block.1]] {
        true => (random.bits() % 15) as i8 - 7,
        false => 0,
    };
    // No surviving weight is 0: what is zero, and in which blocks, is as the workload says.
    let mut codes = |nonzero: bool| {
        Array2::from_shape_fn(shape, |at| match code(at) {
            0 if nonzero && alive[[at.0 / block.0, at.1 / block.1]] => 1,
            code => code,
        })
    };
    let packed = match format {
        Format::F32 | Format::SparseF32 => {
            let floats = codes(true).map(|code| f32::from(*code) / 7.0);
            let weights = Weights::from(floats.view());
            PackedLinear::new(if format.is_sparse() { weights.sparse() } else { weights })
        }
        Format::F16 => PackedLinear::new(codes(true).map(|code| f16::from_f32(f32::from(*code))).view()),
        Format::Bf16 => PackedLinear::new(codes(true).map(|code| bf16::from_f32(f32::from(*code))).view()),
        Format::Bf16Dot => {
            let floats = codes(true).map(|code| f32::from(*code));
            PackedLinear::new(Weights::from(floats.view()).bf16_dot())
        }
        Format::Int4 => {
            let scales = Array2::ones((outputs, inputs.div_ceil(group_size)));
            PackedLinear::new(Weights::int4(codes(false).view(), group_size, scales.view(), None))
        }
        _ => {
            let codes = codes(true);
            let weights = Weights::int8(codes.view(), &[0.01], &[]);
            PackedLinear::new(if format.is_sparse() { weights.sparse() } else { weights })
        }
    };
    packed.unwrap()
}

/// A layer and what it runs on.
struct Case {
    workload: Workload,
    two_of_four: bool,
    layer: PackedLinear<'static>,
    x: Array2<f32>,
    y: Array2<f32>,
    scratch: Vec<u8>,
}

impl Case {
    fn new((workload, two_of_four): (Workload, bool), random: &mut Random) -> Self {
        let layer = layer(&(workload, two_of_four), random);
        let rows = workload.rows;
        let x = Array2::from_shape_simple_fn((rows, workload.inputs), || random.unit() as f32 - 0.5);
        let y = Array2::zeros((rows, workload.outputs));
        let scratch = vec![0; layer.scratch_bytes(rows).unwrap()];
        Case { workload, two_of_four, layer, x, y, scratch }
    }

    /// The median of some samples of calls, in seconds.
    fn time(&mut self) -> f64 {
        let mut run = |count: u32| {
            let start = Instant::now();
            for _ in 0..count {
                self.layer.forward_with(self.x.view(), self.y.view_mut(), &mut self.scratch).unwrap();
            }
            start.elapsed() / count
        };
        run(1);
        let count = (20_000 / run(1).as_nanos().max(1)).clamp(1, 1000) as u32;
        let (begin, mut samples) = (Instant::now(), Vec::new());
        while samples.len() < 3 || begin.elapsed() < Duration::from_millis(8) {
            samples.push(run(count));
        }
        samples.sort();
        samples[samples.len() / 2].as_secs_f64()
    }
}

fn main() {
    let arguments = Arguments::parse();
    // On a thread of the pool: from outside, a call after a pause waits for threads to wake.
    rayon::scope(|_| compare(&arguments));
}

fn compare(arguments: &Arguments) {
    let context = Context::new().unwrap();
    let threads = context.parallel().threads();
    let mut random = Random(arguments.seed);
    let mut cases: Vec<Case> =
        (0..arguments.layers).map(|_| Case::new(draw(&mut random, threads), &mut random)).collect();
    let mut medians = vec![f64::INFINITY; cases.len()];
    let mut calibrations = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let calibration = Calibration::measure(|_, _| ()).unwrap();
        println!(
            "calibrated {} with {threads} threads in {:.2} s, {} bytes of text",
            calibration.isa(),
            start.elapsed().as_secs_f64(),
            calibration.to_string().len()
        );
        calibrations.push(calibration);
        for (case, median) in cases.iter_mut().zip(&mut medians) {
            let context = match case.workload.threads {
                1 => context.clone().with_parallel(Parallel::Serial),
                _ => context.clone(),
            };
            *median = median.min(context.scope(|| case.time()));
        }
    }
    let merged = |merged: Calibration, next: &Calibration| merged.merge(next).unwrap();
    let calibration = calibrations.iter().skip(1).fold(calibrations[0].clone(), merged);
    if arguments.calibration {
        print!("{calibration}");
    }
    let mut within = 0;
    println!("format       zeros  block  threads     M     K     N  predicted us  measured us  ratio");
    for (Case { workload, two_of_four, layer, .. }, &measured) in cases.iter().zip(&medians) {
        let predicted = calibration.predict(workload).unwrap().seconds;
        let ratio = predicted / measured;
        within += usize::from(NEAR.contains(&ratio));
        let (sparsity, block) = match layer.block() {
            Some(_) if *two_of_four => ("50%".into(), "2:4".into()),
            Some(_) => {
                let zeros = format!("{:.0}%", 100.0 * workload.sparsity);
                (zeros, format!("{}x{}", workload.block.0, workload.block.1))
            }
            None if workload.format == Format::Int4 => ("-".into(), format!("g{}", workload.group_size)),
            None => ("-".into(), "-".into()),
        };
        println!(
            "{:<12} {sparsity:>5} {block:>6} {:>8} {:>5} {:>5} {:>5} {:>13.1} {:>12.1} {ratio:>6.2}{}",
            workload.format.to_string(),
            workload.threads,
            workload.rows,
            workload.inputs,
            workload.outputs,
            1e6 * predicted,
            1e6 * measured,
            if NEAR.contains(&ratio) { "" } else { "  *" }
        );
    }
    let alone = calibrations.iter().map(|calibration| {
        let near = cases.iter().zip(&medians).filter(|(case, measured)| {
            NEAR.contains(&(calibration.predict(&case.workload).unwrap().seconds / **measured))
        });
        near.count().to_string()
    });
    let alone: Vec<String> = alone.collect();
    println!("{within} of {} within 20%; by each calibration alone: {}", cases.len(), alone.join(", "));
}
