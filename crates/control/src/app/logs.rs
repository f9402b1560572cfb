//! Reading a workload's log from its node: from any position on, live, to its end.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use vulcan_api::{LogLine, ProblemKind, Status, WorkloadId};
use vulcan_bus::{Command, LogBatch, LogFailure, LogRequest};

use super::{
    Refused,
    workloads::{until_final, until_placed},
};
use crate::{board::Seen, service::Service};

/// How many batches wait between node and reader: what a slow reader costs in memory.
const BATCHES_AHEAD: usize = 2;
/// How long the bus may take to take a request for a log.
const SEND_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a node may be silent where it is not asked to follow.
const NODE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a workload that waits for its node is waited for before its log is asked for again.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long it is waited after a node ended a log before its workload did.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Which part of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogQuery {
    /// Whose.
    pub(crate) workload: WorkloadId,
    /// Only lines after this position; 0 is the start.
    pub(crate) after: u64,
    /// Whether to go on until the workload is over.
    pub(crate) follow: bool,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum LogItem {
    /// Lines, in order.
    Lines(Vec<LogLine>),
    /// There is no more; the workload's status.
    End(Status),
    /// The rest could not be read.
    Failed(LogFailure),
}

impl Service {
    /// Starts to read a log. The reader's pace is that of the channel; when it drops the channel, reading ends.
    pub(crate) async fn log_read(&self, query: LogQuery) -> Result<mpsc::Receiver<LogItem>, Refused> {
        let record = self.workload_get(query.workload).await?;
        let (items, reader) = mpsc::channel(BATCHES_AHEAD);
        let session = Session {
            commands: self.commands.clone(),
            seen: self.shared.board.watch(query.workload),
            status: record.status,
            query,
            items,
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move { session.run(stop).await });
        Ok(reader)
    }
}

/// One reader.
struct Session {
    commands: mpsc::Sender<Command>,
    /// `None` when the workload is over.
    seen: Option<watch::Receiver<Seen>>,
    status: Status,
    query: LogQuery,
    items: mpsc::Sender<LogItem>,
}

/// Why reading stops.
enum Stop {
    ReaderGone,
    Failed(LogFailure),
}

impl Session {
    async fn run(mut self, stop: CancellationToken) {
        let items = self.items.clone();
        let last = tokio::select! {
            result = self.read() => match result {
                Ok(()) => LogItem::End(self.status),
                Err(Stop::Failed(failure)) => LogItem::Failed(failure),
                Err(Stop::ReaderGone) => return,
            },
            () = items.closed() => return,
            () = stop.cancelled() => LogItem::Failed(LogFailure { reason: "the server is shutting down".to_owned() }),
        };
        drop(items.try_send(last));
    }

    async fn read(&mut self) -> Result<(), Stop> {
        if !self.query.follow {
            return self.read_once(false).await;
        }
        loop {
            // Whether it was over is looked at before reading: what is read then is all there is.
            let is_over = self.is_over();
            if !is_over {
                self.wait_for_node().await;
            }
            self.read_once(!is_over).await?;
            if is_over {
                return Ok(());
            }
            if let Some(seen) = &mut self.seen {
                // The node has ended the log: the end is being recorded, or the node was restarted and goes on.
                drop(tokio::time::timeout(AGAIN_AFTER, until_final(seen)).await);
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let Some(seen) = &self.seen else {
            return true;
        };
        self.status = seen.borrow().record.status;
        self.status.is_final() || seen.has_changed().is_err()
    }

    /// A node knows nothing of a workload that is still in the queue.
    async fn wait_for_node(&mut self) {
        if let Some(seen) = &mut self.seen {
            until_placed(seen, Instant::now() + PLACE_WAIT_MAX).await;
        }
    }

    async fn read_once(&mut self, follow: bool) -> Result<(), Stop> {
        let (reply, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let request = LogRequest {
            workload: self.query.workload,
            after: self.query.after,
            follow,
            reply,
        };
        self.commands
            .send_timeout(Command::ReadLog(request), SEND_WAIT_MAX)
            .await
            .map_err(|_| failure("the node does not answer"))?;
        loop {
            let next = if follow {
                batches.recv().await
            } else {
                tokio::time::timeout(NODE_WAIT_MAX, batches.recv())
                    .await
                    .map_err(|_| failure("the node does not answer"))?
            };
            match next {
                Some(Ok(LogBatch { lines })) => self.pass_on(lines).await?,
                Some(Err(error)) => return Err(Stop::Failed(error)),
                None => return Ok(()),
            }
        }
    }

    async fn pass_on(&mut self, lines: Vec<LogLine>) -> Result<(), Stop> {
        if let Some(last) = lines.last() {
            self.query.after = last.id;
        }
        self.items
            .send(LogItem::Lines(lines))
            .await
            .map_err(|_| Stop::ReaderGone)
    }
}

fn failure(reason: &str) -> Stop {
    Stop::Failed(LogFailure {
        reason: reason.to_owned(),
    })
}

/// Reads the position after which a reader goes on.
///
/// # Errors
///
/// `invalid-parameter`.
pub(crate) fn position(header: &str, value: &str) -> Result<u64, Refused> {
    value.trim().parse().map_err(|_| {
        vulcan_api::Problem::new(
            ProblemKind::InvalidParameter,
            format!("{header} is no position in a log"),
        )
        .with_field(
            header,
            serde_json::Value::from(value),
            "the id of a log line: a whole number",
        )
        .into()
    })
}
