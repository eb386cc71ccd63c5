//! A calibration as text, to be saved and read.

use super::calibration::{Calibration, Kernel, LONGEST, Times, kernels};
use super::team::Team;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

const TITLE: &str = "tersor-calibration 1";

/// What stands above the numbers.
const EXPLANATION: &str = "\
# Nanoseconds. `staging.M`: a call with M rows and no outputs, at 16, 64, 272, 1040, 2224 and 4240 inputs. `output.M`: one
# output at the same inputs. Both in each of these at 0, 1/32 and 1/4 groups for each input (int4); the second with 0, 1/16, 1/4 and
# all blocks stored (sparse; without 1/16 for blocks of 16 outputs, in runs for 16x64; of single int8 weights, 1x1, only with half of them zero). `alone`: one output of one row in a tile of its own.
# `stall`: a byte of weights more, in layers of 2^20, 2^21, 2^22, 2^23, 2^24 and 2^25.5 bytes (blocks of one output: without the last), for
# one row; `rows-stall.M` for M rows.
# With a matrix unit (amx) int8, int4, bf16-dot and 1x1 are of 16, 64, 320, 1088, 2240 and 4288 inputs, 16x64 of 128 instead of 16, and `output` of int4
# at 0, 1/64, 1/32 and 1/4 groups.
# `store`: an element of y more, when there are 2^17, 2^19 and 2^21. `threads`: how many; how late the others come when they had
# nothing to do for 0, 10, 20, 40, 80 and 320 microseconds; a piece besides its work; calls that quantize 64 rows of 2224
# inputs, that multiply them as well, and that on all threads; calls of one thread and of all: many pieces of products, weights read
# from memory.
";

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\n{EXPLANATION}isa {}", self.isa)?;
        for team in &self.teams {
            write!(f, "threads {}", team.threads)?;
            team.clone().slots().flatten().try_for_each(|time| write!(f, " {time}"))?;
            writeln!(f)?;
        }
        for (kernel, times) in kernels(&self.isa).into_iter().zip(&self.times) {
            for (key, values) in times.lines(kernel) {
                write!(f, "{key}")?;
                values.iter().try_for_each(|value| write!(f, " {value}"))?;
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// What [`Calibration`]'s `Display` wrote. Comments (`#`) and empty lines do not matter, the order of the others does.
impl FromStr for Calibration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut lines = Lines { lines: text.lines().enumerate(), count: 0 };
        let title = lines.next()?;
        if title.text != TITLE {
            return Err(title.refuse(&format!("{TITLE:?} is needed")));
        }
        let line = lines.next()?;
        let Some(isa) = line.text.strip_prefix("isa ").filter(|isa| !isa.contains(char::is_whitespace))
        else {
            return Err(line.refuse("\"isa\" and a name are needed"));
        };
        let mut teams: Vec<Team> = Vec::new();
        let mut line = lines.next()?;
        while line.key() == "threads" {
            let mut team = Team::new(0);
            let mut threads = [0.0];
            line.numbers("threads", std::iter::once(&mut threads[..]).chain(team.slots()))?;
            let [threads] = threads;
            let before = teams.last().map_or(1, |team| team.threads);
            if threads.fract() != 0.0 || threads <= before as f64 || threads > f64::from(u16::MAX) {
                return Err(line.refuse(&format!(
                    "a number of threads from {} to {} is needed",
                    before + 1,
                    u16::MAX
                )));
            }
            teams.push(Team { threads: threads as usize, ..team });
            line = lines.next()?;
        }
        let mut times = Vec::new();
        let mut next = Some(line);
        for kernel in kernels(isa) {
            let mut read = Times::new(kernel);
            let keys: Vec<String> = read.lines(kernel).map(|(key, _)| key).collect();
            let mut last = None;
            for (key, slot) in keys.iter().zip(read.slots()) {
                let line = match next.take() {
                    Some(line) => line,
                    None => lines.next().map_err(|_| lines.lacks(key))?,
                };
                line.numbers(key, [slot])?;
                last = Some(line);
            }
            if let (Some(line), false) = (last, read.is_sound(kernel)) {
                return Err(line.refuse("up to here, a time falls where rows, blocks or bytes grow"));
            }
            times.push(read);
        }
        match lines.next() {
            Ok(line) => Err(line.refuse("the end is needed")),
            Err(_) => Ok(Calibration { isa: isa.to_owned(), times, teams }),
        }
    }
}

impl Times {
    /// The lines of a kernel.
    fn lines(&self, kernel: Kernel) -> impl Iterator<Item = (String, &[f64])> {
        let grid = move |name: &'static str, grid: &'static [f64]| {
            grid.iter().map(move |rows| format!("{}.{name}.{rows}", kernel.name))
        };
        let names = grid("staging", kernel.staged_rows()).chain(grid("output", kernel.rows()));
        let names = names.chain(["alone", "stall"].map(|name| format!("{}.{name}", kernel.name)));
        let names = names.chain(grid("rows-stall", kernel.waiting_rows()));
        let values = self.staging.slices().chain(self.output.slices());
        let values = values.chain([self.alone.values(), self.stall.values()]).chain(self.rows_stall.slices());
        names.chain([format!("{}.store", kernel.name)]).zip(values.chain([self.store.values()]))
    }

    /// Where the numbers of the same lines belong.
    fn slots(&mut self) -> impl Iterator<Item = &mut [f64]> {
        let values = self.staging.slices_mut().chain(self.output.slices_mut());
        values
            .chain([self.alone.values_mut(), self.stall.values_mut()])
            .chain(self.rows_stall.slices_mut())
            .chain([self.store.values_mut()])
    }
}

/// The lines that mean something.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    count: usize,
}

struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Line<'a>> {
        for (index, text) in self.lines.by_ref() {
            self.count = index + 1;
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                return Ok(Line { number: index + 1, text });
            }
        }
        Err(Error::layout("calibration", format!("the text ends after line {}", self.count)))
    }
}

impl Lines<'_> {
    fn lacks(&self, key: &str) -> Error {
        Error::layout("calibration", format!("{key:?} is needed after line {}", self.count))
    }
}

impl Line<'_> {
    fn key(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }

    fn numbers<'v>(&self, key: &str, values: impl IntoIterator<Item = &'v mut [f64]>) -> Result<()> {
        let mut words = self.text.split_whitespace();
        if words.next() != Some(key) {
            return Err(self.refuse(&format!("{key:?} is needed")));
        }
        let mut slots = values.into_iter().flatten();
        let (mut found, mut needed) = (0, 0);
        for word in words {
            let value = word.parse().ok().filter(|value| (0.0..=LONGEST).contains(value));
            let Some(value) = value else {
                return Err(self.refuse(&format!("{:?} is no number from 0 to {LONGEST:e}", shortened(word))));
            };
            found += 1;
            if let Some(slot) = slots.next() {
                *slot = value;
                needed += 1;
            }
        }
        needed += slots.count();
        if found != needed {
            return Err(self.refuse(&format!("there are {found} numbers, but {needed} are needed")));
        }
        Ok(())
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::layout("calibration", format!("line {} is {:?}: {reason}", self.number, shortened(self.text)))
    }
}

/// The beginning of what may be long.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}
