//! What the owner of a running node holds.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::{sync::DropGuard, task::TaskTracker};
use vulcan_bus::StopReason;

use crate::{Recovery, lock::Lock, node::Node};

/// How long the database may take to close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// A running node. When it is dropped without [`join`](Self::join), the node takes nothing more from the bus, and what
/// runs goes on until the async runtime ends.
pub struct Handle {
    pub(crate) node: Arc<Node>,
    pub(crate) recovery: Recovery,
    /// Ends the background when it is dropped.
    pub(crate) closing: DropGuard,
    /// The task that writes the database.
    pub(crate) writer: TaskTracker,
    /// Given back last.
    pub(crate) lock: Lock,
}

impl Handle {
    /// Returns what the node found of its former process.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Takes no more workloads, and waits until nothing runs here any more and every end is acknowledged or stored.
    ///
    /// Bounded by the workloads' own limits. May be repeated, dropped, and overtaken by [`abort`](Self::abort); the node goes
    /// on refusing workloads.
    pub async fn drain(&self) {
        // A status tells the control plane at once.
        self.node.drain_began.cancel();
        self.node.pool.close();
        self.node.supervisors.close();
        self.node.supervisors.wait().await;
        self.node.pool.closed().await;
        self.node.outbox.settle().await;
    }

    /// Ends everything that runs here as a shutdown, and then is a [`drain`](Self::drain). May be repeated and dropped.
    pub async fn abort(&self) {
        self.node.drain_began.cancel();
        self.node.stop_all(StopReason::Shutdown);
        self.drain().await;
    }

    /// Drains, and then ends the node: readers, background tasks, backends, database, lock.
    pub async fn join(self) {
        self.drain().await;
        let Self {
            node,
            closing,
            writer,
            lock,
            recovery: _,
        } = self;
        drop(closing);
        node.background.close();
        node.background.wait().await;
        for backend in node.backends.values() {
            backend.close().await;
        }
        // The database closes when its last user is gone; one that stays is a task that hangs, and the kernel closes for it.
        drop(node);
        writer.close();
        let _ = timeout(CLOSE_DEADLINE, writer.wait()).await;
        drop(lock);
    }
}
