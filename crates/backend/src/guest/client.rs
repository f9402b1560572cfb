//! What a backend calls.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use vulcan_api::Runtime;
use vulcan_guest_protocol::{ExitStatus, HostFrame, SignalRequest};

use super::{
    channels::{Channel, Ending},
    connection::Connection,
    files,
    loading::{Loading, Turn},
    outcome::{self, Finished},
    run::{Limits, Run, Step},
    upload,
};
use crate::{BackendError, ExecRequest, Invocation, LogChunk, LogSink, Outcome};

/// A conversation with one guest agent.
///
/// Any number of calls may run at once. Dropping the client closes the stream, upon which the agent kills everything in the
/// guest and ends. One slow log reader holds up the whole guest, never the host's memory.
#[derive(Debug)]
pub struct GuestClient {
    connection: Connection,
    loading: Loading,
}

impl GuestClient {
    /// Shakes hands with the agent at the other end of the stream.
    ///
    /// The agent need not run yet: what is sent waits in the stream. Dropping the future closes the stream.
    ///
    /// # Errors
    ///
    /// [`BackendError::Deadline`] when no answer comes in time, [`BackendError::Lost`] when the stream ends,
    /// [`BackendError::Protocol`] when the answer makes no sense.
    pub async fn connect<S>(stream: S, deadline: Duration) -> Result<Self, BackendError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = tokio::time::timeout(deadline, Connection::open(stream))
            .await
            .map_err(|_| BackendError::Deadline {
                step: "the handshake with the guest",
                limit: deadline,
            })??;
        Ok(Self {
            connection,
            loading: Loading::default(),
        })
    }

    /// Has the guest start an interpreter ahead of the code, and returns when it is ready for the next [`Self::invoke`] of a
    /// runtime that it serves. At most one is kept; another runtime's takes its place.
    ///
    /// Dropping the future, and the deadline, leave the guest with whatever it has until then.
    ///
    /// # Errors
    ///
    /// [`BackendError::RuntimeUnavailable`] when the guest has no interpreter for it or starts none ahead,
    /// [`BackendError::StartFailed`] when it does not start, [`BackendError::Deadline`], and those of [`Self::invoke`].
    pub async fn prepare(&self, runtime: Runtime, deadline: Duration) -> Result<(), BackendError> {
        let channel = self.connection.channel()?;
        let message =
            upload::prepare(channel.number(), runtime).map_err(|error| outcome::unsendable(&error))?;
        self.connection.send(message).await?;
        let answered = tokio::time::timeout(deadline, files::written(channel)).await;
        match answered {
            Ok(answer) => self
                .judge(answer)
                .map_err(|error| outcome::of_preparing(error, runtime)),
            Err(_) => Err(BackendError::Deadline {
                step: "starting an interpreter ahead",
                limit: deadline,
            }),
        }
    }

    /// Runs a program, and returns when it is over; see [`crate::Instance::invoke`].
    ///
    /// In the modes `Warm` and `Forked` the first call sends the code, and as long as calls end with
    /// [`Outcome::reusable`], later ones send nothing but their input. No call may begin while the first runs; how many of the
    /// later ones may overlap is what `reusable` says.
    ///
    /// Code that cannot be unpacked or executed is an outcome with [`vulcan_api::ErrorCode::Exception`] and exit code 126.
    /// Dropping the future leaves the program running and its output unread.
    ///
    /// # Errors
    ///
    /// [`BackendError::RuntimeUnavailable`] when the guest has no interpreter for it, [`BackendError::Exhausted`] when too
    /// many requests are open, [`BackendError::Refused`] when the handler is loading, busy or gone, and then the call never
    /// ran, [`BackendError::Lost`], [`BackendError::Protocol`], [`BackendError::Stopped`].
    pub async fn invoke(&self, invocation: Invocation, logs: LogSink) -> Result<Outcome, BackendError> {
        let turn = self.loading.begin(invocation.mode)?;
        let result = self.invoke_in_turn(turn, &invocation, logs).await;
        let is_reusable = result.as_ref().is_ok_and(|outcome| outcome.reusable.is_some());
        // A call that was refused says nothing of the handler, unless it was the one to load it.
        if turn == Turn::Load || result.is_ok() {
            self.loading.end(turn, is_reusable);
        }
        result
    }

    async fn invoke_in_turn(
        &self,
        turn: Turn,
        invocation: &Invocation,
        logs: LogSink,
    ) -> Result<Outcome, BackendError> {
        let begun = Instant::now();
        let (channel, message, run) = if turn == Turn::Call {
            let channel = self.connection.running_channel()?;
            let message = upload::call(channel.number(), invocation);
            (channel, message, Run::of_loaded(Limits::of(invocation)))
        } else {
            let channel = self.connection.channel()?;
            let message = upload::invoke(channel.number(), invocation);
            (channel, message, Run::new(Limits::of(invocation)))
        };
        let message = message.map_err(|error| outcome::unsendable(&error))?;
        self.connection.send(message).await?;
        match self.follow(channel, run, &logs).await? {
            Finished::Exited(ended) => Ok(outcome::of_program(ended, invocation, begun)),
            Finished::Refused(refusal) if turn == Turn::Call => Err(outcome::refused(refusal)),
            Finished::Refused(refusal) => outcome::of_refusal(refusal, invocation.program.runtime, begun),
        }
    }

    /// Runs a command, and returns when it is over; see [`crate::Exec::run`].
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] when it cannot be started, and those of [`Self::invoke`].
    pub async fn exec(&self, request: ExecRequest, logs: LogSink) -> Result<ExitStatus, BackendError> {
        let channel = self.connection.channel()?;
        let message = upload::exec(channel.number(), request).map_err(|error| outcome::unsendable(&error))?;
        let run = Run::new(Limits::EXEC);
        self.connection.send(message).await?;
        match self.follow(channel, run, &logs).await? {
            Finished::Exited(ended) => Ok(ended.status),
            Finished::Refused(refusal) => Err(outcome::refused(refusal)),
        }
    }

    /// Reads a file; one longer than `bytes_max` is an error and not a truncation.
    ///
    /// Takes at most a minute. Dropping the future makes the rest of the file be ignored.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] with the guest's reason, [`BackendError::Deadline`], and those of [`Self::invoke`].
    pub async fn read_file(&self, path: &str, bytes_max: usize) -> Result<Bytes, BackendError> {
        let channel = self.connection.channel()?;
        let message = upload::read_file(channel.number(), path, bytes_max)
            .map_err(|error| outcome::unsendable(&error))?;
        self.connection.send(message).await?;
        self.judge(files::in_time(files::read(channel, bytes_max)).await)
    }

    /// Writes a file, replacing what was there; its folder must exist. A failed write may leave a part of the file.
    ///
    /// Takes at most a minute. Dropping the future does not keep the file from being written.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] with the guest's reason, [`BackendError::Deadline`], and those of [`Self::invoke`].
    pub async fn write_file(&self, path: &str, mode: u32, bytes: Bytes) -> Result<(), BackendError> {
        let channel = self.connection.channel()?;
        let message = upload::write_file(channel.number(), path, mode, &bytes)
            .map_err(|error| outcome::unsendable(&error))?;
        self.connection.send(message).await?;
        self.judge(files::in_time(files::written(channel)).await)
    }

    /// Sends a signal to every program and command that is running, and to its process group.
    ///
    /// # Errors
    ///
    /// [`BackendError::Lost`], [`BackendError::Protocol`], [`BackendError::Stopped`] when the conversation is over.
    pub async fn signal(&self, signal: u8) -> Result<(), BackendError> {
        for channel in self.connection.running() {
            let frame = HostFrame::Signal(SignalRequest { signal });
            let message = upload::frame(channel, &frame).map_err(|error| outcome::unsendable(&error))?;
            self.connection.send(message).await?;
        }
        Ok(())
    }

    /// Asks the agent to kill everything and to end, waits for that until the deadline, and closes the stream.
    ///
    /// Calls that are open end with [`BackendError::Stopped`]. May be repeated. A guest that does not obey is not an error
    /// here: whoever started it has stronger means.
    pub async fn shutdown(&self, deadline: Duration) {
        self.connection.end(Ending::Stopped);
        if let Ok(message) = upload::frame(0, &HostFrame::Shutdown) {
            let gone = async {
                self.connection.send_last(message).await;
                self.connection.reader_done().await;
            };
            // A guest that stalls is left to the caller's stronger means.
            tokio::time::timeout(deadline, gone).await.ok();
        }
        self.connection.close();
    }

    /// Closes the stream at once; calls that are open end with [`BackendError::Stopped`]. May be repeated.
    pub fn close(&self) {
        self.connection.end(Ending::Stopped);
        self.connection.close();
    }

    /// Waits until the conversation is over, and says why. Any number of callers; cancel-safe.
    pub async fn closed(&self) -> BackendError {
        self.connection.ended().await
    }

    async fn follow(
        &self,
        mut channel: Channel,
        mut run: Run,
        logs: &LogSink,
    ) -> Result<Finished, BackendError> {
        loop {
            let frame = channel.next().await?;
            match run.take(frame) {
                Ok(Step::Log { stream, bytes }) => {
                    // A reader that is gone is no error.
                    logs.send(LogChunk { stream, bytes }).await.ok();
                }
                Ok(Step::None) => {}
                Ok(Step::Over(finished)) => return Ok(finished),
                Err(reason) => return Err(self.connection.end(Ending::Protocol(reason))),
            }
        }
    }

    fn judge<T>(&self, result: Result<T, files::Failure>) -> Result<T, BackendError> {
        result.map_err(|failure| match failure {
            files::Failure::Protocol(reason) => self.connection.end(Ending::Protocol(reason)),
            files::Failure::Error(error) => error,
        })
    }
}
