//! What a node finds of its former process, and what it does with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::timeout;
use vulcan_api::{InstanceId, IsolationClass};
use vulcan_backend::{Backend, Swept};

use crate::{
    outcome::chain,
    store::{Database, InstanceRow},
};

/// How long one backend may take to adopt one instance, to stop it, or to sweep.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many of the things that a sweep removed are named: a server that was killed leaves one or two per slot.
const TOLD_MAX: usize = 5;

/// What a node found of its former process when it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// How many instances were noted as live.
    pub noted: usize,
    /// Which of them lived. The conversation with their programs is lost, so they were taken over to be ended in order.
    pub adopted: Vec<InstanceId>,
    /// What the sweeps removed, over all backends.
    pub swept: Swept,
    /// How many ends of workloads wait to be reported again.
    pub unacknowledged: usize,
    /// What did not work, in words for the operator.
    pub problems: Vec<String>,
}

impl Recovery {
    /// Returns the whole in words, one line each; empty when there was nothing to do.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.noted > 0 {
            let (adopted, gone) = (
                self.adopted.len(),
                self.noted - self.adopted.len().min(self.noted),
            );
            lines.push(format!(
                "{} instances were live: {adopted} adopted and ended, {gone} already gone",
                self.noted
            ));
        }
        if self.swept != Swept::default() {
            let removed = &self.swept.removed;
            let mut what = removed[..removed.len().min(TOLD_MAX)].join(", ");
            if let Some(more) = removed.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
                what.push_str(&format!(" and {more} more"));
            }
            lines.push(format!("{} instances swept: {what}", self.swept.instances));
        }
        if self.unacknowledged > 0 {
            lines.push(format!(
                "{} ended workloads are reported again",
                self.unacknowledged
            ));
        }
        lines.extend(self.problems.iter().cloned());
        lines
    }
}

/// Adopts and ends what was noted, and sweeps the rest. Nothing here keeps the node from starting.
pub(crate) async fn recover(
    database: &mut Database,
    backends: &HashMap<IsolationClass, Arc<dyn Backend>>,
) -> Recovery {
    let mut recovery = Recovery::default();
    let noted = database.instances().await.unwrap_or_else(|error| {
        recovery.problems.push(format!(
            "the list of instances could not be read: {}",
            chain(&error)
        ));
        Vec::new()
    });
    recovery.noted = noted.len();
    for row in noted {
        end(&mut recovery, backends, row).await;
    }
    for (isolation, backend) in backends {
        sweep(&mut recovery, *isolation, backend.as_ref()).await;
    }
    if let Err(error) = database.instances_clear().await {
        recovery.problems.push(format!(
            "the list of instances could not be cleared: {}",
            chain(&error)
        ));
    }
    recovery
}

async fn end(
    recovery: &mut Recovery,
    backends: &HashMap<IsolationClass, Arc<dyn Backend>>,
    row: InstanceRow,
) {
    let Some(backend) = backends.get(&row.isolation) else {
        let problem = format!(
            "instance {} of {} has no backend now, and is left alone",
            row.id, row.isolation
        );
        recovery.problems.push(problem);
        return;
    };
    let ended = async {
        let Some(instance) = backend.adopt(&row.id).await? else {
            return Ok(false);
        };
        // Who ran in it cannot be heard any more: the conversation with its program is lost.
        instance.stop(Duration::ZERO).await.map(|()| true)
    };
    let problem = match timeout(DEADLINE, ended).await {
        Ok(Ok(is_adopted)) => {
            recovery.adopted.extend(is_adopted.then_some(row.id));
            return;
        }
        // The sweep that follows removes it.
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("it took longer than {DEADLINE:?}"),
    };
    recovery
        .problems
        .push(format!("instance {} was not adopted: {problem}", row.id));
}

async fn sweep(recovery: &mut Recovery, isolation: IsolationClass, backend: &dyn Backend) {
    match timeout(DEADLINE, backend.sweep(&[])).await {
        Ok(Ok(swept)) => {
            recovery.swept.instances += swept.instances;
            recovery.swept.removed.extend(swept.removed);
        }
        Ok(Err(error)) => recovery.problems.push(format!("{isolation}: {}", chain(&error))),
        Err(_) => recovery
            .problems
            .push(format!("{isolation}: the sweep took longer than {DEADLINE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_what_was_swept_is_cut() {
        let lines = |count: usize| {
            let removed = (0..count).map(|number| format!("slot-{number}")).collect();
            let swept = Swept {
                instances: 2,
                removed,
            };
            Recovery {
                swept,
                ..Recovery::default()
            }
            .lines()
        };
        assert_eq!(
            lines(5),
            ["2 instances swept: slot-0, slot-1, slot-2, slot-3, slot-4"]
        );
        assert_eq!(
            lines(22),
            ["2 instances swept: slot-0, slot-1, slot-2, slot-3, slot-4 and 17 more"]
        );
    }
}
