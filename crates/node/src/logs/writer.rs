//! What turns a program's output into records, and the only one that writes a workload's log.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use vulcan_api::{LogStream, WorkloadId};
use vulcan_backend::LogChunk;

use super::{
    directory::{Logs, Progress},
    file::LogFile,
    format::{Partial, encode},
    lines::Splitter,
};

/// How long a record may wait for others before it is written; a follower sees a line that much later.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// How many bytes are gathered before they are written at once.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Up to this size a write is made on the runtime's own thread: it is a copy into the page cache. More may meet the kernel's
/// throttling of dirty pages, and goes to another thread, as does making the file. Measured on the busy 2-core development
/// machine, median / 99th percentile: appending 8 KiB 5 / 25 µs, another thread and back 5 / 20 µs, making a file 0.8 / 14 ms.
const INLINE_BYTES_MAX: usize = 8 * 1024;

/// What became of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether a part of it was dropped.
    pub(crate) truncated: bool,
}

/// The writer of one log. When it is dropped, the log is over as it is.
pub(crate) struct Writer {
    logs: Arc<Logs>,
    workload: WorkloadId,
    /// `None` once it cannot be written any more.
    file: Option<LogFile>,
    progress: watch::Sender<Progress>,
    bytes_max: u64,
    splitter: Splitter,
    buffer: Vec<u8>,
    truncated: bool,
}

impl Writer {
    pub(super) fn new(
        logs: Arc<Logs>,
        workload: WorkloadId,
        file: io::Result<LogFile>,
        progress: watch::Sender<Progress>,
        bytes_max: u64,
    ) -> Self {
        let mut writer = Self {
            logs,
            workload,
            file: None,
            progress,
            bytes_max,
            splitter: Splitter::default(),
            buffer: Vec::new(),
            truncated: false,
        };
        match file {
            Ok(file) => writer.file = Some(file),
            Err(error) => writer.give_up(&error),
        }
        writer
    }

    /// Writes what comes until all senders are gone or `over` is cancelled, and then what is left.
    ///
    /// The first line is written at once, others within [`FLUSH_AFTER`] or in pieces of [`BUFFER_BYTES_MAX`], whichever comes first. After the cap,
    /// or when the disk refuses, everything is still received, and dropped: the program does not notice.
    pub(crate) async fn pump(
        mut self,
        mut chunks: mpsc::Receiver<LogChunk>,
        over: CancellationToken,
    ) -> Ended {
        let mut flush_at = Instant::now();
        loop {
            let was_empty = self.buffer.is_empty();
            // Every branch is cancel-safe: receiving and waiting lose nothing.
            tokio::select! {
                biased;
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => self.take(&chunk),
                    None => break,
                },
                () = sleep_until(flush_at), if !was_empty => self.flush().await,
                () = over.cancelled() => {
                    chunks.close();
                    while let Ok(chunk) = chunks.try_recv() {
                        self.take(&chunk);
                    }
                    break;
                }
            }
            if was_empty {
                flush_at = Instant::now() + FLUSH_AFTER;
            }
            // Making the file takes long: it begins with the first line, beside the program.
            let is_first = self.file.as_ref().is_some_and(|file| !file.is_open());
            if is_first || self.buffer.len() >= BUFFER_BYTES_MAX || Instant::now() >= flush_at {
                self.flush().await;
            }
        }
        self.finish().await
    }

    fn take(&mut self, chunk: &LogChunk) {
        if self.truncated {
            return;
        }
        let mut splitter = std::mem::take(&mut self.splitter);
        splitter.push(chunk.stream, &chunk.bytes, |stream, text, partial| {
            self.line(stream, &text, partial);
        });
        self.splitter = splitter;
    }

    async fn finish(mut self) -> Ended {
        let mut splitter = std::mem::take(&mut self.splitter);
        splitter.finish(|stream, text, partial| self.line(stream, &text, partial));
        self.flush().await;
        Ended {
            truncated: self.truncated,
        }
    }

    /// Adds a line of the guest.
    fn line(&mut self, stream: LogStream, text: &str, partial: Partial) {
        match stream {
            LogStream::Stdout | LogStream::Stderr => self.record(stream, text, partial),
            // The agent lives inside the guest, and the guest may have replaced it: what it says must not look like the
            // platform's own word.
            LogStream::System => self.record(stream, &format!("agent: {text}"), partial),
        }
    }

    fn record(&mut self, stream: LogStream, text: &str, partial: Partial) {
        if self.truncated {
            return;
        }
        let before = self.buffer.len();
        encode(&mut self.buffer, self.logs.clock.now(), stream, partial, text);
        let len = self.file.as_ref().map_or(0, LogFile::len) + self.buffer.len() as u64;
        if len > self.bytes_max {
            self.buffer.truncate(before);
            let cap = self.bytes_max;
            self.say(&format!(
                "log truncated: the cap of {cap} bytes was reached; later output was dropped"
            ));
            self.truncated = true;
        }
    }

    /// Adds a line of the platform, whatever the cap.
    fn say(&mut self, text: &str) {
        encode(
            &mut self.buffer,
            self.logs.clock.now(),
            LogStream::System,
            Partial::No,
            text,
        );
    }

    async fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let Some(file) = self.file.take() else {
            self.buffer.clear();
            return;
        };
        let records = std::mem::take(&mut self.buffer);
        let (file, records, result) = append(file, records).await;
        self.buffer = records;
        self.buffer.clear();
        if let Some(file) = file {
            let len = file.len();
            self.file = Some(file);
            self.progress.send_modify(|progress| progress.len = len);
        }
        if let Err(error) = result {
            self.give_up(&error);
        }
    }

    /// Ends a log that the disk does not take; the workload goes on.
    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(workload.id = %self.workload, %error, "log could not be written");
        self.truncated = true;
        self.say(&format!(
            "log truncated: it could not be written ({error}); later output was dropped"
        ));
        // The last try, in case that this little still fits.
        if let Some(file) = &mut self.file
            && file.append(&self.buffer).is_ok()
        {
            let len = file.len();
            self.progress.send_modify(|progress| progress.len = len);
        }
        self.buffer.clear();
        self.file = None;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.ended = true);
        self.logs.close(&self.workload);
    }
}

/// Appends on this thread or on another one, as its size suggests; gives back what it was given.
async fn append(mut file: LogFile, records: Vec<u8>) -> (Option<LogFile>, Vec<u8>, io::Result<()>) {
    if file.is_open() && records.len() <= INLINE_BYTES_MAX {
        let result = file.append(&records);
        return (Some(file), records, result);
    }
    let appended = tokio::task::spawn_blocking(move || {
        let result = file.append(&records);
        (Some(file), records, result)
    });
    // It is only ever cancelled when the runtime ends.
    appended
        .await
        .unwrap_or_else(|error| (None, Vec::new(), Err(io::Error::other(error))))
}
