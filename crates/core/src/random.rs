//! Counter-based random streams.
//!
//! Every random choice in Taper is drawn from a stream keyed by its purpose, never from a generator
//! with state. The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: *Parallel random
//! numbers: as easy as 1, 2, 3*, SC 2011), the one behind cuRAND and PyTorch on CUDA; it is tested
//! against the published known answers.
//!
//! A [`Key`] is made of a seed and a [`Purpose`]; [`Key::stream`] takes an epoch (or view) and a
//! sample (or tensor) index. Streams with different keys or indices are independent.

/// What a random stream is for. Different purposes never share numbers, even under the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose(u64);

impl Purpose {
    /// A purpose from its name, e.g. `"nn/dropout"`. Names are hashed (FNV-1a, 64 bits).
    pub const fn new(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            i += 1;
        }
        Self(hash)
    }
}

/// A seed together with a purpose: the key of a family of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u32; 2]);

impl Key {
    /// Combines a seed and a purpose.
    pub const fn new(seed: u64, purpose: Purpose) -> Self {
        let mixed = mix(mix(seed) ^ purpose.0);
        Self([mixed as u32, (mixed >> 32) as u32])
    }

    /// A key for a named part of this key's purpose, e.g. one layer of a network.
    pub const fn part(self, name: &str) -> Self {
        let own = (self.0[0] as u64) | ((self.0[1] as u64) << 32);
        Self::new(own, Purpose::new(name))
    }

    /// Its two words, for other implementations that draw the same numbers: [`Key::stream`]'s
    /// counter is (block, epoch, sample's lower half, its upper half).
    pub const fn words(self) -> [u32; 2] {
        self.0
    }

    /// The stream of one epoch (or view, or step) and one sample (or other index).
    pub const fn stream(self, epoch: u32, sample: u64) -> Stream {
        Stream {
            key: self.0,
            counter: [0, epoch, sample as u32, (sample >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }
}

/// SplitMix64's finalizer: a bijection on 64 bits whose output bits all depend on all input bits.
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Ten rounds of Philox4x32.
const fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let p0 = 0xd251_1f53u64 * counter[0] as u64;
        let p1 = 0xcd9e_8d57u64 * counter[2] as u64;
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        round += 1;
    }
    counter
}

/// Blocks that are computed side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

/// The blocks of `LANES` consecutive counters, word by word.
fn philox_lanes(counter: [u32; 4], mut key: [u32; 2]) -> [[u32; LANES]; 4] {
    let mut c: [[u32; LANES]; 4] = counter.map(|word| [word; LANES]);
    for (lane, word) in c[0].iter_mut().enumerate() {
        *word = word.wrapping_add(lane as u32);
    }
    for _ in 0..10 {
        let old = c;
        for lane in 0..LANES {
            let p0 = 0xd251_1f53u64 * u64::from(old[0][lane]);
            let p1 = 0xcd9e_8d57u64 * u64::from(old[2][lane]);
            c[0][lane] = (p1 >> 32) as u32 ^ old[1][lane] ^ key[0];
            c[1][lane] = p1 as u32;
            c[2][lane] = (p0 >> 32) as u32 ^ old[3][lane] ^ key[1];
            c[3][lane] = p0 as u32;
        }
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    c
}

/// One stream of random numbers. Cheap to make, never shared: draw what one sample needs, then drop
/// it.
///
/// Holds 2³² blocks of four 32-bit numbers.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform in [0, 1), 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// True with the given probability: never for 0, always for 1.
    pub fn bernoulli(&mut self, probability: f32) -> bool {
        self.uniform() < probability
    }

    /// As many calls of [`Stream::bernoulli`], several at a time: `yes` where it is true, `no`
    /// elsewhere.
    pub fn fill_bernoulli(&mut self, probability: f32, yes: f32, no: f32, out: &mut [f32]) {
        let mut rest = out;
        while self.used < 4 && !rest.is_empty() {
            rest[0] = if self.bernoulli(probability) { yes } else { no };
            rest = &mut rest[1..];
        }
        let threshold = bernoulli_threshold(probability);
        let mut chunks = rest.chunks_exact_mut(4 * LANES);
        for chunk in &mut chunks {
            let words = philox_lanes(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(LANES as u32);
            for (lane, block) in chunk.chunks_exact_mut(4).enumerate() {
                for (value, word) in block.iter_mut().zip(&words) {
                    *value = if (word[lane] >> 8) < threshold { yes } else { no };
                }
            }
        }
        for value in chunks.into_remainder() {
            *value = if self.bernoulli(probability) { yes } else { no };
        }
    }

    /// Standard normal (Box–Muller, one value per pair of uniforms).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.uniform())).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        (radius * angle.cos()) as f32
    }

    /// Uniform in 0…n − 1, without bias (Lemire 2019). `n` must not be 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a number below 0 does not exist");
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// Shuffles a slice (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// [`Stream::bernoulli`] is true if the 24 upper bits of its 32 lie below this: u / 2²⁴ < p without
/// division, since both sides times 2²⁴ are exact.
pub fn bernoulli_threshold(probability: f32) -> u32 {
    let all = (1u32 << 24) as f32;
    (probability * all).ceil().clamp(0.0, all) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `kat_vectors` of Random123 1.14 (the paper's authors).
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_seed_purpose_epoch_and_sample() {
        let first = |seed, purpose, epoch, sample| {
            Key::new(seed, Purpose::new(purpose)).stream(epoch, sample).next_u64()
        };
        let all = [
            first(0, "a", 0, 0),
            first(1, "a", 0, 0),
            first(0, "b", 0, 0),
            first(0, "a", 1, 0),
            first(0, "a", 0, 1),
            first(0, "a", 0, 1 << 32),
            Key::new(0, Purpose::new("a")).part("fc").stream(0, 0).next_u64(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(first(7, "x", 3, 9), first(7, "x", 3, 9));
    }

    #[test]
    fn many_at_a_time_are_the_same_numbers() {
        for p in [0.0, 1e-7, 0.2, 0.5, 0.999, 1.0] {
            for (skip, n) in [(0, 0), (0, 1), (1, 200), (3, 32), (4, 35), (5, 4096)] {
                let mut one = Key::new(5, Purpose::new("fill")).stream(2, 3);
                // A counter that overflows within a group of lanes.
                one.counter[0] = u32::MAX - 9;
                let mut many = one.clone();
                for _ in 0..skip {
                    assert_eq!(one.next_u32(), many.next_u32());
                }
                let mut out = vec![9.0; n];
                many.fill_bernoulli(p, 0.0, 2.0, &mut out);
                assert!(out.iter().all(|v| *v == if one.bernoulli(p) { 0.0 } else { 2.0 }));
                assert_eq!(one.next_u32(), many.next_u32());
            }
        }
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut stream = Key::new(1, Purpose::new("moments")).stream(0, 0);
        let n = 100_000;
        let (mut sum, mut squares, mut normal_sum, mut normal_squares) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            let u = f64::from(stream.uniform());
            assert!((0.0..1.0).contains(&u));
            sum += u;
            squares += u * u;
            let z = f64::from(stream.normal());
            assert!(z.is_finite());
            normal_sum += z;
            normal_squares += z * z;
        }
        let n = f64::from(n);
        assert!((sum / n - 0.5).abs() < 0.005);
        assert!((squares / n - 1.0 / 3.0).abs() < 0.005);
        assert!((normal_sum / n).abs() < 0.02);
        assert!((normal_squares / n - 1.0).abs() < 0.02);
    }

    #[test]
    fn below_is_uniform_and_shuffle_is_a_permutation() {
        let mut stream = Key::new(2, Purpose::new("below")).stream(0, 0);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[stream.below(3) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_600..10_400).contains(c)), "{counts:?}");
        let mut items: Vec<u32> = (0..100).collect();
        stream.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
