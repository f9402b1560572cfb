//! A workload's log as a stream of lines that survives broken connections.
//!
//! ```text
//! ┌─▶ connect (Last-Event-ID) ──▶ read ──"end" event──▶ over
//! │        │ fails                  │ breaks, ends early, falls silent
//! └── wait ┴────────────────────────┘   at most RETRIES_MAX times without a line in between
//! ```

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::Stream;
use http::header::ACCEPT;
use reqwest::Response;
use tokio::time::Instant;
use vulcan_api::{LogLine, WorkloadId};

use crate::{
    ClientError,
    client::Inner,
    http::Call,
    sse::{Event, Parser},
};

/// How often a broken stream is opened again without a line in between.
const RETRIES_MAX: u32 = 6;
/// The wait before the first of them; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// How long to wait for the answer's head.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// A stream that is silent for so long is opened again: the server sends a sign of life far more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A stream that was open for so long counts as one that worked.
const HELD_MIN: Duration = Duration::from_secs(5);
/// The most characters of the server's reason that go into an error.
const REASON_CHARS_MAX: usize = 200;

/// Which lines to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Only lines with a greater [`LogLine::id`]; 0 is the start.
    pub after: u64,
    /// Whether to wait for more lines until the workload is over.
    pub follow: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            after: 0,
            follow: true,
        }
    }
}

/// A workload's log, line by line, each line once and in order.
///
/// A broken connection is opened again where it broke, a bounded number of times.
#[derive(Debug)]
pub struct LogTail {
    inner: Arc<Inner>,
    id: WorkloadId,
    options: LogOptions,
    connection: Option<(Response, Parser)>,
    connected_at: Instant,
    failures: u32,
    is_over: bool,
}

impl LogTail {
    pub(crate) fn new(inner: Arc<Inner>, id: WorkloadId, options: LogOptions) -> Self {
        Self {
            inner,
            id,
            options,
            connection: None,
            connected_at: Instant::now(),
            failures: 0,
            is_over: false,
        }
    }

    /// Returns the next line; `None` when the log is over. Nothing follows an error.
    ///
    /// Cancel-safe: a dropped future loses no line.
    ///
    /// # Errors
    ///
    /// The last [`ClientError`] when the stream could not be kept up, or the server's refusal at once.
    pub async fn next(&mut self) -> Option<Result<LogLine, ClientError>> {
        while !self.is_over {
            let step = match self.buffered() {
                Some(event) => self.take(&event).await,
                None => self.advance().await.map(|()| None),
            };
            match step {
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Turns the tail into a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<LogLine, ClientError>> + Send {
        futures::stream::unfold(self, |mut tail| async move {
            tail.next().await.map(|item| (item, tail))
        })
    }

    fn buffered(&mut self) -> Option<Event> {
        self.connection.as_mut().and_then(|(_, parser)| parser.next())
    }

    async fn take(&mut self, event: &Event) -> Result<Option<LogLine>, ClientError> {
        match event.kind.as_str() {
            "end" => {
                self.is_over = true;
                Ok(None)
            }
            "log" | "message" => {
                let line: LogLine = serde_json::from_str(&event.data)
                    .map_err(|error| self.call().malformed(format!("a log line: {error}")))?;
                // The server may repeat lines after a resumption; a line is handed out once.
                if line.id <= self.options.after {
                    return Ok(None);
                }
                self.options.after = line.id;
                self.failures = 0;
                Ok(Some(line))
            }
            "error" => {
                let reason: String = event.data.chars().take(REASON_CHARS_MAX).collect();
                let error = self.call().malformed(format!("a log that breaks off: {reason}"));
                self.broken(error).await.map(|()| None)
            }
            // A newer server may send more kinds.
            _ => Ok(None),
        }
    }

    /// Reads one piece of the stream, or opens it.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some((response, parser)) = &mut self.connection else {
            return self.connect().await;
        };
        // Cancel-safe: a chunk is either still in the connection or in the parser.
        match tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
            Ok(Ok(Some(bytes))) => parser
                .feed(&bytes)
                .map_err(|error| self.call().malformed(error.to_string())),
            Ok(Ok(None)) => {
                let error = self.call().malformed("a log that ends without its end mark");
                self.broken(error).await
            }
            Ok(Err(error)) => {
                let error = self.call().network(error);
                self.broken(error).await
            }
            Err(_) => {
                self.connection = None;
                Ok(())
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut request = self
            .inner
            .get(&format!("v1/workloads/{}/logs", self.id))
            .header(ACCEPT, "text/event-stream");
        if self.options.after > 0 {
            request = request.header("last-event-id", self.options.after);
        }
        if !self.options.follow {
            request = request.query(&[("follow", "false")]);
        }
        let call = self.call();
        match call.within(call.accepted(request)).await {
            Ok(response) => {
                self.connection = Some((response, Parser::default()));
                self.connected_at = Instant::now();
                Ok(())
            }
            Err(error) => self.failed(error).await,
        }
    }

    /// Notes that an open stream broke. One that held for a while was no failure of the server's.
    async fn broken(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.connection = None;
        if self.connected_at.elapsed() >= HELD_MIN {
            self.failures = 0;
        }
        self.failed(error).await
    }

    /// Waits before the next attempt, or gives up with `error`.
    async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        if error.problem().is_some_and(|problem| problem.status < 500) || self.failures >= RETRIES_MAX {
            return Err(error);
        }
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures).min(RETRY_LONGEST);
        self.failures += 1;
        tokio::time::sleep(wait.mul_f64(jitter())).await;
        Ok(())
    }

    fn call(&self) -> Call<'_> {
        Call {
            endpoint: self.inner.name(),
            what: "send the log",
            limit: CONNECT_LIMIT,
        }
    }
}

/// Returns a factor between 0.5 and 1, so that clients do not come back all at once.
fn jitter() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    0.5 + f64::from(u16::try_from(random & 0xffff).unwrap_or(0)) / f64::from(u16::MAX) / 2.0
}
