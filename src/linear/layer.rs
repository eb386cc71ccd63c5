//! The packed layer, in bytes of its own or borrowed.

use super::bitmap;
use super::bytes::{AlignedBytes, Bytes, affordable};
use super::in_place::{write_bias, write_clamp, write_float_input, write_input_params, write_output_params};
use super::layout::{Format, GROUP, Header, Input, LANES, Quantization, RUN, Sections};
use super::weights::Weights;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::quant::Arithmetic;
use crate::quant::Params;
use std::ops::Range;

/// A fully connected layer, packed for its kernel: `y[M, N] = x[M, K] * w[N, K]^T + bias[N]`.
///
/// Packed once, used many times, from any number of threads. The bytes ([`as_bytes`](PackedLinear::as_bytes)) are the
/// same on every machine; they can be stored and used with
/// [`from_bytes`](PackedLinear::from_bytes) where they lie, in bytes that a C caller owns or a mapped file.
///
/// **Integer formats** turn each row of `x` into uint8 codes first, with the range of that row (dynamic quantization, as
/// ONNX DynamicQuantizeLinear), or with fixed parameters (see [`with_input_params`](PackedLinear::with_input_params)).
/// Products are exact int32; then `y = i32 * (scale_x * scale_w) + bias` in f32. So `y` is the same bytes on every
/// instruction set and at any thread count.
///
/// **int4** is such a format with a scale for each group of inputs. Its products are exact int32 within a group and are added
/// in f32 between groups, in the order of the groups, every operation rounded by itself:
/// `y = (sum over groups of i32 * scale_w - zero_x * weight_sum) * scale_x + bias`, where `i32` is the group's sum of
/// `code_x * (code_w - zero_w)` and `weight_sum` is the sum of the output's weights, which was made in f64 and rounded once
/// when the layer was packed. These are the same bytes everywhere as well, and against the same sum without rounding
/// `|y - exact| <= (groups + 8) * 2^-24 * (scale_x * (sum (code_x + zero_x) |w|) + |bias|)`, for sums without overflow or
/// underflow.
///
/// With a [float input](PackedLinear::with_float_input) int4 computes in f32 as float formats do, and a row of `y` does not
/// depend on how many there are: `|y - exact| <= (span + spans + 4) * 2^-24 * (sum |x| |w| + |bias|)`, for spans of `span` inputs
/// of which an output has `spans`, and sums (of `x * (code_w - zero_w)` as well) without overflow or underflow.
///
/// **Float formats** compute in f32, and each output adds its products in the order of the inputs. `y` is the same bytes at
/// any thread count; between instruction sets, and between numbers of rows in sparse layers, it differs within the error
/// of an f32 sum: `|y - exact| <= (K + 2) * 2^-24 * (sum |x| |w| + |bias|)`, for sums without overflow or underflow. NaN and infinity in
/// `x` go where IEEE arithmetic takes them.
///
/// **The dot product of bf16** ([`Weights::bf16_dot`]) is such a format of numbers that were rounded to bf16 before, to nearest
/// even: weights when they were packed, `x` in the call. That bound is of the rounded numbers; rounding itself changes each by up to
/// `2^-9` of it, and makes infinity of what is beyond `3.39e38`. Products of bf16 are exact in f32; each output adds its products pair by
/// pair of inputs, the second of a pair first, as the instruction `vdpbf16ps` does. So with the instruction and without, `y` is
/// the same bytes, but for overflow, underflow, and subnormal bf16 (below `2^-126`), which the instruction takes for zeros, also
/// when the other number is infinity. AMX alone has an order of its own, that of `tdpbf16ps`: of 32 inputs at a time, the first of
/// all pairs are added, the second of all pairs, and their two sums to each other and to `y`.
///
/// ```
/// use tersor::linear::PackedLinear;
/// use ndarray::{Array2, array};
///
/// let weights = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]]; // two outputs of three inputs
/// let layer = PackedLinear::new(weights.view())?.with_bias(&[10.0, 20.0])?;
/// let mut y = Array2::<f32>::zeros((1, 2));
/// layer.forward(array![[1.0_f32, 0.0, -1.0]].view(), y.view_mut())?;
/// assert_eq!(y, array![[8.0, 18.0]]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone)]
pub struct PackedLinear<'a> {
    bytes: Bytes<'a>,
    header: Header,
    sections: Sections,
}

impl PackedLinear<'static> {
    /// Packs weights, `[out_features, in_features]`: a view of f32, f16 or bf16, [`Weights`] of any kind, or a
    /// quantized array.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a float weight (that survives) that is NaN or infinite, [`Error::OutOfRange`] for one that is too large
    /// for [bf16](Weights::bf16_dot), [`Error::Length`] or
    /// [`Error::OutOfRange`] for scales and zero points that do not fit the codes, [`Error::Shape`] for a mask of another
    /// shape, [`Error::OutOfRange`] for more inputs than int32 sums (or 16-bit places) allow, [`Error::SizeOverflow`],
    /// and [`Error::Unsupported`] for a sparse layer of 16-bit or affine weights, and the dot product of bf16 with sparse weights or
    /// codes.
    ///
    /// Bytes of 2 MiB and more are kept in large pages where Linux gives them on request.
    pub fn new<'w, W>(weights: W) -> Result<Self>
    where
        W: TryInto<Weights<'w>>,
        Error: From<W::Error>,
    {
        let weights = weights.try_into()?;
        let bytes = affordable(weights.packed_bytes()?, "weights", &[weights.dim().0, weights.dim().1])?;
        let mut bytes = AlignedBytes::zeros(bytes);
        weights.pack_into(&mut bytes)?;
        let (header, sections) = Header::read(&bytes)?;
        Ok(PackedLinear { bytes: Bytes::Owned(bytes), header, sections })
    }
}

impl<'a> PackedLinear<'a> {
    /// A layer that lies in somebody else's bytes, at any alignment: what [`as_bytes`](PackedLinear::as_bytes) gave, or
    /// [`Weights::pack_into`] wrote. Nothing is copied. Weights that no cache holds are read faster from large
    /// pages, which is up to whose bytes they are (on Linux `madvise`); [`into_owned`](PackedLinear::into_owned) asks for them.
    ///
    /// Reads all places of a sparse layer, or all its bits, once.
    ///
    /// # Errors
    /// [`Error::Layout`] when the bytes are foreign, of another version, truncated, too long, have a damaged header, or
    /// contradict themselves. Weights are not under the checksum: damage there may compute other numbers, but can neither
    /// panic nor read outside of the bytes.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        let layer = Self::from_trusted_bytes(bytes)?;
        layer.check_places()?;
        Ok(layer)
    }

    /// As [`from_bytes`](PackedLinear::from_bytes), of bytes that it accepted before, or that were packed by this process: it reads
    /// nothing that a layer has for each weight, so it can be called before each product.
    ///
    /// Wrong bytes cannot harm here either. Places past the last input, and bits past the last weight, count nothing: `y` has other
    /// numbers then, the same ones for the same bytes, and nothing else happens.
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use tersor::linear::{PackedLinear, Weights};
    ///
    /// let weights = array![[0.0_f32, 2.0, 0.0], [4.0, 0.0, 0.0]];
    /// let stored = PackedLinear::new(Weights::from(weights.view()).sparse())?.as_bytes().to_vec();
    /// PackedLinear::from_bytes(&stored)?; // once
    /// for x in [1.0, 2.0, 3.0] {
    ///     let mut y = Array2::<f32>::zeros((1, 2));
    ///     PackedLinear::from_trusted_bytes(&stored)?.forward(array![[x, x, x]].view(), y.view_mut())?;
    ///     assert_eq!(y, array![[2.0 * x, 4.0 * x]]);
    /// }
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Layout`] as [`from_bytes`](PackedLinear::from_bytes), except for places and bits of single weights that contradict the
    /// rest.
    pub fn from_trusted_bytes(bytes: &'a [u8]) -> Result<Self> {
        let (header, sections) = Header::read(bytes)?;
        let layer = PackedLinear { bytes: Bytes::Borrowed(bytes), header, sections };
        layer.check_offsets()?;
        Ok(layer)
    }

    /// The packed bytes: header, bias, scales, weights.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same layer in bytes of its own.
    pub fn into_owned(self) -> PackedLinear<'static> {
        let PackedLinear { bytes, header, sections } = self;
        PackedLinear { bytes: Bytes::Owned(bytes.into_owned()), header, sections }
    }

    /// The same layer with a bias, one for each output. Borrowed bytes are copied first.
    ///
    /// # Errors
    /// [`Error::Length`] when `bias` does not hold one number for each output, [`Error::NotFinite`].
    pub fn with_bias(self, bias: &[f32]) -> Result<PackedLinear<'static>> {
        self.changed(|bytes| write_bias(bytes, bias))
    }

    /// The same integer layer with fixed quantization of its input instead of dynamic. `params` come from calibration,
    /// for the whole input (no axis), in int8 or uint8; infinities saturate, NaN becomes zero, as
    /// [`Params::quantize`] does it. `x` may also hold the codes themselves then, in that type.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for parameters along an axis, for another arithmetic than [`Arithmetic::Divide`], and for a
    /// layer in a float format.
    pub fn with_input_params(self, params: &Params) -> Result<PackedLinear<'static>> {
        self.changed(|bytes| write_input_params(bytes, params))
    }

    /// The same int4 layer with an input that stays in float (f32, or f16 and bf16 widened to it) instead of becoming codes: only
    /// the weights are quantized then. Undone by [`with_input_params`](PackedLinear::with_input_params); the weights are packed in
    /// the same way.
    ///
    /// `y = sum over spans of (sum of x * (code_w - zero_w)) * scale_w + bias` in f32, in the order of the inputs, where a span is
    /// a group of inputs, or 128 of a larger one: see the bound at [`PackedLinear`]. Finer than quantizing `x`, and slower where
    /// the weights are in a cache, or rows are many.
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use tersor::linear::{PackedLinear, Weights};
    ///
    /// let (codes, scales) = (array![[3_i8, -8, 1, 7]], array![[0.5_f32]]);
    /// let layer = PackedLinear::new(Weights::int4(codes.view(), 4, scales.view(), None))?.with_float_input()?;
    /// let mut y = Array2::<f32>::zeros((1, 1));
    /// layer.forward(array![[0.001_f32, 0.001, 1000.0, 0.0]].view(), y.view_mut())?;
    /// assert_eq!(y, array![[499.9975]]); // 8 bits of each x would have lost the small ones
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another format than int4.
    pub fn with_float_input(self) -> Result<PackedLinear<'static>> {
        self.changed(write_float_input)
    }

    /// The same layer with `max(y, 0)` behind it: [`with_clamp`](PackedLinear::with_clamp) from 0 to infinity.
    ///
    /// # Errors
    /// None: these limits are always accepted. It is a `Result` because [`with_clamp`](PackedLinear::with_clamp)'s is.
    pub fn with_relu(self) -> Result<PackedLinear<'static>> {
        self.with_clamp(0.0, f32::INFINITY)
    }

    /// The same layer with `min(max(y, low), high)` behind it, after the bias and before `y` is rounded: ReLU6 is 0 to 6. NaN
    /// stays NaN. Takes no pass of its own over `y`. Borrowed bytes are copied first.
    ///
    /// ```
    /// use tersor::linear::PackedLinear;
    /// use ndarray::{Array2, array};
    ///
    /// let layer = PackedLinear::new(array![[1.0_f32], [-1.0]].view())?.with_clamp(0.0, 6.0)?;
    /// let mut y = Array2::<f32>::zeros((2, 2));
    /// layer.forward(array![[3.0_f32], [7.5]].view(), y.view_mut())?;
    /// assert_eq!(y, array![[3.0, 0.0], [6.0, 0.0]]);
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when a limit is NaN, or no finite number lies between them.
    pub fn with_clamp(self, low: f32, high: f32) -> Result<PackedLinear<'static>> {
        self.changed(|bytes| write_clamp(bytes, low, high))
    }

    /// The same layer with a fixed quantization of its output, so that `y` may hold codes: the ones that
    /// [`Params::quantize`] makes of the f32 `y`, to the bit. `params` come from calibration, for the whole output (no axis).
    ///
    /// A chain of layers need not leave int8 then, where each has the output parameters of the one before as its
    /// [input parameters](PackedLinear::with_input_params):
    ///
    /// ```
    /// use ndarray::{Array2, Axis, array};
    /// use tersor::linear::PackedLinear;
    /// use tersor::quant::{CodeType, Params, Scheme};
    ///
    /// let (x_params, y_params) = (
    ///     Params::new(CodeType::U8, vec![0.02], vec![128], None)?,
    ///     Params::new(CodeType::I8, vec![0.05], vec![-10], None)?,
    /// );
    /// let weights = array![[0.5_f32, -1.0, 0.25], [1.0, 0.75, -0.5]];
    /// let q = Scheme::int8().symmetric().per_channel(Axis(0)).quantize(weights.view())?;
    /// let layer = PackedLinear::new(&q)?.with_input_params(&x_params)?.with_output_params(&y_params)?;
    ///
    /// let x = array![[1.0_f32, -0.5, 2.0]];
    /// let (mut numbers, mut codes) = (Array2::<f32>::zeros((1, 2)), Array2::<i8>::zeros((1, 2)));
    /// layer.forward(x.view(), numbers.view_mut())?;
    /// layer.forward(array![[178_u8, 103, 228]].view(), codes.view_mut())?; // the codes of x
    /// assert_eq!(y_params.quantize(numbers.view())?.codes().as_i8().unwrap(), codes);
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] for parameters along an axis, and for another arithmetic than [`Arithmetic::Divide`].
    pub fn with_output_params(self, params: &Params) -> Result<PackedLinear<'static>> {
        self.changed(|bytes| write_output_params(bytes, params))
    }

    fn changed(self, change: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<PackedLinear<'static>> {
        let mut bytes = self.bytes.into_owned();
        change(&mut bytes)?;
        let (header, sections) = Header::read(&bytes)?;
        Ok(PackedLinear { bytes: Bytes::Owned(bytes), header, sections })
    }

    /// N, the columns of `y`.
    pub fn out_features(&self) -> usize {
        self.header.outputs
    }

    /// K, the columns of `x`.
    pub fn in_features(&self) -> usize {
        self.header.inputs
    }

    /// How the weights are stored.
    pub fn format(&self) -> Format {
        self.header.format
    }

    /// Whether `x` becomes codes: in integer formats, unless it [stays in float](PackedLinear::with_float_input).
    pub fn quantizes_input(&self) -> bool {
        self.format().is_integer() && self.header.input != Some(Input::Floats)
    }

    /// The bytes of the weights and what belongs to them: scales, zero points, places. Without bias, header and padding
    /// between sections.
    pub fn weight_bytes(&self) -> usize {
        let Sections { scales, zero_points, offsets, places, values, .. } = &self.sections;
        [scales, zero_points, offsets, places, values].into_iter().map(|section| section.len()).sum()
    }

    /// `(outputs, inputs)` of the blocks that a sparse format stores: those of [`Format::wide_block`], those of [`Format::block`], or smaller
    /// ones where the zeros do not come in such blocks, down to `(1, 1)`, weights one by one. `None` for a dense format.
    pub fn block(&self) -> Option<(usize, usize)> {
        let block = match (self.has_bitmaps(), self.has_runs()) {
            (true, _) => (1, 1),
            (_, true) => (LANES, GROUP * RUN),
            _ => (self.header.height, self.format().group()),
        };
        self.format().is_sparse().then_some(block)
    }

    /// How many weights are not zero.
    pub fn non_zeros(&self) -> usize {
        self.header.non_zeros
    }

    /// Whether a bias is added.
    pub fn has_bias(&self) -> bool {
        self.header.bias
    }
}

/// What the kernels read. A section that does not hold what is asked for gives nothing, whatever the bytes say.
impl PackedLinear<'_> {
    pub(super) fn input(&self) -> Option<Quantization> {
        match self.header.input {
            Some(Input::Codes(input)) => Some(input),
            _ => None,
        }
    }

    pub(super) fn output(&self) -> Option<Quantization> {
        self.header.output
    }

    pub(super) fn clamp(&self) -> Option<(f32, f32)> {
        self.header.clamp
    }

    /// Inputs, padded to whole groups.
    pub(super) fn padded_inputs(&self) -> usize {
        self.header.padded_inputs()
    }

    /// How many places there are along the inputs: groups of them that stand side by side.
    pub(super) fn places(&self) -> usize {
        self.header.places()
    }

    pub(super) fn has_zero_points(&self) -> bool {
        self.header.zero_points
    }

    /// Inputs that share a scale in an int4 layer.
    pub(super) fn group_size(&self) -> usize {
        self.header.group_size
    }

    /// How many groups of inputs share a scale in an int4 layer.
    pub(super) fn groups(&self) -> usize {
        self.header.groups()
    }

    fn section(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    pub(super) fn bias(&self) -> &[u8] {
        self.section(&self.sections.bias)
    }

    pub(super) fn scales(&self) -> &[u8] {
        self.section(&self.sections.scales)
    }

    pub(super) fn sums(&self) -> &[u8] {
        self.section(&self.sections.sums)
    }

    pub(super) fn zero_points(&self) -> &[u8] {
        self.section(&self.sections.zero_points)
    }

    /// How many weights of an output are not zero, on average.
    pub(super) fn non_zeros_of_output(&self) -> usize {
        self.header.non_zeros / self.header.outputs.max(1)
    }

    /// How many blocks a sparse format stores.
    pub(super) fn stored_blocks(&self) -> usize {
        self.header.stored
    }

    /// Whether its blocks span several outputs.
    pub(super) fn is_blocked(&self) -> bool {
        self.header.height == LANES
    }

    /// Whether these come in whole runs.
    pub(super) fn has_runs(&self) -> bool {
        self.header.runs
    }

    /// Whether its weights are stored one by one, behind bits that say which they are.
    pub(super) fn has_bitmaps(&self) -> bool {
        self.header.has_bitmaps()
    }

    /// Where what a sparse format stores of an output, of a band of 16 or of a tile begins; 0 past the last.
    #[inline(always)]
    pub(super) fn offset(&self, index: usize) -> usize {
        u32::from_le_bytes(element(self.section(&self.sections.offsets), index)) as usize
    }

    /// The weights from byte `start` on.
    pub(super) fn values(&self, start: usize) -> &[u8] {
        self.section(&self.sections.values).get(start..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn bias_of(&self, output: usize) -> f32 {
        f32::from_le_bytes(element(self.bias(), output))
    }

    /// The sum of an output's codes, and its scale.
    pub(super) fn sum_and_scale_of(&self, output: usize) -> (i32, f32) {
        let sum = i32::from_le_bytes(element(self.sums(), output));
        (sum, f32::from_le_bytes(element(self.scales(), output)))
    }

    /// What a sparse format stores, in blocks of `N` bytes.
    pub(super) fn stored<const N: usize>(&self) -> Stored<'_, N> {
        Stored {
            offsets: self.section(&self.sections.offsets).as_chunks().0,
            places: self.section(&self.sections.places).as_chunks().0,
            values: self.section(&self.sections.values).as_chunks().0,
        }
    }

    /// Refuses a sparse body whose offsets lead anywhere else than from one output to the next, each with no more places than there are
    /// inputs: then the work is no more than its bytes are worth, whatever else they say.
    fn check_offsets(&self) -> Result<()> {
        if !self.header.format.is_sparse() {
            return Ok(());
        }
        let refuse = |reason: String| Err(Error::layout("packed", reason));
        let limit = match self.has_bitmaps() {
            true => self.header.places() * bitmap::MOST_OF_GROUP,
            false => self.header.places(),
        };
        let offsets = self.section(&self.sections.offsets).as_chunks::<4>().0;
        let offset = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
        for (band, pair) in offsets.windows(2).enumerate() {
            let (start, end) = (offset(&pair[0]), offset(&pair[1]));
            if start > end || end - start > limit {
                let output = band * self.header.height;
                return refuse(format!("the places of output {output} begin at {start} and end at {end}"));
            }
        }
        let ends = (offsets.first().map(offset), offsets.last().map(offset));
        if ends != (Some(0), Some(self.header.stored)) {
            return refuse(format!("the places run from {ends:?}, not from 0 to {}", self.header.stored));
        }
        Ok(())
    }

    /// Refuses a sparse body whose places, or bits, lead anywhere else than to its weights.
    fn check_places(&self) -> Result<()> {
        if self.has_bitmaps() {
            return bitmap::check(self);
        }
        // None in a dense format.
        let places = self.section(&self.sections.places).as_chunks::<2>().0;
        let greatest = places.iter().fold(0, |most, place| u16::from_le_bytes(*place).max(most));
        let limit = self.header.places();
        if usize::from(greatest) >= limit && !places.is_empty() {
            return Err(Error::layout("packed", format!("a place is {greatest}, but there are {limit}")));
        }
        if self.has_runs() { self.check_runs() } else { Ok(()) }
    }

    /// Refuses places that are no whole runs, where they are said to be.
    fn check_runs(&self) -> Result<()> {
        let stored = self.stored::<{ LANES * GROUP }>();
        for band in 0..self.out_features().div_ceil(LANES) {
            let mut places = stored.of(band).0.iter().map(|place| usize::from(u16::from_le_bytes(*place)));
            while let Some(first) = places.next() {
                let end = self.places().min(first + RUN);
                if !first.is_multiple_of(RUN) || !(first + 1..end).all(|place| places.next() == Some(place)) {
                    let output = band * LANES;
                    let reason = format!(
                        "the places of output {output} are no whole runs of {RUN}, which the flags say"
                    );
                    return Err(Error::layout("packed", reason));
                }
            }
        }
        Ok(())
    }
}

/// The places and the weights (or blocks) of `N` bytes that a sparse format stores.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a, const N: usize> {
    offsets: &'a [[u8; 4]],
    places: &'a [[u8; 2]],
    values: &'a [[u8; N]],
}

impl<'a, const N: usize> Stored<'a, N> {
    /// Those of an output, or of a band of 16; none if the offsets lead elsewhere.
    #[inline(always)]
    pub(super) fn of(&self, band: usize) -> (&'a [[u8; 2]], &'a [[u8; N]]) {
        let offset =
            |index: usize| self.offsets.get(index).map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        let range = offset(band)..offset(band + 1);
        (self.places.get(range.clone()).unwrap_or_default(), self.values.get(range).unwrap_or_default())
    }
}

/// Element `index` of a section; zeros past its end.
#[inline]
fn element(section: &[u8], index: usize) -> [u8; 4] {
    section.as_chunks::<4>().0.get(index).copied().unwrap_or_default()
}

impl std::fmt::Debug for PackedLinear<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Header { format, outputs, inputs, non_zeros, .. } = self.header;
        write!(f, "PackedLinear([{outputs}, {inputs}] in {format}, {non_zeros} weights are not zero)")
    }
}
