//! How often something is asked for: a rate that decays.

use std::time::Duration;

use tokio::time::Instant;

/// After this long a request counts half.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// How often something was asked for lately. A request counts 1 when it comes, and less with every moment after.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    weight: f64,
    last: Option<Instant>,
}

impl Demand {
    /// Counts a request.
    pub(super) fn note(&mut self, now: Instant) {
        self.weight = self.weight(now) + 1.0;
        self.last = Some(now);
    }

    /// Returns how many requests count now.
    pub(super) fn weight(&self, now: Instant) -> f64 {
        let age = self.last.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.weight * (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }

    /// Returns when the last request came.
    pub(super) const fn last(&self) -> Option<Instant> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_half_after_the_half_life() {
        let (mut demand, now) = (Demand::default(), Instant::now());
        assert_eq!(demand.weight(now), 0.0);
        demand.note(now);
        demand.note(now);
        assert_eq!(demand.weight(now), 2.0);
        assert_eq!(demand.weight(now + HALF_LIFE), 1.0);
        assert!(demand.weight(now + HALF_LIFE * 20) < 1e-5);
        assert_eq!(demand.last(), Some(now));
    }
}
