//! Observers that can be put down and taken up again: what a C caller keeps in bytes of its own.

use super::exact_sum::{DIGITS, ExactSum};
use super::extrema::Interval;
use super::histogram::{BINS, Bin, Histogram, MAX_COUNT};
use super::observer::{MeanRange, MovingAverage};
use crate::error::{Error, Result};

impl MovingAverage {
    /// One that goes on where another stopped.
    ///
    /// # Errors
    /// As [`MovingAverage::new`] and [`Interval::new`].
    pub fn resume(constant: f32, interval: Option<Interval>) -> Result<Self> {
        let mut observer = MovingAverage::new(constant)?;
        observer.interval = interval.map(|Interval { min, max }| Interval::new(min, max)).transpose()?;
        Ok(observer)
    }

    /// The averages so far; `None` before the first batch.
    pub fn interval(&self) -> Option<Interval> {
        self.interval
    }
}

impl MeanRange {
    /// How many digits each of the sums has.
    pub const DIGITS: usize = DIGITS;

    /// One that goes on where another stopped, from what [`batches`](MeanRange::batches) and
    /// [`sums`](MeanRange::sums) gave.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when so many batches cannot have these sums.
    pub fn resume(batches: u64, sums: [[i64; DIGITS]; 2]) -> Result<Self> {
        let [min, max] = sums.map(|digits| ExactSum::from_digits(digits, batches));
        if let (Some(min), Some(max)) = (min, max)
            && min.value() <= max.value()
        {
            return Ok(MeanRange { batches, min, max });
        }
        let limit = format!("what the minima and the maxima of {batches} batches can add up to");
        Err(Error::out_of_range("sums", format!("{sums:?}"), limit))
    }

    /// How many batches were seen.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// The sum of the batches' minima and that of their maxima: as integers of 2^-149, in digits of 32 bits, the lowest
    /// first, of which the last has the sign.
    pub fn sums(&self) -> [[i64; DIGITS]; 2] {
        [self.min.digits(), self.max.digits()]
    }

    /// The means; `None` before the first batch.
    pub fn interval(&self) -> Option<Interval> {
        let mean = |sum: &ExactSum| (sum.value() / self.batches as f64) as f32;
        (self.batches > 0).then(|| Interval { min: mean(&self.min), max: mean(&self.max) })
    }
}

const MAGIC: &[u8; 8] = b"TERSHIST";
const VERSION: u64 = 1;
const HEADER: usize = 32;

/// | bytes | content (little-endian) |
/// |---|---|
/// | 8 | `b"TERSHIST"` |
/// | 8 | version, 1 |
/// | 8 | how many numbers were seen |
/// | 4 + 4 | the smallest and the largest; 0 when none was |
/// | 16 for each of 65,536 bins | numbers in it, sum of the lower halves of their bits |
impl Histogram {
    /// How many bytes [`write_bytes`](Histogram::write_bytes) writes: always the same.
    pub const SAVED_BYTES: usize = HEADER + 16 * BINS;

    /// Writes everything that was seen.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are exactly [`SAVED_BYTES`](Histogram::SAVED_BYTES) bytes.
    pub fn write_bytes(&self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() != Self::SAVED_BYTES {
            return Err(Error::length("histogram", bytes.len(), Self::SAVED_BYTES));
        }
        let (min, max) = self.interval.map_or((0.0, 0.0), |interval| (interval.min, interval.max));
        let (header, bins) = bytes.split_at_mut(HEADER);
        let fields: [&[u8]; 5] = [
            MAGIC,
            &VERSION.to_le_bytes(),
            &self.count.to_le_bytes(),
            &f32::to_le_bytes(min),
            &f32::to_le_bytes(max),
        ];
        header.iter_mut().zip(fields.into_iter().flatten()).for_each(|(byte, field)| *byte = *field);
        for (bytes, bin) in bins.as_chunks_mut::<16>().0.iter_mut().zip(&self.bins) {
            *bytes = (u128::from(bin.lower) << 64 | u128::from(bin.count)).to_le_bytes();
        }
        Ok(())
    }

    /// Reads what [`write_bytes`](Histogram::write_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Layout`] when the bytes are foreign, of another version, of another length, or contradict themselves.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason: String| Error::layout("histogram", reason);
        if bytes.len() != Self::SAVED_BYTES {
            return Err(refuse(format!(
                "there are {} bytes, but a histogram has {}",
                bytes.len(),
                Self::SAVED_BYTES
            )));
        }
        let (header, bins) = bytes.split_at(HEADER);
        if !header.starts_with(MAGIC) {
            return Err(refuse("this is not a histogram: the first 8 bytes are not \"TERSHIST\"".into()));
        }
        let words = header.as_chunks::<8>().0;
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
        let (version, count, ends) = (word(1), word(2), word(3));
        if version != VERSION {
            return Err(refuse(format!("the version is {version}, but only {VERSION} is known")));
        }
        let (min, max) = (f32::from_bits(ends as u32), f32::from_bits((ends >> 32) as u32));
        let bins: Vec<Bin> = bins
            .as_chunks::<16>()
            .0
            .iter()
            .map(|bytes| {
                let both = u128::from_le_bytes(*bytes);
                Bin { count: both as u64, lower: (both >> 64) as u64 }
            })
            .collect();
        let mut counted = 0_u64;
        for (index, bin) in bins.iter().enumerate() {
            counted = counted
                .checked_add(bin.count)
                .filter(|&counted| counted <= MAX_COUNT)
                .ok_or_else(|| refuse(format!("there are more than {MAX_COUNT} numbers")))?;
            let finite = f32::from_bits((index as u32) << 16).is_finite();
            if bin.lower > bin.count * 0xffff || (bin.count > 0 && !finite) {
                return Err(refuse(format!("bin {index} contradicts itself")));
            }
        }
        if counted != count {
            return Err(refuse(format!("the header says {count} numbers, but the bins hold {counted}")));
        }
        let interval = match occupied(&bins) {
            None if ends == 0 => None,
            None => return Err(refuse("there are no numbers, but limits of them".into())),
            Some(ends) => {
                let found = Interval::new(min, max).map_err(|error| refuse(error.to_string()))?;
                if ends != (bin_of(min), bin_of(max)) {
                    return Err(refuse(format!("the bins do not end at {min} and {max}")));
                }
                Some(found)
            }
        };
        Ok(Histogram { bins, count, interval })
    }
}

/// The bin of a number. The addition turns the negative zero into the positive one.
fn bin_of(value: f32) -> usize {
    ((value + 0.0).to_bits() >> 16) as usize
}

/// The bins of the smallest and the largest number; negative ones lie above, by magnitude.
fn occupied(bins: &[Bin]) -> Option<(usize, usize)> {
    let (positive, negative) = bins.split_at(BINS / 2);
    let is_occupied = |bin: &Bin| bin.count > 0;
    let above = |index: usize| BINS / 2 + index;
    let smallest = negative.iter().rposition(is_occupied).map(above);
    let largest = positive.iter().rposition(is_occupied);
    Some((
        smallest.or_else(|| positive.iter().position(is_occupied))?,
        largest.or_else(|| negative.iter().position(is_occupied).map(above))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Observer;
    use super::*;
    use ndarray::array;

    #[test]
    fn what_was_written_is_read() {
        let mut histogram = Histogram::new();
        let mut bytes = vec![0xAA; Histogram::SAVED_BYTES];
        histogram.write_bytes(&mut bytes).unwrap();
        assert!(Histogram::from_bytes(&bytes).unwrap() == histogram);
        for batch in [[-0.0_f32, 0.0, -0.0], [1.0, 1e30, 1.00001], [-2.5, 0.0, -1e-30]] {
            histogram.observe(ndarray::arr1(&batch).view()).unwrap();
            histogram.write_bytes(&mut bytes).unwrap();
            assert!(Histogram::from_bytes(&bytes).unwrap() == histogram);
        }
        let mut negative = Histogram::new();
        negative.observe(array![-3.0_f32, -0.5].view()).unwrap();
        negative.write_bytes(&mut bytes).unwrap();
        assert!(Histogram::from_bytes(&bytes).unwrap() == negative);
        assert!(histogram.write_bytes(&mut bytes[1..]).is_err());
    }

    #[test]
    fn a_mean_goes_on_where_it_stopped() {
        let mut whole = MeanRange::new();
        let mut parts = MeanRange::resume(0, [[0; DIGITS]; 2]).unwrap();
        for batch in [[f32::MAX, -1.0], [-f32::MAX, -f32::MAX], [1e-40, 0.0], [f32::MAX, f32::MAX]] {
            whole.observe(ndarray::arr1(&batch).view()).unwrap();
            parts = MeanRange::resume(parts.batches(), parts.sums()).unwrap();
            parts.observe(ndarray::arr1(&batch).view()).unwrap();
            assert!(parts == whole);
        }
        let sums = whole.sums();
        assert!(MeanRange::resume(0, sums).is_err(), "sums of nothing");
        assert!(MeanRange::resume(4, [sums[1], sums[0]]).is_err(), "the minima are above the maxima");
        for (digit, value) in [(0, -1), (3, 1 << 32), (10, i64::MAX), (10, i64::MIN), (9, 1 << 31)] {
            let mut sums = sums;
            sums[1][digit] = value;
            assert!(MeanRange::resume(4, sums).is_err(), "{value} as digit {digit}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut histogram = Histogram::new();
        histogram.observe(array![1.0_f32, -2.5].view()).unwrap();
        let mut bytes = vec![0; Histogram::SAVED_BYTES];
        histogram.write_bytes(&mut bytes).unwrap();
        let of_one = HEADER + 16 * 0x3f80;
        let of_nan = HEADER + 16 * 0x7fc0;
        for damaged in [0, 8, 16, 27, 31, of_one, of_one + 7, of_one + 10, of_one + 15, of_nan] {
            let mut bytes = bytes.clone();
            bytes[damaged] ^= 0xff;
            assert!(Histogram::from_bytes(&bytes).is_err(), "byte {damaged}");
        }
        assert!(Histogram::from_bytes(&bytes[1..]).is_err());
        assert!(Histogram::from_bytes(&vec![0xff; Histogram::SAVED_BYTES]).is_err());
    }
}
