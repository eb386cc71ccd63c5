//! rten-gemm: prepacked f32, uint8 times int8, and int4 weights in groups.

use crate::case::Case;
use crate::serve::{Layer, Output};
use rten_gemm::{
    BlockQuantizedGemm, BlockQuantizedMatrix, ComputeMode, GemmExecutor, GemmInputA, GemmInputB,
    GemmUninitOptions, PackedBMatrix,
};
use rten_tensor::prelude::*;
use rten_tensor::{Contiguous, NdTensor};
use std::hint::black_box;
use std::mem::MaybeUninit;

pub(super) const HELLO: &str = "version=rten-gemm 0.27.0";

/// What the last call left in `out`.
fn written<T: Copy>(out: &[MaybeUninit<T>]) -> Vec<T> {
    // SAFETY: `output` is only asked for after a call, which writes everything.
    out.iter().map(|value| unsafe { value.assume_init() }).collect()
}

struct Floats {
    executor: GemmExecutor<f32>,
    x: NdTensor<f32, 2>,
    w: PackedBMatrix<f32>,
    y: Vec<MaybeUninit<f32>>,
}

impl Layer for Floats {
    fn call(&mut self) {
        let done = self.executor.gemm_uninit(
            &mut self.y,
            GemmInputA::Unpacked(self.x.view()),
            GemmInputB::Packed(&self.w),
            GemmUninitOptions::default(),
        );
        assert!(black_box(done).is_ok());
    }
    fn output(&self) -> Output {
        Output::f32(&written(&self.y))
    }
}

struct Integers {
    executor: GemmExecutor<u8, i8, i32>,
    x: NdTensor<u8, 2>,
    w: PackedBMatrix<i8>,
    y: Vec<MaybeUninit<i32>>,
}

impl Layer for Integers {
    fn call(&mut self) {
        let done = self.executor.gemm_uninit(
            &mut self.y,
            GemmInputA::Unpacked(self.x.view()),
            GemmInputB::Packed(&self.w),
            GemmUninitOptions::default(),
        );
        assert!(black_box(done).is_ok());
    }
    fn output(&self) -> Output {
        Output::i32(&written(&self.y))
    }
}

struct Int4 {
    product: BlockQuantizedGemm,
    x: NdTensor<f32, 3>,
    codes: NdTensor<u8, 3>,
    scales: NdTensor<f32, 2>,
    y: Vec<MaybeUninit<f32>>,
}

impl Layer for Int4 {
    fn call(&mut self) {
        let matrix = Contiguous::new(self.codes.view()).zip(Contiguous::new(self.scales.view()));
        let matrix = matrix.and_then(|(codes, scales)| BlockQuantizedMatrix::new(codes, scales, 4).ok());
        let done =
            matrix.map(|matrix| self.product.batched_gemm_uninit(&mut self.y, self.x.view(), matrix).is_ok());
        assert!(black_box(done) == Some(true));
    }
    fn output(&self) -> Output {
        Output::f32(&written(&self.y))
    }
}

pub(super) fn prepare(case: &Case) -> Result<Box<dyn Layer>, String> {
    let (m, k, n) = (case.m, case.k, case.n);
    match case.kind.as_str() {
        "f32" => {
            let executor = GemmExecutor::<f32>::new();
            let w = NdTensor::from_data([n, k], case.read::<f32>("w.f32")?);
            Ok(Box::new(Floats {
                w: executor.prepack_b(w.transposed()),
                executor,
                x: NdTensor::from_data([m, k], case.read("x.f32")?),
                y: vec![MaybeUninit::uninit(); m * n],
            }))
        }
        "int8-int32" => {
            let executor = GemmExecutor::<u8, i8, i32>::new();
            let w = NdTensor::from_data([n, k], case.read::<i8>("codes.i8")?);
            Ok(Box::new(Integers {
                w: executor.prepack_b(w.transposed()),
                executor,
                x: NdTensor::from_data([m, k], case.read("x.u8")?),
                y: vec![MaybeUninit::uninit(); m * n],
            }))
        }
        "int4" => {
            if !k.is_multiple_of(case.group) {
                return Err(format!("needs inputs in whole groups of {}", case.group));
            }
            let groups = k / case.group;
            let codes = case.read::<u8>("codes.u4")?;
            let pairs = codes.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect::<Vec<u8>>();
            let mode = if case.way == "int8" { ComputeMode::Int8 } else { ComputeMode::Float };
            Ok(Box::new(Int4 {
                product: BlockQuantizedGemm::new().with_compute(mode),
                x: NdTensor::from_data([1, m, k], case.read("x.f32")?),
                codes: NdTensor::from_data([n, groups, case.group / 2], pairs),
                scales: NdTensor::from_data([n, groups], case.read("group_scales.f32")?),
                y: vec![MaybeUninit::uninit(); m * n],
            }))
        }
        _ => Err(super::absent(case)),
    }
}
