//! The gemm crate: packs on every call, f32 and f16.

use crate::case::Case;
use crate::serve::{Layer, Output};
use half::f16;

pub(super) const HELLO: &str = "version=gemm 0.19.0";

/// `y[M, N] = x[M, K] * w[N, K]^T`.
struct Product<T> {
    case: (usize, usize, usize),
    x: Vec<T>,
    w: Vec<T>,
    y: Vec<T>,
    one: T,
    zero: T,
}

impl<T: Copy + 'static> Product<T> {
    fn run(&mut self) {
        let (m, k, n) = self.case;
        let threads = match rayon::current_num_threads() {
            1 => gemm::Parallelism::None,
            threads => gemm::Parallelism::Rayon(threads),
        };
        // SAFETY: x, w and y hold m * k, n * k and m * n numbers, row-major, as the strides say.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.y.as_mut_ptr(),
                1,
                n as isize,
                false,
                self.x.as_ptr(),
                1,
                k as isize,
                self.w.as_ptr(),
                k as isize,
                1,
                self.zero,
                self.one,
                false,
                false,
                false,
                threads,
            );
        }
    }
}

impl Layer for Product<f32> {
    fn call(&mut self) {
        self.run();
    }
    fn output(&self) -> Output {
        Output::f32(&self.y)
    }
}

impl Layer for Product<f16> {
    fn call(&mut self) {
        self.run();
    }
    fn output(&self) -> Output {
        Output::f16(&self.y)
    }
}

pub(super) fn prepare(case: &Case) -> Result<Box<dyn Layer>, String> {
    let sizes = (case.m, case.k, case.n);
    match case.kind.as_str() {
        "f32" => Ok(Box::new(Product {
            case: sizes,
            x: case.read("x.f32")?,
            w: case.read("w.f32")?,
            y: vec![0.0; case.m * case.n],
            one: 1.0,
            zero: 0.0,
        })),
        "f16" => Ok(Box::new(Product {
            case: sizes,
            x: case.read("x.f16")?,
            w: case.read("w.f16")?,
            y: vec![f16::ZERO; case.m * case.n],
            one: f16::ONE,
            zero: f16::ZERO,
        })),
        _ => Err(super::absent(case)),
    }
}
