//! tract-linalg: weights packed once, x packed in each call. Its kernels are named here, because choosing them is left to
//! tract's graph optimizer.

use super::text;
use crate::case::Case;
use crate::serve::{Layer, Output};
use tract_data::internal::*;
use tract_linalg::mmm::{AsInputValue, FusedSpec, MMMInputValue, MatMatMul};
use tract_linalg::multithread::{Executor, set_default_executor};

/// Sets the threads, and says who this is.
pub(super) fn hello(threads: usize) -> String {
    if threads > 1 {
        set_default_executor(Executor::multithread(threads));
    }
    "version=tract-linalg 0.23.9".into()
}

struct Product {
    kernel: Box<dyn MatMatMul>,
    packing: usize,
    w: Box<dyn MMMInputValue>,
    x: Tensor,
    y: Tensor,
    m: usize,
    n: usize,
}

impl Layer for Product {
    fn call(&mut self) {
        let done = self.run();
        assert!(done.is_ok(), "{done:?}");
    }

    fn output(&self) -> Output {
        let dtype = if self.y.datum_type() == f32::datum_type() { "float32" } else { "int32" };
        Output { dtype, bytes: self.y.as_bytes().to_vec() }
    }
}

impl Product {
    fn run(&mut self) -> TractResult<()> {
        let (_, pack_x) = &self.kernel.packings()[self.packing];
        let x = pack_x.prepare_one(&self.x, 1, 0)?;
        // SAFETY: y is [M, N], and the kernel sees it as N rows and M columns.
        unsafe {
            let store = self.kernel.c_view(Some(1), Some(0)).wrap(&self.y.view_mut());
            let mut scratch = self.kernel.allocate_scratch_space();
            self.kernel.run_with_scratch_space(
                self.n,
                self.m,
                scratch.as_mut(),
                &[
                    FusedSpec::AddMatMul {
                        a: AsInputValue::Borrowed(&*self.w),
                        b: AsInputValue::Borrowed(&*x),
                        packing: self.packing,
                    },
                    FusedSpec::Store(store),
                ],
            )
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prepare(_case: &Case) -> Result<Box<dyn Layer>, String> {
    Err("its kernels are named for x86-64 only".into())
}

#[cfg(target_arch = "x86_64")]
pub(super) fn prepare(case: &Case) -> Result<Box<dyn Layer>, String> {
    use tract_linalg::x86_64::mmm;
    let (m, k, n) = (case.m, case.k, case.n);
    let need = |found: bool, what: &str| if found { Ok(()) } else { Err(format!("needs {what}")) };
    let (kernel, packing): (Box<dyn MatMatMul>, usize) = match case.kind.as_str() {
        "f32" => {
            need(is_x86_feature_detected!("avx512f"), "AVX-512")?;
            // The best of its kernels at each size, by measurement.
            (if m == 1 { mmm::avx512_mmm_f32_128x1.mmm() } else { mmm::avx512_mmm_f32_16x12.mmm() }, 0)
        }
        "int8-int32" => {
            need(is_x86_feature_detected!("avx512vnni"), "AVX-512 VNNI")?;
            (mmm::avx512vnni_mmm_i32_16x16.mmm(), 1)
        }
        _ => return Err(super::absent(case)),
    };
    let (w, x, y) = if case.kind == "f32" {
        (
            Tensor::from_shape(&[n, k], &case.read::<f32>("w.f32")?),
            Tensor::from_shape(&[m, k], &case.read::<f32>("x.f32")?),
            Tensor::zero::<f32>(&[m, n]),
        )
    } else {
        // x holds codes of 0 to 127: the same numbers as int8.
        (
            Tensor::from_shape(&[n, k], &case.read::<i8>("codes.i8")?),
            Tensor::from_shape(&[m, k], &case.read::<i8>("x.u8")?),
            Tensor::zero::<i32>(&[m, n]),
        )
    };
    let w = kernel.packings()[packing].0.prepare_one(&w.map_err(text)?, 1, 0).map_err(text)?;
    Ok(Box::new(Product { kernel, packing, w, x: x.map_err(text)?, y: y.map_err(text)?, m, n }))
}
