//! Weights become packed bytes: everything is checked first, then written section by section.

use super::in_place::{check_finite, write_header};
use super::layout::{Format, GROUP, Header, LANES, RUN, Sections, TILE};
use super::weights::{CodesView, Values, Weights};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{CHUNK, GROUP_BITS};
use ndarray::ArrayView2;
use std::ops::Range;

impl Weights<'_> {
    /// How many bytes [`pack_into`](Weights::pack_into) writes.
    ///
    /// # Errors
    /// As [`PackedLinear::new`](super::PackedLinear::new).
    pub fn packed_bytes(&self) -> Result<usize> {
        Ok(self.plan()?.1.total)
    }

    /// Packs the weights into bytes that somebody else owns, at any alignment.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are exactly [`packed_bytes`](Weights::packed_bytes) bytes, and as
    /// [`PackedLinear::new`](super::PackedLinear::new). The bytes are untouched then.
    pub fn pack_into(&self, packed: &mut [u8]) -> Result<()> {
        let (header, sections) = self.plan()?;
        if packed.len() != sections.total {
            return Err(Error::length("packed", packed.len(), sections.total));
        }
        packed.fill(0);
        match &self.values {
            _ if self.bf16_dot => self.write_pairs(&header, &sections, packed),
            Values::F32(view) => self.write_float(view, &header, &sections, packed),
            Values::F16(view) => self.write_float(view, &header, &sections, packed),
            Values::Bf16(view) => self.write_float(view, &header, &sections, packed),
            Values::Int8 { codes, scales, zero_points } => {
                let codes = ShiftedCodes::of(codes);
                self.write_codes(&codes, &header, &sections, packed);
                let outputs = header.outputs;
                write_each(packed, &sections.scales, outputs, |n| value_for(scales, n).to_le_bytes());
                if header.zero_points {
                    write_each(packed, &sections.zero_points, outputs, |n| {
                        (value_for(zero_points, n) + codes.shift).to_le_bytes()
                    });
                }
            }
            Values::Int4(int4) => int4.write(self, &header, &sections, packed),
        }
        write_header(packed, &header, &sections);
        Ok(())
    }

    /// Checks everything, and finds out what will be where.
    fn plan(&self) -> Result<(Header, Sections)> {
        let (outputs, inputs) = self.dim();
        crate::error::checked_product("weights", &[outputs, inputs])?;
        if let Some(mask) = &self.mask
            && mask.shape != [outputs, inputs]
        {
            return Err(Error::shape("mask", &mask.shape, format!("the weights' [{outputs}, {inputs}]")));
        }
        let mut group_size = 0;
        let (format, zero_points) = match (&self.values, self.sparse) {
            _ if self.bf16_dot => (self.pairs_format()?, false),
            (Values::F32(_), false) => (Format::F32, false),
            (Values::F32(_), true) => (Format::SparseF32, false),
            (Values::F16(_), false) => (Format::F16, false),
            (Values::Bf16(_), false) => (Format::Bf16, false),
            (Values::F16(_) | Values::Bf16(_), true) => {
                return Err(Error::Unsupported {
                    what: "a sparse layer of 16-bit weights".into(),
                    instead: "pack f32 weights, or int8 codes".into(),
                });
            }
            (Values::Int8 { codes, scales, zero_points }, sparse) => {
                let affine = check_parameters(codes, scales, zero_points)?;
                if affine && (sparse || self.mask.is_some()) {
                    return Err(Error::Unsupported {
                        what: "a mask or a sparse layer with weights whose zero point is not 0".into(),
                        instead: "quantize symmetrically".into(),
                    });
                }
                (if sparse { Format::SparseInt8 } else { Format::Int8 }, affine)
            }
            (Values::Int4(_), true) => {
                return Err(Error::Unsupported {
                    what: "a sparse layer of int4 weights".into(),
                    instead: "pack int8 codes".into(),
                });
            }
            (Values::Int4(int4), false) => {
                let (size, affine) = int4.check()?;
                group_size = size;
                (Format::Int4, affine)
            }
        };
        let counts = match &self.values {
            // Of rows without weights there can be more than anybody counts through.
            _ if inputs == 0 => Counts::default(),
            _ if self.bf16_dot => self.count_pairs()?,
            Values::F32(view) => self.count_float(view)?,
            Values::F16(view) => self.count_float(view)?,
            Values::Bf16(view) => self.count_float(view)?,
            Values::Int8 { codes, zero_points, .. } => {
                let codes = ShiftedCodes::of(codes);
                let zero =
                    |n| if zero_points.is_empty() { 0 } else { value_for(zero_points, n) + codes.shift };
                self.count(GROUP, |n, k| i32::from(codes.get(n, k)) != zero(n))
            }
            Values::Int4(int4) => self.count(GROUP, |n, k| int4.steps(n, k, group_size) != 0),
        };
        counts.stored(Header {
            format,
            outputs,
            inputs,
            non_zeros: counts.non_zeros,
            stored: 0,
            height: 0,
            runs: false,
            group_size,
            bias: false,
            zero_points,
            input: None,
            clamp: None,
            output: None,
        })
    }

    pub(super) fn survives(&self, n: usize, k: usize) -> bool {
        match &self.mask {
            None => true,
            Some(mask) => mask.bits.get(n * self.dim().1 + k).unwrap_or(false),
        }
    }

    pub(super) fn float<E: Element>(&self, view: &ArrayView2<'_, E>, n: usize, k: usize) -> E {
        if self.survives(n, k) { view[[n, k]] } else { E::default() }
    }

    fn code(&self, codes: &ShiftedCodes<'_, '_>, n: usize, k: usize) -> i8 {
        if self.survives(n, k) { codes.get(n, k) } else { 0 }
    }

    /// Refuses survivors that are not finite.
    fn count_float<E: Element>(&self, view: &ArrayView2<'_, E>) -> Result<Counts> {
        let (outputs, inputs) = view.dim();
        let indices = || (0..outputs).flat_map(|n| (0..inputs).map(move |k| (n, k)));
        check_finite("weights", indices().map(|(n, k)| self.float(view, n, k).to_f32()))?;
        Ok(self.count(1, |n, k| view[[n, k]].to_f32() != 0.0))
    }

    /// Counts surviving weights that are not zero, and the blocks of `group` inputs that hold one.
    pub(super) fn count(&self, group: usize, is_not_zero: impl Fn(usize, usize) -> bool) -> Counts {
        let (outputs, inputs) = self.dim();
        let mut counts = Counts::default();
        let places = inputs.div_ceil(group);
        for band in (0..outputs).step_by(LANES) {
            let mut last_run = None;
            for (place, block) in (0..inputs).step_by(group).enumerate() {
                let mut low = 0;
                for n in band..(band + LANES).min(outputs) {
                    let alive = (block..(block + group).min(inputs))
                        .filter(|&k| self.survives(n, k) && is_not_zero(n, k))
                        .count();
                    counts.non_zeros += alive;
                    low += usize::from(alive > 0);
                }
                counts.low += low;
                counts.high += usize::from(low > 0);
                let run = place / RUN;
                if low > 0 && last_run != Some(run) {
                    counts.in_runs += RUN.min(places - run * RUN);
                    last_run = Some(run);
                }
            }
        }
        counts
    }

    fn write_float<E: Element>(
        &self,
        view: &ArrayView2<'_, E>,
        header: &Header,
        sections: &Sections,
        packed: &mut [u8],
    ) {
        let size = E::DTYPE.size();
        let write = |bytes: Option<&mut [u8]>, value: E| {
            if let Some(bytes) = bytes {
                bytes.copy_from_slice(bytemuck::bytes_of(&value));
            }
        };
        if header.format.is_sparse() {
            write_blocks(header, sections, packed, |packed, slot, n, k| {
                let value = if n < header.outputs { self.float(view, n, k) } else { E::default() };
                write(section(packed, &sections.values).get_mut(slot * size..(slot + 1) * size), value);
                value.to_f32() != 0.0
            });
            return;
        }
        let values = section(packed, &sections.values);
        for n in 0..header.outputs {
            for k in 0..header.inputs {
                let at = ((n / TILE * header.inputs + k) * TILE + n % TILE) * size;
                write(values.get_mut(at..at + size), self.float(view, n, k));
            }
        }
    }

    fn write_codes(
        &self,
        codes: &ShiftedCodes<'_, '_>,
        header: &Header,
        sections: &Sections,
        packed: &mut [u8],
    ) {
        let (outputs, inputs, groups) = (header.outputs, header.inputs, header.places());
        let block = |n: usize, group: usize| -> [i8; GROUP] {
            std::array::from_fn(|i| match group * GROUP + i {
                k if n < outputs && k < inputs => self.code(codes, n, k),
                _ => 0,
            })
        };
        for n in 0..outputs {
            let sum = (0..groups).flat_map(|group| block(n, group)).map(i32::from).sum::<i32>();
            set(packed, &sections.sums, n, sum.to_le_bytes());
        }
        if header.has_bitmaps() {
            return write_bitmaps(header, sections, packed, block);
        }
        if header.format.is_sparse() {
            write_blocks(header, sections, packed, |packed, slot, n, group| {
                let block = block(n, group);
                set(packed, &sections.values, slot, block.map(|code| code as u8));
                block != [0; GROUP]
            });
            return;
        }
        for n in 0..outputs {
            for group in 0..groups {
                let slot = (n / TILE * groups + group) * TILE + n % TILE;
                set(packed, &sections.values, slot, block(n, group).map(|code| code as u8));
            }
        }
    }
}

/// What there is to store.
#[derive(Default)]
pub(super) struct Counts {
    /// Weights that are not zero.
    pub(super) non_zeros: usize,
    /// Blocks of one output that are not all zero.
    pub(super) low: usize,
    /// Blocks of [`LANES`] outputs that are not all zero.
    pub(super) high: usize,
    /// Blocks of [`LANES`] outputs in runs of [`RUN`] that are not all zero.
    pub(super) in_runs: usize,
}

impl Counts {
    /// The header of such weights with what is stored of them, and its sections.
    pub(super) fn stored(&self, header: Header) -> Result<(Header, Sections)> {
        if !header.format.is_sparse() {
            return Ok((header, header.sections()?));
        }
        let (height, stored) = self.blocks();
        let blocks = Header { height, stored, ..header };
        if header.format == Format::SparseInt8 {
            let bitmaps = Header { height: TILE, ..header };
            let bitmaps = Header { stored: bitmaps.bitmap_bytes(), ..bitmaps };
            // Not where they are more bytes than places can count.
            if bitmaps.stored < fewest_bytes(height, stored)
                && let Ok(sections) = bitmaps.sections()
            {
                return Ok((bitmaps, sections));
            }
        }
        let runs = Header { stored: self.in_runs, runs: true, ..blocks };
        if blocks.can_have_runs()
            && self.in_runs <= fills_runs(stored)
            && let Ok(sections) = runs.sections()
        {
            return Ok((runs, sections));
        }
        Ok((blocks, blocks.sections()?))
    }

    /// The height of the blocks to store, and how many there are of them: whichever takes fewer bytes, of 4 for each output
    /// and 2 for the place. High ones if they are filled to two thirds or more, about; from there on they are faster as well.
    fn blocks(&self) -> (usize, usize) {
        let bytes = |blocks: usize, height: usize| blocks.saturating_mul(2 + 4 * height);
        if bytes(self.high, LANES) <= bytes(self.low, 1) { (LANES, self.high) } else { (1, self.low) }
    }
}

/// Up to how many blocks are stored instead of so many so that they come in whole runs: a block of a run may be all zero by chance, as
/// whole ones round to 0, and one of them should not keep all from a matrix unit.
fn fills_runs(blocks: usize) -> usize {
    blocks + blocks / RUN
}

/// Below how many bytes bitmaps are stored instead of so many int8 blocks of such a height. Blocks of one output may take an eighth
/// more: with weights pruned in 1x4 they do when three eighths of the blocks are left. With fewer left they multiply 16 rows and more
/// faster than bitmaps (Zen 4, AVX-512: a quarter left, 1.2 to 1.7 times as fast as dense against 0.8 to 1.0), with half left 128 rows
/// slower (0.7 to 0.8), and one row always several times slower. Blocks of 16 outputs multiply any number of rows faster.
fn fewest_bytes(height: usize, blocks: usize) -> usize {
    let bytes = blocks.saturating_mul(2 + height.saturating_mul(GROUP));
    if height == 1 { bytes - bytes / 9 } else { bytes }
}

/// Writes offsets and places. `write(packed, slot, n, place)` writes the part of a block that belongs to output `n` into slot
/// `slot` of the values, and says whether it is not zero; what was written for a block that is all zero does not stay, unless it is in
/// a run with others.
fn write_blocks(
    header: &Header,
    sections: &Sections,
    packed: &mut [u8],
    mut write: impl FnMut(&mut [u8], usize, usize, usize) -> bool,
) {
    let (height, places) = (header.height.max(1), header.places());
    let step = if header.runs { RUN } else { 1 };
    let mut at = 0_usize;
    for band in 0..header.outputs.div_ceil(height) {
        set(packed, &sections.offsets, band, (at as u32).to_le_bytes());
        for first in (0..places).step_by(step) {
            let run = first..places.min(first + step);
            let mut alive = false;
            for (slot, place) in run.clone().enumerate() {
                for row in 0..height {
                    alive |= write(packed, (at + slot) * height + row, band * height + row, place);
                }
            }
            if alive {
                for place in run {
                    set(packed, &sections.places, at, (place as u16).to_le_bytes());
                    at += 1;
                }
            }
        }
    }
    set(packed, &sections.offsets, header.outputs.div_ceil(height), (at as u32).to_le_bytes());
}

/// Writes offsets, and the streams of bits and weights; `block(n, place)` are the weights of an output.
fn write_bitmaps(
    header: &Header,
    sections: &Sections,
    packed: &mut [u8],
    block: impl Fn(usize, usize) -> [i8; GROUP],
) {
    let places = header.places();
    let mut at = 0_usize;
    for tile in 0..header.tiles() {
        set(packed, &sections.offsets, tile, (at as u32).to_le_bytes());
        let stream = section(packed, &sections.values);
        for first in (0..places).step_by(CHUNK) {
            let chunk = first..(first + CHUNK).min(places);
            let bits = at;
            at += chunk.len() * GROUP_BITS;
            let blocks = chunk.flat_map(|place| (0..TILE).map(move |n| (tile * TILE + n, place)));
            for (index, code) in blocks.flat_map(|(n, place)| block(n, place)).enumerate() {
                if code == 0 {
                    continue;
                }
                if let Some(byte) = stream.get_mut(bits + index / 8) {
                    *byte |= 1 << (index % 8);
                }
                if let Some(byte) = stream.get_mut(at) {
                    *byte = code as u8;
                }
                at += 1;
            }
        }
    }
    set(packed, &sections.offsets, header.tiles(), (at as u32).to_le_bytes());
}

/// int8 codes, or uint8 ones moved to int8.
struct ShiftedCodes<'a, 'w> {
    codes: &'a CodesView<'w>,
    shift: i32,
}

impl<'a, 'w> ShiftedCodes<'a, 'w> {
    fn of(codes: &'a CodesView<'w>) -> Self {
        ShiftedCodes { codes, shift: if matches!(codes, CodesView::U8(_)) { -128 } else { 0 } }
    }

    fn get(&self, n: usize, k: usize) -> i8 {
        match self.codes {
            CodesView::I8(view) => view[[n, k]],
            CodesView::U8(view) => (view[[n, k]] ^ 0x80) as i8,
        }
    }
}

/// Checks scales and zero points; returns whether any zero point is not that of the shifted codes.
fn check_parameters(codes: &CodesView<'_>, scales: &[f32], zero_points: &[i32]) -> Result<bool> {
    let (outputs, _) = codes.dim();
    if scales.len() != 1 && scales.len() != outputs {
        return Err(Error::length("scales", scales.len(), format!("1 or {outputs}, one for each output")));
    }
    if let Some((index, scale)) = scales.iter().enumerate().find(|(_, s)| !(s.is_finite() && **s > 0.0)) {
        return Err(Error::out_of_range(format!("scales[{index}]"), scale, "finite and above 0"));
    }
    if zero_points.len() > 1 && zero_points.len() != outputs {
        return Err(Error::length(
            "zero_points",
            zero_points.len(),
            format!("0, 1 or {outputs}, one for each output"),
        ));
    }
    let (range, shift) = match codes {
        CodesView::I8(_) => (-128..=127, 0),
        CodesView::U8(_) => (0..=255, -128),
    };
    if let Some((index, zero)) = zero_points.iter().enumerate().find(|(_, zero)| !range.contains(*zero)) {
        return Err(Error::out_of_range(
            format!("zero_points[{index}]"),
            zero,
            format!("{} to {}", range.start(), range.end()),
        ));
    }
    let none_given = zero_points.is_empty() && shift != 0;
    Ok(none_given || zero_points.iter().any(|zero| zero + shift != 0))
}

/// The value of output `n`, where one may stand for all and none for 0.
fn value_for<T: Copy + Default>(values: &[T], n: usize) -> T {
    match values {
        [] => T::default(),
        [one] => *one,
        each => each.get(n).copied().unwrap_or_default(),
    }
}

pub(super) fn section<'a>(packed: &'a mut [u8], section: &Range<usize>) -> &'a mut [u8] {
    packed.get_mut(section.clone()).unwrap_or_default()
}

/// Writes the `index`th element of a section.
pub(super) fn set<const N: usize>(packed: &mut [u8], range: &Range<usize>, index: usize, value: [u8; N]) {
    if let Some(slot) = section(packed, range).as_chunks_mut::<N>().0.get_mut(index) {
        *slot = value;
    }
}

fn write_each<const N: usize>(
    packed: &mut [u8],
    range: &Range<usize>,
    count: usize,
    value: impl Fn(usize) -> [u8; N],
) {
    (0..count).for_each(|index| set(packed, range, index, value(index)));
}
