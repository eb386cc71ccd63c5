//! The built-in handwritten digits, and the fifth of them that no decision may look at.

use ndarray::{Array2, ArrayView2, Axis};

/// Real digits, from the UCI "Optical Recognition of Handwritten Digits" set; see `examples/data/README.md`.
const DIGITS: &str = include_str!("../data/digits.csv");

/// Pixels of an image: the inputs of the network.
pub const PIXELS: usize = 8 * 8;
/// The digits: the outputs of the network.
pub const CLASSES: usize = 10;

/// Images and what they show.
pub struct Digits {
    /// `[images, PIXELS]`, from 0 (paper) to 1 (ink).
    pub images: Array2<f32>,
    /// One digit an image.
    pub labels: Vec<usize>,
}

/// The digits to learn from, and those held out: every fifth image, counted digit by digit.
///
/// So the split is the same for every seed, and each digit has its share of both parts.
pub fn load() -> Result<(Digits, Digits), String> {
    let mut rows = Vec::new();
    for (index, line) in DIGITS.lines().enumerate() {
        rows.push(parse(line).ok_or_else(|| format!("digits.csv, line {}: {line:?}", index + 1))?);
    }
    rows.sort_by_key(|&(_, label)| label); // stable: within a digit, the order of the file
    let (held_out, training) = rows.iter().enumerate().partition(|(index, _)| index % 5 == 4);
    Ok((Digits::new(training)?, Digits::new(held_out)?))
}

impl Digits {
    fn new(rows: Vec<(usize, &([f32; PIXELS], usize))>) -> Result<Self, String> {
        let pixels = rows.iter().flat_map(|(_, (pixels, _))| pixels.iter().map(|ink| ink / 16.0)).collect();
        let images =
            Array2::from_shape_vec((rows.len(), PIXELS), pixels).map_err(|error| error.to_string())?;
        Ok(Digits { images, labels: rows.iter().map(|&(_, &(_, label))| label).collect() })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images with these indices, and what they show.
    pub fn batch(&self, indices: &[usize]) -> (Array2<f32>, Vec<usize>) {
        let labels = indices.iter().map(|&index| self.labels[index]);
        (self.images.select(Axis(0), indices), labels.collect())
    }

    /// All images in order, at most `size` at a time, and what they show.
    pub fn batches(&self, size: usize) -> impl Iterator<Item = (ArrayView2<'_, f32>, &[usize])> {
        self.images.axis_chunks_iter(Axis(0), size).zip(self.labels.chunks(size))
    }
}

/// 64 pixels from 0 to 16, then the label.
fn parse(line: &str) -> Option<([f32; PIXELS], usize)> {
    let mut fields = line.split(',').map(|field| field.trim().parse::<u8>().ok());
    let mut pixels = [0.0; PIXELS];
    for pixel in &mut pixels {
        *pixel = fields.next()?.filter(|&ink| ink <= 16)?.into();
    }
    let label = fields.next()?.map(usize::from).filter(|&label| label < CLASSES)?;
    fields.next().is_none().then_some((pixels, label))
}
