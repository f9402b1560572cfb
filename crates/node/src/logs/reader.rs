//! Readers: each goes at its own pace, and none can hold up a writer.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use vulcan_api::LogLine;
use vulcan_bus::{LOG_BATCH_LINES_MAX, LogBatch, LogFailure, LogRequest};

use super::{
    directory::{Logs, Progress},
    format::{HEADER, RECORD_BYTES_MAX, decode},
};

/// How much of a file is read at once: at least one record, so that reading always gets on.
const BLOCK_BYTES: usize = 128 * 1024;
const _: () = assert!(BLOCK_BYTES >= RECORD_BYTES_MAX);

impl Logs {
    /// Answers a request for a log, until its end or until nobody listens any more.
    ///
    /// Begins with the first whole line after the position that was asked for, whatever number that is.
    pub(crate) async fn read(self: Arc<Self>, request: LogRequest) {
        let Ok(_permit) = Arc::clone(&self.readers).try_acquire_owned() else {
            let reason = format!(
                "{} logs are being read already; try again later",
                Self::READERS_MAX
            );
            let _ = request.reply.send(Err(LogFailure { reason })).await;
            return;
        };
        let live = self.live(&request.workload);
        let mut cursor = Cursor::new(self.path(&request.workload), request.after);
        let mut progress = live.filter(|_| request.follow);
        // What grows but is not followed is read up to where it is now.
        let bound = self.live(&request.workload).map(|live| live.borrow().len);
        loop {
            let seen = progress.as_mut().map(|live| *live.borrow_and_update());
            let until = seen.map(|seen| seen.len).or(bound);
            let result;
            (cursor, result) = cursor.advance(until).await;
            match result {
                Ok(lines) if !lines.is_empty() => {
                    if request.reply.send(Ok(LogBatch { lines })).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {
                    if !more_to_come(seen, progress.as_mut(), &request).await {
                        return;
                    }
                }
                Err(error) => {
                    let _ = request
                        .reply
                        .send(Err(LogFailure {
                            reason: error.to_string(),
                        }))
                        .await;
                    return;
                }
            }
        }
    }
}

/// Waits until the log has grown; `false` when it will not, or when nobody listens.
async fn more_to_come(
    seen: Option<Progress>,
    progress: Option<&mut watch::Receiver<Progress>>,
    request: &LogRequest,
) -> bool {
    let (Some(seen), Some(progress)) = (seen, progress) else {
        return false;
    };
    if seen.ended {
        return false;
    }
    // Both branches are cancel-safe. A writer says that the log ended before it goes, and that is a change too.
    tokio::select! {
        changed = progress.changed() => changed.is_ok(),
        () = request.reply.closed() => false,
    }
}

/// A position in a log file.
struct Cursor {
    path: PathBuf,
    file: Option<File>,
    /// Where the next record begins, once `aligned`.
    offset: u64,
    aligned: bool,
}

impl Cursor {
    const fn new(path: PathBuf, after: u64) -> Self {
        Self {
            path,
            file: None,
            offset: after,
            aligned: false,
        }
    }

    /// Reads some lines, from another thread; none at the end of what may be read.
    async fn advance(self, until: Option<u64>) -> (Self, io::Result<Vec<LogLine>>) {
        let path = self.path.clone();
        let mut cursor = self;
        let task = tokio::task::spawn_blocking(move || {
            let result = cursor.read(until);
            (cursor, result)
        });
        // It is only ever cancelled when the runtime ends.
        task.await
            .unwrap_or_else(|error| (Self::new(path, 0), Err(io::Error::other(error))))
    }

    fn read(&mut self, until: Option<u64>) -> io::Result<Vec<LogLine>> {
        if self.file.is_none() {
            self.file = open(&self.path)?;
        }
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        let until = match until {
            Some(until) => until,
            None => file.metadata()?.len(),
        };
        if !self.aligned {
            self.offset = aligned(file, self.offset, until)?;
            self.aligned = true;
        }
        let block = block(file, self.offset, until)?;
        let mut lines = Vec::new();
        let mut rest = &block[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if lines.len() == LOG_BATCH_LINES_MAX {
                break;
            }
            let id = self.offset + end as u64 + 1;
            let line = decode(&rest[..end], id);
            lines.push(line.ok_or_else(|| invalid(format!("no record at offset {}", self.offset)))?);
            self.offset = id;
            rest = &rest[end + 1..];
        }
        if lines.is_empty() && block.len() == BLOCK_BYTES {
            return Err(invalid(format!("no record ends after offset {}", self.offset)));
        }
        Ok(lines)
    }
}

/// Opens a log; `None` where there is none, or nothing in it.
fn open(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match block(&file, 0, HEADER.len() as u64)? {
        header if header.is_empty() => Ok(None),
        header if header == HEADER => Ok(Some(file)),
        _ => Err(invalid(
            "the file is no log, or one of a newer version".to_owned(),
        )),
    }
}

/// Returns the first beginning of a record at or after an offset that somebody asked for.
fn aligned(file: &File, asked: u64, until: u64) -> io::Result<u64> {
    let first = HEADER.len() as u64;
    if asked <= first {
        return Ok(first);
    }
    if asked >= until {
        return Ok(until.max(first));
    }
    let block = block(file, asked - 1, until)?;
    let end = block.iter().position(|byte| *byte == b'\n');
    Ok(end.map_or(until, |end| asked + end as u64))
}

fn block(file: &File, offset: u64, until: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(until.saturating_sub(offset)).map_or(BLOCK_BYTES, |len| len.min(BLOCK_BYTES));
    let mut block = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut block[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    block.truncate(filled);
    Ok(block)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
