//! A program that runs, and what became of it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use vulcan_api::{ErrorCode, LogStream, Usage};
use vulcan_guest_protocol::ExitStatus;

use crate::{BackendError, LogChunk, LogSink, Outcome};

use super::stage::within;

/// More than any rule writes and wants to see; what comes after it is dropped.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a program wrote, stream by stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// What the platform said.
    pub system: Vec<u8>,
}

impl Logs {
    fn take(&mut self, chunk: &LogChunk) {
        let kept = match chunk.stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
            LogStream::System => &mut self.system,
        };
        let room = KEPT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
    }

    /// Returns all streams as text for a failure's message, the end of each.
    #[must_use]
    pub fn describe(&self) -> String {
        let tail =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2_000)..]).into_owned();
        format!(
            "stdout: {}\nstderr: {}\nsystem: {}",
            tail(&self.stdout),
            tail(&self.stderr),
            tail(&self.system)
        )
    }
}

/// Reads a program's output as it arrives.
#[derive(Debug)]
pub(super) struct Reader {
    logs: Arc<Mutex<Logs>>,
    arrived: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Reader {
    pub(super) fn new() -> (Self, LogSink) {
        let (sink, mut chunks) = mpsc::channel::<LogChunk>(16);
        let logs = Arc::new(Mutex::new(Logs::default()));
        let arrived = Arc::new(Notify::new());
        let task = tokio::spawn({
            let (logs, arrived) = (logs.clone(), arrived.clone());
            async move {
                while let Some(chunk) = chunks.recv().await {
                    lock(&logs).take(&chunk);
                    arrived.notify_waiters();
                }
            }
        });
        (Self { logs, arrived, task }, sink)
    }

    pub(super) fn logs(&self) -> Logs {
        lock(&self.logs).clone()
    }

    /// Waits until this line was written to standard output.
    pub(super) async fn wait_for_line(&self, line: &str) {
        let wanted = |logs: &Logs| {
            logs.stdout
                .split(|byte| *byte == b'\n')
                .any(|found| found == line.as_bytes())
        };
        within(
            &format!("the line '{line}' from the program"),
            self.wait_for(wanted),
        )
        .await;
    }

    async fn wait_for(&self, is_there: impl Fn(&Logs) -> bool) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if is_there(&lock(&self.logs)) {
                return;
            }
            arrived.await;
        }
    }

    /// Returns everything, once the sink is gone.
    pub(super) async fn finish(self) -> Logs {
        within("the end of the log", self.task)
            .await
            .expect("the reader does not panic");
        lock(&self.logs).clone()
    }
}

fn lock(logs: &Mutex<Logs>) -> std::sync::MutexGuard<'_, Logs> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that runs in the background.
#[derive(Debug)]
pub struct Running {
    pub(super) task: JoinHandle<Result<Outcome, BackendError>>,
    pub(super) reader: Reader,
}

impl Running {
    /// Waits until the program wrote this line to its standard output.
    pub async fn wait_for_line(&self, line: &str) {
        self.reader.wait_for_line(line).await;
    }

    /// Returns the first whole line of standard output, waiting for it.
    pub async fn first_line(&self) -> String {
        within(
            "a line from the program",
            self.reader.wait_for(|logs| logs.stdout.contains(&b'\n')),
        )
        .await;
        let logs = self.reader.logs();
        let line = logs
            .stdout
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    }

    /// Returns whether the invocation has returned.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives the invocation up, as a caller does who goes away.
    pub async fn abandon(self) {
        self.task.abort();
        let _ = within("the end of the invocation", self.task).await;
    }

    /// Waits for the end of the invocation.
    pub async fn end(self) -> Ended {
        let result = within("the end of the program", self.task)
            .await
            .expect("an invocation does not panic");
        Ended {
            result,
            logs: self.reader.finish().await,
            usage: None,
        }
    }
}

/// What became of a program.
#[derive(Debug)]
pub struct Ended {
    /// What the invocation returned.
    pub result: Result<Outcome, BackendError>,
    /// What the program wrote.
    pub logs: Logs,
    /// What the whole instance used, where the stage stopped it.
    pub usage: Option<Usage>,
}

impl Ended {
    /// Returns the outcome.
    ///
    /// # Panics
    ///
    /// When the invocation failed.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        match &self.result {
            Ok(outcome) => outcome,
            Err(error) => panic!("the invocation failed: {error:?}\n{}", self.logs.describe()),
        }
    }

    /// Asserts that the program succeeded, and returns its outcome.
    ///
    /// # Panics
    ///
    /// When it did not.
    pub fn succeeded(&self) -> &Outcome {
        let outcome = self.outcome();
        assert!(
            outcome.error.is_none() && outcome.status == ExitStatus::Code(0),
            "the program did not succeed: {outcome:?}\n{}",
            self.logs.describe()
        );
        outcome
    }

    /// Asserts that the program succeeded, and returns its output.
    ///
    /// # Panics
    ///
    /// When it did not, or has no output.
    #[must_use]
    pub fn output(&self) -> &Value {
        match &self.succeeded().output {
            Some(output) => output,
            None => panic!("the program has no output\n{}", self.logs.describe()),
        }
    }

    /// Returns the program's output as a number.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn count(&self) -> u64 {
        let output = self.output();
        output.as_u64().unwrap_or_else(|| panic!("not a count: {output}"))
    }

    /// Asserts that the program failed in this way.
    ///
    /// # Panics
    ///
    /// When it did not.
    pub fn failed_with(&self, code: ErrorCode) -> &Outcome {
        let outcome = self.outcome();
        assert_eq!(
            outcome.error.as_ref().map(|error| error.code),
            Some(code),
            "{outcome:?}\n{}",
            self.logs.describe()
        );
        outcome
    }

    /// Returns whether the program succeeded as far as the platform can tell.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.result.as_ref().is_ok_and(|outcome| outcome.error.is_none())
    }
}
