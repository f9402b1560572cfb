//! Processor time: what the programs of one instance used, and when they have to wait because of it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The window in which a share of a processor is given, as control groups have it.
const PERIOD: Duration = Duration::from_millis(100);

/// Counts the processor time of an instance's programs.
#[derive(Debug)]
pub(crate) struct Meter {
    used_ns: AtomicU64,
    /// How much may be used in a period; `None` where a program cannot use more anyway.
    share: Option<Share>,
}

#[derive(Debug)]
struct Share {
    per_period: Duration,
    period: Mutex<Period>,
}

#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    used_before: Duration,
}

impl Meter {
    /// Makes one for so many processors.
    pub(crate) fn new(cpus: f64) -> Self {
        let share = (cpus < 1.0).then(|| Share {
            per_period: PERIOD.mul_f64(cpus.max(0.0)),
            period: Mutex::new(Period {
                began: Instant::now(),
                used_before: Duration::ZERO,
            }),
        });
        Self {
            used_ns: AtomicU64::new(0),
            share,
        }
    }

    /// Returns what was used until now, but for the slice that is running.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    /// Returns how long a program has to wait before it may go on; `None` where it may at once.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let share = self.share.as_ref()?;
        let mut period = share.period.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, used) = (Instant::now(), self.used());
        let elapsed = now.duration_since(period.began);
        if elapsed >= PERIOD {
            *period = Period {
                began: now,
                used_before: used,
            };
            return None;
        }
        (used.saturating_sub(period.used_before) >= share.per_period).then(|| PERIOD - elapsed)
    }

    fn add(&self, used: Duration) {
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.used_ns.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// A future whose processor time is counted, slice by slice.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, future: F) -> Self {
        Self {
            future: Box::pin(future),
            meter,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_time();
        let polled = self.future.as_mut().poll(context);
        self.meter.add(thread_time().saturating_sub(before));
        polled
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_given_in_every_period_anew() {
        let meter = Meter::new(0.25);

        meter.add(Duration::from_millis(24));
        assert_eq!(meter.pause(), None);
        meter.add(Duration::from_millis(1));
        assert_eq!(meter.pause(), Some(PERIOD));

        tokio::time::advance(PERIOD).await;
        assert_eq!(meter.pause(), None);
        meter.add(Duration::from_millis(25));
        tokio::time::advance(Duration::from_millis(40)).await;
        assert_eq!(meter.pause(), Some(Duration::from_millis(60)));
    }

    #[test]
    fn a_whole_processor_is_never_held_up() {
        let meter = Meter::new(1.0);
        meter.add(Duration::from_secs(100));
        assert_eq!(meter.pause(), None);
    }
}
