//! Many instances of a class at once.

use serde::Serialize;
use tokio::time::Instant;
use vulcan_api::{IsolationClass, Status};
use vulcan_client::RunOptions;

use super::targets::BUSYBOX_IMAGE;
use crate::{
    context::{Context as _, Failure},
    options::{Amounts, Options, Part},
    server::Server,
};

/// What came of many at once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Crowd {
    /// Of which class.
    pub(crate) isolation: IsolationClass,
    /// How many there were to be.
    pub(crate) wanted: usize,
    /// How many did not complete.
    pub(crate) failed: usize,
    /// Seconds until all were over.
    pub(crate) seconds: f64,
}

/// Runs many sleepers of each chosen class at once. What they leave is judged at the end, with everything else.
///
/// # Errors
///
/// When the server is gone.
pub(super) async fn measure(
    server: &Server,
    options: &Options,
    amounts: &Amounts,
) -> Result<Vec<Crowd>, Failure> {
    let mut crowds = Vec::new();
    for (part, isolation, wanted) in [
        (Part::Container, IsolationClass::Container, amounts.containers),
        (Part::Gvisor, IsolationClass::Gvisor, amounts.gvisors),
    ] {
        if options.has(part) {
            eprintln!("measuring: {wanted} {isolation} at once");
            crowds.push(crowd(server, isolation, wanted).await?);
        }
    }
    Ok(crowds)
}

async fn crowd(server: &Server, isolation: IsolationClass, wanted: usize) -> Result<Crowd, Failure> {
    let spec = serde_json::from_value(serde_json::json!({
        "image": BUSYBOX_IMAGE,
        "command": ["/bin/busybox", "sleep", "1"],
        "isolation": isolation,
        "resources": {"mem_mb": 64},
    }))
    .doing("write a request")?;
    let run_options = RunOptions::default();
    let began = Instant::now();
    let runs = (0..wanted).map(|_| server.client().run(&spec, &run_options));
    let ended = futures::future::join_all(runs).await;
    let completed = ended
        .iter()
        .filter(|end| {
            end.as_ref()
                .is_ok_and(|workload| workload.status == Status::Completed)
        })
        .count();
    Ok(Crowd {
        isolation,
        wanted,
        failed: wanted - completed,
        seconds: began.elapsed().as_secs_f64(),
    })
}
