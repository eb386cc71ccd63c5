//! Bad input to pruning: an error that names the argument, the value and the limit.

#![allow(clippy::unwrap_used, clippy::panic)]

use ndarray::{Array1, Array2, Axis, array};
use tersor::prune::{
    Chunk, Criterion, Distribution, Gradient, Magnitude, Pattern, Pooling, Pruner, Random, Scope,
};
use tersor::{Error, Mask};

#[test]
fn what_is_not_finite_is_named() {
    let weights = |value: f32| {
        let mut weights = Array2::from_elem((40, 50), 1.0_f32);
        weights[[30, 7]] = value;
        weights
    };
    let half = Pruner::new(Magnitude::l1()).sparsity(0.5);
    let index = 30 * 50 + 7;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (bad, good) = (weights(value), weights(1.0));
        let expect = |error: Error, name: &str| match error {
            Error::NotFinite { argument, index: found, value: shown } => {
                assert_eq!((&*argument, found), (name, index));
                assert!(shown.abs() == value.abs() || (shown.is_nan() && value.is_nan()));
            }
            other => panic!("{other}"),
        };
        for pruner in [
            half,
            half.scope(Scope::Rows),
            half.survivors(0),
            half.threshold(0.5),
            half.pattern(Pattern::block(3, 3).unwrap()),
            half.pattern(Pattern::columns().pooled(Pooling::Max)),
            Pruner::new(Magnitude::l1()).pattern(Pattern::n_of_m(2, 4).unwrap()),
        ] {
            expect(pruner.mask(bad.view()).unwrap_err(), "weights");
            let views = [good.view().into_dyn(), bad.view().into_dyn()];
            expect(pruner.masks(&views).unwrap_err(), "weights[1]");
        }
        expect(Pruner::new(Distribution::new()).sparsity(0.5).mask(bad.view()).unwrap_err(), "weights");
        expect(Pruner::new(Random::seeded(0)).sparsity(0.5).mask(bad.view()).unwrap_err(), "weights");
        let by_gradient = Pruner::new(Gradient::of(bad.view())).sparsity(0.5);
        expect(by_gradient.mask(good.view()).unwrap_err(), "the scores of weights");
    }
    let error = Pruner::new(Magnitude::l2()).sparsity(0.5).mask(array![1.0_f32, 1e30].view()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the scores of weights: element 1 (row-major) is inf, but every element must be finite"
    );
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let weights = Array2::from_elem((4, 6), 1.0_f32);
    let pruner = Pruner::new(Magnitude::l1());
    let message = |result: Result<Mask, Error>| result.unwrap_err().to_string();

    assert!(message(pruner.mask(weights.view())).contains("without an amount"));
    let two_of_four = pruner.pattern(Pattern::n_of_m(2, 4).unwrap());
    assert!(message(two_of_four.sparsity(0.5).mask(weights.view())).contains("2 of 4"));
    for pattern in [Pattern::rows(), Pattern::columns(), Pattern::slices(Axis(1))] {
        let result = pruner.pattern(pattern).scope(Scope::Rows).sparsity(0.5).mask(weights.view());
        assert!(matches!(result, Err(Error::Unsupported { .. })));
    }
    let axis = pruner.pattern(Pattern::slices(Axis(2))).sparsity(0.5).mask(weights.view());
    assert_eq!(message(axis), "axis is 2, but must be below 2, the number of axes of weights");
    assert_eq!(
        message(pruner.sparsity(1.5).mask(weights.view())),
        "sparsity (in weights) is 1.5, but must be 0 to 1"
    );
    let rows = pruner.scope(Scope::Rows).survivors(7).mask(weights.view());
    assert_eq!(
        message(rows),
        "survivors (in row 0 of weights) is 7, but must be at most 6, the number that can survive"
    );
    assert!(pruner.survivors(25).mask(weights.view()).is_err());
    assert!(pruner.threshold(f32::NAN).mask(weights.view()).is_err());

    let empty = Array2::<f32>::zeros((0, 3));
    assert_eq!(
        message(pruner.sparsity(0.5).mask(empty.view())),
        "weights: there are no elements, but at least one is needed"
    );
    assert!(matches!(pruner.sparsity(0.5).masks::<f32>(&[]), Err(Error::Empty { .. })));

    let mask = Mask::ones(&[6, 4]).unwrap();
    assert_eq!(
        message(pruner.sparsity(0.5).within(&mask).mask(weights.view())),
        "mask: the shape is [6, 4], but must be the weights' [4, 6]"
    );
    let two = [mask.clone(), mask];
    assert!(matches!(pruner.sparsity(0.5).within_each(&two).mask(weights.view()), Err(Error::Length { .. })));
    let gradient = Array2::from_elem((6, 4), 1.0_f32);
    let by_gradient = Pruner::new(Gradient::of(gradient.view())).sparsity(0.5);
    assert!(message(by_gradient.mask(weights.view())).starts_with("gradients[0]: the shape is [6, 4]"));
    let views = [gradient.view().into_dyn(), weights.view().into_dyn()];
    assert!(matches!(by_gradient.masks(&views), Err(Error::Length { .. })));

    for (n, m) in [(0, 4), (5, 4), (1, 0), (1, 33)] {
        assert!(matches!(Pattern::n_of_m(n, m), Err(Error::OutOfRange { .. })));
    }
    assert!(Pattern::block(0, 4).is_err() && Pattern::block(4, 0).is_err());
    let huge = Pattern::block(usize::MAX, usize::MAX).unwrap().with_same_padding();
    assert_eq!(pruner.pattern(huge).survivors(1).mask(weights.view()).unwrap().count(), 24);
}

/// A criterion that breaks its promise may get a useless mask, but it must come back.
#[test]
fn scores_that_change_do_not_hang() {
    struct Fickle(std::sync::atomic::AtomicU32);
    impl Criterion for Fickle {
        fn scores(&self, _chunk: &Chunk<'_>, scores: &mut [f32]) {
            let base = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            for (index, score) in scores.iter_mut().enumerate() {
                *score = (base.wrapping_mul(2_654_435_761) >> 8) as f32 + index as f32;
            }
        }
    }
    let weights = Array1::<f32>::zeros(1 << 20);
    for len in [10, 5_000, 1 << 20] {
        let view = weights.slice(ndarray::s![..len]);
        let _ = Pruner::new(Fickle(0.into())).survivors(len / 2).decide(view);
    }
}
