//! Where a convolution looks.

use crate::error::{Error, Result, checked_product};

const AXES: [&str; 2] = ["height", "width"];

/// The window that a convolution moves over an image: its size, and how it moves. Heights come before widths.
///
/// ```
/// use tersor::linear::Window;
///
/// let window = Window::new((3, 3)).stride((2, 2)).padding((1, 1));
/// assert_eq!(window.output_size((224, 224))?, (112, 112));
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Before and after, of each axis.
    padding: [[usize; 2]; 2],
}

impl Window {
    /// A window of `(height, width)` taps that moves by one, without padding.
    pub fn new(size: (usize, usize)) -> Self {
        Window { size: size.into(), stride: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]] }
    }

    /// How far it moves from an output to the next.
    #[must_use]
    pub fn stride(self, stride: (usize, usize)) -> Self {
        Window { stride: stride.into(), ..self }
    }

    /// How far its taps are apart.
    #[must_use]
    pub fn dilation(self, dilation: (usize, usize)) -> Self {
        Window { dilation: dilation.into(), ..self }
    }

    /// Rows of zeros above and below, columns of zeros to the left and right.
    #[must_use]
    pub fn padding(self, (rows, columns): (usize, usize)) -> Self {
        self.padding_each((rows, rows), (columns, columns))
    }

    /// Rows of zeros above, below; columns of zeros to the left, to the right.
    #[must_use]
    pub fn padding_each(self, rows: (usize, usize), columns: (usize, usize)) -> Self {
        Window { padding: [rows.into(), columns.into()], ..self }
    }

    /// TensorFlow's `SAME` for an image of that size: an output for each stride, and where the padding is odd, the larger part
    /// of it below and to the right. Set stride and dilation before.
    #[must_use]
    pub fn same_padding(self, (height, width): (usize, usize)) -> Self {
        let of = |axis: usize, len: usize| {
            let stride = self.stride[axis].max(1);
            let reach =
                (len.div_ceil(stride).max(1) - 1).saturating_mul(stride).saturating_add(self.extent(axis));
            let all = reach.saturating_sub(len);
            (all / 2, all - all / 2)
        };
        self.padding_each(of(0, height), of(1, width))
    }

    /// `(height, width)` of the output for an image of `(height, width)`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a size, stride or dilation of 0, and for an image that, with its padding, is smaller than
    /// the window; [`Error::SizeOverflow`].
    pub fn output_size(&self, image: (usize, usize)) -> Result<(usize, usize)> {
        Ok((self.output_len(0, image.0)?, self.output_len(1, image.1)?))
    }

    /// Refuses a size, stride or dilation of 0 along an axis.
    fn check_axis(&self, axis: usize) -> Result<()> {
        let name = AXES[axis];
        for (what, value) in [("size", self.size), ("stride", self.stride), ("dilation", self.dilation)] {
            if value[axis] == 0 {
                return Err(Error::out_of_range(
                    format!("{what} of the window along the {name}"),
                    0,
                    "at least 1",
                ));
            }
        }
        Ok(())
    }

    fn output_len(&self, axis: usize, len: usize) -> Result<usize> {
        self.check_axis(axis)?;
        let name = AXES[axis];
        let [before, after] = self.padding[axis];
        let overflow = || Error::SizeOverflow {
            argument: format!("{name} of x with its padding").into(),
            sizes: vec![len, before, after, self.size[axis], self.dilation[axis]],
        };
        let padded = len.checked_add(before).and_then(|len| len.checked_add(after)).ok_or_else(overflow)?;
        let extent =
            self.checked_extent(axis).filter(|_| padded <= isize::MAX as usize).ok_or_else(overflow)?;
        if padded < extent {
            let limit = format!("at least {extent} with its padding, as the window");
            return Err(Error::out_of_range(format!("the {name} of x"), len, limit));
        }
        Ok((padded - extent) / self.stride[axis] + 1)
    }

    /// From its first tap to its last.
    fn checked_extent(&self, axis: usize) -> Option<usize> {
        self.size[axis].saturating_sub(1).checked_mul(self.dilation[axis])?.checked_add(1)
    }

    fn extent(&self, axis: usize) -> usize {
        self.checked_extent(axis).unwrap_or(usize::MAX)
    }

    /// `(height, width)`, in taps.
    pub(super) fn size(&self) -> (usize, usize) {
        self.size.into()
    }

    /// How many taps it has: at least 1. Refuses a window that can move over no image at all.
    pub(super) fn taps(&self) -> Result<usize> {
        self.check_axis(0)?;
        self.check_axis(1)?;
        checked_product("size of the window", &self.size)
    }

    /// Whether it sees each pixel by itself.
    pub(super) fn is_pixel(&self) -> bool {
        self.size == [1, 1] && self.stride == [1, 1] && self.padding == [[0, 0], [0, 0]]
    }
}

/// Where a window begins: in which image, and where in that with its padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) image: usize,
    y: usize,
    x: usize,
}

/// A window and the images that it moves over. Sizes were checked: every product of them fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    window: Window,
    height: usize,
    width: usize,
    pub(super) channels: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

impl Geometry {
    pub(super) fn new(window: Window, (height, width): (usize, usize), channels: usize) -> Result<Self> {
        let (out_height, out_width) = window.output_size((height, width))?;
        checked_product("x", &[height, width, channels])?;
        checked_product("y", &[out_height, out_width])?;
        Ok(Geometry { window, height, width, channels, out_height, out_width })
    }

    /// Pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Outputs of an image.
    pub(super) fn outputs(&self) -> usize {
        self.out_height * self.out_width
    }

    /// The image that output `row` of all belongs to.
    pub(super) fn image_of(&self, row: usize) -> usize {
        row / self.outputs().max(1)
    }

    /// Where the window of output `row` of all begins.
    #[inline(always)]
    pub(super) fn start(&self, row: usize) -> Start {
        let (image, within) = (row / self.outputs().max(1), row % self.outputs().max(1));
        let (y, x) = (within / self.out_width.max(1), within % self.out_width.max(1));
        Start { image, y: y * self.window.stride[0], x: x * self.window.stride[1] }
    }

    /// How many pixels each tap is behind the first, where the whole window is within the image. Of a window that never is they
    /// mean nothing, and may be too many to count.
    #[inline(always)]
    pub(super) fn steps(&self, taps: &mut [usize]) {
        let [dilation_y, dilation_x] = self.window.dilation;
        for (ky, taps) in taps.chunks_mut(self.window.size[1].max(1)).take(self.window.size[0]).enumerate() {
            for (kx, tap) in taps.iter_mut().enumerate() {
                *tap = (ky * dilation_y).wrapping_mul(self.width).wrapping_add(kx * dilation_x);
            }
        }
    }

    /// The pixel of all images that the first tap sees, if the whole window is within its image.
    #[inline(always)]
    pub(super) fn first_pixel(&self, start: Start) -> Option<usize> {
        let reach = |axis: usize| (self.window.size[axis] - 1) * self.window.dilation[axis];
        let y = self.inside(0, start.y, self.height.saturating_sub(reach(0)))?;
        let x = self.inside(1, start.x, self.width.saturating_sub(reach(1)))?;
        Some((start.image * self.height + y) * self.width + x)
    }

    /// The pixel of all images that each tap sees; `outside` in the padding.
    #[inline(always)]
    pub(super) fn pixels_of(&self, start: Start, outside: usize, taps: &mut [usize]) {
        let first = start.image * self.height;
        for (ky, taps) in taps.chunks_mut(self.window.size[1].max(1)).take(self.window.size[0]).enumerate() {
            let line = self.inside(0, start.y + ky * self.window.dilation[0], self.height);
            for (kx, tap) in taps.iter_mut().enumerate() {
                let column = self.inside(1, start.x + kx * self.window.dilation[1], self.width);
                *tap = match (line, column) {
                    (Some(line), Some(column)) => (first + line) * self.width + column,
                    _ => outside,
                };
            }
        }
    }

    /// A place of the padded image as one of the image.
    #[inline(always)]
    fn inside(&self, axis: usize, place: usize, len: usize) -> Option<usize> {
        place.checked_sub(self.window.padding[axis][0]).filter(|&place| place < len)
    }

    /// Writes what the window of output `row` sees: `[ky][kx][channel]`, `zero` in the padding. `pixels` are those of all
    /// images, `[pixel][channel]`.
    #[inline(always)]
    pub(super) fn lower<T: Copy>(&self, row: usize, pixels: &[T], zero: T, out: &mut [T]) {
        let [size_y, size_x] = self.window.size;
        let line = size_x * self.channels;
        if line == 0 {
            return;
        }
        let Start { image, y, x } = self.start(row);
        for (ky, out) in out.chunks_exact_mut(line).take(size_y).enumerate() {
            let Some(y) = self.inside(0, y + ky * self.window.dilation[0], self.height) else {
                out.fill(zero);
                continue;
            };
            let first = (image * self.height + y) * self.width;
            if self.window.dilation[1] == 1 {
                // The taps of a line lie side by side in the image too: one copy, between what is in the padding.
                let before = self.window.padding[1][0].saturating_sub(x).min(size_x);
                let start = (x + before).saturating_sub(self.window.padding[1][0]).min(self.width);
                let seen = (size_x - before).min(self.width - start);
                let (left, rest) = out.split_at_mut(before * self.channels);
                let (middle, right) = rest.split_at_mut(seen * self.channels);
                left.fill(zero);
                right.fill(zero);
                let at = (first + start) * self.channels;
                if let Some(seen) = pixels.get(at..at + middle.len()) {
                    middle.copy_from_slice(seen);
                }
                continue;
            }
            for (kx, out) in out.chunks_exact_mut(self.channels).enumerate() {
                let x = self.inside(1, x + kx * self.window.dilation[1], self.width);
                let seen = x.and_then(|x| pixels.get((first + x) * self.channels..)?.get(..out.len()));
                match seen {
                    Some(seen) => out.copy_from_slice(seen),
                    None => out.fill(zero),
                }
            }
        }
    }

    /// What a window sees: taps times channels.
    pub(super) fn window_inputs(&self) -> usize {
        self.window.size[0] * self.window.size[1] * self.channels
    }

    pub(super) fn is_pixel(&self) -> bool {
        self.window.is_pixel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every window against the definition, tap by tap.
    #[test]
    fn lowering_is_what_each_tap_sees() {
        let channels = 2;
        for (height, width) in [(1, 1), (4, 3), (5, 7)] {
            let pixels: Vec<usize> = (0..2 * height * width * channels).map(|i| i + 1).collect();
            for size in [(1, 1), (2, 3), (3, 2)] {
                for stride in [(1, 1), (2, 3)] {
                    for dilation in [(1, 1), (2, 1), (1, 2), (3, 2)] {
                        for (rows, columns) in [((0, 0), (0, 0)), ((1, 2), (3, 0)), ((4, 4), (5, 5))] {
                            let window = Window::new(size)
                                .stride(stride)
                                .dilation(dilation)
                                .padding_each(rows, columns);
                            let Ok(geometry) = Geometry::new(window, (height, width), channels) else {
                                continue;
                            };
                            for row in 0..2 * geometry.outputs() {
                                let mut out = vec![usize::MAX; size.0 * size.1 * channels];
                                geometry.lower(row, &pixels, 0, &mut out);
                                let mut taps = vec![0; size.0 * size.1];
                                let start = geometry.start(row);
                                geometry.pixels_of(start, usize::MAX, &mut taps);
                                let first = geometry.first_pixel(start);
                                assert_eq!(first.is_some(), !taps.contains(&usize::MAX), "{window:?} {row}");
                                if let Some(first) = first {
                                    let mut steps = vec![0; taps.len()];
                                    geometry.steps(&mut steps);
                                    assert!(taps.iter().zip(&steps).all(|(tap, step)| *tap == first + step));
                                }
                                let mut found = out.chunks(channels);
                                for (ky, kx) in (0..size.0).flat_map(|ky| (0..size.1).map(move |kx| (ky, kx)))
                                {
                                    let (image, within) =
                                        (row / geometry.outputs(), row % geometry.outputs());
                                    let y =
                                        (within / geometry.out_width * stride.0 + ky * dilation.0) as isize;
                                    let x =
                                        (within % geometry.out_width * stride.1 + kx * dilation.1) as isize;
                                    let (y, x) = (y - rows.0 as isize, x - columns.0 as isize);
                                    let inside =
                                        (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                                    let pixel =
                                        inside.then(|| (image * height + y as usize) * width + x as usize);
                                    assert_eq!(
                                        taps[ky * size.1 + kx],
                                        pixel.unwrap_or(usize::MAX),
                                        "{window:?} {row}"
                                    );
                                    let expected = pixel.map_or([0; 2], |p| [2 * p + 1, 2 * p + 2]);
                                    assert_eq!(
                                        found.next(),
                                        Some(&expected[..]),
                                        "{window:?} {row} {ky} {kx}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_formula() {
        let window = Window::new((3, 3)).stride((2, 2));
        assert_eq!(window.same_padding((224, 224)).output_size((224, 224)), Ok((112, 112)));
        assert_eq!(window.same_padding((224, 224)), window.padding_each((0, 1), (0, 1)));
        assert_eq!(window.same_padding((225, 7)).output_size((225, 7)), Ok((113, 4)));
        assert_eq!(Window::new((3, 1)).dilation((2, 9)).output_size((5, 1)), Ok((1, 1)));
        assert!(Window::new((3, 1)).output_size((2, 1)).is_err());
        assert!(Window::new((0, 1)).output_size((2, 1)).is_err());
        assert!(Window::new((usize::MAX, 1)).dilation((usize::MAX, 1)).output_size((2, 1)).is_err());
        assert!(Window::new((1, 1)).padding((usize::MAX, 0)).output_size((2, 1)).is_err());
    }
}
