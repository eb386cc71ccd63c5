//! Layers of no meaning, to be timed: any shape at once, without packing.

use super::super::bytes::AlignedBytes;
use super::super::in_place::write_header;
use super::super::layer::PackedLinear;
use super::super::layout::{Format, GROUP, Header, RUN, TILE};
use super::calibration::Kernel;
use super::plan::{FAR_INPUTS, far_part};
use crate::error::Result;
use crate::kernels::{CHUNK, GROUP_BITS};

/// Every byte of weights: normal numbers in each format, so that nothing is slower than usual.
const BYTE: u8 = 0x3c;

/// Bytes of bitmaps, half of whose bits are set. As weights of other formats they are normal numbers as well.
const BITS: [u8; 8] = [0x3c, 0x5a, 0x36, 0x65, 0x2d, 0x4b, 0x33, 0x56];

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
            end += match band < bands {
                true if kernel.has_bitmaps() => places * (GROUP_BITS + HALF_OF_GROUP),
                true => filled(kernel, places, part, band),
                false => 0,
            };
        }
        if kernel.has_bitmaps() {
            let stream = packed.get_mut(sections.values).unwrap_or_default();
            write_bits(stream, places);
            return PackedLinear::from_bytes(packed);
        }
        let mut spots = packed.get_mut(sections.places).unwrap_or_default().as_chunks_mut::<2>().0.iter_mut();
        let mut random = 1;
        if kernel.runs {
            let runs = (0..bands).flat_map(|band| runs_of(places, part, band));
            let filled = runs.flat_map(|run| RUN * run..places.min(RUN * (run + 1)));
            spots.zip(filled).for_each(|(spot, place)| *spot = (place as u16).to_le_bytes());
            return PackedLinear::from_bytes(packed);
        }
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

/// Weights of a group in a tile of which half are zero.
const HALF_OF_GROUP: usize = TILE * GROUP / 2;

/// Bits of tiles of which half are set, none like the one before.
fn write_bits(mut stream: &mut [u8], places: usize) {
    let mut random = 1;
    while !stream.is_empty() {
        for first in (0..places).step_by(CHUNK) {
            let groups = CHUNK.min(places - first);
            for bits in stream.get_mut(..groups * GROUP_BITS).unwrap_or_default().as_chunks_mut::<8>().0 {
                let choice = next(&mut random) >> 32;
                *bits = std::array::from_fn(|byte| BITS[(choice >> (4 * byte)) as usize % BITS.len()]);
            }
            stream = stream.get_mut(groups * (GROUP_BITS + HALF_OF_GROUP)..).unwrap_or_default();
        }
    }
}

/// The header of such a layer.
fn header(kernel: Kernel, (outputs, inputs): (usize, usize), part: f64) -> Header {
    let places = inputs.div_ceil(if kernel.format.is_integer() { GROUP } else { 1 });
    let blocks =
        (0..outputs.div_ceil(kernel.height.max(1))).map(|band| filled(kernel, places, part, band)).sum();
    let weights = outputs.div_ceil(TILE) * places * HALF_OF_GROUP;
    let groups = (part * inputs as f64).round().max(1.0) as usize;
    let header = Header {
        format: kernel.format,
        outputs,
        inputs,
        non_zeros: match kernel.has_bitmaps() {
            true => weights,
            false if kernel.runs => blocks * kernel.height * GROUP,
            false => blocks,
        },
        stored: blocks,
        height: kernel.height,
        runs: kernel.runs,
        group_size: match kernel.format {
            Format::Int4 => inputs.div_ceil(groups).next_multiple_of(GROUP),
            _ => 0,
        },
        bias: false,
        zero_points: false,
        input: None,
        clamp: None,
        output: None,
    };
    Header { stored: if kernel.has_bitmaps() { header.bitmap_bytes() } else { blocks }, ..header }
}

/// Bytes of an output of a layer that is large.
pub(super) fn far_output_bytes(kernel: Kernel) -> Result<f64> {
    const OUTPUTS: usize = 1024;
    let header = header(kernel, (OUTPUTS, FAR_INPUTS), far_part(kernel));
    Ok(header.sections()?.total as f64 / OUTPUTS as f64)
}

/// How many places are filled in a band.
fn filled(kernel: Kernel, places: usize, part: f64, band: usize) -> usize {
    match kernel.format.is_sparse() {
        true if kernel.runs => runs_of(places, part, band).map(|run| RUN.min(places - RUN * run)).sum(),
        true => varied(part, places, band),
        false => 0,
    }
}

/// The runs that are stored of a band, in order, one anywhere in each of as many equal parts.
fn runs_of(places: usize, part: f64, band: usize) -> impl Iterator<Item = usize> {
    let all = places.div_ceil(RUN);
    let count = varied(part, all, band);
    let mut random = band as u64;
    (0..count).map(move |index| ((index as f64 + fraction(&mut random)) * all as f64 / count as f64) as usize)
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
