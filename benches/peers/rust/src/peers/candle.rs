//! candle: f32 and f16 products, and ggml's q8_0 and q4_0 weights.

use super::text;
use crate::case::Case;
use crate::serve::{Layer, Output};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use std::hint::black_box;

pub(super) const HELLO: &str = "version=candle-core 0.11.1";

enum Weights {
    /// `[K, N]`.
    Plain(Tensor),
    Quantized(QMatMul),
}

struct Product {
    x: Tensor,
    w: Weights,
    y: Option<Tensor>,
}

impl Layer for Product {
    fn call(&mut self) {
        self.y = None;
        let y = match &self.w {
            Weights::Plain(w) => self.x.matmul(w),
            Weights::Quantized(w) => w.forward(&self.x),
        };
        assert!(y.is_ok(), "{y:?}");
        self.y = black_box(y.ok());
    }

    fn output(&self) -> Output {
        let values =
            self.y.as_ref().and_then(|y| y.to_dtype(DType::F32).ok()?.flatten_all().ok()?.to_vec1().ok());
        Output::f32(&values.unwrap_or_default())
    }
}

pub(super) fn prepare(case: &Case) -> Result<Box<dyn Layer>, String> {
    let x = Tensor::from_vec(case.read::<f32>("x.f32")?, (case.m, case.k), &Device::Cpu).map_err(text)?;
    let w = Tensor::from_vec(case.read::<f32>("w.f32")?, (case.n, case.k), &Device::Cpu).map_err(text)?;
    let quantized = |dtype| {
        let w = QTensor::quantize(&w, dtype).map_err(text)?;
        Ok::<_, String>(Weights::Quantized(QMatMul::from_qtensor(w).map_err(text)?))
    };
    let (x, w) = match case.kind.as_str() {
        "f32" => (x, Weights::Plain(w.t().map_err(text)?)),
        "f16" => {
            let w = w.to_dtype(DType::F16).and_then(|w| w.t()).map_err(text)?;
            (x.to_dtype(DType::F16).map_err(text)?, Weights::Plain(w))
        }
        "int8-dynamic" => (x, quantized(GgmlDType::Q8_0)?),
        "int4" if case.group == 32 => (x, quantized(GgmlDType::Q4_0)?),
        "int4" => return Err("its groups are of 32".into()),
        _ => return Err(super::absent(case)),
    };
    Ok(Box::new(Product { x, w, y: None }))
}
