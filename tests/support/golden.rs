//! Golden data: what the real toolkits computed (see `tests/golden/README.md`).

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::PathBuf;

/// One file of `tests/golden`: tensors, and the cases that its metadata lists under the key `cases`.
pub struct Golden {
    bytes: Vec<u8>,
    /// The cases, each an object with the options that the toolkit was run with.
    pub cases: Vec<Value>,
}

impl Golden {
    /// Reads `tests/golden/{name}.safetensors`.
    pub fn load(name: &str) -> Self {
        let path: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.safetensors")].iter().collect();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let cases = &metadata.metadata().as_ref().unwrap()["cases"];
        let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
        assert!(!cases.is_empty(), "{name}: a golden file without cases proves nothing");
        Golden { bytes, cases }
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).is_ok()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name).0
    }

    /// The f32 values of a tensor, row-major.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.typed(name, Dtype::F32, |bytes: [u8; 4]| f32::from_le_bytes(bytes))
    }

    /// The f64 values of a tensor, row-major.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        self.typed(name, Dtype::F64, |bytes: [u8; 8]| f64::from_le_bytes(bytes))
    }

    /// The i8 values of a tensor, row-major.
    pub fn i8(&self, name: &str) -> Vec<i8> {
        self.typed(name, Dtype::I8, |bytes: [u8; 1]| i8::from_le_bytes(bytes))
    }

    /// The u8 values of a tensor, row-major.
    pub fn u8(&self, name: &str) -> Vec<u8> {
        self.typed(name, Dtype::U8, |bytes: [u8; 1]| bytes[0])
    }

    /// The u16 values of a tensor, row-major.
    pub fn u16(&self, name: &str) -> Vec<u16> {
        self.typed(name, Dtype::U16, |bytes: [u8; 2]| u16::from_le_bytes(bytes))
    }

    /// The u32 values of a tensor, row-major.
    pub fn u32(&self, name: &str) -> Vec<u32> {
        self.typed(name, Dtype::U32, |bytes: [u8; 4]| u32::from_le_bytes(bytes))
    }

    /// The i32 values of a tensor, row-major.
    pub fn i32(&self, name: &str) -> Vec<i32> {
        self.typed(name, Dtype::I32, |bytes: [u8; 4]| i32::from_le_bytes(bytes))
    }

    /// The i64 values of a tensor, row-major.
    pub fn i64(&self, name: &str) -> Vec<i64> {
        self.typed(name, Dtype::I64, |bytes: [u8; 8]| i64::from_le_bytes(bytes))
    }

    fn tensor(&self, name: &str) -> (Vec<usize>, Dtype, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        (tensor.shape().to_vec(), tensor.dtype(), tensor.data().to_vec())
    }

    fn typed<T, const N: usize>(&self, name: &str, dtype: Dtype, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (_, found, data) = self.tensor(name);
        assert_eq!(found, dtype, "{name}");
        data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
}

/// The name of a case.
pub fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap()
}

/// Units in the last place between two f32: 0 when they are equal bit for bit (or both zero).
pub fn ulps(a: f32, b: f32) -> u32 {
    let ordered = |x: f32| {
        let bits = x.to_bits() as i32;
        i64::from(if bits < 0 { i32::MIN - bits } else { bits })
    };
    u32::try_from((ordered(a) - ordered(b)).abs()).unwrap()
}
