//! When a kind whose refills fail is tried again.

use std::time::Duration;

use tokio::time::Instant;
use vulcan_api::Timestamp;

/// The pause after the first failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The failures of one kind since its last success.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    told: Option<String>,
}

impl Backoff {
    /// Notes a failure; `percent`, from 0 to 50, spreads pauses, so that kinds that failed together do not come back
    /// together. Returns the pause.
    pub(super) fn failed(&mut self, reason: &str, now: (Instant, Timestamp), percent: u32) -> Duration {
        let pause = PAUSE_MIN
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(PAUSE_MAX);
        let pause = pause * (75 + percent.min(50)) / 100;
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now.0 + pause);
        let millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let next = Timestamp::from_millis(now.1.as_millis().saturating_add(millis));
        let times = self.failures;
        self.told = Some(format!(
            "{reason}; failed {times} times in a row, tried next at {next}"
        ));
        pause
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Returns when it may be tried again; `None` while all is well.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Returns why nothing can be started ahead, and when it is tried next.
    pub(super) fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_ceiling_and_a_success_resets() {
        let (mut backoff, now) = (Backoff::default(), (Instant::now(), Timestamp::from_millis(0)));
        let pauses: Vec<f64> = (0..11)
            .map(|_| backoff.failed("no room", now, 25).as_secs_f64())
            .collect();
        assert_eq!(
            pauses,
            [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]
        );
        assert_eq!(
            backoff.told(),
            Some("no room; failed 11 times in a row, tried next at 1970-01-01T00:05:00.000Z")
        );
        for _ in 0..100 {
            assert!(backoff.failed("no room", now, 50) <= PAUSE_MAX * 5 / 4);
        }
        backoff.succeeded();
        assert_eq!((backoff.until(), backoff.told()), (None, None));
        assert_eq!(backoff.failed("no room", now, 0), Duration::from_millis(750));
    }
}
