//! Numbers from many runs.

use serde::Serialize;

/// Milliseconds of many runs of one thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

/// What is told of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many runs.
    pub(crate) runs: usize,
    /// The fastest, in milliseconds.
    pub(crate) min_ms: f64,
    /// The median.
    pub(crate) p50_ms: f64,
    /// The 99th percentile.
    pub(crate) p99_ms: f64,
}

impl Sample {
    /// Adds one run.
    pub(crate) fn push(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    /// Adds all runs of another sample.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the value below which `share` of the runs lie (nearest rank); 0 without a run.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (0..sorted.len()).find(|rank| to_f64(rank + 1) >= share * to_f64(sorted.len()));
        rank.and_then(|rank| sorted.get(rank)).copied().unwrap_or(0.0)
    }

    /// Returns the median.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    /// Returns the summary.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            runs: self.0.len(),
            min_ms: self.percentile(0.0),
            p50_ms: self.median(),
            p99_ms: self.percentile(0.99),
        }
    }
}

/// Counts are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) const fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let mut sample = Sample::default();
        for value in (1..=200).rev() {
            sample.push(f64::from(value));
        }
        let expected = Summary {
            runs: 200,
            min_ms: 1.0,
            p50_ms: 100.0,
            p99_ms: 198.0,
        };
        assert_eq!(sample.summary(), expected);
    }

    #[test]
    fn no_run_is_zero() {
        assert_eq!(Sample::default().percentile(0.5), 0.0);
    }
}
