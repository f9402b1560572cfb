//! What a benchmark asks of a node beside workloads.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use vulcan_api::{Footprint, WorkloadId};
use vulcan_bus::{Measure, MeasureFailure};

use crate::{node::Node, outcome::chain};

/// How long an instance may take to say what memory it takes.
const FOOTPRINT_DEADLINE: Duration = Duration::from_secs(5);

/// Carries out one measurement. Whoever asked may be gone, and then the answer is nobody's.
pub(crate) async fn measure(node: Arc<Node>, what: Measure) {
    match what {
        Measure::Machine { reply } => drop(reply.send(node.bare.machine().await)),
        Measure::Bare { command, reply } => drop(reply.send(node.bare.run(command).await)),
        Measure::Footprint { workload, reply } => drop(reply.send(footprint(&node, &workload).await)),
    }
}

async fn footprint(node: &Node, workload: &WorkloadId) -> Result<Footprint, MeasureFailure> {
    let failure = |reason: String| MeasureFailure { reason };
    let instance = node
        .instance_of(workload)
        .ok_or_else(|| failure(format!("no instance runs {workload} now")))?;
    match timeout(FOOTPRINT_DEADLINE, instance.footprint()).await {
        Ok(Ok(Some(footprint))) => Ok(footprint),
        Ok(Ok(None)) => Err(failure(
            "this class cannot tell what memory one instance takes".to_owned(),
        )),
        Ok(Err(error)) => Err(failure(chain(&error))),
        Err(_) => Err(failure(format!(
            "the instance did not say within {FOOTPRINT_DEADLINE:?}"
        ))),
    }
}
