//! What a program writes: on to the log, and kept where it may be the result.

use bytes::Bytes;
use serde_json::Value;
use vulcan_api::{LogStream, WorkloadError};
use vulcan_backend::{LogChunk, LogSink, StdoutCapture};

/// The most that one write takes; a program that has more writes again.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// One of a program's two streams.
#[derive(Debug)]
pub(crate) struct Output {
    stream: LogStream,
    /// `None` between two calls.
    sink: Option<LogSink>,
    capture: Option<StdoutCapture>,
}

impl Output {
    /// Makes a stream that goes to the log only.
    pub(crate) const fn new(stream: LogStream, sink: LogSink) -> Self {
        Self {
            stream,
            sink: Some(sink),
            capture: None,
        }
    }

    /// Keeps what may be the program's result, too.
    pub(crate) fn capture(&mut self, bytes_max: usize) {
        self.capture = Some(StdoutCapture::new(bytes_max));
    }

    /// Passes bytes on; waits for the log's reader. One that is gone is no error.
    pub(crate) async fn write(&mut self, bytes: Bytes) {
        if let Some(capture) = &mut self.capture {
            capture.push(&bytes);
        }
        let stream = self.stream;
        if let Some(sink) = &self.sink {
            let _ = sink.send(LogChunk { stream, bytes }).await;
        }
    }

    /// Lets the log go, so that its reader finds the end.
    pub(crate) fn close(&mut self) {
        self.sink = None;
    }

    /// Returns the result that was written.
    ///
    /// # Errors
    ///
    /// As [`StdoutCapture::finish`].
    pub(crate) fn finish(&mut self) -> Result<Option<Value>, WorkloadError> {
        self.capture.take().map_or(Ok(None), StdoutCapture::finish)
    }
}
