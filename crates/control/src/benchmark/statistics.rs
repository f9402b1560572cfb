//! Numbers from many runs: pure.

use vulcan_api::Spread;

/// Returns the nearest-rank percentile of sorted values: the smallest one that at least `percent` of a hundred do not exceed.
pub(super) fn nearest_rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Returns what is told of values in milliseconds; `None` where there are none.
pub(super) fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    Some(Spread {
        samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        min_ms: *sorted.first()?,
        p50_ms: nearest_rank(&sorted, 50)?,
        p99_ms: nearest_rank(&sorted, 99)?,
    })
}

/// Returns the median; `None` where there are no values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    nearest_rank(&sorted(values), 50)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank_whatever_the_order() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let expected = Spread {
            samples: 200,
            min_ms: 1.0,
            p50_ms: 100.0,
            p99_ms: 198.0,
        };
        assert_eq!(spread(&values), Some(expected));
    }

    #[test]
    fn of_few_values_the_99th_percentile_is_the_largest() {
        assert_eq!(nearest_rank(&[1.0, 2.0, 30.0], 99), Some(30.0));
        assert_eq!(nearest_rank(&[1.0, 2.0], 50), Some(1.0));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn no_value_has_no_percentile() {
        assert_eq!(spread(&[]), None);
        assert_eq!(median(&[]), None);
    }
}
