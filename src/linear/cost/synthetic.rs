//! Layers of no meaning, to be timed: any shape at once, without packing.

use super::super::bytes::AlignedBytes;
use super::super::layer::{PackedLinear, write_header};
use super::super::layout::{Format, GROUP, Header};
use super::calibration::Kernel;
use super::plan::{FAR_INPUTS, far_part};
use crate::error::Result;

/// Every byte of weights: normal numbers in each format, so that nothing is slower than usual.
const BYTE: u8 = 0x3c;

/// Bytes that become layers, one after the other.
pub(super) struct Memory {
    packed: AlignedBytes,
    /// How many bytes may hold something else than weights.
    used: usize,
}

impl Memory {
    pub(super) fn new(len: usize) -> Self {
        let mut packed = AlignedBytes::zeros(len);
        packed.fill(BYTE);
        Memory { packed, used: 0 }
    }

    /// A layer with `part` of its places filled, or with so many groups for each input. As large as it fits.
    pub(super) fn layer(
        &mut self,
        kernel: Kernel,
        (outputs, inputs): (usize, usize),
        part: f64,
    ) -> Result<PackedLinear<'_>> {
        let header = header(kernel, (outputs, inputs), part);
        let sections = header.sections()?;
        self.packed.get_mut(..self.used).unwrap_or_default().fill(BYTE);
        self.used = sections.values.start;
        let packed = self.packed.get_mut(..sections.total).unwrap_or_default();
        write_header(packed, &header, &sections);
        let (places, bands) = (header.places(), outputs.div_ceil(kernel.height.max(1)));
        let offsets = packed.get_mut(sections.offsets).unwrap_or_default().as_chunks_mut::<4>().0;
        let mut end = 0;
        for (band, offset) in offsets.iter_mut().enumerate() {
            *offset = (end as u32).to_le_bytes();
            end += if band < bands { filled(kernel, places, part, band) } else { 0 };
        }
        let mut spots = packed.get_mut(sections.places).unwrap_or_default().as_chunks_mut::<2>().0.iter_mut();
        let mut random = 1;
        for band in 0..bands {
            // In order, one anywhere in each of as many equal parts; in units of 2^-16.
            let count = filled(kernel, places, part, band);
            let part = ((places as u64) << 16).checked_div(count as u64).unwrap_or(0);
            for (index, spot) in (0..count as u64).zip(&mut spots) {
                let within = ((next(&mut random) >> 40) * part) >> 24;
                *spot = (((index * part + within) >> 16) as u16).to_le_bytes();
            }
        }
        PackedLinear::from_bytes(packed)
    }
}

/// The header of such a layer.
fn header(kernel: Kernel, (outputs, inputs): (usize, usize), part: f64) -> Header {
    let places = inputs.div_ceil(if kernel.format.is_integer() { GROUP } else { 1 });
    let stored =
        (0..outputs.div_ceil(kernel.height.max(1))).map(|band| filled(kernel, places, part, band)).sum();
    let groups = (part * inputs as f64).round().max(1.0) as usize;
    Header {
        format: kernel.format,
        outputs,
        inputs,
        non_zeros: stored,
        stored,
        height: kernel.height,
        group_size: match kernel.format {
            Format::Int4 => inputs.div_ceil(groups).next_multiple_of(GROUP),
            _ => 0,
        },
        bias: false,
        zero_points: false,
        input: None,
        clamp: None,
        output: None,
    }
}

/// Bytes of an output of a layer that is large.
pub(super) fn far_output_bytes(kernel: Kernel) -> Result<f64> {
    const OUTPUTS: usize = 1024;
    let header = header(kernel, (OUTPUTS, FAR_INPUTS), far_part(kernel));
    Ok(header.sections()?.total as f64 / OUTPUTS as f64)
}

/// How many places are filled in a band.
fn filled(kernel: Kernel, places: usize, part: f64, band: usize) -> usize {
    if kernel.format.is_sparse() { varied(part, places, band) } else { 0 }
}

/// How many of so many places are filled in a band, if each is with probability `part`: near the mean of that, and as far from
/// it as usual. Loops of ever the same length would be too easy to foresee.
fn varied(part: f64, places: usize, band: usize) -> usize {
    let mut random = band as u64;
    let mean = part * places as f64;
    let spread = (3.0 * mean * (1.0 - part)).sqrt();
    let deviation = (fraction(&mut random) + fraction(&mut random) - 1.0) * 1.4 * spread;
    (mean + deviation).round().clamp(0.0, places as f64) as usize
}

/// A linear congruential generator, whose high bits are good.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state
}

/// In 0..1.
pub(super) fn fraction(state: &mut u64) -> f64 {
    (next(state) >> 40) as f64 / (1 << 24) as f64
}
