//! The training step allocates nothing, whether it is applied or skipped. Alone in its program, because it replaces the
//! allocator.

#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tersor::ndarray::Array1;
use tersor::optim::{AdamW, LossScaler, MixedPrecision, Step};
use tersor::{Context, DType, Mask, Parallel, f16};

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a plain cell that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(body: impl FnOnce()) -> usize {
    let before = CALLS.get();
    body();
    CALLS.get() - before
}

#[test]
fn a_step_allocates_nothing() {
    assert!(calls(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the counter counts");

    let len = 100_000;
    let mut trainer =
        MixedPrecision::new(AdamW::default(), LossScaler::dynamic()).clip_global_norm(1.0).unwrap();
    let weights = Array1::from_elem(len, 0.5_f32);
    let mut parameters = vec![
        trainer.parameter("dense", weights.view(), DType::F16).unwrap(),
        trainer.parameter("pruned", weights.view(), DType::Bf16).unwrap(),
        trainer.parameter("bias", weights.view(), DType::F32).unwrap(),
    ];
    let mask = Mask::from_fn(&[len], |i| i % 3 == 0).unwrap();
    parameters[1].set_mask(Some(mask)).unwrap();
    let mut gradients = vec![Array1::from_elem(len, f16::ONE); 3];

    // On this thread: what rayon allocates for its own queues is not ours.
    let context = Context::new().unwrap().with_parallel(Parallel::Serial);
    context.scope(|| {
        let applied = calls(|| {
            let step = trainer.step(&mut parameters, &gradients).unwrap();
            assert!(matches!(step, Step::Applied { held: None, .. }));
        });
        assert_eq!(applied, 0);

        gradients[2][len - 1] = f16::INFINITY;
        let skipped = calls(|| {
            let step = trainer.step(&mut parameters, &gradients).unwrap();
            assert!(matches!(step, Step::Skipped { .. }));
        });
        assert_eq!(skipped, 0);
    });
}
