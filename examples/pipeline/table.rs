//! What was measured, a row per stage.

use std::fmt;

/// A stage's network as it was run.
pub struct Row {
    pub stage: &'static str,
    pub run_as: String,
    pub correct: usize,
    /// The row whose accuracy this one should keep.
    pub against: usize,
    pub weight_bytes: usize,
    pub non_zeros: usize,
    /// Microseconds per image, one at a time.
    pub single: f64,
    /// Microseconds per image, in batches.
    pub batched: f64,
}

/// Rows, of which the first is the reference for speed.
pub struct Table {
    pub images: usize,
    pub batch: usize,
    pub rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batched = format!("batch {}", self.batch);
        let top = ["", "", "", "", "points", "bytes of", "non-", "µs/image", "µs/image", "speed", "speed"];
        let bottom = [
            "stage", "run as", "correct", "accuracy", "against", "weights", "zeros", "batch 1", &batched,
            "batch 1", &batched,
        ];
        line(f, top)?;
        line(f, bottom)?;
        let Some(reference) = self.rows.first() else { return Ok(()) };
        let accuracy = |row: &Row| 100.0 * row.correct as f64 / self.images as f64;
        for (index, row) in self.rows.iter().enumerate() {
            let against = match self.rows.get(row.against) {
                Some(other) if index != row.against => {
                    format!("{:+.2} {}", accuracy(row) - accuracy(other), other.stage)
                }
                _ => String::new(),
            };
            let cells = [
                row.stage,
                &row.run_as,
                &format!("{}/{}", row.correct, self.images),
                &format!("{:.2}%", accuracy(row)),
                &against,
                &row.weight_bytes.to_string(),
                &row.non_zeros.to_string(),
                &format!("{:.2}", row.single),
                &format!("{:.2}", row.batched),
                &format!("{:.1}x", reference.single / row.single),
                &format!("{:.1}x", reference.batched / row.batched),
            ];
            line(f, cells)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: [&str; 11]) -> fmt::Result {
    let [stage, run_as, correct, accuracy, against, bytes, non_zeros, single, batched, fast, fast_batched] =
        cells;
    writeln!(
        f,
        "{stage:<16} {run_as:<11} {correct:>7} {accuracy:>8} {against:>12} {bytes:>8} {non_zeros:>6} {single:>9} \
         {batched:>9} {fast:>8} {fast_batched:>8}"
    )
}
