//! From a composition to masks: checks, competitions, bits.

use super::amount::{Amount, Quota};
use super::bits::{PIECE_WORDS, Rule, WriteBits, WriteNOfM, expand};
use super::criterion::{Criterion, Moments};
use super::pruner::{Decisions, Pruner, Ranking, Scope};
use super::scan::{CHUNK, Tensor, Visit, first_not_finite, key_of, scan, score_of};
use super::select::{Field, NotFinite, SAMPLED_UNITS, Standing, piece_units};
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::for_each_piece;
use crate::mask::Mask;
use crate::parallel::Parallel;
use crate::row_major::row_major;
use ndarray::ArrayViewD;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything that [`Pruner::decide_all`] does.
pub(super) fn decide<C: Criterion, E: Element>(
    pruner: &Pruner<'_, C>,
    weights: &[ArrayViewD<'_, E>],
) -> Result<Decisions> {
    let context = Context::current()?;
    let tensors = prepare(&context, pruner, weights)?;
    let work = Work { context: &context, criterion: &pruner.criterion, tensors: &tensors };
    let decisions = match (pruner.pattern.as_n_of_m(), pruner.amount) {
        (Some((n, m)), None) => work.n_of_m(n, m),
        (None, Some(amount)) => work.ranked(pruner.scope, amount),
        (Some((n, m)), Some(_)) => Err(Error::Unsupported {
            what: format!("an amount for the pattern {n} of {m}"),
            instead: "leave the amount out, the pattern says how many survive".into(),
        }),
        (None, None) => Err(Error::Unsupported {
            what: "pruning without an amount".into(),
            instead: "say `sparsity`, `survivors`, `threshold` or another `amount`".into(),
        }),
    }?;
    let Some(within) = pruner.within else { return Ok(decisions) };
    // A unit can survive of which some weights were dead before.
    let masks =
        decisions.masks.iter().zip(within).map(|(mask, within)| mask.and(within)).collect::<Result<_>>()?;
    Ok(Decisions { masks, ..decisions })
}

/// Checks all that can be checked without reading weights, and makes each tensor ready to be scored.
fn prepare<'a, C: Criterion, E: Element>(
    context: &Context,
    pruner: &Pruner<'a, C>,
    weights: &'a [ArrayViewD<'_, E>],
) -> Result<Vec<Tensor<'a, E>>> {
    let name = |index: usize| match weights.len() {
        1 => Cow::Borrowed("weights"),
        _ => Cow::Owned(format!("weights[{index}]")),
    };
    if weights.is_empty() {
        return Err(Error::Empty { argument: "weights".into() });
    }
    if let Some(index) = weights.iter().position(ArrayViewD::is_empty) {
        return Err(Error::Empty { argument: name(index) });
    }
    let shapes: Vec<&[usize]> = weights.iter().map(ArrayViewD::shape).collect();
    pruner.criterion.check(&shapes)?;
    if let Some(masks) = pruner.within {
        check_masks(masks, &shapes)?;
    }
    let by_rows = pruner.scope == Scope::Rows && pruner.pattern.as_n_of_m().is_none();
    let mut tensors = Vec::with_capacity(weights.len());
    for (index, (view, shape)) in weights.iter().zip(shapes).enumerate() {
        let grid = pruner.pattern.grid(&name(index), shape, by_rows)?;
        let alive = match pruner.within.and_then(|masks| masks.get(index)) {
            None => None,
            Some(mask) if grid.is_single() => Some(Cow::Borrowed(mask)),
            Some(mask) => {
                let mut units = Mask::zeros(&[grid.units()])?;
                for weight in mask.survivors() {
                    units.set(grid.unit_of(weight), true)?;
                }
                Some(Cow::Owned(units))
            }
        };
        let weights = row_major(view.view());
        let moments = if pruner.criterion.needs_moments() {
            moments(context, &name(index), &weights)?
        } else {
            Moments { mean: 0.0, deviation: 1.0 }
        };
        tensors.push(Tensor { name: name(index), index, shape, weights, moments, grid, alive });
    }
    Ok(tensors)
}

fn check_masks(masks: &[Mask], shapes: &[&[usize]]) -> Result<()> {
    if masks.len() != shapes.len() {
        return Err(Error::length("masks", masks.len(), format!("{}, one for each tensor", shapes.len())));
    }
    for (index, (mask, shape)) in masks.iter().zip(shapes).enumerate() {
        if mask.shape() != *shape {
            let name = if masks.len() == 1 { "mask".into() } else { format!("masks[{index}]") };
            return Err(Error::shape(name, mask.shape(), format!("the weights' {shape:?}")));
        }
    }
    Ok(())
}

/// A weight that is not finite must be found here: it would make every score of the tensor NaN.
fn moments<E: Element>(context: &Context, name: &str, weights: &[E]) -> Result<Moments> {
    let moments = Moments::of(context, weights);
    if !moments.mean.is_finite() {
        let mut values = weights.iter().map(|&weight| Element::to_f32(weight)).enumerate();
        if let Some((index, value)) = values.find(|(_, value)| !value.is_finite()) {
            return Err(Error::NotFinite { argument: name.to_owned().into(), index, value });
        }
    }
    Ok(moments)
}

struct Work<'w, 'a, C, E: Element> {
    context: &'w Context,
    criterion: &'w C,
    tensors: &'w [Tensor<'a, E>],
}

/// Who survives in one tensor.
enum Rules {
    Whole(Rule),
    PerStrip(Vec<Rule>),
}

impl<C: Criterion, E: Element> Work<'_, '_, C, E> {
    fn ranked(&self, scope: Scope, amount: Amount) -> Result<Decisions> {
        let (rules, rankings) = match scope {
            Scope::All => {
                let (rules, ranking) = self.together(self.tensors, amount)?;
                (rules.into_iter().map(Rules::Whole).collect::<Vec<_>>(), vec![ranking])
            }
            Scope::Tensor => {
                let (mut rules, mut rankings) = (Vec::new(), Vec::new());
                for tensor in self.tensors {
                    let (rule, ranking) = self.together(std::slice::from_ref(tensor), amount)?;
                    rules.extend(rule.into_iter().map(Rules::Whole));
                    rankings.push(ranking);
                }
                (rules, rankings)
            }
            Scope::Rows => {
                let (mut rules, mut rankings) = (Vec::new(), Vec::new());
                for tensor in self.tensors {
                    let (own, ranked): (Vec<_>, Vec<_>) = self.by_rows(tensor, amount)?.into_iter().unzip();
                    rules.push(Rules::PerStrip(own));
                    rankings.extend(ranked);
                }
                (rules, rankings)
            }
        };
        let masks = self.tensors.iter().zip(&rules).map(|(tensor, rules)| self.write(tensor, rules));
        Ok(Decisions { masks: masks.collect::<Result<_>>()?, rankings })
    }

    /// One competition of all units of these tensors.
    fn together(&self, tensors: &[Tensor<'_, E>], amount: Amount) -> Result<(Vec<Rule>, Ranking)> {
        let units: Vec<Range<usize>> = tensors.iter().map(|tensor| 0..tensor.grid.units()).collect();
        let living = tensors
            .iter()
            .map(|tensor| tensor.alive.as_ref().map_or(tensor.grid.units(), |alive| alive.count()))
            .sum();
        let field = Field { context: self.context, criterion: self.criterion, tensors, units: &units };
        let quota = amount.quota(field.len(), living).map_err(|error| match tensors {
            [tensor] => placed(error, &tensor.name),
            _ => error,
        })?;
        compete(&field, quota).map_err(|NotFinite| self.not_finite())
    }

    /// A competition for each row.
    fn by_rows(&self, tensor: &Tensor<'_, E>, amount: Amount) -> Result<Vec<(Rule, Ranking)>> {
        let per_row = tensor.grid.units_per_strip();
        let row = |row: usize| row * per_row..(row + 1) * per_row;
        let quotas = (0..tensor.grid.strips())
            .map(|index| {
                let Range { start, end } = row(index);
                let living =
                    tensor.alive.as_ref().map_or(per_row, |alive| alive.bits().slice(start, end).count());
                amount
                    .quota(per_row, living)
                    .map_err(|error| placed(error, &format!("row {index} of {}", tensor.name)))
            })
            .collect::<Result<Vec<_>>>()?;
        let one = |context: &Context, index: usize, quota: Quota| {
            let tensors = std::slice::from_ref(tensor);
            let field = Field { context, criterion: self.criterion, tensors, units: &[row(index)] };
            compete(&field, quota).map(|(rules, ranking)| (rules.first().copied(), ranking))
        };
        let mut outcomes = vec![Err(NotFinite); quotas.len()];
        if per_row >= SAMPLED_UNITS {
            for (index, (&quota, outcome)) in quotas.iter().zip(&mut outcomes).enumerate() {
                *outcome = one(self.context, index, quota);
            }
        } else {
            let serial = self.context.clone().with_parallel(Parallel::Serial);
            let rows = piece_units(tensor).div_ceil(per_row);
            let data = (&quotas[..], &mut outcomes[..]);
            for_each_piece(self.context, data, rows, |start, (quotas, outcomes): (&[Quota], &mut [_])| {
                for (index, (&quota, outcome)) in quotas.iter().zip(outcomes).enumerate() {
                    *outcome = one(&serial, start + index, quota);
                }
            });
        }
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok((rule, ranking)) => Ok((rule.unwrap_or(Rule::NOBODY), ranking)),
                Err(NotFinite) => Err(self.not_finite()),
            })
            .collect()
    }

    fn n_of_m(&self, n: usize, m: usize) -> Result<Decisions> {
        let masks = self.tensors.iter().map(|tensor| self.n_of_m_of(tensor, n, m)).collect::<Result<_>>()?;
        Ok(Decisions { masks, rankings: Vec::new() })
    }

    /// Each piece of the mask looks at all groups of which it has a weight: the few that two pieces share are compared
    /// twice, and no two threads write to the same word.
    fn n_of_m_of(&self, tensor: &Tensor<'_, E>, n: usize, m: usize) -> Result<Mask> {
        let len = tensor.weights.len();
        let line = match tensor.shape.last() {
            // Groups follow each other as if there were one line.
            Some(&line) if line % m == 0 => len,
            Some(&line) => line,
            None => 1,
        };
        let finite = AtomicBool::new(true);
        let mut mask = Mask::zeros(tensor.shape)?;
        for_each_piece(self.context, mask.words_mut(), PIECE_WORDS, |start, words: &mut [u64]| {
            let weights = start * 64..(start * 64 + words.len() * 64).min(len);
            let mut at = weights.start;
            while at < weights.end {
                let begin = at / line * line;
                let end = begin + line;
                let stop = begin + (weights.end - begin).next_multiple_of(m);
                let units = begin + (at - begin) / m * m..stop.min(end);
                let visitor = &mut WriteNOfM { words, weights: weights.clone(), n, m };
                if !self.scan(tensor, units, CHUNK - CHUNK % m, visitor) {
                    finite.store(false, Ordering::Relaxed);
                }
                at = end;
            }
        });
        if finite.into_inner() { Ok(mask) } else { Err(self.not_finite()) }
    }

    /// The mask of a tensor from its rules.
    fn write(&self, tensor: &Tensor<'_, E>, rules: &Rules) -> Result<Mask> {
        let grid = &tensor.grid;
        let (len, per_strip) = (grid.units(), grid.units_per_strip());
        let mut units =
            if grid.is_single() { Mask::zeros(tensor.shape)? } else { Mask::zeros(&[grid.units()])? };
        let piece = piece_units(tensor) / 64;
        for_each_piece(self.context, units.words_mut(), piece, |start, words: &mut [u64]| {
            let first = start * 64;
            let end = (first + words.len() * 64).min(len);
            match rules {
                Rules::Whole(rule) => {
                    let visitor = &mut WriteBits { words, first, rule: *rule };
                    self.scan(tensor, first..end, CHUNK, visitor);
                }
                Rules::PerStrip(rules) => {
                    let mut at = first;
                    for (strip, rule) in rules.iter().enumerate().skip(first / per_strip) {
                        if at >= end {
                            break;
                        }
                        let stop = ((strip + 1) * per_strip).min(end);
                        let visitor = &mut WriteBits { words, first, rule: *rule };
                        self.scan(tensor, at..stop, CHUNK, visitor);
                        at = stop;
                    }
                }
            }
        });
        if grid.is_single() {
            return Ok(units);
        }
        let mut mask = Mask::zeros(tensor.shape)?;
        expand(self.context, grid, &units, &mut mask);
        Ok(mask)
    }

    fn scan<V: Visit>(
        &self,
        tensor: &Tensor<'_, E>,
        units: Range<usize>,
        chunk: usize,
        visitor: &mut V,
    ) -> bool {
        scan(self.context.isa(), self.criterion, tensor, units, chunk, visitor)
    }

    /// The error that a scan did not have the time to describe.
    fn not_finite(&self) -> Error {
        let mut tensors = self.tensors.iter();
        tensors
            .find_map(|tensor| first_not_finite(self.context.isa(), self.criterion, tensor))
            // Scores that were not finite once and are when looked at again.
            .unwrap_or_else(|| Error::Unsupported {
                what: "a criterion whose scores change from one pass to the next".into(),
                instead: "let a score depend on the weight and its index only".into(),
            })
    }
}

/// Holds one competition. The rules are those of the field's tensors.
fn compete<C: Criterion, E: Element>(
    field: &Field<'_, '_, C, E>,
    quota: Quota,
) -> std::result::Result<(Vec<Rule>, Ranking), NotFinite> {
    let (standing, survivors) = match quota {
        Quota::Best(0) | Quota::BestAndTies(0) => (field.standing(u32::MAX)?, Some(0)),
        Quota::Best(k) => (field.best(k)?, Some(k)),
        Quota::BestAndTies(k) => (field.best(k)?, None),
        Quota::AtLeast(threshold) => (field.standing(key_of(threshold))?, None),
    };
    let Standing { key, above, equal } = standing;
    let survivors = survivors.unwrap_or(above + equal);
    let ties_kept = survivors.saturating_sub(above);
    let threshold = match quota {
        Quota::AtLeast(threshold) => Some(threshold),
        _ => (survivors > 0).then(|| score_of(key)),
    };
    let ranking = Ranking {
        threshold,
        units: field.len(),
        survivors,
        ties_kept,
        ties_dropped: equal.saturating_sub(ties_kept),
    };
    let rules =
        if survivors == 0 { vec![Rule::NOBODY; field.units.len()] } else { field.rules(standing, survivors) };
    Ok((rules, ranking))
}

/// The same error, saying where.
fn placed(error: Error, place: &str) -> Error {
    match error {
        Error::OutOfRange { argument, value, limit } => {
            Error::OutOfRange { argument: format!("{argument} (in {place})").into(), value, limit }
        }
        other => other,
    }
}
