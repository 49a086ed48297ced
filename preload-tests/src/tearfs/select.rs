//! Which occasions to misbehave a mode takes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts occasions over the whole mount and picks from them; all conditions must hold.
pub struct Selector {
    every: u64,
    first: Option<u64>,
    probability: f64,
    seed: u64,
    occasions: AtomicU64,
}

impl Selector {
    /// Takes each `every`th of the `first` occasions (of all, if `None`), each with
    /// `probability`, in a way that depends on nothing but the seed and its number.
    pub fn new(every: u64, first: Option<u64>, probability: Option<f64>, seed: u64) -> Self {
        Self {
            every,
            first,
            probability: probability.unwrap_or(1.0),
            seed,
            occasions: AtomicU64::new(0),
        }
    }

    /// Whether this occasion is taken.
    pub fn take(&self) -> bool {
        let number = self.occasions.fetch_add(1, Ordering::Relaxed) + 1;
        number.is_multiple_of(self.every)
            && self.first.is_none_or(|first| number <= first)
            && (self.probability >= 1.0 || unit(self.seed ^ number) < self.probability)
    }
}

/// A number in [0, 1) made of `seed` (splitmix64).
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(selector: &Selector, occasions: usize) -> Vec<usize> {
        (1..=occasions).filter(|_| selector.take()).collect()
    }

    #[test]
    fn by_default_every_occasion_is_taken() {
        let all = Selector::new(1, None, None, 0);
        assert_eq!(taken(&all, 4), [1, 2, 3, 4]);
    }

    #[test]
    fn every_and_first_restrict_together() {
        assert_eq!(taken(&Selector::new(3, None, None, 0), 9), [3, 6, 9]);
        assert_eq!(taken(&Selector::new(1, Some(2), None, 0), 9), [1, 2]);
        assert_eq!(taken(&Selector::new(2, Some(5), None, 0), 9), [2, 4]);
    }

    #[test]
    fn chance_is_repeatable_and_about_right() {
        let run = |seed| taken(&Selector::new(1, None, Some(0.25), seed), 10_000);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!((2_300..2_700).contains(&run(1).len()));
        assert!(run(7).len() != 10_000);
        assert!(taken(&Selector::new(1, None, Some(0.0), 1), 1000).is_empty());
    }
}
