//! The training loop of every stage: f32 and f16, while pruning, and with fake quantization.

use crate::Result;
use crate::data::Digits;
use crate::int8::FakeQuantization;
use crate::network::Network;
use crate::progress::Progress;
use crate::pruning::Pruning;
use crate::random::Random;
use tersor::Element;
use tersor::optim::{AdamW, LossScaler, MixedPrecision, Overflow, Step};

/// Images in a training step.
pub const BATCH: usize = 64;

pub type Trainer = MixedPrecision<AdamW>;

/// AdamW with that loss scaler. The learning rate is set by each stage.
pub fn trainer(scaler: LossScaler) -> Trainer {
    MixedPrecision::new(AdamW::default(), scaler)
}

/// What a stage does to a network, and for how long.
pub struct Stage<'a> {
    name: &'static str,
    epochs: usize,
    /// At the start; it falls to 0 in a straight line.
    learning_rate: f64,
    /// The stream that the order of the images comes from.
    order: Random,
    pruning: Option<&'a mut Pruning>,
    fake: Option<&'a FakeQuantization>,
}

/// What happened on the way.
#[derive(Default)]
pub struct History {
    pub steps: u64,
    pub overflows: usize,
    /// The first overflow, the loss scale that caused it, and its step.
    pub first_overflow: Option<(Overflow, f32, u64)>,
    /// The loss scale in the end.
    pub last_scale: f32,
}

/// Training steps of that many epochs.
pub fn steps(digits: &Digits, epochs: usize) -> u64 {
    (digits.len().div_ceil(BATCH) * epochs) as u64
}

impl<'a> Stage<'a> {
    pub fn new(name: &'static str, epochs: usize, learning_rate: f64, order: Random) -> Self {
        Stage { name, epochs, learning_rate, order, pruning: None, fake: None }
    }

    /// Masks are made anew before the steps that the schedule names.
    pub fn with_pruning(self, pruning: &'a mut Pruning) -> Self {
        Stage { pruning: Some(pruning), ..self }
    }

    /// The way forward computes with numbers as coarse as int8.
    pub fn with_fake(self, fake: &'a FakeQuantization) -> Self {
        Stage { fake: Some(fake), ..self }
    }

    pub fn run<E: Element>(
        mut self,
        network: &mut Network<E>,
        trainer: &mut Trainer,
        digits: &Digits,
    ) -> Result<History> {
        let total = steps(digits, self.epochs);
        let progress = Progress::start(self.name, total);
        let mut history = History::default();
        let mut order: Vec<usize> = (0..digits.len()).collect();
        let (mut step, mut loss) = (0, 0.0);
        for _ in 0..self.epochs {
            self.order.shuffle(&mut order);
            for indices in order.chunks(BATCH) {
                if let Some(pruning) = &mut self.pruning {
                    pruning.before_step(step, &mut network.parameters)?;
                }
                trainer.rule_mut().learning_rate = self.learning_rate * (1.0 - step as f64 / total as f64);

                let (images, labels) = digits.batch(indices);
                let scale = trainer.scaler().scale();
                let tape = network.forward(images.view(), self.fake)?;
                let gradients = tape.backward(&labels, scale, self.fake)?;
                match trainer.step(&mut network.parameters, &gradients)? {
                    Step::Applied { .. } => loss = tape.loss(&labels)?,
                    Step::Skipped { overflow, .. } => {
                        history.overflows += 1;
                        history.first_overflow.get_or_insert((overflow, scale, step));
                    }
                }
                step += 1;
                progress.step(|| format!("loss {loss:.4}"));
            }
        }
        progress.finish(&format!("loss {loss:.4}"));
        (history.steps, history.last_scale) = (step, trainer.scaler().scale());
        Ok(history)
    }
}
