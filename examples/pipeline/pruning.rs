//! Which weights die, while the network is fine-tuned: blocks of 16 outputs and four inputs, from all layers in one
//! competition.

use crate::Result;
use tersor::linear::Format;
use tersor::optim::Parameter;
use tersor::prune::{Magnitude, Pattern, Pruner, Ranking, Schedule};

/// `(outputs, inputs)` of the weights that live and die together: what the kernel for sparse int8 skips best.
pub fn block() -> (usize, usize) {
    Format::SparseInt8.block().unwrap_or((1, 1))
}

/// A schedule at work.
pub struct Pruning {
    schedule: Schedule,
    /// How the last competition ended.
    pub ranking: Option<Ranking>,
}

impl Pruning {
    /// Polynomial, from dense at the first step to `sparsity` at 60% of `steps`; the rest is for recovery.
    pub fn new(sparsity: f64, steps: u64) -> Result<Self> {
        let schedule = Schedule::polynomial(0.0, sparsity, 0, steps * 6 / 10)?.every(10)?;
        Ok(Pruning { schedule, ranking: None })
    }

    /// Makes the masks anew where the schedule says so. Biases are left alone.
    pub fn before_step(&mut self, step: u64, parameters: &mut [Parameter]) -> Result<()> {
        let Some(sparsity) = self.schedule.update_at(step) else { return Ok(()) };
        let weights: Vec<_> = parameters.iter().step_by(2).map(Parameter::master_view).collect();
        let (outputs, inputs) = block();
        let pattern = Pattern::block(outputs, inputs)?;
        let pruner = Pruner::new(Magnitude::l1()).pattern(pattern).sparsity(sparsity);
        let decisions = pruner.decide_all(&weights)?;
        for (parameter, mask) in parameters.iter_mut().step_by(2).zip(decisions.masks) {
            parameter.set_mask(Some(mask))?;
        }
        self.ranking = decisions.rankings.first().copied();
        Ok(())
    }
}
