//! The order of things.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use vulcan_api::{Readiness, StartKind};

use super::{
    crowd::{self, Crowd},
    images::{self, Pull},
    lean::Lean,
    memory::{Blank, blank},
    rate::{self, Rate},
    scrape::blank_count,
    targets::{Limit, Target, targets},
};
use crate::{
    context::{Context as _, Failure},
    options::{Amounts, Options, Part},
    rounds::Rounds,
    sample::{Sample, Summary},
    server::Server,
};

/// How long a pool may take to be full.
const FILL_LIMIT: Duration = Duration::from_secs(5);
/// A pool that did not change for so long, a multiple of what one start takes, is full.
const SETTLE_PERIOD: Duration = Duration::from_millis(100);

/// Everything about single classes.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Classes {
    /// One entry per target.
    pub(crate) starts: Vec<Start>,
    /// What a blank isolate takes; `None` where there was none.
    pub(crate) blank: Option<Blank>,
    /// Whether that was looked for.
    pub(crate) has_looked_for_blank: bool,
    /// Many instances of a class at once.
    pub(crate) crowds: Vec<Crowd>,
    /// A large image out of a registry.
    pub(crate) pull: Option<Pull>,
}

/// What one target came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    /// What it is.
    pub(crate) name: &'static str,
    /// Why it was not measured.
    pub(crate) missing: Option<String>,
    /// What its caller waited, where it was started as wanted.
    pub(crate) total: Option<Summary>,
    /// Workloads that were started otherwise.
    pub(crate) started_otherwise: usize,
    /// What ran bare beside it.
    pub(crate) bare_text: Option<String>,
    /// How long that took.
    pub(crate) bare: Option<Summary>,
    /// The most that the median may be.
    pub(crate) limit: Limit,
    /// How many per second.
    pub(crate) rate: Option<Rate>,
}

/// Measures the parts that were chosen.
///
/// # Errors
///
/// When the server is gone, or a bare command cannot be run. A class that is not there is an entry that says so.
pub(crate) async fn measure(
    server: &Server,
    options: &Options,
    amounts: &Amounts,
    folder: &Path,
) -> Result<Classes, Failure> {
    let mut classes = Classes::default();
    if options.has(Part::Isolate) {
        eprintln!("measuring: memory of a blank isolate");
        classes.has_looked_for_blank = true;
        classes.blank = blank(server.pid()).await;
    }
    images::prepare(server, options, folder)?;
    for target in targets().into_iter().filter(|target| options.has(target.part)) {
        eprintln!("measuring: {}", target.name);
        let start = match missing(server, &target).await? {
            Some(reason) => Start::of(&target, Some(reason)),
            None => one(server, &target, amounts, folder).await?,
        };
        classes.starts.push(start);
    }
    classes.crowds = crowd::measure(server, options, amounts).await?;
    if options.has(Part::Images) {
        eprintln!("measuring: an image out of a registry");
        classes.pull = Some(images::pull(server, options, amounts, folder)?);
    }
    Ok(classes)
}

/// Says why a target cannot be measured; `None` when it can.
async fn missing(server: &Server, target: &Target) -> Result<Option<String>, Failure> {
    let list = server.client().backends().await.doing("list the backends")?;
    let Some(backend) = list
        .backends
        .iter()
        .find(|backend| backend.isolation == target.isolation)
    else {
        return Ok(Some(format!("the server has no class {}", target.isolation)));
    };
    if let Readiness::Unfit { reasons } = &backend.readiness {
        return Ok(Some(reasons.join("; ")));
    }
    let runtime = backend
        .runtimes
        .iter()
        .find(|info| info.runtime == target.runtime);
    Ok(match runtime {
        Some(info) if info.available => None,
        Some(info) => Some(info.detail.clone()),
        None => Some(format!("{} cannot run {}", target.isolation, target.runtime)),
    })
}

async fn one(server: &Server, target: &Target, amounts: &Amounts, folder: &Path) -> Result<Start, Failure> {
    let mut client = Lean::connect(&server.address(), &target.body())?;
    let (mut total, mut bare) = (Sample::default(), Sample::default());
    let mut start = Start::of(target, None);
    let mut has_pool = target.start == StartKind::Pooled;
    for round in Rounds::with_warm_up(amounts.latency_runs) {
        // In turns, so that both see the same machine.
        let bare_ms = target.floor.time(folder)?;
        has_pool = has_pool && filled(server, target).await?;
        let (answer, total_ms) = client.call()?;
        if !round.is_counted {
            continue;
        }
        if let Some(bare_ms) = bare_ms {
            bare.push(bare_ms);
        }
        if answer.start == Some(target.start) {
            total.push(total_ms);
        } else {
            start.started_otherwise += 1;
        }
    }
    start.total = Some(total.summary()).filter(|summary| summary.runs > 0);
    start.bare = Some(bare.summary()).filter(|summary| summary.runs > 0);
    if let Some(wanted) = target.rate_min {
        start.rate = Some(rate::measure(server, target, (wanted, amounts.rate_s), folder).await?);
    }
    Ok(start)
}

/// Waits a while until a pool is full and does not change: one at a time, it has time for that. What it does under load is
/// another question. Returns whether it came to that.
async fn filled(server: &Server, target: &Target) -> Result<bool, Failure> {
    let deadline = Instant::now() + FILL_LIMIT;
    let mut before = 0.0;
    while Instant::now() < deadline {
        let now = blank_count(server.client(), target.isolation).await?;
        if now > 0.0 && now == before {
            return Ok(true);
        }
        before = now;
        tokio::time::sleep(SETTLE_PERIOD).await;
    }
    Ok(false)
}

impl Start {
    fn of(target: &Target, missing: Option<String>) -> Self {
        Self {
            name: target.name,
            missing,
            total: None,
            started_otherwise: 0,
            bare_text: target.floor.text(),
            bare: None,
            limit: target.limit,
            rate: None,
        }
    }

    /// Returns whether nearly all were started as wanted: a median of few lucky ones says nothing.
    pub(crate) fn is_as_wanted(&self) -> bool {
        let runs = self.total.map_or(0, |summary| summary.runs);
        runs > 9 * self.started_otherwise
    }
}
