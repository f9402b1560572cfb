//! The writing half of the stream.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Buf as _;
use tokio::io::AsyncWrite;

use super::upload::Message;

/// The most pieces in one vectored write.
const PIECES_MAX: usize = 64;

/// The writing half. Small requests are written by whoever makes them, which saves a change of tasks; what does not fit, and
/// what comes behind it, by the writer task.
pub(super) struct Outgoing(Mutex<Writing>);

struct Writing {
    /// `None` once it is closed.
    stream: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Messages that the writer task has not finished.
    queued: usize,
}

impl Outgoing {
    pub(super) fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Mutex::new(Writing {
            stream: Some(Box::new(stream)),
            queued: 0,
        }))
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // Nothing that holds the lock can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        self.writing().stream = None;
    }

    /// Writes what can be written at once, and returns the rest for the writer task, which counts as queued from now on.
    pub(super) fn write_now(&self, mut message: Message) -> Option<Message> {
        let mut writing = self.writing();
        if writing.queued == 0 {
            // Nobody else waits for the stream; if it is not ready, the writer task will.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(())) = writing.poll_write(&mut context, &mut message) {
                return None;
            }
        }
        writing.queued += 1;
        Some(message)
    }

    /// Writes a queued message to its end.
    pub(super) fn poll_write(
        &self,
        context: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<std::io::Result<()>> {
        let mut writing = self.writing();
        let written = writing.poll_write(context, message);
        if written.is_ready() {
            writing.queued -= 1;
        }
        written
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

impl Writing {
    fn poll_write(&mut self, context: &mut Context<'_>, pieces: &mut Message) -> Poll<std::io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        };
        while let Some(first) = pieces.front() {
            if first.is_empty() {
                pieces.pop_front();
                continue;
            }
            let slices: Vec<IoSlice<'_>> = pieces
                .iter()
                .take(PIECES_MAX)
                .map(|piece| IoSlice::new(piece))
                .collect();
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            advance(pieces, written);
        }
        Pin::new(stream).poll_flush(context)
    }
}

fn advance(pieces: &mut Message, mut count: usize) {
    while let Some(first) = pieces.front_mut() {
        if count < first.len() {
            first.advance(count);
            return;
        }
        count -= first.len();
        pieces.pop_front();
    }
}
