//! Ours: `tersor::linear` through its public API, on one thread or on a rayon pool, scratch given.

use crate::case::Case;
use crate::serve::{Layer, Output, Prepare};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
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

/// A matrix that begins at a cache line, as the peers in C++ allocate theirs.
struct Matrix<T> {
    buffer: Vec<T>,
    start: usize,
    shape: (usize, usize),
}

impl<T: Copy + Default> Matrix<T> {
    fn zeros(rows: usize, columns: usize) -> Self {
        const LINE: usize = 64;
        let buffer = vec![T::default(); rows * columns + LINE / size_of::<T>()];
        let start = buffer.as_ptr().align_offset(LINE);
        Matrix { buffer, start, shape: (rows, columns) }
    }

    fn of(values: ArrayView2<'_, T>) -> Self {
        let mut matrix = Self::zeros(values.nrows(), values.ncols());
        matrix.view_mut().assign(&values);
        matrix
    }

    fn as_slice(&self) -> &[T] {
        &self.buffer[self.start..self.start + self.shape.0 * self.shape.1]
    }

    fn view(&self) -> ArrayView2<'_, T> {
        ArrayView2::from_shape(self.shape, self.as_slice()).expect("as long as its shape")
    }

    fn view_mut(&mut self) -> ArrayViewMut2<'_, T> {
        let elements = &mut self.buffer[self.start..self.start + self.shape.0 * self.shape.1];
        ArrayViewMut2::from_shape(self.shape, elements).expect("as long as its shape")
    }
}

/// f32 in, f32 out.
struct Floats {
    layer: PackedLinear<'static>,
    x: Matrix<f32>,
    y: Matrix<f32>,
    scratch: Vec<u8>,
}

impl Layer for Floats {
    fn call(&mut self) {
        let done = self.layer.forward_with(black_box(self.x.view()), self.y.view_mut(), &mut self.scratch);
        assert!(done.is_ok(), "{done:?}");
    }

    fn output(&self) -> Output {
        Output::f32(self.y.as_slice())
    }
}

/// uint8 in, int32 out.
struct Integers {
    layer: PackedLinear<'static>,
    x: Matrix<u8>,
    y: Matrix<i32>,
    scratch: Vec<u8>,
}

impl Layer for Integers {
    fn call(&mut self) {
        let (x, y) = (black_box(self.x.view()), self.y.view_mut());
        let done = self.layer.forward_codes_with(x, &[0], y, &mut self.scratch);
        assert!(done.is_ok(), "{done:?}");
    }

    fn output(&self) -> Output {
        Output::i32(self.y.as_slice())
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
        let x = Matrix::of(view(&case.read::<u8>("x.u8")?, case.m, case.k)?);
        return Ok(Box::new(Integers { layer, x, y: Matrix::zeros(case.m, case.n), scratch }));
    }
    let x = Matrix::of(view(&case.read::<f32>("x.f32")?, case.m, case.k)?);
    Ok(Box::new(Floats { layer, x, y: Matrix::zeros(case.m, case.n), scratch }))
}

fn view<T>(values: &[T], rows: usize, columns: usize) -> Result<ArrayView2<'_, T>, String> {
    ArrayView2::from_shape((rows, columns), values).map_err(|error| error.to_string())
}
