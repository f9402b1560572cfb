//! The order of things: what one measurement needs of the ones before it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    classes,
    context::{Context as _, Failure},
    floor,
    latency::{self, Latency},
    leftovers::Held,
    load,
    machine::Machine,
    options::{Options, Part},
    programs::Programs,
    report::{Moments, Report},
    server::{self, Server},
    soak,
};

/// How long an idle server may take until nothing changes any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_PERIOD: Duration = Duration::from_millis(250);

/// Measures everything, prints it, and writes it where that was asked.
///
/// # Errors
///
/// When something cannot be measured at all. A missed target is in the report.
pub(crate) async fn run(options: &Options) -> Result<Report, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("vulcan-bench-")
        .tempdir()
        .doing("make a folder")?;
    let programs = Arc::new(Programs::build(folder.path())?);
    let measured = measure(options, &programs, folder.path()).await;
    let mut report = measured.inspect_err(|_| eprintln!("{}", server::last_words(folder.path())))?;
    report.judge();
    report.print();
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).doing("put the report into JSON")?;
        fs::write(path, text + "\n").doing(format!("write {}", path.display()))?;
    }
    Ok(report)
}

async fn measure(options: &Options, programs: &Arc<Programs>, folder: &Path) -> Result<Report, Failure> {
    let amounts = options.amounts();
    let data = server::data(folder);
    let before_start = Held::now(None, &data);
    let server = Server::start(&options.vulcan, folder).await?;
    settled(Some(server.pid()), &data, None).await;
    let rss_idle_mb = server.rss_mb()?;

    let classes = classes::measure(&server, options, &amounts, folder).await?;
    let latencies = latencies(&server, programs, options).await?;
    let load = if options.has(Part::Load) {
        progress("load");
        Some(load::measure(&server, &programs.noop_spec(), &amounts).await?)
    } else {
        None
    };
    let (soak, around_soak) = if options.has(Part::Soak) {
        let before = settled(Some(server.pid()), &data, None).await;
        progress("soak");
        let soak = soak::run(server.client(), programs, amounts.soak, amounts.clients).await?;
        let after = settled(Some(server.pid()), &data, Some(&before)).await;
        (Some(soak), Some((before, after)))
    } else {
        (None, None)
    };
    server.stop().await?;
    let after_stop = settled(None, &data, Some(&before_start)).await;

    Ok(Report {
        machine: Machine::here(&options.date, &options.commit),
        is_quick: options.quick,
        latencies,
        rss_idle_mb,
        load,
        soak,
        classes,
        held: Moments {
            before_start,
            around_soak,
            after_stop,
        },
        verdicts: Vec::new(),
    })
}

async fn latencies(server: &Server, programs: &Programs, options: &Options) -> Result<Vec<Latency>, Failure> {
    let mut latencies = Vec::new();
    if options.has(Part::Cold) {
        for pair in floor::pairs(programs) {
            progress(pair.name);
            latencies.push(latency::measure(server.client(), &pair, options.amounts().latency_runs).await?);
        }
    }
    Ok(latencies)
}

fn progress(what: &str) {
    eprintln!("measuring: {what}");
}

/// Counts what is held once nothing changes any more, or nothing is held beyond `wanted`.
async fn settled(server: Option<u32>, data: &Path, wanted: Option<&Held>) -> Held {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut held = Held::now(server, data);
    loop {
        tokio::time::sleep(SETTLE_PERIOD).await;
        let now = Held::now(server, data);
        let is_settled = wanted.map_or(now == held, |wanted| now.beyond(wanted).is_empty());
        if is_settled || Instant::now() >= deadline {
            return now;
        }
        held = now;
    }
}
