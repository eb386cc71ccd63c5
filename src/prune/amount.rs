//! How many survive.

use crate::error::{Error, Result};

/// How many survive in each competition that the [`Scope`](super::Scope) sets up.
///
/// What is counted are the units of the [`Pattern`](super::Pattern): weights, blocks, rows, ... A product of a fraction
/// and a count is computed in f64 and rounded to the nearest integer, ties to even (as torch and numpy round).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Amount {
    /// Of all units, living or dead, round(fraction * n) are condemned at the end; 0 to 1. Units that
    /// [`within`](super::Pruner::within) declared dead count as condemned.
    Sparsity(f64),
    /// Of the units that are still alive, round(fraction * living) are condemned; 0 to 1. This is what a fraction means
    /// in `torch.nn.utils.prune`.
    SparsityOfLiving(f64),
    /// Exactly that many survive; at most as many as are alive.
    Survivors(usize),
    /// Exactly that many of the living are condemned. This is what an integer means in `torch.nn.utils.prune`.
    Condemned(usize),
    /// Those with a score of at least this survive, however many they are.
    Threshold(f32),
    /// The rule of TensorFlow Model Optimization: k = max(round(n * (1 - sparsity)), 1) in f32 arithmetic; everything
    /// that scores at least as high as the k-th survives, so ties can make it more than k.
    Tfmot(f32),
}

/// An [`Amount`], applied to one competition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quota {
    /// The best so many, the lower index where scores tie.
    Best(usize),
    /// The best so many, and all that tie with the last of them.
    BestAndTies(usize),
    /// All with at least this score.
    AtLeast(f32),
}

impl Amount {
    /// For a competition of `units`, of which `living` are alive. `argument` names the tensor or row.
    pub(super) fn quota(self, units: usize, living: usize) -> Result<Quota> {
        let at_most_living = |argument: &'static str, count: usize| {
            if count > living {
                return Err(Error::out_of_range(
                    argument,
                    count,
                    format!("at most {living}, the number that can survive"),
                ));
            }
            Ok(count)
        };
        Ok(match self {
            Amount::Sparsity(fraction) => {
                let condemned = share("sparsity", fraction, units)?;
                Quota::Best((units - condemned).min(living))
            }
            Amount::SparsityOfLiving(fraction) => Quota::Best(living - share("sparsity", fraction, living)?),
            Amount::Survivors(count) => Quota::Best(at_most_living("survivors", count)?),
            Amount::Condemned(count) => Quota::Best(living - at_most_living("condemned", count)?),
            Amount::Threshold(threshold) => {
                if !threshold.is_finite() {
                    return Err(Error::out_of_range("threshold", threshold, "finite"));
                }
                Quota::AtLeast(threshold)
            }
            Amount::Tfmot(sparsity) => {
                check_fraction("sparsity", f64::from(sparsity))?;
                let count = (units as f32 * (1.0 - sparsity)).round_ties_even().max(1.0);
                // An f32 can round the count up past what there is.
                Quota::BestAndTies((count as usize).min(living))
            }
        })
    }
}

/// round(fraction * count), ties to even; never more than `count`.
fn share(argument: &'static str, fraction: f64, count: usize) -> Result<usize> {
    check_fraction(argument, fraction)?;
    Ok(((fraction * count as f64).round_ties_even() as usize).min(count))
}

pub(super) fn check_fraction(argument: &'static str, fraction: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Error::out_of_range(argument, fraction, "0 to 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_goes_to_even() {
        for (fraction, units, survivors) in [(0.5, 5, 3), (0.5, 7, 3), (0.5, 1, 1), (0.5, 3, 1), (1.0, 9, 0)]
        {
            assert_eq!(Amount::Sparsity(fraction).quota(units, units), Ok(Quota::Best(survivors)));
        }
        assert_eq!(Amount::SparsityOfLiving(0.3).quota(91, 64), Ok(Quota::Best(64 - 19)));
        assert_eq!(Amount::Sparsity(0.3).quota(91, 20), Ok(Quota::Best(20)));
        assert_eq!(Amount::Tfmot(1.0).quota(10, 10), Ok(Quota::BestAndTies(1)));
        assert_eq!(Amount::Tfmot(0.25).quota(10, 10), Ok(Quota::BestAndTies(8)));
    }

    #[test]
    fn nonsense_is_named() {
        for amount in [Amount::Sparsity(f64::NAN), Amount::Sparsity(1.5), Amount::SparsityOfLiving(-0.1)] {
            assert!(amount.quota(4, 4).unwrap_err().to_string().starts_with("sparsity is"));
        }
        let error = Amount::Survivors(5).quota(9, 4).unwrap_err().to_string();
        assert_eq!(error, "survivors is 5, but must be at most 4, the number that can survive");
        assert!(Amount::Condemned(5).quota(9, 4).is_err());
        assert!(Amount::Threshold(f32::INFINITY).quota(9, 4).is_err());
    }
}
