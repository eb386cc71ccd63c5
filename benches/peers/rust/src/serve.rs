//! The worker's side of the protocol: holds one prepared layer and times it when told to. See ../README.md.

use crate::case::Case;
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A result as it goes to the checker.
pub struct Output {
    /// numpy's name of the type.
    pub dtype: &'static str,
    /// `[M, N]`, row-major, little endian.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Of f32.
    pub fn f32(values: &[f32]) -> Self {
        Output { dtype: "float32", bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// Of i32.
    pub fn i32(values: &[i32]) -> Self {
        Output { dtype: "int32", bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// Of f16.
    #[cfg(feature = "peers")]
    pub fn f16(values: &[half::f16]) -> Self {
        Output { dtype: "float16", bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }
}

/// A layer that is ready to run.
pub trait Layer {
    /// Runs it once. This is what is timed.
    fn call(&mut self);
    /// What the last call computed.
    fn output(&self) -> Output;
}

/// Makes a layer; the error says why this worker cannot.
pub type Prepare<'a> = &'a (dyn Fn(&Case) -> Result<Box<dyn Layer>, String> + Sync);

struct Held {
    layer: Box<dyn Layer>,
    /// Seconds of a call, by the last measurement.
    estimate: f64,
}

impl Held {
    fn run(&mut self, calls: usize) -> f64 {
        let began = Instant::now();
        for _ in 0..calls {
            self.layer.call();
        }
        began.elapsed().as_secs_f64().max(1e-9) / calls as f64
    }

    /// Calls for a tenth of `seconds`, then measures calls for `seconds`.
    fn time(&mut self, seconds: f64) -> (f64, usize) {
        if self.estimate < seconds {
            self.estimate = self.run((seconds / 10.0 / self.estimate).ceil() as usize);
        }
        let calls = ((seconds / self.estimate).round() as usize).max(1);
        self.estimate = self.run(calls);
        (self.estimate, calls)
    }
}

/// Answers requests until the input ends. `hello` is what the worker says of itself.
pub fn serve(hello: &str, prepare: Prepare<'_>) {
    let mut held = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = catch_unwind(AssertUnwindSafe(|| answer(&line, hello, prepare, &mut held)))
            .unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").into())
            });
        let text = match answer {
            Ok(text) => format!("ok\t{text}"),
            Err(reason) => format!("error\t{}", reason.replace(['\n', '\t'], " ")),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn answer(line: &str, hello: &str, prepare: Prepare<'_>, held: &mut Option<Held>) -> Result<String, String> {
    let mut parts = line.split('\t');
    let request = parts.next().unwrap_or_default();
    let fields: HashMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
    match request {
        "hello" => Ok(hello.into()),
        "prepare" => {
            *held = None;
            let mut layer = prepare(&Case::new(&fields)?)?;
            layer.call();
            let output = layer.output();
            let path = fields.get("out").ok_or("no field out")?;
            std::fs::write(path, &output.bytes).map_err(|error| format!("{path}: {error}"))?;
            let mut ready = Held { layer, estimate: 0.0 };
            ready.estimate = ready.run(1);
            *held = Some(ready);
            Ok(format!("dtype={}", output.dtype))
        }
        "time" => {
            let seconds =
                fields.get("seconds").and_then(|text| text.parse().ok()).ok_or("no field seconds")?;
            let (each, calls) = held.as_mut().ok_or("nothing is prepared")?.time(seconds);
            Ok(format!("seconds={each:e}\tcalls={calls}"))
        }
        "drop" => {
            *held = None;
            Ok(String::new())
        }
        other => Err(format!("unknown request {other}")),
    }
}
