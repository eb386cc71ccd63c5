//! Random numbers that are the same on every machine: SplitMix64 (Steele, Lea and Flood, 2014).

/// A stream of random numbers.
pub struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed. Each use has its own, so that none disturbs another.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(seed);
        let start = random.bits() ^ stream;
        Random(start)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, which is small against 2^32.
    pub fn below(&mut self, limit: usize) -> usize {
        (((self.bits() >> 32) * limit as u64) >> 32) as usize
    }

    /// From `-limit` to `limit`, evenly.
    pub fn uniform(&mut self, limit: f32) -> f32 {
        // 24 bits are exact in an f32.
        ((self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0) * limit
    }

    /// Every order is as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
