//! The packed bytes: a header that is checked, then sections whose places follow from the header alone.
//!
//! | offset | bytes | content (little-endian) |
//! |---|---|---|
//! | 0 | 8 | `b"TERSLINR"` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | format: 1 f32, 2 f16, 3 bf16, 4 int8, 5 sparse f32, 6 sparse int8, 7 int4, 8 bf16 for a dot product |
//! | 16 | 4 | layout, 1: tiles of 32 outputs; int8 and int4 with four inputs of an output side by side, 8 with two |
//! | 20 | 4 | flags: 1 bias, 2 zero points of the weights, 4 the input is uint8, 8 the input is int8, 16 clamp, 32 the output is
//! | | | uint8, 64 the output is int8, 128 the input stays in float, 256 the blocks come in
//! | | | whole runs of 16 |
//! | 24 | 8 | out_features, N |
//! | 32 | 8 | in_features, K |
//! | 40 | 8 | weights that are not zero |
//! | 48 | 8 | how many blocks a sparse format stores; how many bytes of bits and weights, if it stores those |
//! | 56 | 4 | scale of the input, f32 |
//! | 60 | 4 | zero point of the input, i32 |
//! | 64 | 8 | length of all bytes |
//! | 72 | 8 | lowest and highest code of the input, i32 each |
//! | 80 | 4 | outputs of a block in a sparse format: 1 or 16; 32, those of a tile, in sparse int8 with a bit for every weight |
//! | 84 | 4 | inputs that share a scale in int4, a multiple of 4 |
//! | 88 | 8 | lowest and highest value of the output, f32 each, where it is clamped |
//! | 96 | 16 | scale, zero point, lowest and highest code of the output, as those of the input |
//! | 112 | 8 | 0 |
//! | 120 | 8 | FNV-1a of the 120 bytes before |
//!
//! Sparse int8 with bits stores for each tile one stream: for each 16 inputs (or as many groups of four as are left) of its 32 outputs
//! a bit for every weight, 16 bytes for a group, then in one byte each the weights whose bits are set. Bits and weights are in the
//! order of the weights in int8, the lowest bit of a byte first.
//!
//! Sparse int8 in blocks of 16 outputs may come in whole runs, where there are 16 groups of inputs or more: of each 16 that begin at a
//! multiple of 16 (the last ones may be fewer) either all blocks of a band of outputs are stored or none. So the 1024 bytes of a run's
//! weights are 16 groups of 16 outputs, what a matrix unit takes at once.
//!
//! The checksum finds accidents, not attacks. So nothing else in here is believed either: the length must be the one
//! that shape, format and flags give, and the kernels check every index that they read from a body.

pub(super) use super::format::{Format, GROUP, RUN};
use crate::error::{Error, Result};
use crate::kernels::GROUP_BITS;
pub(super) use crate::kernels::{LANES, TILE};
use crate::quant::CodeType;
use std::ops::Range;

/// The most inputs whose products with 8-bit weights fit an int32 whatever they are: 255 * 128 * 65,793 < 2^31.
const MAX_INPUTS_SYMMETRIC: usize = 65_793;

/// The same where a zero point makes 9-bit numbers of the weights as well: 255 * 255 * 33,025 < 2^31.
const MAX_INPUTS_AFFINE: usize = 33_025;

/// The same with 4-bit weights, zero points or not: 255 * 15 * 561,433 < 2^31.
const MAX_INPUTS_INT4: usize = 561_433;

/// Sparse formats store the place of a weight, or of a block, in 16 bits.
const MAX_PLACES: usize = 1 << 16;

pub(super) const HEADER: usize = 128;
const MAGIC: &[u8; 8] = b"TERSLINR";
const VERSION: u32 = 1;
const LAYOUT: u32 = 1;
const ALIGN: usize = 64;

const BIAS: u32 = 1;
const ZERO_POINTS: u32 = 2;
const INPUT_U8: u32 = 4;
const INPUT_I8: u32 = 8;
const CLAMP: u32 = 16;
const OUTPUT_U8: u32 = 32;
const OUTPUT_I8: u32 = 64;
const INPUT_FLOAT: u32 = 128;
const RUNS: u32 = 256;

/// How the numbers of a whole matrix become codes, fixed beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantization {
    pub(super) scale: f32,
    pub(super) zero_point: i32,
    pub(super) code_type: CodeType,
    /// The lowest and the highest code that is used.
    pub(super) limits: (i32, i32),
}

/// What becomes of the activations of an integer format, where not each row gets codes of its own range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Input {
    /// Codes, as it was fixed beforehand.
    Codes(Quantization),
    /// They stay floats; int4 only.
    Floats,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) non_zeros: usize,
    /// How many blocks a sparse format stores; with bitmaps how many bytes of bits and weights.
    pub(super) stored: usize,
    /// Outputs of a block: 1 or [`LANES`]; 0 in a dense format; [`TILE`] with bitmaps.
    pub(super) height: usize,
    /// Whether its blocks come in whole runs of [`RUN`].
    pub(super) runs: bool,
    /// Inputs that share a scale, a multiple of [`GROUP`]; 0 in other formats than int4.
    pub(super) group_size: usize,
    pub(super) bias: bool,
    pub(super) zero_points: bool,
    pub(super) input: Option<Input>,
    /// The lowest and the highest value of the output.
    pub(super) clamp: Option<(f32, f32)>,
    pub(super) output: Option<Quantization>,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sections {
    /// f32 for each output, padded to whole tiles.
    pub(super) bias: Range<usize>,
    /// f32 for each output, padded; integer formats. In int4 for each group of a tile, and within it each output.
    pub(super) scales: Range<usize>,
    /// The sum of each output's codes, i32, padded; integer formats. In int4 the sum of its weights, f32.
    pub(super) sums: Range<usize>,
    /// i32 for each output, padded; where there are zero points. In int4 u8, in the order of the scales.
    pub(super) zero_points: Range<usize>,
    /// Where the places of each output, or of each 16, begin, and where the last end, u32; sparse formats. With bitmaps where the
    /// bytes of each tile do.
    pub(super) offsets: Range<usize>,
    /// u16 for each stored block; sparse formats without bitmaps.
    pub(super) places: Range<usize>,
    /// The weights.
    pub(super) values: Range<usize>,
    /// The length of everything.
    pub(super) total: usize,
}

impl Header {
    pub(super) fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }

    /// Inputs, padded to whole groups.
    pub(super) fn padded_inputs(&self) -> usize {
        // Saturating: a header may say anything.
        self.places().saturating_mul(self.format.group())
    }

    /// Whether weights are stored one by one, behind bits that say which they are.
    pub(super) fn has_bitmaps(&self) -> bool {
        self.format == Format::SparseInt8 && self.height == TILE
    }

    /// Whether blocks like these may come in whole runs: not where the inputs are fewer than a run's.
    pub(super) fn can_have_runs(&self) -> bool {
        self.format == Format::SparseInt8 && self.height == LANES && self.places() >= RUN
    }

    /// How many bytes of bits and weights there are with bitmaps.
    pub(super) fn bitmap_bytes(&self) -> usize {
        let bits = self.tiles().saturating_mul(self.places()).saturating_mul(GROUP_BITS);
        bits.saturating_add(self.non_zeros)
    }

    /// How many places there are along the inputs.
    pub(super) fn places(&self) -> usize {
        self.inputs.div_ceil(self.format.group())
    }

    /// How many groups of inputs share a scale; none in other formats than int4.
    pub(super) fn groups(&self) -> usize {
        self.inputs.checked_div(self.group_size).map_or(0, |_| self.inputs.div_ceil(self.group_size))
    }

    /// Refuses what the format cannot hold.
    pub(super) fn check(&self) -> Result<()> {
        if self.format.is_integer() {
            let limit = match self.format {
                Format::Int4 => MAX_INPUTS_INT4,
                _ if self.zero_points => MAX_INPUTS_AFFINE,
                _ => MAX_INPUTS_SYMMETRIC,
            };
            if self.inputs > limit {
                return Err(Error::out_of_range(
                    "in_features",
                    self.inputs,
                    format!("at most {limit}, so that no sum of products can overflow an int32"),
                ));
            }
        }
        let is_size = match self.format {
            Format::Int4 => {
                let whole = self.padded_inputs().max(GROUP);
                (GROUP..=whole).contains(&self.group_size) && self.group_size.is_multiple_of(GROUP)
            }
            _ => self.group_size == 0,
        };
        if !is_size {
            let limit = format!("a multiple of {GROUP} within the inputs in int4, and 0 in other formats");
            return Err(Error::out_of_range("group_size", self.group_size, limit));
        }
        if self.format == Format::SparseF32 && self.inputs > MAX_PLACES {
            let limit = format!("at most {MAX_PLACES} in a sparse layer");
            return Err(Error::out_of_range("in_features", self.inputs, limit));
        }
        if self.format.is_sparse() && u32::try_from(self.stored).is_err() {
            let limit = format!("at most {} in a sparse layer", u32::MAX);
            return Err(Error::out_of_range("the number of weights", self.stored, limit));
        }
        Ok(())
    }

    pub(super) fn sections(&self) -> Result<Sections> {
        self.check()?;
        let overflow =
            || Error::SizeOverflow { argument: "weights".into(), sizes: vec![self.outputs, self.inputs] };
        let mut end = HEADER;
        let mut section = |factors: &[usize]| -> Result<Range<usize>> {
            let len = factors
                .iter()
                .try_fold(1_usize, |product, &factor| product.checked_mul(factor))
                .ok_or_else(overflow)?;
            let start = end;
            let stop = start.checked_add(len).ok_or_else(overflow)?;
            end = stop.checked_next_multiple_of(ALIGN).ok_or_else(overflow)?;
            if end > isize::MAX as usize {
                return Err(overflow());
            }
            Ok(start..stop)
        };
        let (integer, sparse) = (usize::from(self.format.is_integer()), usize::from(self.format.is_sparse()));
        let zero_points = usize::from(self.zero_points);
        let tiles = self.tiles();
        let bias = section(&[tiles, TILE, 4])?;
        // Of parameters of a tile.
        let (sets, zero_point_bytes) = match self.format {
            Format::Int4 => (self.groups(), 1),
            _ => (1, 4),
        };
        let scales = section(&[integer, tiles, sets, TILE, 4])?;
        let sums = section(&[integer, tiles, TILE, 4])?;
        let zero_points = section(&[zero_points, tiles, sets, TILE, zero_point_bytes])?;
        let bands = self.outputs.div_ceil(self.height.max(1));
        let offsets = section(&[sparse, bands.checked_add(1).ok_or_else(overflow)?, 4])?;
        let places = section(&[if self.has_bitmaps() { 0 } else { sparse }, self.stored, 2])?;
        let values = match self.format {
            Format::F32 => section(&[tiles, TILE, self.inputs, 4]),
            Format::F16 | Format::Bf16 | Format::Bf16Dot => section(&[tiles, TILE, self.padded_inputs(), 2]),
            Format::Int8 => section(&[tiles, TILE, self.padded_inputs()]),
            Format::Int4 => section(&[tiles, TILE / 2, self.padded_inputs()]),
            Format::SparseF32 => section(&[self.stored, self.height, 4]),
            Format::SparseInt8 if self.has_bitmaps() => section(&[self.stored]),
            Format::SparseInt8 => section(&[self.stored, self.height, GROUP]),
        }?;
        Ok(Sections { bias, scales, sums, zero_points, offsets, places, values, total: end })
    }

    /// Writes the header into the first bytes.
    pub(super) fn write(&self, total: usize, bytes: &mut [u8; HEADER]) {
        let (float_flag, input) = match self.input {
            None => (0, None),
            Some(Input::Codes(input)) => (0, Some(input)),
            Some(Input::Floats) => (INPUT_FLOAT, None),
        };
        let (input_flag, input) = Quantization::stored(input, INPUT_U8, INPUT_I8);
        let (output_flag, output) = Quantization::stored(self.output, OUTPUT_U8, OUTPUT_I8);
        let (low, high) = self.clamp.unwrap_or_default();
        let flags = [
            (self.bias, BIAS),
            (self.zero_points, ZERO_POINTS),
            (self.clamp.is_some(), CLAMP),
            (self.runs, RUNS),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
        let flags = flags.fold(input_flag | float_flag | output_flag, |flags, flag| flags | flag);
        let fields: [&[u8]; 22] = [
            MAGIC,
            &VERSION.to_le_bytes(),
            &self.format.code().to_le_bytes(),
            &LAYOUT.to_le_bytes(),
            &flags.to_le_bytes(),
            &(self.outputs as u64).to_le_bytes(),
            &(self.inputs as u64).to_le_bytes(),
            &(self.non_zeros as u64).to_le_bytes(),
            &(self.stored as u64).to_le_bytes(),
            &input.scale.to_le_bytes(),
            &input.zero_point.to_le_bytes(),
            &(total as u64).to_le_bytes(),
            &input.limits.0.to_le_bytes(),
            &input.limits.1.to_le_bytes(),
            &(self.height as u32).to_le_bytes(),
            &(self.group_size as u32).to_le_bytes(),
            &low.to_le_bytes(),
            &high.to_le_bytes(),
            &output.scale.to_le_bytes(),
            &output.zero_point.to_le_bytes(),
            &output.limits.0.to_le_bytes(),
            &output.limits.1.to_le_bytes(),
        ];
        bytes.fill(0);
        let filled = fields.iter().copied().flatten();
        bytes.iter_mut().zip(filled).for_each(|(byte, field)| *byte = *field);
        let (covered, checksum) = bytes.split_at_mut(HEADER - 8);
        checksum.copy_from_slice(&fnv1a(covered).to_le_bytes());
    }

    /// Reads and checks a header, and that `bytes` have exactly the length that it asks for.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, Sections)> {
        let refuse = |reason: String| Error::layout("packed", reason);
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Err(refuse(format!(
                "there are {} bytes, but the header alone has {HEADER}",
                bytes.len()
            )));
        };
        let u32_at = |at: usize| u32::from_le_bytes(field(header, at));
        let u64_at = |at: usize| u64::from_le_bytes(field(header, at));
        if field::<8>(header, 0) != *MAGIC {
            return Err(refuse("this is not a packed layer: the first 8 bytes are not \"TERSLINR\"".into()));
        }
        let version = u32_at(8);
        if version != VERSION {
            return Err(refuse(format!("the version is {version}, but only {VERSION} is known")));
        }
        if u64_at(120) != fnv1a(&header[..HEADER - 8]) {
            return Err(refuse("the header is damaged: its checksum does not match".into()));
        }
        let format = Format::from_code(u32_at(12))
            .ok_or_else(|| refuse(format!("the format {} is not known", u32_at(12))))?;
        let layout = u32_at(16);
        if layout != LAYOUT {
            return Err(refuse(format!("the layout is {layout}, but only {LAYOUT} is known")));
        }
        let flags = u32_at(20);
        const INPUT: u32 = INPUT_U8 | INPUT_I8 | INPUT_FLOAT;
        let known = BIAS | ZERO_POINTS | INPUT | CLAMP | OUTPUT_U8 | OUTPUT_I8 | RUNS;
        let is_set = |flag: u32| flags & flag != 0;
        if flags & !known != 0
            || header[112..120].iter().any(|&byte| byte != 0)
            || (flags & INPUT).count_ones() > 1
            || (is_set(OUTPUT_U8) && is_set(OUTPUT_I8))
            || (is_set(ZERO_POINTS) && !matches!(format, Format::Int8 | Format::Int4))
            || (is_set(INPUT_U8 | INPUT_I8) && !format.is_integer())
            || (is_set(INPUT_FLOAT) && format != Format::Int4)
        {
            return Err(refuse(format!("the flags {flags:#x} have no meaning for {format} weights")));
        }
        let height = u32_at(80) as usize;
        let heights: &[usize] = match format {
            Format::SparseInt8 => &[1, LANES, TILE],
            Format::SparseF32 => &[1, LANES],
            _ => &[0],
        };
        if !heights.contains(&height) {
            return Err(refuse(format!("blocks of {height} outputs have no meaning for {format} weights")));
        }
        let size = |at: usize| {
            usize::try_from(u64_at(at)).map_err(|_| refuse(format!("a size of {} does not fit", u64_at(at))))
        };
        let f32_at = |at: usize| f32::from_le_bytes(field(header, at));
        let i32_at = |at: usize| i32::from_le_bytes(field(header, at));
        let quantization = |in_u8: u32, in_i8: u32, at: usize, limits: usize| -> Result<_> {
            let Some(code_type) = [(in_u8, CodeType::U8), (in_i8, CodeType::I8)]
                .into_iter()
                .find_map(|(flag, code_type)| is_set(flag).then_some(code_type))
            else {
                return Ok(None);
            };
            let (scale, zero_point) = (f32_at(at), i32_at(at + 4));
            let found =
                Quantization { scale, zero_point, code_type, limits: (i32_at(limits), i32_at(limits + 4)) };
            found.check().map_err(|error| refuse(error.to_string()))?;
            Ok(Some(found))
        };
        let input = match is_set(INPUT_FLOAT) {
            true => Some(Input::Floats),
            false => quantization(INPUT_U8, INPUT_I8, 56, 72)?.map(Input::Codes),
        };
        let output = quantization(OUTPUT_U8, OUTPUT_I8, 96, 104)?;
        let clamp = is_set(CLAMP).then(|| (f32_at(88), f32_at(92)));
        if let Some((low, high)) = clamp {
            check_clamp(low, high).map_err(|error| refuse(error.to_string()))?;
        }
        let header = Header {
            format,
            outputs: size(24)?,
            inputs: size(32)?,
            non_zeros: size(40)?,
            stored: size(48)?,
            height,
            runs: is_set(RUNS),
            group_size: u32_at(84) as usize,
            bias: is_set(BIAS),
            zero_points: is_set(ZERO_POINTS),
            input,
            clamp,
            output,
        };
        if header.runs && !header.can_have_runs() {
            let (outputs, inputs) = (header.outputs, header.inputs);
            return Err(refuse(format!(
                "the flags {flags:#x} have no meaning for blocks of {height} outputs of [{outputs}, {inputs}] {format} weights"
            )));
        }
        let sections = header.sections().map_err(|error| refuse(error.to_string()))?;
        let room = match format.is_sparse() && !header.has_bitmaps() {
            true => header.stored.saturating_mul(height * format.group()),
            false => header.outputs.saturating_mul(header.inputs),
        };
        if header.non_zeros > room {
            let reason = format!("{} weights are not zero, but there are {room}", header.non_zeros);
            return Err(refuse(reason));
        }
        if header.has_bitmaps() && header.stored != header.bitmap_bytes() {
            let (stored, needed) = (header.stored, header.bitmap_bytes());
            return Err(refuse(format!(
                "{stored} bytes of bits and weights are stored, but there are {needed}"
            )));
        }
        if bytes.len() != sections.total || size(64)? != sections.total {
            return Err(refuse(format!(
                "there are {} bytes and the header says {}, but its shape [{}, {}] in {format} needs {}",
                bytes.len(),
                size(64)?,
                header.outputs,
                header.inputs,
                sections.total
            )));
        }
        Ok((header, sections))
    }
}

/// Refuses limits between which no value lies.
pub(super) fn check_clamp(low: f32, high: f32) -> Result<()> {
    if low.is_nan() || low == f32::INFINITY {
        return Err(Error::out_of_range("low", low, "a number below infinity"));
    }
    if !(high >= low && high > f32::NEG_INFINITY) {
        return Err(Error::out_of_range(
            "high",
            high,
            format!("at least {low}, the low limit, and above -infinity"),
        ));
    }
    Ok(())
}

impl Quantization {
    /// What the header holds: a flag, and numbers that are zeros where there is none.
    fn stored(found: Option<Self>, in_u8: u32, in_i8: u32) -> (u32, Self) {
        match found {
            None => (0, Quantization { scale: 0.0, zero_point: 0, code_type: CodeType::U8, limits: (0, 0) }),
            Some(found) if found.code_type == CodeType::I8 => (in_i8, found),
            Some(found) => (in_u8, found),
        }
    }

    /// Refuses parameters that no quantizer makes.
    pub(super) fn check(&self) -> Result<()> {
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(Error::out_of_range("scale", self.scale, "finite and above 0"));
        }
        let (lowest, highest) = self.limits;
        let (least, greatest) = self.code_type.limits();
        if !(least <= lowest && lowest < highest && highest <= greatest) {
            let limit = format!("two codes from {least} to {greatest}, the first below the second");
            return Err(Error::out_of_range("limits", format!("{lowest} and {highest}"), limit));
        }
        if !(lowest..=highest).contains(&self.zero_point) {
            return Err(Error::out_of_range("zero_point", self.zero_point, format!("{lowest} to {highest}")));
        }
        Ok(())
    }

    /// What makes a uint8 code of one.
    pub(super) fn shift(&self) -> i32 {
        if self.code_type == CodeType::I8 { 128 } else { 0 }
    }
}

/// `N` bytes of the header; the places are constants within it.
fn field<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|index| header[at + index])
}

/// The checksum of Fowler, Noll and Vo, 64 bits, variant 1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
