//! How long an image takes.

use crate::Result;
use crate::runner::Runner;
use ndarray::{ArrayView2, Axis};
use std::time::{Duration, Instant};
use tersor::{Context, Parallel};

/// How long the measurement of one batch size takes, all runners together.
const BUDGET: Duration = Duration::from_millis(1500);
/// Timed calls of one runner before it is the next one's turn, after one that warms the caches.
const CALLS: usize = 4;

/// What was measured for one batch size.
pub struct Timing {
    /// Microseconds per image, of each runner.
    pub medians: Vec<f64>,
    /// Of how many calls each.
    pub calls: usize,
}

/// How long each runner takes in batches of `batch`, on one thread.
///
/// The runners take turns, so that whatever else the machine does hits all alike.
pub fn microseconds(
    runners: &mut [&mut Runner],
    images: ArrayView2<'_, f32>,
    batch: usize,
) -> Result<Timing> {
    let mut samples = vec![Vec::new(); runners.len()];
    let batches: Vec<_> =
        images.axis_chunks_iter(Axis(0), batch).filter(|chunk| chunk.nrows() == batch).collect();
    let start = Instant::now();
    Context::current()?.with_parallel(Parallel::Serial).scope(|| -> Result<()> {
        for images in batches.iter().cycle() {
            for (runner, samples) in runners.iter_mut().zip(&mut samples) {
                runner.forward(images.view())?;
                for _ in 0..CALLS {
                    let start = Instant::now();
                    std::hint::black_box(runner.forward(images.view())?);
                    samples.push(start.elapsed().as_secs_f64() * 1e6 / batch as f64);
                }
            }
            if start.elapsed() > BUDGET {
                break;
            }
        }
        Ok(())
    })?;
    let calls = samples.first().map_or(0, Vec::len);
    Ok(Timing { medians: samples.into_iter().map(median).collect(), calls })
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
