//! How far a stage is, on stderr: a bar on a terminal, a line per stage anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Instant;

/// A stage at work.
pub struct Progress {
    name: &'static str,
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Progress {
    /// A stage of `steps` steps begins.
    pub fn start(name: &'static str, steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            // The template is a literal; if it were wrong, the default style would still tell how far we are.
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:26} {bar:30} {pos:>5}/{len} {elapsed:>4} {msg}")
            {
                bar.set_style(style);
            }
            bar.with_prefix(name)
        });
        Progress { name, bar, start: Instant::now() }
    }

    /// One step is done; `message` is asked for only if somebody can see it.
    pub fn step(&self, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if bar.position().is_multiple_of(8) {
                bar.set_message(message());
            }
        }
    }

    /// The stage is done.
    pub fn finish(self, message: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{:26} {:5.1} s  {message}", self.name, self.start.elapsed().as_secs_f64());
    }
}
