//! What several test programs need: awkward lengths, memory that ends at an inaccessible page, every context.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod golden;
pub mod guard;
pub mod int4;
pub mod layers;

use std::sync::Arc;
use tersor::{Context, Isa, Parallel, ParallelFor};

/// The lengths at which vector code goes wrong.
pub fn awkward_lengths() -> impl Iterator<Item = usize> {
    (0..=67).chain(127..=129).chain([255, 1023])
}

/// Every instruction set of this machine, on the calling thread.
pub fn every_isa() -> impl Iterator<Item = Context> {
    let context = Context::new().unwrap().with_parallel(Parallel::Serial);
    Isa::available().iter().map(move |&isa| context.clone().with_isa(isa))
}

/// The scalar reference, on the calling thread.
pub fn scalar() -> Context {
    Context::new().unwrap().with_isa(Isa::scalar()).with_parallel(Parallel::Serial)
}

/// A host that lends `0` threads, started anew for each loop.
pub struct HostThreads(pub usize);

impl ParallelFor for HostThreads {
    fn threads(&self) -> usize {
        self.0
    }

    fn parallel_for(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in 0..count {
                scope.spawn(move || task(index));
            }
        });
    }
}

/// The same instruction set on one thread, on two and five of the host's, and on rayon's.
pub fn every_thread_count() -> Vec<Context> {
    let context = Context::new().unwrap();
    let mut contexts = vec![context.clone().with_parallel(Parallel::Serial), context.clone()];
    for threads in [2, 5] {
        contexts.push(context.clone().with_parallel(Parallel::Host(Arc::new(HostThreads(threads)))));
    }
    contexts
}

/// A small generator for test data that needs no property: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Roughly normal, mean 0, deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.signed() + 1.0) / 2.0).sum::<f32>() - 6.0
    }
}
