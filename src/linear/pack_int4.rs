//! int4 weights become packed bytes.

use super::layout::{GROUP, Header, Sections, TILE};
use super::pack::{section, set};
use super::size::stored_group_size;
use super::weights::{CodesView, Weights};
use crate::error::{Error, Result};
use crate::kernels::MIDDLE;
use ndarray::ArrayView2;

/// What an int4 layer is packed from.
#[derive(Clone, Debug)]
pub(super) struct Int4<'a> {
    pub(super) codes: CodesView<'a>,
    /// Inputs that share a scale, as the caller says it.
    pub(super) group_size: usize,
    pub(super) scales: ArrayView2<'a, f32>,
    pub(super) zero_points: Option<ArrayView2<'a, i32>>,
}

impl Int4<'_> {
    /// Checks everything; returns the size of a group as it is stored, and whether there are zero points to store.
    pub(super) fn check(&self) -> Result<(usize, bool)> {
        let (outputs, inputs) = self.codes.dim();
        let group_size = stored_group_size(self.group_size, inputs)?;
        let groups = inputs.div_ceil(group_size);
        let shape = |argument, found: (usize, usize)| {
            if found == (outputs, groups) {
                return Ok(());
            }
            let expected =
                format!("[{outputs}, {groups}], the outputs and the groups of {group_size} inputs");
            Err(Error::shape(argument, &[found.0, found.1], expected))
        };
        shape("scales", self.scales.dim())?;
        if let Some(((n, group), scale)) =
            self.scales.indexed_iter().find(|(_, s)| !(s.is_finite() && **s > 0.0))
        {
            return Err(Error::out_of_range(format!("scales[{n}, {group}]"), scale, "finite and above 0"));
        }
        let (range, shift) = match self.codes {
            CodesView::I8(_) => (-8..=7, i32::from(MIDDLE)),
            CodesView::U8(_) => (0..=15, 0),
        };
        let limit = || format!("{} to {}", range.start(), range.end());
        if inputs > 0 {
            for n in 0..outputs {
                if let Some(k) = (0..inputs).find(|&k| !range.contains(&self.codes.get(n, k))) {
                    let code = self.codes.get(n, k);
                    return Err(Error::out_of_range(format!("codes[{n}, {k}]"), code, limit()));
                }
            }
        }
        let Some(zero_points) = &self.zero_points else { return Ok((group_size, false)) };
        shape("zero_points", zero_points.dim())?;
        if let Some(((n, group), zero)) = zero_points.indexed_iter().find(|(_, zero)| !range.contains(*zero))
        {
            return Err(Error::out_of_range(format!("zero_points[{n}, {group}]"), zero, limit()));
        }
        Ok((group_size, zero_points.iter().any(|zero| zero + shift != i32::from(MIDDLE))))
    }

    /// 0 to 15.
    fn nibble(&self, code: i32) -> u8 {
        let shift = if matches!(self.codes, CodesView::I8(_)) { i32::from(MIDDLE) } else { 0 };
        // In range after `check`.
        (code + shift) as u8 & 15
    }

    /// The nibble that stands for 0.
    fn zero(&self, n: usize, group: usize) -> u8 {
        self.zero_points.as_ref().map_or(MIDDLE, |zero_points| self.nibble(zero_points[[n, group]]))
    }

    /// How far weight `[n, k]` is from 0, in steps of its scale.
    pub(super) fn steps(&self, n: usize, k: usize, group_size: usize) -> i32 {
        i32::from(self.nibble(self.codes.get(n, k))) - i32::from(self.zero(n, k / group_size))
    }

    /// Writes everything. Weights that do not survive become zeros.
    pub(super) fn write(
        &self,
        weights: &Weights<'_>,
        header: &Header,
        sections: &Sections,
        packed: &mut [u8],
    ) {
        let (groups, places, size) = (header.groups(), header.places(), header.group_size.max(1));
        for n in 0..header.outputs {
            let (tile, lane) = (n / TILE, n % TILE);
            let mut sum = 0.0_f64;
            for group in 0..groups {
                let (scale, zero) = (self.scales[[n, group]], self.zero(n, group));
                let slot = (tile * groups + group) * TILE + lane;
                set(packed, &sections.scales, slot, scale.to_le_bytes());
                if header.zero_points {
                    set(packed, &sections.zero_points, slot, [zero]);
                }
                let mut steps = 0_i64;
                for k in group * size..((group + 1) * size).min(header.inputs) {
                    let nibble =
                        if weights.survives(n, k) { self.nibble(self.codes.get(n, k)) } else { zero };
                    steps += i64::from(nibble) - i64::from(zero);
                    let at = ((tile * places + k / GROUP) * TILE / 2 + lane % (TILE / 2)) * GROUP + k % GROUP;
                    if let Some(byte) = section(packed, &sections.values).get_mut(at) {
                        *byte |= if lane < TILE / 2 { nibble } else { nibble << 4 };
                    }
                }
                sum += f64::from(scale) * steps as f64;
            }
            set(packed, &sections.sums, n, (sum as f32).to_le_bytes());
        }
    }
}
