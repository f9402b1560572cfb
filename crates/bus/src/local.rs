//! The bus inside one process: two bounded channels.

use tokio::sync::mpsc;

use crate::{Command, Report};

/// How many messages wait in each direction before a sender waits.
pub const CAPACITY: usize = 1024;

/// The control plane's end.
#[derive(Debug)]
pub struct ControlEnd {
    /// Where commands to the node go; may be cloned.
    pub commands: mpsc::Sender<Command>,
    /// Where the node's reports come from.
    pub reports: mpsc::Receiver<Report>,
}

/// A node's end.
#[derive(Debug)]
pub struct NodeEnd {
    /// Where the control plane's commands come from.
    pub commands: mpsc::Receiver<Command>,
    /// Where reports go; may be cloned.
    pub reports: mpsc::Sender<Report>,
}

/// Makes a bus for one control plane and one node in the same process.
///
/// When one end is dropped, the other sees its receiver end and its sends fail.
#[must_use]
pub fn local() -> (ControlEnd, NodeEnd) {
    let (commands, commands_out) = mpsc::channel(CAPACITY);
    let (reports, reports_out) = mpsc::channel(CAPACITY);
    (
        ControlEnd {
            commands,
            reports: reports_out,
        },
        NodeEnd {
            commands: commands_out,
            reports,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_end_is_seen_by_the_other() {
        let (mut control, node) = local();
        drop(node);
        assert!(control.reports.recv().await.is_none());
        assert!(
            control
                .commands
                .send(Command::Forget {
                    workloads: Vec::new()
                })
                .await
                .is_err()
        );
    }
}
