//! Where in a row-major array which channel lies, so that a loop over memory needs no division per element.

use std::ops::Range;

/// A row-major array seen as `[outer, count, inner]`: element `i` belongs to channel `(i / inner) % count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) count: usize,
    pub(super) inner: usize,
}

/// A stretch of elements that share one channel, or that run through consecutive ones.
pub(super) enum Stretch {
    /// All of `elements` belong to `channel`.
    One { elements: Range<usize>, channel: usize },
    /// One element each for `channels`.
    Each { elements: Range<usize>, channels: Range<usize> },
}

impl Channels {
    /// The channels of an array of that shape along `axis`; one channel without an axis.
    ///
    /// `axis` is below the rank, and no axis has the length 0.
    pub(super) fn new(shape: &[usize], axis: Option<usize>) -> Self {
        match axis {
            None => Channels { count: 1, inner: usize::MAX },
            Some(axis) => Channels {
                count: shape.get(axis).copied().unwrap_or(1).max(1),
                inner: shape.iter().skip(axis + 1).product::<usize>().max(1),
            },
        }
    }

    /// Calls `body` for each stretch of the elements `start..start + len`; its ranges of elements count from `start`.
    #[inline(always)]
    pub(super) fn for_each(self, start: usize, len: usize, mut body: impl FnMut(Stretch)) {
        let mut done = 0;
        if self.inner == 1 && self.count > 1 {
            let mut channel = start % self.count;
            while done < len {
                let step = (self.count - channel).min(len - done);
                body(Stretch::Each { elements: done..done + step, channels: channel..channel + step });
                done += step;
                channel = 0;
            }
        } else {
            let mut channel = start / self.inner % self.count;
            let mut step = (self.inner - start % self.inner).min(len);
            while done < len {
                body(Stretch::One { elements: done..done + step, channel });
                done += step;
                step = self.inner.min(len - done);
                channel = if channel + 1 == self.count { 0 } else { channel + 1 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_name_the_channel_of_every_element() {
        for shape in [[2, 3, 4], [3, 1, 5], [1, 7, 1], [4, 2, 1], [1, 1, 1]] {
            let len = shape.iter().product();
            for axis in [None, Some(0), Some(1), Some(2)] {
                let channels = Channels::new(&shape, axis);
                for start in 0..len {
                    let mut found = Vec::new();
                    channels.for_each(start, len - start, |stretch| match stretch {
                        Stretch::One { elements, channel } => {
                            assert_eq!(elements.start, found.len());
                            found.extend(elements.map(|_| channel));
                        }
                        Stretch::Each { elements, channels } => {
                            assert_eq!((elements.start, elements.len()), (found.len(), channels.len()));
                            found.extend(channels);
                        }
                    });
                    let index =
                        |i: usize, axis: usize| i / shape[axis + 1..].iter().product::<usize>() % shape[axis];
                    let expected: Vec<usize> =
                        (start..len).map(|i| axis.map_or(0, |axis| index(i, axis))).collect();
                    assert_eq!(found, expected, "{shape:?} {axis:?} {start}");
                }
            }
        }
    }
}
