//! How long things took, in little memory: exact to an eighth.

/// Counts of durations, by power of two and three more bits.
#[derive(Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    pub count: u64,
    /// ns.
    pub total: u64,
    /// ns.
    pub longest: u64,
}

const FINE: u32 = 3;

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        let index = index(ns);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.count += 1;
        self.total = self.total.saturating_add(ns);
        self.longest = self.longest.max(ns);
    }

    /// The duration, ns, that this share of all (0 to 1) did not exceed, at most an eighth more.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(index).min(self.longest);
            }
        }
        self.longest
    }
}

fn index(ns: u64) -> usize {
    let power = u64::BITS - ns.leading_zeros();
    if power <= FINE + 1 {
        return ns as usize;
    }
    let shift = power - FINE - 1;
    ((shift << FINE) as u64 + (ns >> shift)) as usize
}

/// The longest duration with this index.
fn highest(index: usize) -> u64 {
    if index < 2 << FINE {
        return index as u64;
    }
    let shift = (index >> FINE) as u32 - 1;
    let top = (index as u64) - (u64::from(shift) << FINE);
    // Wraps to the greatest number for the last index.
    ((top + 1).wrapping_shl(shift)).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_at_most_the_highest_of_its_index() {
        for power in 0..64 {
            for ns in [1 << power, (1 << power) + 1, u64::MAX >> (63 - power)] {
                let top = highest(index(ns));
                assert!(ns <= top && top - ns <= ns / 8, "{ns} {top}");
                assert!(index(top) == index(ns) && index(top.saturating_add(1)) >= index(ns));
            }
        }
        assert_eq!(highest(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles() {
        let mut durations = Histogram::default();
        assert_eq!(durations.quantile(0.5), 0);
        for ns in 1..=1000 {
            durations.add(ns * 1000);
        }
        let median = durations.quantile(0.5);
        assert!((500_000..=563_000).contains(&median), "{median}");
        assert_eq!(durations.quantile(1.0), 1_000_000);
        assert_eq!((durations.count, durations.longest), (1000, 1_000_000));
    }
}
