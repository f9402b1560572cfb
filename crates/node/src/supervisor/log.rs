//! The log of a workload from its supervisor's side.

use std::{future::Future, pin::Pin};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vulcan_backend::LogSink;

use crate::logs;

/// How many chunks of output wait for the log; a program that is faster waits.
const CHUNKS_LEN_MAX: usize = 16;

/// The log of a workload, written beside whatever its supervisor waits for.
pub(super) struct Log {
    pub(super) sink: LogSink,
    over: CancellationToken,
    pump: Pin<Box<dyn Future<Output = logs::Ended> + Send>>,
    ended: Option<logs::Ended>,
}

impl Log {
    /// Begins the log of a workload. Touches no disk before something is written.
    pub(super) fn open(writer: logs::Writer) -> Self {
        let (sink, chunks) = mpsc::channel(CHUNKS_LEN_MAX);
        let over = CancellationToken::new();
        Self {
            sink,
            over: over.clone(),
            pump: Box::pin(writer.pump(chunks, over)),
            ended: None,
        }
    }

    /// Writes what comes; never returns before the log is over, and then never again.
    pub(super) async fn write(&mut self) {
        if self.ended.is_some() {
            std::future::pending::<()>().await;
        }
        self.ended = Some(self.pump.as_mut().await);
    }

    /// Waits for `work`, and writes what comes meanwhile.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                value = &mut work => return value,
                () = self.write() => {}
            }
        }
    }

    /// Writes what is left.
    pub(super) async fn finish(&mut self) -> logs::Ended {
        self.over.cancel();
        match self.ended {
            Some(ended) => ended,
            None => {
                let ended = self.pump.as_mut().await;
                self.ended = Some(ended);
                ended
            }
        }
    }
}
