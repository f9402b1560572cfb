//! Short ways to make what the tests of the scheduler need.

use std::time::Duration;

use vulcan_api::{
    BackendInfo, IsolationClass, NodeCapacity, NodeInfo, Readiness, Runtime, RuntimeInfo, Timestamp,
    WorkloadId,
};

use super::{Action, Event, Need, NodeReport, Scheduler, Submission};

/// Makes the id of a numbered workload.
pub(super) fn id(number: u32) -> WorkloadId {
    WorkloadId::generate(Timestamp::from_millis(0), u128::from(number))
}

/// Returns the number of [`id`].
pub(super) fn number(id: WorkloadId) -> u32 {
    (0..10_000).find(|number| self::id(*number) == id).unwrap()
}

pub(super) const PYTHON: Need = Need {
    isolation: IsolationClass::Sandbox,
    runtime: Runtime::Python,
    has_image: false,
};
pub(super) const GO: Need = Need {
    isolation: IsolationClass::Sandbox,
    runtime: Runtime::Go,
    has_image: false,
};

pub(super) fn submission(number: u32) -> Submission {
    Submission {
        workload: id(number),
        need: PYTHON,
        mem_mb: 100,
        may_run_again: false,
        is_held: false,
    }
}

/// A node with room for `instances` and `mem_mb`, that offers Python in a sandbox.
pub(super) struct FakeNode {
    pub(super) info: NodeInfo,
    pub(super) backends: Vec<BackendInfo>,
}

impl FakeNode {
    pub(super) fn new(name: &str, instances_max: u32, mem_mb: u64) -> Self {
        let name: vulcan_api::NodeName = name.parse().unwrap();
        let info = NodeInfo {
            name: name.clone(),
            ready: true,
            kernel: "6".to_owned(),
            version: "0".to_owned(),
            capacity: NodeCapacity {
                cpus: 2,
                mem_mb,
                mem_used_mb: 0,
                instances_max,
                instances: 0,
            },
            seen_at: Timestamp::from_millis(0),
            started_at: Timestamp::from_millis(0),
        };
        let runtimes = vec![RuntimeInfo {
            runtime: Runtime::Python,
            available: true,
            detail: "3".to_owned(),
            packages: Vec::new(),
        }];
        let backend = BackendInfo {
            pools: Vec::new(),
            isolation: IsolationClass::Sandbox,
            node: name,
            readiness: Readiness::Ready,
            runtimes,
            abilities: Vec::new(),
        };
        Self {
            info,
            backends: vec![backend],
        }
    }

    pub(super) fn report(
        &self,
        scheduler: &mut Scheduler,
        now: Duration,
        workloads: &[(WorkloadId, u32)],
    ) -> Vec<Action> {
        let report = NodeReport {
            node: &self.info,
            backends: &self.backends,
            workloads,
        };
        scheduler.handle(now, Event::Node(report))
    }
}
