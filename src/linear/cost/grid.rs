//! Numbers that were measured at the points of a grid, and what lies between them.

/// Values at every combination of the points of its axes, the last axis running fastest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    axes: Vec<&'static [f64]>,
    values: Vec<f64>,
}

impl Grid {
    pub(super) fn new(axes: &[&'static [f64]]) -> Self {
        let len = axes.iter().map(|axis| axis.len()).product();
        Grid { axes: axes.to_vec(), values: vec![0.0; len] }
    }

    pub(super) fn axis(&self, index: usize) -> &'static [f64] {
        self.axes.get(index).copied().unwrap_or_default()
    }

    /// All values, the last axis running fastest.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(super) fn set(&mut self, index: usize, value: f64) {
        if let Some(slot) = self.values.get_mut(index) {
            *slot = value;
        }
    }

    pub(super) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The values at each point of the first axis.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks(self.stride(0).max(1))
    }

    pub(super) fn slices_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        let len = self.stride(0).max(1);
        self.values.chunks_mut(len)
    }

    /// The value at a place: linear between points, that of the first point before it, and in proportion behind the last.
    /// So where values nowhere fall along an axis, neither do these.
    pub(super) fn at(&self, place: &[f64]) -> f64 {
        self.within(0, 0, place)
    }

    fn within(&self, axis: usize, first: usize, place: &[f64]) -> f64 {
        let (Some(points), Some(&place_here)) = (self.axes.get(axis), place.get(axis)) else {
            return self.values.get(first).copied().unwrap_or_default();
        };
        let at = |index: usize| self.within(axis + 1, first + index * self.stride(axis), place);
        let last = points.len().saturating_sub(1);
        let end = points.get(last).copied().unwrap_or_default();
        let upper = points.partition_point(|&point| point < place_here);
        if upper > last {
            // An axis of a single point at 0 says that it does not matter.
            return if end > 0.0 { at(last) * (place_here / end) } else { at(last) };
        }
        if upper == 0 {
            return at(0);
        }
        let (low, high) = (points[upper - 1], points[upper]);
        let share = (place_here - low) / (high - low);
        at(upper - 1) * (1.0 - share) + at(upper) * share
    }

    fn stride(&self, axis: usize) -> usize {
        self.axes.iter().skip(axis + 1).map(|axis| axis.len()).product()
    }

    /// Makes the values at some points of an axis rise along it, or stay: each becomes the middle between the highest before it
    /// and the lowest after it.
    pub(super) fn make_rising(&mut self, axis: usize, at: impl Fn(f64) -> bool) {
        for line in self.lines(axis, at) {
            let mut values: Vec<f64> = line.iter().map(|&index| self.values[index]).collect();
            make_rising(&mut values);
            line.into_iter().zip(values).for_each(|(index, value)| self.values[index] = value);
        }
    }

    /// The same, but for few values that are out of line, which follow the others: see [`fit_rising`].
    pub(super) fn fit_rising(&mut self, axis: usize, at: impl Fn(f64) -> bool) {
        for line in self.lines(axis, at) {
            let values: Vec<f64> = line.iter().map(|&index| self.values[index]).collect();
            line.into_iter().zip(fit_rising(&values)).for_each(|(index, value)| self.values[index] = value);
        }
    }

    /// Whether no value at one of these points is below that at one before it on the axis.
    pub(super) fn is_rising(&self, axis: usize, at: impl Fn(f64) -> bool) -> bool {
        self.lines(axis, at).iter().all(|line| line.is_sorted_by(|&a, &b| self.values[a] <= self.values[b]))
    }

    /// Where the values at these points of an axis are, for each place on the others.
    fn lines(&self, axis: usize, at: impl Fn(f64) -> bool) -> Vec<Vec<usize>> {
        let (stride, points) = (self.stride(axis), self.axis(axis));
        let starts = (0..self.values.len()).filter(|index| index / stride % points.len().max(1) == 0);
        let line = |start: usize| {
            let chosen = points.iter().enumerate().filter(|(_, point)| at(**point));
            chosen.map(|(index, _)| start + index * stride).collect()
        };
        starts.map(line).collect()
    }
}

/// The rising values that are together nearest to these: where some fall, all that this concerns become the middle one of them (the lower
/// of two), whichever way and however far one of them is off.
fn fit_rising(values: &[f64]) -> Vec<f64> {
    let mut pools: Vec<Vec<f64>> = Vec::new();
    let middle = |pool: &[f64]| pool[(pool.len() - 1) / 2];
    for &value in values {
        let mut last = vec![value];
        while let Some(before) = pools.pop_if(|before| middle(before) > middle(&last)) {
            last.extend(before);
            last.sort_by(f64::total_cmp);
        }
        pools.push(last);
    }
    pools.iter().flat_map(|pool| std::iter::repeat_n(middle(pool), pool.len())).collect()
}

/// See [`Grid::make_rising`].
pub(super) fn make_rising(values: &mut [f64]) {
    let mut lowest_after = values.to_vec();
    for index in (1..values.len()).rev() {
        lowest_after[index - 1] = lowest_after[index - 1].min(lowest_after[index]);
    }
    let mut highest = f64::NEG_INFINITY;
    for (value, lowest) in values.iter_mut().zip(lowest_after) {
        highest = highest.max(*value);
        *value = (highest + lowest) / 2.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_linear_between_points_and_in_proportion_behind_them() {
        let mut grid = Grid::new(&[&[1.0, 2.0, 4.0], &[0.0]]);
        grid.values_mut().copy_from_slice(&[10.0, 20.0, 60.0]);
        let found = [0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0].map(|place| grid.at(&[place, 0.7]));
        assert_eq!(found, [10.0, 10.0, 15.0, 20.0, 40.0, 60.0, 120.0]);
    }

    #[test]
    fn a_value_that_is_far_off_moves_its_neighbours_at_most() {
        let fit = |values: &[f64]| fit_rising(values);
        assert!(fit(&[]).is_empty());
        assert_eq!(fit(&[1.0, 2.0, 2.0, 5.0]), [1.0, 2.0, 2.0, 5.0]);
        assert_eq!(fit(&[1000.0, 12.0, 13.0, 14.0]), [12.0, 12.0, 13.0, 14.0]);
        assert_eq!(fit(&[2.0, 4.0, 900.0, 12.0, 14.0]), [2.0, 4.0, 12.0, 12.0, 14.0]);
        assert_eq!(fit(&[2.0, 4.0, 0.0, 12.0, 14.0]), [2.0, 2.0, 2.0, 12.0, 14.0]);
        assert_eq!(fit(&[2.0, 4.0, 6.0, 12.0, 0.0]), [2.0, 4.0, 6.0, 6.0, 6.0]);
        let mut grid = Grid::new(&[&[1.0, 2.0, 3.0], &[1.0, 2.0]]);
        grid.values_mut().copy_from_slice(&[90.0, 5.0, 3.0, 3.0, 4.0, 6.0]);
        grid.fit_rising(0, |point| point < 3.0);
        assert_eq!(grid.values(), [3.0, 3.0, 3.0, 3.0, 4.0, 6.0]);
    }

    #[test]
    fn rising_values_stay_and_others_meet_in_the_middle() {
        let mut grid = Grid::new(&[&[1.0, 2.0, 3.0], &[1.0, 2.0]]);
        grid.values_mut().copy_from_slice(&[1.0, 5.0, 3.0, 3.0, 2.0, 6.0]);
        assert!(!grid.is_rising(0, |_| true) && grid.is_rising(0, |point| point == 2.0));
        let mut some = grid.clone();
        grid.make_rising(0, |_| true);
        assert!(grid.is_rising(0, |_| true));
        assert_eq!(grid.values(), [1.0, 4.0, 2.5, 4.0, 2.5, 6.0]);
        some.make_rising(0, |point| point > 1.0);
        assert_eq!(some.values(), [1.0, 5.0, 2.5, 3.0, 2.5, 6.0]);
    }
}
