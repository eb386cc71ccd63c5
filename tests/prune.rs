//! Pruning through its public API: exactly k survivors, against a reference that sorts; the same mask everywhere.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, ArrayD, ArrayView1, ArrayViewMut1, Axis, IxDyn, array};
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::guard::Guarded;
use support::{Random as Generator, awkward_lengths, every_isa, every_thread_count, scalar};
use tersor::prune::{
    Amount, Chunk, Criterion, Decisions, Distribution, Gradient, Magnitude, Pattern, Pooling, Pruner, Random,
    Scope, decay_condemned,
};
use tersor::{DType, Element, Error, Mask, bf16, f16};

/// What [`Pattern`] and [`Scope`] mean, spelled out per weight.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Single,
    Block(usize, usize),
    Rows,
    Columns,
    Slices(usize),
}

impl Shape {
    fn pattern(self) -> Pattern {
        match self {
            Shape::Single => Pattern::single(),
            Shape::Block(rows, cols) => Pattern::block(rows, cols).unwrap(),
            Shape::Rows => Pattern::rows(),
            Shape::Columns => Pattern::columns(),
            Shape::Slices(axis) => Pattern::slices(Axis(axis)),
        }
    }

    /// The unit of a weight; ascending as the library counts them.
    fn unit(self, shape: &[usize], index: usize) -> usize {
        let cols: usize = shape[1..].iter().product();
        let (row, col) = (index / cols, index % cols);
        match self {
            Shape::Single => index,
            Shape::Block(r, c) => row / r * cols.div_ceil(c) + col / c,
            Shape::Rows => row,
            Shape::Columns => col,
            Shape::Slices(axis) => index / shape[axis + 1..].iter().product::<usize>() % shape[axis],
        }
    }

    /// The row in which the unit of a weight competes, if rows can compete.
    fn row(self, shape: &[usize], index: usize) -> usize {
        let row = index / shape[1..].iter().product::<usize>();
        match self {
            Shape::Block(r, _) => row / r,
            _ => row,
        }
    }

    fn spans_rows(self) -> bool {
        matches!(self, Shape::Rows | Shape::Columns | Shape::Slices(_))
    }
}

struct Unit {
    place: (usize, usize),
    score: f32,
    alive: bool,
}

/// What is known of the weights of a unit.
struct Weights {
    first: usize,
    count: usize,
    sum: f64,
    greatest: f64,
    alive: bool,
}

/// Scores, sorts, and takes the first k of each competition. The sums of the scores must be exact in f64.
fn reference(
    weights: &[ArrayD<f32>],
    shape: Shape,
    scope: Scope,
    pooling: Pooling,
    within: Option<&[Mask]>,
    quota: impl Fn(usize, usize) -> usize,
) -> Vec<Mask> {
    let mut competitions: BTreeMap<(usize, usize), Vec<Unit>> = BTreeMap::new();
    for (tensor, weights) in weights.iter().enumerate() {
        let shape_of = weights.shape();
        let mut units: Vec<Option<Weights>> = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            let unit = shape.unit(shape_of, index);
            units.resize_with(units.len().max(unit + 1), || None);
            let own = units[unit].get_or_insert(Weights {
                first: index,
                count: 0,
                sum: 0.0,
                greatest: 0.0,
                alive: false,
            });
            let score = f64::from(weight.abs());
            own.count += 1;
            own.sum += score;
            own.greatest = own.greatest.max(score);
            own.alive |= within.is_none_or(|masks| masks[tensor].get(index).unwrap());
        }
        for (unit, own) in units.into_iter().map(Option::unwrap).enumerate() {
            let score = match pooling {
                Pooling::Max => own.greatest,
                _ => own.sum / own.count as f64,
            };
            let competition = match scope {
                Scope::Rows => (tensor, shape.row(shape_of, own.first)),
                Scope::Tensor => (tensor, 0),
                _ => (0, 0),
            };
            let unit = Unit { place: (tensor, unit), score: score as f32, alive: own.alive };
            competitions.entry(competition).or_default().push(unit);
        }
    }
    // By tensor and unit.
    let mut survives: Vec<Vec<bool>> = weights.iter().map(|weights| vec![false; weights.len()]).collect();
    for mut own in competitions.into_values() {
        let all = own.len();
        own.retain(|unit| unit.alive);
        own.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        let k = quota(all, own.len());
        own.iter().take(k).for_each(|unit| survives[unit.place.0][unit.place.1] = true);
    }
    weights
        .iter()
        .enumerate()
        .map(|(tensor, weights)| {
            Mask::from_fn(weights.shape(), |index| {
                survives[tensor][shape.unit(weights.shape(), index)]
                    && within.is_none_or(|masks| masks[tensor].get(index).unwrap())
            })
            .unwrap()
        })
        .collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Single),
        (1_usize..6, 1_usize..6).prop_map(|(r, c)| Shape::Block(r, c)),
        Just(Shape::Rows),
        Just(Shape::Columns),
        (0_usize..2).prop_map(Shape::Slices),
    ]
}

/// Quarters: sums are exact, and many scores tie.
fn tensors() -> impl Strategy<Value = Vec<ArrayD<f32>>> {
    let one = prop::collection::vec(1_usize..9, 2..4).prop_flat_map(|shape| {
        prop::collection::vec(-20_i8..20, shape.iter().product::<usize>()).prop_map(move |values| {
            let values = values.into_iter().map(|value| f32::from(value) / 4.0).collect();
            ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
        })
    });
    prop::collection::vec(one, 1..4)
}

fn views(weights: &[ArrayD<f32>]) -> Vec<ndarray::ArrayViewD<'_, f32>> {
    weights.iter().map(|weights| weights.view()).collect()
}

proptest! {
    #[test]
    fn masks_are_those_of_the_reference(
        weights in tensors(),
        shape in shapes(),
        scope in prop_oneof![Just(Scope::Rows), Just(Scope::Tensor), Just(Scope::All)],
        pooling in prop_oneof![Just(Pooling::Mean), Just(Pooling::Max)],
        part in 0.0_f64..=1.0,
        further in prop::option::of(any::<u64>()),
    ) {
        prop_assume!(!(scope == Scope::Rows && shape.spans_rows()));
        let mut random = Generator(further.unwrap_or(0));
        let masks: Vec<Mask> = weights
            .iter()
            .map(|weights| Mask::from_fn(weights.shape(), |_| random.bits().is_multiple_of(2)).unwrap())
            .collect();
        let within = further.map(|_| &masks[..]);
        let pruner = Pruner::new(Magnitude::l1()).pattern(shape.pattern().pooled(pooling)).scope(scope);
        let pruner = match within {
            Some(masks) => pruner.within_each(masks),
            None => pruner,
        };
        let rounded = |fraction: f64, n: usize| (fraction * n as f64).round_ties_even() as usize;
        let check = |amount: Amount, quota: &dyn Fn(usize, usize) -> usize| {
            let expected = reference(&weights, shape, scope, pooling, within, quota);
            let found = pruner.amount(amount).decide_all(&views(&weights)).unwrap();
            prop_assert_eq!(&found.masks, &expected, "{:?}", amount);
            for ranking in &found.rankings {
                prop_assert!(ranking.survivors <= ranking.units);
                prop_assert_eq!(ranking.threshold.is_some(), ranking.survivors > 0);
                prop_assert!(ranking.ties_kept > 0 || ranking.survivors == 0);
            }
            Ok(found)
        };
        let found = check(Amount::Sparsity(part), &|all, living| (all - rounded(part, all)).min(living))?;
        if within.is_none() {
            for ranking in found.rankings {
                prop_assert_eq!(ranking.survivors, ranking.units - rounded(part, ranking.units));
            }
        }
        check(Amount::SparsityOfLiving(part), &|_, living| living - rounded(part, living))?;
        check(Amount::Survivors(0), &|_, _| 0)?;
        check(Amount::Condemned(0), &|_, living| living)?;
    }

    #[test]
    fn thresholds_keep_what_reaches_them(weights in tensors(), threshold in -1_i8..20) {
        let threshold = f32::from(threshold) / 4.0;
        let pruner = Pruner::new(Magnitude::l1()).threshold(threshold);
        let found = pruner.decide_all(&views(&weights)).unwrap();
        let (mut survivors, mut ties) = (0, 0);
        for (mask, weights) in found.masks.iter().zip(&weights) {
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(mask.get(index), Some(weight.abs() >= threshold));
                survivors += usize::from(weight.abs() >= threshold);
                ties += usize::from(weight.abs() == threshold);
            }
        }
        let ranking = found.rankings[0];
        prop_assert_eq!((ranking.survivors, ranking.ties_kept, ranking.ties_dropped), (survivors, ties, 0));
        prop_assert_eq!(ranking.threshold, Some(threshold));
    }

    #[test]
    fn n_of_m_keeps_the_best_of_each_group(
        (m, n) in (1_usize..=32).prop_flat_map(|m| (Just(m), 1..=m)),
        weights in tensors(),
        seed in prop::option::of(any::<u64>()),
    ) {
        let mut random = Generator(seed.unwrap_or(0));
        let within: Vec<Mask> = weights
            .iter()
            .map(|w| Mask::from_fn(w.shape(), |_| seed.is_none() || random.bits().is_multiple_of(2)).unwrap())
            .collect();
        let pattern = Pattern::n_of_m(n, m).unwrap();
        let found = Pruner::new(Magnitude::l1()).pattern(pattern).within_each(&within).masks(&views(&weights)).unwrap();
        for ((mask, weights), within) in found.iter().zip(&weights).zip(&within) {
            prop_assert_eq!(mask, &best_of_groups(weights, within, n, m));
        }
    }
}

/// The best n of each group of m along the last axis, by sorting each group.
fn best_of_groups(weights: &ArrayD<f32>, within: &Mask, n: usize, m: usize) -> Mask {
    let line = *weights.shape().last().unwrap();
    let mut survives = vec![false; weights.len()];
    for (row, values) in weights.as_slice().unwrap().chunks(line).enumerate() {
        for (group, values) in values.chunks(m).enumerate() {
            let start = row * line + group * m;
            let mut order: Vec<usize> =
                (0..values.len()).filter(|i| within.get(start + i).unwrap()).collect();
            order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()).then(a.cmp(&b)));
            order.iter().take(n).for_each(|index| survives[start + index] = true);
        }
    }
    Mask::from_fn(weights.shape(), |index| survives[index]).unwrap()
}

/// Tensors that are cut into several pieces, at places where rows, blocks and groups do not end.
#[test]
fn tensors_of_several_pieces_get_the_masks_of_the_reference() {
    let mut random = Generator(21);
    let weights: Vec<ArrayD<f32>> = [&[300, 431][..], &[3, 40_000], &[25_000, 5], &[9, 7, 33, 40]]
        .into_iter()
        .map(|shape| ArrayD::from_shape_simple_fn(shape, || (random.normal() * 8.0).round() / 4.0))
        .collect();
    let alive: Vec<Mask> = weights
        .iter()
        .map(|weights| Mask::from_fn(weights.shape(), |_| random.bits().is_multiple_of(3)).unwrap())
        .collect();
    let shapes = [
        Shape::Single,
        Shape::Block(3, 5),
        Shape::Block(1, 4),
        Shape::Block(7, 300),
        Shape::Block(64, 1),
        Shape::Rows,
        Shape::Columns,
        Shape::Slices(1),
    ];
    for shape in shapes {
        for scope in [Scope::Rows, Scope::Tensor, Scope::All] {
            if scope == Scope::Rows && shape.spans_rows() {
                continue;
            }
            for (pooling, within) in [(Pooling::Mean, None), (Pooling::Max, Some(&alive[..]))] {
                let pruner = Pruner::new(Magnitude::l1()).pattern(shape.pattern().pooled(pooling));
                let pruner = pruner.scope(scope).amount(Amount::SparsityOfLiving(0.7));
                let pruner = match within {
                    Some(masks) => pruner.within_each(masks),
                    None => pruner,
                };
                let quota =
                    |_: usize, living: usize| living - (0.7 * living as f64).round_ties_even() as usize;
                let expected = reference(&weights, shape, scope, pooling, within, quota);
                let found = pruner.masks(&views(&weights)).unwrap();
                assert!(found == expected, "{shape:?}, {scope:?}, {pooling:?}");
            }
        }
    }
    for (n, m) in [(1, 2), (2, 4), (3, 7), (4, 8), (5, 16), (9, 32), (1, 31)] {
        let pruner = Pruner::new(Magnitude::l1()).pattern(Pattern::n_of_m(n, m).unwrap());
        let found = pruner.within_each(&alive).masks(&views(&weights)).unwrap();
        for ((mask, weights), alive) in found.iter().zip(&weights).zip(&alive) {
            assert!(*mask == best_of_groups(weights, alive, n, m), "{n} of {m}, {:?}", weights.shape());
        }
    }
}

/// The indices of a long vector, best first.
fn ranked(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order
}

/// The mask of the first `k` of `order`.
fn mask_of_first(order: &[u32], k: usize) -> Mask {
    let mut survives = vec![false; order.len()];
    order[..k].iter().for_each(|&index| survives[index as usize] = true);
    Mask::from_fn(&[order.len()], |index| survives[index]).unwrap()
}

/// The user's own scores, negative ones too.
struct Own;

impl Criterion for Own {
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(chunk.weights);
    }
}

/// Long enough for several pieces and for the sample; data on which a quick guess or a histogram goes wrong.
#[test]
fn long_vectors_of_every_kind_are_selected_exactly() {
    let len = (1 << 19) + 1234;
    let mut random = Generator(5);
    let normal: Vec<f32> = (0..len).map(|_| random.normal()).collect();
    let heavy = normal.iter().map(|x| (x * 12.0).exp() * x.signum()).collect();
    let mut sorted = normal.clone();
    sorted.sort_by(f32::total_cmp);
    let mut falling = sorted.clone();
    falling.reverse();
    // The sample of this length is 128 runs of 32: they see one world, and the rest is above it, or below.
    let seen = |i: usize| i % (len / 128) < 32;
    let hide = |sign: f32| -> Vec<f32> {
        (0..len).map(|i| sign * if seen(i) { (i % 7) as f32 } else { 10.0 + (i % 1000) as f32 }).collect()
    };
    let constant_sample = (0..len).map(|i| if seen(i) { 1.0 } else { 2.0 + (i % 1000) as f32 }).collect();
    let kinds: [(&str, Vec<f32>); 10] = [
        ("normal", normal.clone()),
        ("heavy tailed", heavy),
        ("sorted", sorted),
        ("falling", falling),
        ("constant", vec![0.5; len]),
        ("zero, of both signs", (0..len).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect()),
        ("mostly zero", normal.iter().map(|&x| if x > 1.5 { x } else { 0.0 }).collect()),
        ("above the sample", hide(1.0)),
        ("below the sample", hide(-1.0)),
        ("above a constant sample", constant_sample),
    ];
    for (kind, values) in kinds {
        // The reference orders zeros by their sign; the library must not.
        let scores: Vec<f32> = values.iter().map(|x| x + 0.0).collect();
        let order = ranked(&scores);
        for k in [1, 2, len / 10, len / 2, len - len / 10, len - 1, len] {
            let found = Pruner::new(Own).survivors(k).decide(ArrayView1::from(&values)).unwrap();
            assert_eq!(found.mask.count(), k, "{kind}, {k}");
            assert!(found.mask == mask_of_first(&order, k), "{kind}, {k}");
            let threshold = found.rankings[0].threshold.unwrap();
            let ties = scores.iter().filter(|&&score| score == threshold).count();
            assert_eq!(found.rankings[0].ties_kept + found.rankings[0].ties_dropped, ties, "{kind}, {k}");
        }
    }
}

/// Every kind of competition on one set of tensors.
fn all_kinds<E: Element>(weights: &[ArrayD<E>]) -> Vec<Decisions> {
    let views: Vec<_> = weights.iter().map(|weights| weights.view()).collect();
    let half = Pruner::new(Magnitude::l1()).sparsity(0.5);
    let mut decisions = vec![
        half.decide_all(&views).unwrap(),
        half.scope(Scope::Tensor).decide_all(&views).unwrap(),
        half.scope(Scope::Rows).decide_all(&views).unwrap(),
        half.pattern(Pattern::rows()).decide_all(&views).unwrap(),
        half.pattern(Pattern::columns()).decide_all(&views).unwrap(),
        half.pattern(Pattern::block(3, 5).unwrap()).decide_all(&views).unwrap(),
        half.pattern(Pattern::block(1, 4).unwrap().pooled(Pooling::Max)).decide_all(&views).unwrap(),
        Pruner::new(Magnitude::l2()).threshold(0.25).decide_all(&views).unwrap(),
        Pruner::new(Distribution::new()).sparsity(0.8).decide_all(&views).unwrap(),
        Pruner::new(Random::seeded(3)).sparsity(0.8).decide_all(&views).unwrap(),
        Pruner::new(Gradient::of_each(views.clone())).sparsity(0.8).decide_all(&views).unwrap(),
    ];
    for (n, m) in [(1, 2), (2, 4), (3, 8), (5, 16), (3, 7)] {
        let pattern = Pattern::n_of_m(n, m).unwrap();
        decisions.push(Pruner::new(Magnitude::l1()).pattern(pattern).decide_all(&views).unwrap());
    }
    let masks = decisions[0].masks.clone();
    decisions
        .push(half.amount(Amount::SparsityOfLiving(0.3)).within_each(&masks).decide_all(&views).unwrap());
    decisions
}

fn tensors_of<E: Element>(shapes: &[&[usize]]) -> Vec<ArrayD<E>> {
    let mut random = Generator(11);
    shapes.iter().map(|shape| ArrayD::from_shape_simple_fn(*shape, || E::from_f32(random.normal()))).collect()
}

fn the_same_everywhere<E: Element>() {
    let mut sets: Vec<Vec<ArrayD<E>>> =
        (1..=67).chain(127..=129).chain([255, 1023]).map(|len| tensors_of(&[&[len], &[3, len]])).collect();
    sets.push(tensors_of(&[&[300, 431], &[17, 3, 5, 5], &[1]]));
    for weights in &sets {
        let expected = scalar().scope(|| all_kinds(weights));
        for context in every_isa() {
            assert!(context.scope(|| all_kinds(weights)) == expected, "{context:?}");
        }
    }
    let weights = sets.last().unwrap();
    let expected = scalar().scope(|| all_kinds(weights));
    for context in every_thread_count() {
        assert!(context.scope(|| all_kinds(weights)) == expected, "{context:?}");
    }
}

#[test]
fn masks_are_the_same_on_every_instruction_set_and_at_any_thread_count() {
    the_same_everywhere::<f32>();
    the_same_everywhere::<f16>();
    the_same_everywhere::<bf16>();
}

#[test]
fn a_large_tensor_gives_the_same_mask_at_any_thread_count() {
    let mut random = Generator(9);
    let weights = Array2::from_shape_simple_fn((3, 1 << 19), || (random.normal() * 64.0).round());
    for scope in [Scope::All, Scope::Rows] {
        let pruner = Pruner::new(Magnitude::l1()).scope(scope).sparsity(0.9);
        let expected = scalar().scope(|| pruner.decide(weights.view())).unwrap();
        for context in every_thread_count() {
            assert!(context.scope(|| pruner.decide(weights.view())).unwrap() == expected, "{context:?}");
        }
    }
}

fn reads_no_further_than_the_end<E: Element + support::guard::plain::Plain>() {
    let mut random = Generator(2);
    for len in awkward_lengths().filter(|&len| len > 0) {
        for misalignment in 0..8 {
            let values: Vec<E> = (0..len + misalignment).map(|_| E::from_f32(random.normal())).collect();
            let guarded = Guarded::new(&values);
            let view = ArrayView1::from(&guarded[misalignment..]);
            let scores: Vec<f32> =
                values[misalignment..].iter().map(|&value| Element::to_f32(value).abs()).collect();
            let expected = mask_of_first(&ranked(&scores), len / 3);
            for context in every_isa() {
                let prune =
                    || Pruner::new(Gradient::of(view)).pattern(Pattern::n_of_m(1, 3).unwrap()).mask(view);
                context.scope(prune).unwrap();
                let mask =
                    context.scope(|| Pruner::new(Magnitude::l1()).survivors(len / 3).mask(view)).unwrap();
                assert_eq!(mask, expected, "{context:?}, {len}");
            }
        }
    }
}

#[test]
fn weights_may_end_where_memory_ends() {
    reads_no_further_than_the_end::<f32>();
    reads_no_further_than_the_end::<f16>();
    reads_no_further_than_the_end::<bf16>();
}

#[test]
fn criteria_score_what_they_say() {
    let weights = array![[3.0_f32, -1.0, 0.5], [2.0, -4.0, 0.25]];
    let survivors = |mask: Mask| mask.survivors().collect::<Vec<_>>();
    let gradients = array![[0.0_f32, 5.0, 1.0], [1.0, 1.0, -8.0]].mapv(f16::from_f32);
    let products = Pruner::new(Gradient::of(gradients.view())); // 0, 5, 0.5, 2, 4, 2
    assert_eq!(survivors(products.threshold(2.0).mask(weights.view()).unwrap()), [1, 3, 4, 5]);
    let squares = Pruner::new(Magnitude::l2());
    assert_eq!(survivors(squares.threshold(4.0).mask(weights.view()).unwrap()), [0, 3, 4]);

    let values: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
    let mean = values.iter().sum::<f64>() / 6.0;
    let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 6.0).sqrt();
    let distances: Vec<f64> = values.iter().map(|x| (x - mean).abs() / deviation).collect();
    let decision = Pruner::new(Distribution::new()).survivors(2).decide(weights.view()).unwrap();
    assert_eq!(survivors(decision.mask), [0, 4]);
    assert!((f64::from(decision.rankings[0].threshold.unwrap()) - distances[0]).abs() < 1e-6);
    // Where f32 has no digits, or no range, for the mean, the deviation or the distance.
    let (tiny, big) = (f32::from_bits(1), f32::MAX);
    for (weights, expected) in [
        (array![0.0, 0.0, 0.0, tiny], vec![3]),
        (array![-big, -big, big, -big], vec![2]),
        (array![1.0, 1.0_f32.next_up(), 1.0, 1.0_f32.next_up(), 1.0_f32.next_down()], vec![4]),
    ] {
        let decision = Pruner::new(Distribution::new()).survivors(1).decide(weights.view()).unwrap();
        assert_eq!(survivors(decision.mask), expected, "{weights}");
    }
    let constant = Array1::from_elem(5, 0.1_f32);
    let decision = Pruner::new(Distribution::new()).survivors(2).decide(constant.view()).unwrap();
    assert_eq!((survivors(decision.mask), decision.rankings[0].threshold), (vec![0, 1], Some(0.0)));
}

#[test]
fn random_scores_depend_on_seed_tensor_and_index_only() {
    let long = Array1::<f32>::zeros(100_000);
    let short = Array2::<f16>::zeros((100, 7));
    let mask = |seed| Pruner::new(Random::seeded(seed)).threshold(0.75).mask(long.view()).unwrap();
    let of_short = Pruner::new(Random::seeded(1)).threshold(0.75).mask(short.view()).unwrap();
    let of_long = mask(1);
    assert!((0..700).all(|index| of_short.get(index) == of_long.get(index)));
    assert_ne!(mask(1), mask(2));
    let views = [long.view().into_dyn(), long.view().into_dyn()];
    let both = Pruner::new(Random::seeded(1)).threshold(0.75).masks(&views).unwrap();
    assert!(both[0] == mask(1) && both[1] != both[0]);
    // A quarter of 100,000 has a standard deviation of 137; so has the overlap's sixteenth one of 77.
    assert!(mask(1).count().abs_diff(25_000) < 700);
    assert!(mask(1).and(&mask(2)).unwrap().count().abs_diff(6_250) < 400);
    assert!(both[0].and(&both[1]).unwrap().count().abs_diff(6_250) < 400);
}

#[test]
fn any_layout_is_pruned_in_logical_order() {
    let mut random = Generator(4);
    let weights = Array2::from_shape_simple_fn((7, 12), || random.normal());
    let transposed = weights.t().as_standard_layout().into_owned();
    for pattern in [Pattern::single(), Pattern::n_of_m(2, 4).unwrap(), Pattern::block(2, 3).unwrap()] {
        let pruner = Pruner::new(Magnitude::l1()).pattern(pattern);
        let pruner = if pattern == Pattern::n_of_m(2, 4).unwrap() { pruner } else { pruner.sparsity(0.5) };
        assert_eq!(pruner.mask(weights.t()).unwrap(), pruner.mask(transposed.view()).unwrap());
    }
    let scalar = ndarray::arr0(1.0_f32);
    for pattern in [Pattern::single(), Pattern::columns(), Pattern::block(4, 4).unwrap()] {
        let pruner = Pruner::new(Magnitude::l1()).pattern(pattern);
        assert_eq!(pruner.survivors(1).mask(scalar.view()).unwrap().count(), 1);
        assert_eq!(pruner.survivors(0).mask(scalar.view()).unwrap().count(), 0);
    }
}

#[test]
fn the_condemned_fade_and_survivors_keep_their_bits() {
    fn fade<E: Element + support::guard::plain::Plain>() {
        let mut random = Generator(8);
        for len in awkward_lengths() {
            let mut original: Vec<E> = (0..len).map(|_| E::from_f32(random.normal())).collect();
            // Signalling NaN: any arithmetic would make it quiet.
            let signalling: E = match E::DTYPE {
                DType::F32 => bytemuck::pod_read_unaligned(&0x7f80_0001_u32.to_le_bytes()),
                DType::F16 => bytemuck::pod_read_unaligned(&0x7c01_u16.to_le_bytes()),
                _ => bytemuck::pod_read_unaligned(&0x7f81_u16.to_le_bytes()),
            };
            original.iter_mut().step_by(5).for_each(|x| *x = signalling);
            let mask = Mask::from_fn(&[len], |index| index % 5 == 0 || index % 3 == 0).unwrap();
            let expected: Vec<E> = (0..len)
                .map(|i| match mask.get(i) {
                    Some(true) => original[i],
                    _ => E::from_f32(Element::to_f32(original[i]) * 0.9),
                })
                .collect();
            for context in every_isa().chain(every_thread_count()) {
                let mut buffer = Guarded::new(&original);
                let mut weights = ArrayViewMut1::from(&mut buffer[..]);
                context.scope(|| decay_condemned(&mask, &mut weights, 0.9)).unwrap();
                let found: &[u8] = bytemuck::cast_slice(&buffer);
                assert_eq!(found, bytemuck::cast_slice::<E, u8>(&expected), "{context:?}, {len}");
            }
        }
    }
    fade::<f32>();
    fade::<f16>();
    fade::<bf16>();

    let mask = Mask::from_bools(array![true, false].view()).unwrap();
    let mut weights = array![-1.0_f32, -1.0];
    decay_condemned(&mask, &mut weights, 0.0).unwrap();
    assert_eq!(weights.mapv(f32::to_bits), array![(-1.0_f32).to_bits(), 0]);
    for factor in [f32::NAN, -0.1, 1.5] {
        assert!(matches!(decay_condemned(&mask, &mut weights, factor), Err(Error::OutOfRange { .. })));
    }
    assert!(matches!(decay_condemned(&mask, &mut array![1.0_f32], 0.5), Err(Error::Shape { .. })));
    assert_eq!(weights, array![-1.0, 0.0]);
}
