//! What a workload has of an instance, and what becomes of the instance afterwards.

use std::{num::NonZeroU16, sync::Arc};

use vulcan_api::{InstanceId, StartKind, Usage};
use vulcan_backend::{Instance, InvokeMode};

use crate::pool::{After, Lease, Ready, Running, Seat};

/// What a workload has of an instance.
pub(super) struct Tenancy {
    pub(super) instance: Arc<dyn Instance>,
    pub(super) id: InstanceId,
    /// Where it came from.
    pub(super) start: StartKind,
    /// How its program is called.
    pub(super) mode: InvokeMode,
    /// What the instance had used before.
    before: Option<Usage>,
    tie: Tie,
    /// Idle refills wait while workloads run.
    _running: Running,
}

/// Who else has to do with the instance.
pub(super) enum Tie {
    /// Nobody: it is stopped afterwards.
    Alone,
    /// The pool will have it, once it has loaded the code.
    Seat(Seat),
    /// The pool lent it.
    Lease(Lease),
}

impl Tenancy {
    /// Has a fresh instance.
    pub(super) fn fresh(
        ready: Ready,
        start: StartKind,
        seat: Option<(Seat, InvokeMode)>,
        running: Running,
    ) -> Self {
        let (tie, mode) = match seat {
            Some((seat, mode)) => (Tie::Seat(seat), mode),
            None => (Tie::Alone, InvokeMode::Once),
        };
        Self {
            instance: ready.instance,
            id: ready.id,
            start,
            mode,
            before: ready.usage,
            tie,
            _running: running,
        }
    }

    /// Has a call in a loaded instance.
    pub(super) fn lent(mut lease: Lease, mode: InvokeMode, running: Running) -> Self {
        Self {
            instance: lease.instance(),
            id: lease.id(),
            start: if mode == InvokeMode::Forked {
                StartKind::Forked
            } else {
                StartKind::Warm
            },
            mode,
            before: None,
            tie: Tie::Lease(lease),
            _running: running,
        }
    }

    /// Returns what the workload used, of a reading of its instance. To be called once.
    pub(super) fn charge(&mut self, reading: Option<Usage>) -> Option<Usage> {
        if let Tie::Lease(lease) = &self.tie {
            return lease.charge(reading);
        }
        let before = self.before.map_or(0.0, |before| before.cpu_ms);
        self.before = reading;
        reading.map(|usage| Usage {
            cpu_ms: (usage.cpu_ms - before).max(0.0),
            ..usage
        })
    }

    /// Returns why the instance ended, where another call in it was the reason.
    pub(super) fn fate(&self) -> Option<&'static str> {
        match &self.tie {
            Tie::Lease(lease) => lease.fate(),
            Tie::Alone | Tie::Seat(_) => None,
        }
    }

    /// Keeps the instance from serving any further call, before it is stopped because of this one.
    pub(super) fn retire(&self, why: &'static str) {
        if let Tie::Lease(lease) = &self.tie {
            lease.retire(why);
        }
    }

    /// Says that the instance is stopped.
    pub(super) const fn gone(&mut self) {
        if let Tie::Lease(lease) = &mut self.tie {
            lease.gone();
        }
    }

    /// Gives the instance to the pool, if it is `reusable` and the pool takes it.
    pub(super) fn end(self, reusable: Option<NonZeroU16>) -> After {
        match self.tie {
            Tie::Alone => After::Stop,
            Tie::Lease(lease) => lease.end(reusable),
            Tie::Seat(seat) => {
                let Some(calls_max) = reusable else {
                    return After::Stop;
                };
                let ready = Ready {
                    instance: self.instance,
                    id: self.id,
                    usage: self.before,
                };
                if seat.fill(&ready, calls_max) {
                    After::Kept
                } else {
                    After::Stop
                }
            }
        }
    }
}
