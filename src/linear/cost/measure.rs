//! Measuring: our own kernels on small layers, in rounds; the shortest time counts, and of weights that lie far away the mean.
//!
//! What calls a layer here is `#[inline]`, so that the kernels are compiled where [`Calibration::measure`] is called: the same
//! source, compiled for this crate and for that of a user, is not always equally fast, and it is the user's layers that are predicted.

use super::super::dense;
use super::super::layer::PackedLinear;
use super::super::layout::Format;
use super::calibration::{Calibration, FOOTPRINTS, Kernel, MOST_ROWS, Times, kernels, rounded};
use super::plan::{self, Call, FAR_INPUTS};
use super::synthetic::{Memory, far_output_bytes, fraction};
use super::team::{PAUSES, SHARED, Team, shared_piece};
use crate::context::Context;
use crate::error::Result;
use crate::parallel::{Parallel, ParallelFor};
use ndarray::{ArrayView2, ArrayViewMut2};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything is timed once in each round, so that what disturbs the machine for a while does not disturb every time of a call.
const ROUNDS: usize = 12;

/// After so long no call is timed again.
const BUDGET: Duration = Duration::from_millis(650);

/// Rounds of one and of several threads in turns, and how long all of them take.
const TEAM_ROUNDS: usize = 2;
const TEAM_BUDGET: Duration = Duration::from_millis(120);

/// How often it is timed how late threads come, and the pieces of which each has so many: nanoseconds that only wait.
const LATE_ROUNDS: usize = 9;
const WAITING_PIECES: usize = 32;
const WAITING_PIECE: f64 = 2000.0;

/// The same for what a piece takes besides its work.
const SMALL_PIECES: usize = 128;
const SMALL_PIECE: f64 = 200.0;

/// How long calls are counted as one sample, at least.
const SAMPLE: Duration = Duration::from_micros(10);

/// What takes longer is not run twice in a round.
const LONG: Duration = Duration::from_micros(100);

/// The same for so many rows, which have to come into a cache first.
const MANY: usize = 128;
const MANY_LONG: Duration = Duration::from_micros(300);

/// The same for layers that have to come into a cache first.
const FAR_LONG: Duration = Duration::from_micros(2000);

impl Calibration {
    /// Measures this machine, for the instruction set of the current context and for its threads: every power of two of them,
    /// and all. Takes less than a second, and some 70 MB of memory, on a machine that does nothing else.
    ///
    /// With several threads of a rayon pool, measure where the layers will run: inside the pool's `install`, or outside of it.
    /// From outside a call that follows a pause waits for threads of the pool to wake, tens of microseconds.
    ///
    /// Measure in a release build: a debug build times its own, unoptimized code, and what it predicts is wrong for any other.
    ///
    /// `progress` is told how many of how many steps are done.
    ///
    /// # Errors
    /// As [`Context::current`].
    pub fn measure(mut progress: impl FnMut(usize, usize)) -> Result<Self> {
        let context = Context::current()?;
        let threads = context.parallel().threads();
        let mut counts: Vec<usize> = (1..).map(|log| 1 << log).take_while(|&count| count < threads).collect();
        counts.extend((threads > 1).then_some(threads));
        let kernels = kernels(context.isa().name());
        let (mut done, total) = (0, ROUNDS * kernels.len() + counts.len());
        let mut step = || {
            progress(done, total);
            done += 1;
        };
        let serial = context.clone().with_parallel(Parallel::Serial);
        let (mut memory, mut runner) = (Memory::new(largest()), Runner::new(&kernels));
        let start = Instant::now();
        let mut plans = Vec::new();
        for &kernel in &kernels {
            let output_bytes = far_output_bytes(kernel)?;
            let calls =
                plan::calls(kernel, output_bytes).into_iter().map(|call| (call, Vec::new())).collect();
            plans.push(Plan { kernel, output_bytes, calls });
        }
        for round in 0..ROUNDS {
            for plan in &mut plans {
                step();
                if round == 0 || start.elapsed() < BUDGET {
                    serial.scope(|| plan.time_once(round % 3 == 0, &mut memory, &mut runner))?;
                }
            }
        }
        // What happens to `x` is the same for all dense floats.
        if let [float, half, brain, ..] = &mut plans[..] {
            for plan in [half, brain] {
                for ((call, times), (_, known)) in plan.calls.iter_mut().zip(&float.calls) {
                    if call.outputs == 0 {
                        times.clone_from(known);
                    }
                }
            }
        }
        let times = plans.iter().map(Plan::times).collect();
        let mut teams = Vec::new();
        let budget = TEAM_BUDGET / counts.len().max(1) as u32;
        for threads in counts {
            step();
            teams.push(measure_team(&context, threads, budget, &mut memory, &mut runner)?);
        }
        step();
        Ok(Calibration { isa: context.isa().name().to_owned(), times, teams })
    }
}

/// Bytes of the largest layer. What is stored of it varies from output to output, so it may be a little larger than its footprint.
fn largest() -> usize {
    (1.05 * FOOTPRINTS[FOOTPRINTS.len() - 1].exp2()) as usize
}

/// The calls of a kernel, and what each took in every round.
struct Plan {
    kernel: Kernel,
    output_bytes: f64,
    calls: Vec<(Call, Vec<f64>)>,
}

impl Plan {
    #[inline]
    fn time_once(&mut self, far: bool, memory: &mut Memory, runner: &mut Runner) -> Result<()> {
        let layer = |call: &Call| (call.outputs, call.inputs, call.part);
        for calls in self.calls.chunk_by_mut(|(a, _), (b, _)| layer(a) == layer(b)) {
            let Some(&(first, _)) = calls.first().filter(|(call, _)| far || !call.far) else { continue };
            let layer = memory.layer(self.kernel, (first.outputs, first.inputs), first.part)?;
            if first.far {
                // The weights of another layer were there before: caches keep more of these the more often they are read.
                runner.time(&layer, 1, Duration::ZERO)?;
            }
            for (call, times) in calls {
                let is_staging = call.outputs == 0;
                if is_staging && matches!(self.kernel.format, Format::F16 | Format::Bf16) {
                    continue;
                }
                // Nothing but `x`, which has to come into a cache first if it is large.
                let long = match call.rows {
                    _ if call.far || is_staging => FAR_LONG,
                    MANY.. => MANY_LONG,
                    _ => LONG,
                };
                times.push(runner.time(&layer, call.rows, long)?);
            }
        }
        Ok(())
    }

    fn times(&self) -> Times {
        // How much of a last cache others leave to a layer differs from round to round, and the best of it is not what to expect.
        let time = |(call, times): &(Call, Vec<f64>)| {
            let count = times.len().max(1) as f64;
            if call.far {
                times.iter().sum::<f64>() / count
            } else {
                times.iter().copied().fold(f64::INFINITY, f64::min)
            }
        };
        let times: Vec<f64> = self.calls.iter().map(time).collect();
        plan::times(self.kernel, self.output_bytes, &times)
    }
}

/// So many of the threads there are.
struct Limited {
    threads: usize,
    all: Parallel,
}

impl ParallelFor for Limited {
    fn threads(&self) -> usize {
        self.threads
    }
    fn parallel_for(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        self.all.run(count, task);
    }
}

#[inline]
fn measure_team(
    context: &Context,
    threads: usize,
    budget: Duration,
    memory: &mut Memory,
    runner: &mut Runner,
) -> Result<Team> {
    let slice = budget / (4 * 2 * TEAM_ROUNDS as u32);
    let all = context.parallel();
    let parallel = match all.threads() {
        count if count == threads => all.clone(),
        _ => Parallel::Host(Arc::new(Limited { threads, all: all.clone() })),
    };
    let contexts =
        [Parallel::Serial, parallel.clone()].map(|parallel| context.clone().with_parallel(parallel));
    let [float, _, _, int8, ..] = kernels(context.isa().name())[..] else { return Ok(Team::new(threads)) };
    let float_bytes = far_output_bytes(float)?;
    // The best of some rounds, alone and together.
    let mut pair = |kernel: Kernel, shape: (usize, usize), rows: usize| -> Result<[f64; 2]> {
        let layer = memory.layer(kernel, shape, 0.0)?;
        let mut fastest = [f64::INFINITY; 2];
        for _ in 0..TEAM_ROUNDS {
            for (fastest, context) in fastest.iter_mut().zip(&contexts) {
                // Without a pause: threads that wait for the next call are awake, and each has found a processor.
                let start = Instant::now();
                while start.elapsed() < slice {
                    let time = context.scope(|| runner.time(&layer, rows, LONG))?;
                    *fastest = fastest.min(time);
                }
            }
        }
        Ok(fastest)
    };
    let (_, piece) = dense::piece(64, 256);
    let products = pair(int8, (16 * piece * threads, 256), 64)?;
    let outputs = plan::far_outputs(FOOTPRINTS[FOOTPRINTS.len() - 1], float_bytes);
    let reads = pair(float, (outputs, FAR_INPUTS), 1)?;
    let (rows, inputs) = SHARED;
    let [quantizing, _] = pair(int8, (0, inputs), rows)?;
    let [alone, together] = pair(int8, (shared_piece(int8.has_matrix).1 * threads, inputs), rows)?;
    let shared = [quantizing, alone, together];
    let mut team = Team { products, reads, shared, ..Team::new(threads) };
    team.piece = time_piece(&parallel, threads);
    time_late(&parallel, threads, team.piece, team.late.values_mut());
    team.slots().flatten().for_each(|value| *value = rounded(*value));
    Ok(team)
}

fn wait(nanoseconds: f64) {
    let start = Instant::now();
    while (start.elapsed().as_nanos() as f64) < nanoseconds {
        std::hint::spin_loop();
    }
}

/// So many pieces that each wait so long.
fn time_waiting(parallel: &Parallel, pieces: usize, nanoseconds: f64) -> f64 {
    let start = Instant::now();
    parallel.run(pieces, &|_| wait(nanoseconds));
    start.elapsed().as_nanos() as f64
}

/// What a piece takes besides its work, from very small ones.
fn time_piece(parallel: &Parallel, threads: usize) -> f64 {
    let pieces = threads * SMALL_PIECES;
    let shortest = |parallel: &Parallel| {
        let times = (0..LATE_ROUNDS).map(|_| time_waiting(parallel, pieces, SMALL_PIECE));
        times.fold(f64::INFINITY, f64::min)
    };
    let (alone, together) = (shortest(&Parallel::Serial), shortest(parallel));
    ((threads as f64 * together - alone) / pieces as f64).max(0.0)
}

/// How much later than the calling thread the others take their first piece, after each of the pauses: found from how long pieces
/// take that wait for the clock.
fn time_late(parallel: &Parallel, threads: usize, piece: f64, late: &mut [f64]) {
    let time = |parallel: &Parallel| time_waiting(parallel, threads * WAITING_PIECES, WAITING_PIECE);
    let alone = (0..LATE_ROUNDS).map(|_| time(&Parallel::Serial)).fold(f64::INFINITY, f64::min);
    let mut times = [[0.0; LATE_ROUNDS]; PAUSES.len()];
    for round in 0..LATE_ROUNDS {
        for (pause, times) in PAUSES.into_iter().zip(&mut times) {
            // Awake, whatever was before.
            time(parallel);
            wait(pause);
            times[round] = time(parallel);
        }
    }
    let besides = piece * (threads * WAITING_PIECES) as f64;
    let others = threads.saturating_sub(1).max(1) as f64;
    for (late, mut times) in late.iter_mut().zip(times) {
        times.sort_by(f64::total_cmp);
        let together = times[LATE_ROUNDS / 2];
        *late = ((threads as f64 * together - alone - besides) / others).max(0.0);
    }
}

/// What layers are run on.
struct Runner {
    x: Vec<f32>,
    y: Vec<f32>,
    scratch: Vec<u8>,
}

impl Runner {
    fn new(kernels: &[Kernel]) -> Self {
        let inputs = kernels.iter().flat_map(|kernel| kernel.inputs()).copied().fold(0.0, f64::max);
        let most = (MOST_ROWS * inputs) as usize;
        // Of both signs, and as seldom halfway between two codes as other numbers are: those are quantized more slowly.
        let mut random = 1;
        let x = (0..most).map(|_| 2.0 * fraction(&mut random) as f32 - 1.0).collect();
        Runner { x, y: Vec::new(), scratch: Vec::new() }
    }

    /// Nanoseconds of a call: a single one if it takes longer than `long`, else the mean of some that follow another.
    #[inline]
    fn time(&mut self, layer: &PackedLinear<'_>, rows: usize, long: Duration) -> Result<f64> {
        let (inputs, outputs) = (layer.in_features(), layer.out_features());
        let more = |len: usize, room: usize| len.max(room);
        self.scratch.resize(more(layer.scratch_bytes(rows)?, self.scratch.len()), 0);
        self.y.resize(more(rows * outputs, self.y.len()), 0.0);
        let (x, y) = (self.x.get(..rows * inputs), self.y.get_mut(..rows * outputs));
        let (Some(x), Some(y)) = (x, y) else { return Ok(0.0) };
        let (Ok(x), Ok(mut y)) =
            (ArrayView2::from_shape((rows, inputs), x), ArrayViewMut2::from_shape((rows, outputs), y))
        else {
            return Ok(0.0);
        };
        let mut run = |count: u32| -> Result<Duration> {
            let start = Instant::now();
            for _ in 0..count {
                layer.forward_with(x, y.view_mut(), &mut self.scratch)?;
            }
            Ok(start.elapsed())
        };
        let first = run(1)?;
        let count = (SAMPLE.as_nanos() / first.as_nanos().max(1)).clamp(1, 1000) as u32;
        let sample = if first > long { first } else { run(count)? / count };
        Ok(sample.as_secs_f64() * 1e9)
    }
}
