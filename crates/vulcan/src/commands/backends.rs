//! `vulcan backends`: lists what can isolate, and whether it is ready.

use vulcan_api::{BackendInfo, BackendList, PoolInfo, Readiness};

use super::{Context, missing::Missing};
use crate::{
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Table,
};

pub(super) async fn run(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let list = client
        .backends()
        .await
        .map_err(|error| Failure::client("list the backends", &error))?;
    if context.global.json {
        context.terminal.print_json(&list)?;
    } else {
        context.terminal.print_table(table(&list.backends))?;
    }
    Ok(Exit::OK)
}

fn table(backends: &[BackendInfo]) -> Table {
    let mut table = Table::new(&["ISOLATION", "NODE", "STATE", "RUNTIMES", "KEPT READY", "WHY"]);
    for backend in backends {
        let runtimes: Vec<&str> = backend
            .runtimes
            .iter()
            .filter(|info| info.available)
            .map(|info| info.runtime.as_str())
            .collect();
        table.row([
            backend.isolation.to_string(),
            backend.node.to_string(),
            state(&backend.readiness).to_owned(),
            runtimes.join(", "),
            backend
                .pools
                .iter()
                .filter_map(kept)
                .collect::<Vec<_>>()
                .join(", "),
            why(backend),
        ]);
    }
    table
}

/// Returns what is kept ready for a runtime: `python 128MiB: 2/2 blank + 1 warm`.
fn kept(pool: &PoolInfo) -> Option<String> {
    let blank = (pool.blank > 0 || pool.blank_wanted > 0)
        .then(|| format!("{}/{} blank", pool.blank, pool.blank_wanted));
    let warm = (pool.warm > 0).then(|| format!("{} warm", pool.warm));
    let parts: Vec<String> = [blank, warm].into_iter().flatten().collect();
    let what = (!parts.is_empty()).then(|| parts.join(" + "))?;
    Some(format!("{} {}MiB: {what}", pool.runtime, pool.mem_mb))
}

/// Returns why a backend is not ready, and why nothing can be started ahead.
fn why(backend: &BackendInfo) -> String {
    let pools = backend.pools.iter().filter_map(|pool| {
        let failing = pool.failing.as_deref()?;
        Some(format!("no {} can be started ahead: {failing}", pool.runtime))
    });
    let mut reasons = reasons(&backend.readiness).to_vec();
    reasons.extend(pools);
    let list = BackendList {
        backends: vec![backend.clone()],
    };
    let bootstrap = Missing::of(&list).bootstrap();
    reasons.extend(bootstrap.map(|command| format!("images are missing: {command}")));
    reasons.join("; ")
}

/// Returns one word for a readiness.
pub(super) const fn state(readiness: &Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "ready",
        Readiness::Degraded { .. } => "degraded",
        Readiness::Unfit { .. } => "unfit",
    }
}

/// Returns why it is not ready.
pub(super) fn reasons(readiness: &Readiness) -> &[String] {
    match readiness {
        Readiness::Ready => &[],
        Readiness::Degraded { reasons } | Readiness::Unfit { reasons } => reasons,
    }
}

#[cfg(test)]
mod tests {
    use vulcan_api::{IsolationClass, Runtime};

    use super::*;

    fn pool(blank: u32, blank_wanted: u32, warm: u32) -> PoolInfo {
        PoolInfo {
            runtime: Runtime::Python,
            mem_mb: 128,
            blank,
            blank_wanted,
            warm,
            failing: None,
        }
    }

    #[test]
    fn what_is_kept_is_told_in_a_few_words() {
        assert_eq!(kept(&pool(1, 2, 0)).as_deref(), Some("python 128MiB: 1/2 blank"));
        assert_eq!(kept(&pool(0, 0, 3)).as_deref(), Some("python 128MiB: 3 warm"));
        assert_eq!(
            kept(&pool(2, 2, 3)).as_deref(),
            Some("python 128MiB: 2/2 blank + 3 warm")
        );
        assert_eq!(kept(&pool(0, 0, 0)), None);
    }

    #[test]
    fn a_pool_that_cannot_be_filled_says_why_beside_the_backends_own_reasons() {
        let mut failing = pool(0, 2, 0);
        failing.failing = Some("no room; tried next at noon".to_owned());
        let backend = BackendInfo {
            isolation: IsolationClass::Sandbox,
            node: "newt".parse().unwrap(),
            readiness: Readiness::Degraded {
                reasons: vec!["no cgroups".to_owned()],
            },
            runtimes: Vec::new(),
            abilities: Vec::new(),
            pools: vec![pool(2, 2, 0), failing],
        };
        assert_eq!(
            why(&backend),
            "no cgroups; no python can be started ahead: no room; tried next at noon"
        );
    }
}
