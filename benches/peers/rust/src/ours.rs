//! Ours: `tersor::linear` through its public API, on one thread or on a rayon pool, scratch given.

use crate::case::Case;
use crate::serve::{Layer, Output, Prepare};
use ndarray::{Array2, ArrayView2};
use std::hint::black_box;
use tersor::linear::{PackedLinear, Weights};
use tersor::{Context, Parallel, f16};

/// Serves on `threads` threads. Everything runs inside the pool and the context, so that a call costs what it costs a
/// program that lives there.
pub fn serve(threads: usize) {
    let context = match Context::new() {
        Ok(context) => context,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let hello = format!("version=tersor\tisa={}", context.isa());
    let prepare: Prepare<'_> = &prepare;
    if threads == 1 {
        context.with_parallel(Parallel::Serial).scope(|| crate::serve::serve(&hello, prepare));
        return;
    }
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => {
            let context = context.with_parallel(Parallel::Rayon);
            pool.install(|| context.scope(|| crate::serve::serve(&hello, &self::prepare)));
        }
        Err(error) => eprintln!("{error}"),
    }
}

/// f32 in, f32 out.
struct Floats {
    layer: PackedLinear<'static>,
    x: Array2<f32>,
    y: Array2<f32>,
    scratch: Vec<u8>,
}

impl Layer for Floats {
    fn call(&mut self) {
        let done = self.layer.forward_with(black_box(self.x.view()), self.y.view_mut(), &mut self.scratch);
        assert!(done.is_ok(), "{done:?}");
    }

    fn output(&self) -> Output {
        Output::f32(self.y.as_slice().unwrap_or_default())
    }
}

/// uint8 in, int32 out.
struct Integers {
    layer: PackedLinear<'static>,
    x: Array2<u8>,
    y: Array2<i32>,
    scratch: Vec<u8>,
}

impl Layer for Integers {
    fn call(&mut self) {
        let (x, y) = (black_box(self.x.view()), self.y.view_mut());
        let done = self.layer.forward_codes_with(x, &[0], y, &mut self.scratch);
        assert!(done.is_ok(), "{done:?}");
    }

    fn output(&self) -> Output {
        Output::i32(self.y.as_slice().unwrap_or_default())
    }
}

fn prepare(case: &Case) -> Result<Box<dyn Layer>, String> {
    let text = |error: tersor::Error| error.to_string();
    let dense = case.way == "dense";
    // An int4 layer's weights as int8: what int4 has to be faster than.
    let kind = if case.way == "int8" { "int8-dynamic" } else { case.kind.as_str() };
    let layer = match kind {
        "f32" => PackedLinear::new(view(&case.read::<f32>("w.f32")?, case.n, case.k)?),
        "f16" => PackedLinear::new(view(&case.read::<f16>("w.f16")?, case.n, case.k)?),
        "sparse-f32" if dense => PackedLinear::new(view(&case.read::<f32>("w.f32")?, case.n, case.k)?),
        "sparse-f32" => {
            PackedLinear::new(Weights::from(view(&case.read::<f32>("w.f32")?, case.n, case.k)?).sparse())
        }
        "int8-dynamic" | "int8-int32" | "sparse-int8" => {
            let (codes, scales) = (case.read::<i8>("codes.i8")?, case.read::<f32>("scales.f32")?);
            let weights = Weights::int8(view(&codes, case.n, case.k)?, &scales, &[]);
            PackedLinear::new(if kind == "sparse-int8" && !dense { weights.sparse() } else { weights })
        }
        "int4" => {
            let groups = case.k.div_ceil(case.group);
            let (codes, scales) = (case.read::<u8>("codes.u4")?, case.read::<f32>("group_scales.f32")?);
            // Symmetric: codes lie around 8.
            let zero_points = Array2::from_elem((case.n, groups), 8);
            PackedLinear::new(Weights::uint4(
                view(&codes, case.n, case.k)?,
                case.group,
                view(&scales, case.n, groups)?,
                zero_points.view(),
            ))
        }
        kind => return Err(format!("{kind} is not a layer of ours")),
    }
    .map_err(text)?;
    let scratch = vec![0; layer.scratch_bytes(case.m).map_err(text)?];
    if kind == "int8-int32" {
        let x = view(&case.read::<u8>("x.u8")?, case.m, case.k)?.to_owned();
        return Ok(Box::new(Integers { layer, x, y: Array2::zeros((case.m, case.n)), scratch }));
    }
    let x = view(&case.read::<f32>("x.f32")?, case.m, case.k)?.to_owned();
    Ok(Box::new(Floats { layer, x, y: Array2::zeros((case.m, case.n)), scratch }))
}

fn view<T>(values: &[T], rows: usize, columns: usize) -> Result<ArrayView2<'_, T>, String> {
    ArrayView2::from_shape((rows, columns), values).map_err(|error| error.to_string())
}
