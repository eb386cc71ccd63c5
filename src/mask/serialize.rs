//! Masks as bytes: a header that is checked, then the bits.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `b"TERSMASK"` |
//! | 4 | version, 1 (little-endian, as everything here) |
//! | 4 | number of axes |
//! | 8 | number of survivors |
//! | 8 per axis | shape |
//! | 1 per 8 weights | bits as in [`Mask`]; those past the last weight are 0 |

use super::Mask;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TERSMASK";
const VERSION: u32 = 1;

impl Mask {
    /// The mask as bytes that [`Mask::from_bytes`] reads, on any machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + 8 * self.shape.len() + self.as_bytes().len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.shape.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.count() as u64).to_le_bytes());
        for &size in &self.shape {
            bytes.extend_from_slice(&(size as u64).to_le_bytes());
        }
        bytes.extend_from_slice(self.as_bytes());
        bytes
    }

    /// Reads what [`Mask::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Layout`] when the bytes are foreign, of another version, truncated, too long, or contradict themselves
    /// (a survivor count that is not that of the bits, bits past the last weight). Nothing is allocated for a size that
    /// the bytes do not back up.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason: String| Error::layout("bytes", reason);
        let mut rest = bytes;
        let magic = take::<8>(&mut rest)?;
        if magic != *MAGIC {
            return Err(refuse("this is not a mask: the first 8 bytes are not \"TERSMASK\"".into()));
        }
        let version = u32::from_le_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(refuse(format!("the version is {version}, but only {VERSION} is known")));
        }
        let axes = u32::from_le_bytes(take(&mut rest)?) as usize;
        let count = u64::from_le_bytes(take(&mut rest)?);
        if axes > rest.len() / 8 {
            return Err(refuse(format!(
                "there are {axes} axes, but {} bytes are left for 8 bytes each",
                rest.len()
            )));
        }
        let mut shape = Vec::with_capacity(axes);
        for _ in 0..axes {
            let size = u64::from_le_bytes(take(&mut rest)?);
            shape.push(usize::try_from(size).map_err(|_| refuse(format!("an axis of {size} does not fit")))?);
        }
        let len = crate::error::checked_product("bytes", &shape)?;
        if rest.len() != len.div_ceil(8) {
            return Err(refuse(format!(
                "{} bytes follow the header, but the shape {shape:?} needs {}",
                rest.len(),
                len.div_ceil(8)
            )));
        }
        let mask = Mask::from_bits(&shape, rest)?;
        if mask.as_bytes() != rest {
            return Err(refuse("bits past the last weight are not 0".into()));
        }
        if mask.count() as u64 != count {
            return Err(refuse(format!(
                "the header says {count} survivors, but {} bits are 1",
                mask.count()
            )));
        }
        Ok(mask)
    }
}

/// The next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(|| {
        Error::layout("bytes", format!("{} bytes are left, but the header needs {N} more", rest.len()))
    })?;
    *rest = tail;
    Ok(*head)
}
