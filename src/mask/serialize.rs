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

use super::{BitSlice, Mask};
use crate::error::{Error, Result, checked_product, product};

const MAGIC: &[u8; 8] = b"TERSMASK";
const VERSION: u32 = 1;
const HEADER: usize = 24;

impl Mask {
    /// The mask as bytes that [`Mask::from_bytes`] reads, on any machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 8 * self.shape.len() + self.as_bytes().len()];
        write(&self.shape, self.bits(), &mut bytes);
        bytes
    }

    /// Reads what [`Mask::to_bytes`] wrote.
    ///
    /// # Errors
    /// As [`SavedMask::new`]. Nothing is allocated for a size that the bytes do not back up.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let saved = SavedMask::new(bytes)?;
        let shape: Vec<usize> = saved.shape().collect();
        Mask::from_bits(&shape, saved.bytes)
    }
}

/// What [`Mask::to_bytes`] wrote, or writes, in bytes that somebody else owns. Allocates nothing.
#[derive(Clone, Copy)]
pub struct SavedMask<'a> {
    sizes: &'a [[u8; 8]],
    bytes: &'a [u8],
    bits: BitSlice<'a>,
}

impl<'a> SavedMask<'a> {
    /// How many bytes a mask of that shape is saved in.
    ///
    /// # Errors
    /// [`Error::SizeOverflow`] when the shape's product does not fit.
    pub fn size(shape: &[usize]) -> Result<usize> {
        Ok(HEADER + 8 * shape.len() + checked_product("shape", shape)?.div_ceil(8))
    }

    /// Saves the mask of an array of that shape.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is a bit for each weight, and [`SavedMask::size`] bytes; and as that.
    pub fn save(shape: &[usize], bits: BitSlice<'_>, bytes: &mut [u8]) -> Result<()> {
        let size = SavedMask::size(shape)?;
        let len = checked_product("shape", shape)?;
        if bits.len() != len {
            return Err(Error::length("bits", bits.len(), format!("{len}, one for each weight")));
        }
        if bytes.len() != size {
            return Err(Error::length("bytes", bytes.len(), size));
        }
        write(shape, bits, bytes);
        Ok(())
    }

    /// Looks at bytes that hold a mask.
    ///
    /// # Errors
    /// [`Error::Layout`] when the bytes are foreign, of another version, truncated, too long, or contradict themselves
    /// (a survivor count that is not that of the bits, bits past the last weight).
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
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
        let (sizes, rest) =
            axes.checked_mul(8).and_then(|len| rest.split_at_checked(len)).ok_or_else(|| {
                refuse(format!("there are {axes} axes, but {} bytes are left for 8 bytes each", rest.len()))
            })?;
        let sizes = sizes.as_chunks().0;
        let shape = || sizes.iter().map(|size| u64::from_le_bytes(*size)).collect::<Vec<_>>();
        let overflows = || refuse(format!("the shape {:?} overflows the size of memory", shape()));
        let each = sizes.iter().map(|size| u64::from_le_bytes(*size));
        // What does not fit a usize overflows as well.
        let len =
            product(each.map(|size| usize::try_from(size).unwrap_or(usize::MAX))).ok_or_else(overflows)?;
        if rest.len() != len.div_ceil(8) {
            return Err(refuse(format!(
                "{} bytes follow the header, but the shape {:?} needs {}",
                rest.len(),
                shape(),
                len.div_ceil(8)
            )));
        }
        let bits = BitSlice::over(rest, 0, len);
        if let (Some(last), tail @ 1..) = (rest.last(), len % 8)
            && last >> tail != 0
        {
            return Err(refuse("bits past the last weight are not 0".into()));
        }
        if bits.count() as u64 != count {
            return Err(refuse(format!(
                "the header says {count} survivors, but {} bits are 1",
                bits.count()
            )));
        }
        Ok(SavedMask { sizes, bytes: rest, bits })
    }

    /// The shape of the weights.
    pub fn shape(&self) -> impl ExactSizeIterator<Item = usize> + use<'a> {
        self.sizes.iter().map(|size| u64::from_le_bytes(*size) as usize)
    }

    /// The bits, in row-major order.
    pub fn bits(&self) -> BitSlice<'a> {
        self.bits
    }
}

impl std::fmt::Debug for SavedMask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shape()).finish()?;
        write!(f, " {:?}", self.bits)
    }
}

/// Fills exactly as many bytes as the mask needs.
fn write(shape: &[usize], bits: BitSlice<'_>, bytes: &mut [u8]) {
    let words =
        [u64::from_le_bytes(*MAGIC), u64::from(VERSION) | (shape.len() as u64) << 32, bits.count() as u64];
    let sizes = shape.iter().map(|&size| size as u64);
    let words = words.into_iter().chain(sizes).chain((0..bits.words()).map(|index| bits.word(index)));
    // All of the header is words too; of the last word of the bits only the bytes that are needed are left.
    for (bytes, word) in bytes.chunks_mut(8).zip(words) {
        bytes.iter_mut().zip(word.to_le_bytes()).for_each(|(byte, new)| *byte = new);
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
