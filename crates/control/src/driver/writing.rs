//! Writes that the driver waits for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use vulcan_api::WorkloadId;

use crate::store::{self, PendingWrite, Written};

/// Which write was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Insert,
    Placed { generation: u32 },
    PutBack,
    End,
}

/// A write on its way, and what it is for.
pub(super) struct Writing {
    pub(super) workload: WorkloadId,
    pub(super) stage: Stage,
    pub(super) write: PendingWrite,
}

impl Future for Writing {
    type Output = (WorkloadId, Stage, Result<Written, store::Error>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.write).poll(context));
        Poll::Ready((self.workload, self.stage, result))
    }
}
