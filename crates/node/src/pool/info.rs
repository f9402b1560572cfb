//! What the pools say about themselves.

use std::collections::BTreeMap;

use tokio::time::Instant;
use vulcan_api::{IsolationClass, PoolInfo, Runtime};

use super::{keeper::Pool, plan};

impl Pool {
    /// Returns what is kept ready of a class, one entry per runtime and memory limit.
    pub(crate) fn infos(&self, isolation: IsolationClass) -> Vec<PoolInfo> {
        let now = Instant::now();
        let mut infos: BTreeMap<(Runtime, u32), PoolInfo> = BTreeMap::new();
        let mut state = self.locked();
        for (kind, known) in &mut state.kinds {
            let view = known.view(0, now);
            let wanted = plan::wanted(&view, &self.bounds, now);
            let failing = known.backoff.told().map(str::to_owned);
            if kind.isolation != isolation || (wanted == 0 && known.idle.is_empty() && failing.is_none()) {
                continue;
            }
            let info = infos
                .entry((kind.runtime, kind.size.mem_mb))
                .or_insert_with(|| empty(kind.runtime, kind.size.mem_mb));
            info.blank += u32::try_from(known.idle.len()).unwrap_or(u32::MAX);
            info.blank_wanted += wanted;
            info.failing = failing.or(info.failing.take());
        }
        for known in state
            .keys
            .values()
            .filter(|known| known.kind.isolation == isolation)
        {
            let warm = known.entries.iter().filter(|entry| entry.calls == 0).count();
            if warm > 0 {
                let info = infos
                    .entry((known.kind.runtime, known.mem_mb))
                    .or_insert_with(|| empty(known.kind.runtime, known.mem_mb));
                info.warm += u32::try_from(warm).unwrap_or(u32::MAX);
            }
        }
        infos.into_values().collect()
    }
}

const fn empty(runtime: Runtime, mem_mb: u32) -> PoolInfo {
    PoolInfo {
        runtime,
        mem_mb,
        blank: 0,
        blank_wanted: 0,
        warm: 0,
        failing: None,
    }
}
