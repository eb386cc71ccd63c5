//! What is measured: one layer, its inputs in raw files that every worker reads.

use std::collections::HashMap;
use std::path::PathBuf;

/// A case, as `prepare` describes it.
pub struct Case {
    /// The family without its parameters: `f32`, `int8-dynamic`, `sparse-int8`, ...
    pub kind: String,
    /// Which way of the worker to take, where it has several.
    pub way: String,
    /// Rows of x.
    pub m: usize,
    /// Inputs.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs that share a scale, for `int4`.
    pub group: usize,
    folder: PathBuf,
}

/// Numbers that lie in the files as they are, little endian.
pub trait Raw: Sized {
    /// Reads one from exactly its bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! raw {
    ($($number:ty),*) => {$(
        impl Raw for $number {
            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$number>()];
                own.copy_from_slice(bytes);
                <$number>::from_le_bytes(own)
            }
        }
    )*};
}
raw!(f32, u8, i8, half::f16);

impl Case {
    /// From the fields of a request.
    pub fn new(fields: &HashMap<&str, &str>) -> Result<Self, String> {
        let text = |name: &str| fields.get(name).copied().ok_or(format!("no field {name}"));
        let number = |name: &str| text(name)?.parse::<usize>().map_err(|error| format!("{name}: {error}"));
        Ok(Case {
            kind: text("kind")?.into(),
            way: text("way")?.into(),
            m: number("m")?,
            k: number("k")?,
            n: number("n")?,
            group: number("group")?,
            folder: text("folder")?.into(),
        })
    }

    /// All numbers of the file `name`.
    pub fn read<T: Raw>(&self, name: &str) -> Result<Vec<T>, String> {
        let path = self.folder.join(name);
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(bytes.chunks_exact(size_of::<T>()).map(T::read).collect())
    }
}
