//! Exact dot products of 8-bit codes: the reference bodies, and the arrangement that they share with the hand-written ones.

/// Outputs side by side in a tile of packed weights.
pub(crate) const TILE: usize = 32;

/// Rows side by side where a sparse kernel takes several rows at once.
pub(crate) const LANES: usize = 16;

/// Codes that are staged at a time.
pub(crate) const BLOCK: usize = 64;

/// The places and the values of an output's weights: little-endian u16 and f32.
pub(crate) type List<'a> = (&'a [[u8; 2]], &'a [[u8; 4]]);

/// Four inputs of one output, or of one row: what a dot-product instruction takes at once.
pub(crate) type Group<T> = [T; 4];

/// What uint8 codes of activations are staged as: themselves, i16 where the multiply wants that, or moved to int8 where it
/// takes both sides signed.
pub(crate) trait Staged: bytemuck::Pod + Into<i32> + Send + Sync {
    /// How far a code is above what it is staged as. Zero points move along, so that a product needs no correction.
    const OFFSET: i32 = 0;

    /// A code, 0 to 255.
    fn from_code(code: i32) -> Self;
}

impl Staged for u8 {
    #[inline(always)]
    fn from_code(code: i32) -> Self {
        code as u8
    }
}

impl Staged for i8 {
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn from_code(code: i32) -> Self {
        (code - Self::OFFSET) as i8
    }
}

impl Staged for i16 {
    #[inline(always)]
    fn from_code(code: i32) -> Self {
        code as i16
    }
}

/// `R` rows of as many groups each, as far apart from each other.
#[derive(Clone, Copy)]
pub(crate) struct RowBlock<'a, S, const R: usize> {
    groups: &'a [Group<S>],
    /// Groups from where a row begins to where the next does.
    stride: usize,
    len: usize,
}

impl<'a, S, const R: usize> RowBlock<'a, S, R> {
    /// The first `R` rows of `len` groups, at most `stride`, each as far from the next; of none if there are fewer.
    #[inline(always)]
    pub(crate) fn of(groups: &'a [Group<S>], len: usize, stride: usize) -> Self {
        let whole = len <= stride && stride.checked_mul(R).is_some_and(|needed| needed <= groups.len());
        let len = if whole { len } else { 0 };
        RowBlock { groups, stride, len }
    }

    /// `len` groups of each row, from group `first` on; none if there are fewer.
    #[inline(always)]
    pub(crate) fn part(self, first: usize, len: usize) -> Self {
        let whole = first.checked_add(len).is_some_and(|end| end <= self.len);
        let groups = self.groups.get(first..).unwrap_or_default();
        RowBlock { groups, stride: self.stride, len: if whole { len } else { 0 } }
    }

    /// Where the groups are, how many lie between two rows, and how many a row has: those of row `r` begin at group `r * stride`.
    #[cfg(kernels = "x86_64")]
    #[inline(always)]
    pub(super) fn groups(self) -> (*const Group<S>, usize, usize) {
        (self.groups.as_ptr(), self.stride, self.len)
    }

    #[inline(always)]
    pub(super) fn rows(self) -> [&'a [Group<S>]; R] {
        let mut rows: [&[Group<S>]; R] = [&[]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = self.groups.get(r * self.stride..r * self.stride + self.len).unwrap_or_default();
        }
        rows
    }
}

/// See [`Token::dot`](super::Token::dot).
#[inline(always)]
pub(super) fn dot<S: Staged, const R: usize>(
    rows: RowBlock<'_, S, R>,
    tile: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]; R],
) {
    for (row, sums) in rows.rows().into_iter().zip(sums) {
        for (x, weights) in row.iter().zip(tile) {
            let x = x.map(Into::<i32>::into);
            for (sum, w) in sums.iter_mut().zip(weights) {
                let pairs = [
                    x[0] * i32::from(w[0]) + x[1] * i32::from(w[1]),
                    x[2] * i32::from(w[2]) + x[3] * i32::from(w[3]),
                ];
                *sum = sum.wrapping_add(pairs[0]).wrapping_add(pairs[1]);
            }
        }
    }
}

/// See [`Token::dot_blocks`](super::Token::dot_blocks).
#[inline(always)]
pub(super) fn dot_blocks<S: Staged, const G: usize>(
    columns: &[[[Group<S>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    for (place, w) in places.iter().zip(blocks) {
        let Some(column) = columns.get(usize::from(u16::from_le_bytes(*place))) else { continue };
        let w = w.map(i32::from);
        for (sums, column) in sums.iter_mut().zip(column) {
            for (sum, x) in sums.iter_mut().zip(column) {
                let x = x.map(Into::<i32>::into);
                *sum = sum.wrapping_add(x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3]);
            }
        }
    }
}

/// See [`Token::dot_tiles`](super::Token::dot_tiles).
#[inline(always)]
pub(super) fn dot_tiles<S: Staged, const R: usize>(
    panel: &[[Group<S>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    for (place, tile) in places.iter().zip(tiles) {
        let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { continue };
        for (x, sums) in rows.iter().zip(sums.iter_mut()) {
            let x = x.map(Into::<i32>::into);
            for (sum, w) in sums.iter_mut().zip(tile) {
                let w = w.map(i32::from);
                *sum = sum.wrapping_add(x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_rows_has_these_groups_of_each() {
        let groups: Vec<Group<u8>> = (0..15).map(|index| [index; 4]).collect();
        let firsts = |block: RowBlock<'_, u8, 3>| {
            block.rows().map(|row| row.iter().map(|x| x[0]).collect::<Vec<u8>>())
        };
        let block = RowBlock::<_, 3>::of(&groups, 5, 5);
        assert_eq!(firsts(block), [vec![0, 1, 2, 3, 4], vec![5, 6, 7, 8, 9], vec![10, 11, 12, 13, 14]]);
        assert_eq!(firsts(block.part(3, 2)), [[3, 4], [8, 9], [13, 14]]);
        assert_eq!(firsts(block.part(1, 4).part(2, 1)), [[3], [8], [13]]);
        for nothing in [
            block.part(3, 3),
            block.part(5, 0),
            block.part(9, 1),
            RowBlock::of(&groups, 6, 6),
            RowBlock::of(&groups, 5, 4),
        ] {
            assert!(firsts(nothing).iter().all(|row| row.is_empty()));
        }
    }
}
