//! What is started ahead and what is stopped: a pure function of what there is.
//!
//! Who goes first when memory is short, in this order: what is larger than the whole budget; blank instances beyond what is
//! wanted; loaded instances, the least recently used first; blank instances that are wanted. A loaded instance is worth more
//! to its owner than a blank one, but to that owner alone, and blank ones serve everybody, the next load included. So that neither
//! starves the other, blank instances take at most half of the budget.

use std::{cmp::Reverse, time::Duration};

use tokio::time::Instant;

/// How many recent requests one blank instance is kept for.
const ASKS_PER_BLANK: f64 = 8.0;
/// A kind that is not kept always gets its first blank instance when more requests than this count: the second one soon
/// after the first, so that sizes that are asked for once cost nothing.
const ASKS_MIN: f64 = 1.0;
/// A request this long ago asks for a refill at once; without, a refill waits until the node is quiet.
const RECENT: Duration = Duration::from_secs(1);
/// How often memory and idle times are looked at while anything is kept.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether the node is quiet.
const QUIET_TICK: Duration = Duration::from_millis(100);

/// The bounds of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// What all idle instances together may take, in bytes.
    pub(super) budget: u64,
    /// The most idle instances.
    pub(super) idle_max: usize,
    pub(super) blank_max: u32,
    pub(super) blank_idle: Duration,
    pub(super) warm_idle: Duration,
    /// The most refills at once.
    pub(super) refills_max: u32,
    /// Processors.
    pub(super) cpus: u32,
}

/// What there is.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) now: Instant,
    /// How much more memory should be available than is, in bytes.
    pub(super) shortfall: u64,
    /// How many workloads have an instance now.
    pub(super) running: u32,
    pub(super) kinds: Vec<KindView>,
    /// Loaded instances without a call.
    pub(super) warm: Vec<Idle>,
}

/// One kind of blank instances.
#[derive(Debug, Clone, Default)]
pub(super) struct KindView {
    /// How many are kept however little it is asked for.
    pub(super) minimum: u32,
    /// How many recent requests count: [`super::demand::Demand`].
    pub(super) weight: f64,
    pub(super) asked_at: Option<Instant>,
    pub(super) idle: Vec<Idle>,
    /// How many are being started.
    pub(super) refilling: u32,
    /// How many workloads wait for those.
    pub(super) joined: u32,
    /// What one more will take, in bytes.
    pub(super) estimate: u64,
    /// Refills fail until then.
    pub(super) retry_at: Option<Instant>,
}

/// One idle instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) serial: u64,
    pub(super) since: Instant,
    pub(super) bytes: u64,
}

/// Why an idle instance is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Nobody asked for it for a while.
    Idle,
    /// Idle instances took more than their part of memory.
    Budget,
    /// The machine has little memory left.
    Pressure,
    /// It ended by itself.
    Died,
    /// It used the processor though nobody called it.
    Restless,
    /// Its backend had no room for another one.
    Exhausted,
    /// The node takes no more workloads.
    Closed,
}

impl Reason {
    /// Returns the label's value.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Budget => "budget",
            Self::Pressure => "pressure",
            Self::Died => "died",
            Self::Restless => "restless",
            Self::Exhausted => "exhausted",
            Self::Closed => "closed",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Plan {
    /// Which kinds to start one more of, by their place in the view.
    pub(super) refill: Vec<usize>,
    /// Which idle instances to stop.
    pub(super) stop: Vec<(u64, Reason)>,
    /// When to look again without being asked; `None` when there is nothing to look at.
    pub(super) look_at: Option<Instant>,
}

/// Returns how many blank instances of a kind there are to be.
pub(super) fn wanted(kind: &KindView, bounds: &Bounds, now: Instant) -> u32 {
    let is_forgotten = kind
        .asked_at
        .is_none_or(|asked_at| now.duration_since(asked_at) >= bounds.blank_idle);
    if is_forgotten || kind.weight <= ASKS_MIN {
        return kind.minimum;
    }
    // The weight is finite and not negative, and a cast saturates.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates at the bound's side"
    )]
    let learned = (kind.weight / ASKS_PER_BLANK).ceil() as u32;
    learned.min(bounds.blank_max).max(kind.minimum)
}

/// Decides what to do now.
pub(super) fn plan(view: &View, bounds: &Bounds) -> Plan {
    let mut draft = Draft::new(view, bounds);
    draft.stop_unused();
    draft.make_room(0, 0, Rank::Wanted);
    if view.shortfall == 0 {
        draft.refill_all();
    }
    draft.finish()
}

/// Who goes first when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Oversize,
    Surplus,
    Warm,
    Wanted,
}

struct Candidate {
    rank: Rank,
    idle: Idle,
    kind: Option<usize>,
}

/// A plan in the making, with what is left when it is carried out.
struct Draft<'a> {
    view: &'a View,
    bounds: &'a Bounds,
    wanted: Vec<u32>,
    /// Idle instances that stay, the first to go at the end.
    staying: Vec<Candidate>,
    bytes: u64,
    blank_bytes: u64,
    freed: u64,
    refilling: Vec<u32>,
    is_waiting_for_quiet: bool,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(view: &'a View, bounds: &'a Bounds) -> Self {
        let wanted: Vec<u32> = view
            .kinds
            .iter()
            .map(|kind| wanted(kind, bounds, view.now))
            .collect();
        let mut staying: Vec<Candidate> = view
            .warm
            .iter()
            .map(|idle| candidate(Rank::Warm, idle, None, bounds))
            .collect();
        for (at, kind) in view.kinds.iter().enumerate() {
            let mut idle = kind.idle.clone();
            idle.sort_unstable_by_key(|idle| Reverse((idle.since, idle.serial)));
            let kept = wanted[at] as usize;
            let rank = |place| if place < kept { Rank::Wanted } else { Rank::Surplus };
            staying.extend(
                idle.iter()
                    .enumerate()
                    .map(|(place, idle)| candidate(rank(place), idle, Some(at), bounds)),
            );
        }
        staying.sort_unstable_by_key(|one| Reverse((one.rank, one.idle.since, one.idle.serial)));
        let sum = |is_counted: fn(&Candidate) -> bool| {
            let counted = staying.iter().filter(|one| is_counted(one));
            counted.map(|one| one.idle.bytes).fold(0, u64::saturating_add)
        };
        let coming = |kind: &KindView| u64::from(kind.refilling).saturating_mul(kind.estimate);
        let coming = view.kinds.iter().map(coming).fold(0, u64::saturating_add);
        Self {
            bytes: sum(|_| true),
            blank_bytes: sum(|one| one.kind.is_some()).saturating_add(coming),
            freed: 0,
            refilling: view.kinds.iter().map(|kind| kind.refilling).collect(),
            is_waiting_for_quiet: false,
            plan: Plan::default(),
            view,
            bounds,
            wanted,
            staying,
        }
    }

    fn stop(&mut self, one: &Candidate, reason: Reason) {
        self.bytes -= one.idle.bytes;
        if one.kind.is_some() {
            self.blank_bytes -= one.idle.bytes;
        }
        self.freed = self.freed.saturating_add(one.idle.bytes);
        self.plan.stop.push((one.idle.serial, reason));
    }

    /// Stops what nobody asked for in its time.
    fn stop_unused(&mut self) {
        let (now, bounds, view) = (self.view.now, self.bounds, self.view);
        let is_forgotten = |at: usize| {
            let asked_at = view.kinds[at].asked_at;
            asked_at.is_none_or(|asked_at| now.duration_since(asked_at) >= bounds.blank_idle)
        };
        let is_unused = |one: &Candidate| match one.kind {
            Some(at) => one.rank < Rank::Warm && is_forgotten(at),
            None => now.duration_since(one.idle.since) >= bounds.warm_idle,
        };
        let (unused, staying): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.staying).into_iter().partition(is_unused);
        self.staying = staying;
        for one in &unused {
            self.stop(one, Reason::Idle);
        }
    }

    /// Stops idle instances up to a rank until there is room for `bytes` and `count` more; says whether there is.
    fn make_room(&mut self, bytes: u64, count: usize, up_to: Rank) -> bool {
        loop {
            let is_pressed = self.freed < self.view.shortfall;
            let is_over = self.bytes.saturating_add(bytes) > self.bounds.budget
                || self.staying.len() + count > self.bounds.idle_max;
            if !is_pressed && !is_over {
                return true;
            }
            match self.staying.pop() {
                Some(one) if one.rank <= up_to => {
                    let reason = if is_over { Reason::Budget } else { Reason::Pressure };
                    self.stop(&one, reason);
                }
                Some(one) => {
                    self.staying.push(one);
                    return false;
                }
                None => return false,
            }
        }
    }

    /// Starts what is missing, the most wanted first.
    fn refill_all(&mut self) {
        let mut order: Vec<usize> = (0..self.view.kinds.len()).collect();
        order.sort_by(|a, b| {
            let kind = |at: usize| &self.view.kinds[at];
            kind(*b).weight.total_cmp(&kind(*a).weight).then(a.cmp(b))
        });
        // Round by round, so that every kind has one before any has two.
        let rounds = self.wanted.iter().copied().max().unwrap_or(0);
        for have in 0..rounds {
            for at in &order {
                if self.have(*at) == have {
                    self.refill(*at);
                }
            }
        }
    }

    /// Returns how many blank instances of a kind stay or come without being promised to a workload.
    fn have(&self, at: usize) -> u32 {
        let idle = self.staying.iter().filter(|one| one.kind == Some(at)).count();
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        idle.saturating_add(self.refilling[at].saturating_sub(self.view.kinds[at].joined))
    }

    fn refill(&mut self, at: usize) {
        let (kind, now) = (&self.view.kinds[at], self.view.now);
        let in_flight: u32 = self.refilling.iter().sum();
        if self.have(at) >= self.wanted[at]
            || in_flight >= self.bounds.refills_max
            || kind.retry_at.is_some_and(|retry_at| retry_at > now)
        {
            return;
        }
        let is_recent = kind
            .asked_at
            .is_some_and(|asked_at| now.duration_since(asked_at) < RECENT);
        if !is_recent && (in_flight > 0 || self.view.running >= self.bounds.cpus) {
            self.is_waiting_for_quiet = true;
            return;
        }
        let blank_bytes = self.blank_bytes.saturating_add(kind.estimate);
        if blank_bytes > self.bounds.budget / 2 {
            return;
        }
        // Coming ones are counted with their estimates, for they will be there.
        let coming = self.coming().saturating_add(kind.estimate);
        if !self.make_room(coming, in_flight as usize + 1, Rank::Warm) {
            return;
        }
        self.blank_bytes = blank_bytes;
        self.refilling[at] += 1;
        self.plan.refill.push(at);
    }

    fn coming(&self) -> u64 {
        let each = self.refilling.iter().zip(&self.view.kinds);
        each.map(|(count, kind)| u64::from(*count).saturating_mul(kind.estimate))
            .fold(0, u64::saturating_add)
    }

    fn finish(mut self) -> Plan {
        let now = self.view.now;
        let is_anything_kept = !self.staying.is_empty() || !self.plan.stop.is_empty();
        let is_anything_known = self
            .view
            .kinds
            .iter()
            .any(|kind| kind.minimum > 0 || kind.asked_at.is_some());
        let retries = self.view.kinds.iter().filter_map(|kind| kind.retry_at);
        let tick = (is_anything_kept || is_anything_known || self.view.shortfall > 0).then_some(now + TICK);
        let quiet = self.is_waiting_for_quiet.then_some(now + QUIET_TICK);
        self.plan.look_at = retries
            .filter(|retry_at| *retry_at > now)
            .chain(tick)
            .chain(quiet)
            .min();
        self.plan
    }
}

fn candidate(rank: Rank, idle: &Idle, kind: Option<usize>, bounds: &Bounds) -> Candidate {
    let rank = if idle.bytes > bounds.budget {
        Rank::Oversize
    } else {
        rank
    };
    Candidate {
        rank,
        idle: *idle,
        kind,
    }
}

#[cfg(test)]
mod tests;
