//! Loaded instances that do not rest: code may leave threads and timers behind that go on after its call was answered. They
//! would take the processors from everybody else for as long as the instance is kept.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vulcan_backend::Instance;

use super::{
    keeper::Pool,
    key::WarmKey,
    plan::Reason,
    warm::{Reading, Shared},
};

/// How often idle instances are looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// An instance that has been idle for less is left alone: it may be collecting garbage.
const IDLE_MIN: Duration = Duration::from_secs(2);
/// The most of one processor that an idle instance may take, in percent.
const BUSY_PERCENT_MAX: u32 = 20;
/// How many instances are looked at at most; the next look sees others, for those that were used since come last.
const LEN_MAX: usize = 64;

/// A loaded instance that is idle.
struct Suspect {
    key: WarmKey,
    serial: u64,
    instance: Arc<dyn Instance>,
    shared: Arc<Shared>,
    idle_since: Instant,
}

impl Pool {
    /// Stops loaded instances that use the processor though nobody calls them. To be called every [`EVERY`].
    pub(super) async fn audit(self: Arc<Self>) {
        for suspect in self.suspects(Instant::now()) {
            let before = suspect.shared.last();
            let after = Self::reading(suspect.instance.as_ref()).await;
            if let (Some(before), Some(after)) = (before, after) {
                self.judge(&suspect, before, Reading::now(after));
            }
        }
    }

    fn judge(self: &Arc<Self>, suspect: &Suspect, before: Reading, after: Reading) {
        let mut state = self.locked();
        let Some(known) = state.keys.get(&suspect.key) else {
            return;
        };
        let kind = known.kind;
        let entry = known.entries.iter().find(|entry| entry.serial == suspect.serial);
        // Where it was lent meanwhile, what it used is that call's.
        if entry.is_none_or(|entry| entry.calls > 0 || entry.idle_since != suspect.idle_since) {
            return;
        }
        if !is_restless(before, after) {
            // What it used while it rested is nobody's.
            suspect.shared.see(after);
            return;
        }
        state.take_entry(&suspect.key, suspect.serial);
        drop(state);
        let (isolation, runtime) = (kind.isolation.as_str(), kind.runtime.as_str());
        tracing::warn!(isolation, runtime, instance.id = %suspect.shared.id(), "idle instance used the processor");
        self.dismiss(kind, Arc::clone(&suspect.instance), Reason::Restless);
    }

    fn suspects(&self, now: Instant) -> Vec<Suspect> {
        let state = self.locked();
        let idle = state.keys.iter().flat_map(|(key, known)| {
            let entries = known.entries.iter().filter(|entry| entry.calls == 0);
            entries.map(move |entry| (*key, entry))
        });
        let mut suspects: Vec<Suspect> = idle
            .filter(|(_, entry)| now.duration_since(entry.idle_since) >= IDLE_MIN)
            .map(|(key, entry)| Suspect {
                key,
                serial: entry.serial,
                instance: Arc::clone(&entry.instance),
                shared: Arc::clone(&entry.shared),
                idle_since: entry.idle_since,
            })
            .collect();
        suspects.sort_by_key(|suspect| suspect.shared.last().map(|last| last.at));
        suspects.truncate(LEN_MAX);
        suspects
    }
}

/// Returns whether an idle instance used more of the processor than one may that rests.
fn is_restless(before: Reading, after: Reading) -> bool {
    let elapsed_ms = after.at.duration_since(before.at).as_secs_f64() * 1e3;
    let used_ms = after.usage.cpu_ms - before.usage.cpu_ms;
    used_ms > elapsed_ms * f64::from(BUSY_PERCENT_MAX) / 100.0
}

#[cfg(test)]
mod tests {
    use vulcan_api::Usage;

    use super::*;

    #[test]
    fn a_fifth_of_a_processor_is_no_rest() {
        let began = Instant::now();
        let reading = |cpu_ms, after_s| Reading {
            usage: Usage {
                cpu_ms,
                mem_peak_mb: None,
            },
            at: began + Duration::from_secs(after_s),
        };
        assert!(!is_restless(reading(100.0, 0), reading(1100.0, 5)));
        assert!(is_restless(reading(100.0, 0), reading(1101.0, 5)));
        assert!(!is_restless(reading(100.0, 0), reading(90.0, 5)));
    }
}
