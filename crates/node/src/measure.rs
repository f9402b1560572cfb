//! What a benchmark asks of a node beside workloads.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use vulcan_api::{Footprint, IsolationClass, WorkloadId};
use vulcan_bus::{Measure, MeasureFailure};

use crate::{node::Node, outcome::chain};

/// How long an instance may take to say what memory it takes.
const FOOTPRINT_DEADLINE: Duration = Duration::from_secs(5);

/// How long the pools of a class may take to be filled, and how often they are looked at.
const FILL_DEADLINE: Duration = Duration::from_secs(3);
const FILL_PERIOD: Duration = Duration::from_millis(5);

/// Carries out one measurement. Whoever asked may be gone, and then the answer is nobody's.
pub(crate) async fn measure(node: Arc<Node>, what: Measure) {
    match what {
        Measure::Machine { reply } => drop(reply.send(node.bare.machine().await)),
        Measure::Bare { command, reply } => drop(reply.send(node.bare.run(command).await)),
        Measure::Filled { isolation, reply } => drop(reply.send(filled(&node, isolation).await)),
        Measure::Footprint { workload, reply } => drop(reply.send(footprint(&node, &workload).await)),
    }
}

async fn filled(node: &Node, isolation: IsolationClass) -> bool {
    let is_filled = || {
        let mut pools = node.pool.infos(isolation).into_iter();
        pools.all(|pool| pool.blank >= pool.blank_wanted)
    };
    let waiting = async {
        while !is_filled() {
            sleep(FILL_PERIOD).await;
        }
    };
    timeout(FILL_DEADLINE, waiting).await.is_ok()
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
