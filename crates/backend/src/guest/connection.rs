//! The stream and its two tasks: one cuts what arrives into frames and hands them to their channels, one writes what could not
//! be written at once.

use std::{future::poll_fn, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf},
    sync::{mpsc, watch},
    task::AbortHandle,
};
use vulcan_guest_protocol::{
    DATA_BYTES_MAX, FromGuest, GENERATION_MAX, GENERATION_MIN, GuestFrame, Hello, HostFrame,
};

use super::{
    channels::{CHANNELS_MAX, Channel, Ending, Progress, Shared},
    outgoing::Outgoing,
    upload::{self, Message},
};
use crate::BackendError;

/// Requests that wait for the writer.
const MESSAGES_MAX: usize = CHANNELS_MAX;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// One conversation.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    outgoing: Arc<Outgoing>,
    messages: mpsc::Sender<Message>,
    reader_gone: watch::Receiver<()>,
    tasks: [AbortHandle; 2],
}

impl Connection {
    /// Shakes hands and starts the tasks.
    pub(super) async fn open<S>(mut stream: S) -> Result<Self, BackendError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut decoder = FromGuest::default();
        shake_hands(&mut stream, &mut decoder)
            .await
            .map_err(|ending| ending.error())?;
        let shared = Arc::new(Shared::new());
        let (read_half, write_half) = tokio::io::split(stream);
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        let (reader_lives, reader_gone) = watch::channel(());
        let outgoing = Arc::new(Outgoing::new(write_half));
        let writer = tokio::spawn(write_all(Arc::clone(&outgoing), receiver)).abort_handle();
        let reader_shared = Arc::clone(&shared);
        let reader_writer = writer.clone();
        let reader_outgoing = Arc::clone(&outgoing);
        let reader = tokio::spawn(async move {
            let ending = read_all(read_half, decoder, &reader_shared).await;
            reader_shared.end(ending);
            reader_writer.abort();
            // The stream is only closed when both of its halves are gone.
            reader_outgoing.close();
            drop(reader_lives);
        });
        Ok(Self {
            shared,
            outgoing,
            messages,
            reader_gone,
            tasks: [reader.abort_handle(), writer],
        })
    }

    /// Opens a channel.
    pub(super) fn channel(&self) -> Result<Channel, BackendError> {
        self.shared.open(Progress::Waiting)
    }

    /// Opens a channel for a program that runs already.
    pub(super) fn running_channel(&self) -> Result<Channel, BackendError> {
        self.shared.open(Progress::Running)
    }

    /// Returns the channels whose program runs.
    pub(super) fn running(&self) -> Vec<u32> {
        self.shared.running()
    }

    /// Writes a request, or queues it where others wait; once that is done, it is written whole.
    pub(super) async fn send(&self, message: Message) -> Result<(), BackendError> {
        let ended = self.ended();
        tokio::select! {
            biased;
            error = ended => Err(error),
            sent = self.hand_over(message) => match sent {
                Ok(()) => Ok(()),
                // The writer is gone because the stream cannot be written; the reader says why in a moment.
                Err(_) => Err(self.ended().await),
            },
        }
    }

    /// Sends a message although the conversation is over for everybody else.
    pub(super) async fn send_last(&self, message: Message) {
        // A writer that is gone has nobody to write to.
        self.hand_over(message).await.ok();
    }

    async fn hand_over(&self, message: Message) -> Result<(), mpsc::error::SendError<()>> {
        let place = self.messages.reserve().await?;
        if let Some(rest) = self.outgoing.write_now(message) {
            place.send(rest);
        }
        Ok(())
    }

    /// Ends the conversation for all calls, and returns the error that they get; the first reason stays.
    pub(super) fn end(&self, ending: Ending) -> BackendError {
        let is_violation = matches!(ending, Ending::Protocol(_));
        let error = self.shared.end(ending);
        if is_violation {
            self.close();
        }
        error
    }

    /// Closes the stream.
    pub(super) fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.outgoing.close();
    }

    /// Waits until the reader task is over.
    pub(super) async fn reader_done(&self) {
        // Nothing is ever sent: the only event is the sender's end.
        self.reader_gone.clone().changed().await.ok();
    }

    /// Waits for the end of the conversation.
    pub(super) async fn ended(&self) -> BackendError {
        let mut ending = self.shared.ending.subscribe();
        let reason = ending.wait_for(Option::is_some).await;
        match reason.as_deref() {
            Ok(Some(ending)) => ending.error(),
            Ok(None) | Err(_) => BackendError::Stopped,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

async fn shake_hands<S>(stream: &mut S, decoder: &mut FromGuest) -> Result<(), Ending>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = HostFrame::Hello(Hello {
        generation_min: GENERATION_MIN,
        generation_max: GENERATION_MAX,
    });
    let message = upload::frame(0, &hello).map_err(|error| Ending::Protocol(error.to_string()))?;
    for piece in message {
        stream.write_all(&piece).await.map_err(|error| lost(&error))?;
    }
    stream.flush().await.map_err(|error| lost(&error))?;
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = stream.read(&mut bytes).await.map_err(|error| lost(&error))?;
        if count == 0 {
            return Err(Ending::Lost("the guest ended before the handshake".into()));
        }
        decoder.push(&bytes[..count]);
        if let Some((channel, frame)) = decoder.next_frame().map_err(|error| broken(&error))? {
            return welcome(channel, &frame);
        }
    }
}

fn welcome(channel: u32, frame: &GuestFrame) -> Result<(), Ending> {
    match frame {
        GuestFrame::Welcome(welcome)
            if channel == 0 && (GENERATION_MIN..=GENERATION_MAX).contains(&welcome.generation) =>
        {
            Ok(())
        }
        GuestFrame::Welcome(welcome) => Err(Ending::Protocol(format!(
            "a welcome on channel {channel} in generation {}",
            welcome.generation
        ))),
        _ => Err(Ending::Protocol("another frame than a welcome first".into())),
    }
}

async fn read_all<S: AsyncRead>(mut stream: ReadHalf<S>, mut decoder: FromGuest, shared: &Shared) -> Ending {
    let mut bytes = vec![0; READ_BYTES];
    loop {
        loop {
            match decoder.next_frame() {
                Ok(Some((channel, frame))) => {
                    if let Err(reason) = deliver(channel, frame, shared).await {
                        return Ending::Protocol(reason);
                    }
                }
                Ok(None) => break,
                Err(error) => return broken(&error),
            }
        }
        match stream.read(&mut bytes).await {
            Ok(0) => return Ending::Lost("the guest closed the conversation".into()),
            Ok(count) => decoder.push(&bytes[..count]),
            Err(error) => return lost(&error),
        }
    }
}

async fn deliver(channel: u32, frame: GuestFrame, shared: &Shared) -> Result<(), String> {
    if let GuestFrame::Stdout(data)
    | GuestFrame::Stderr(data)
    | GuestFrame::System(data)
    | GuestFrame::Output(data)
    | GuestFrame::FileData(data) = &frame
        && data.len() > DATA_BYTES_MAX
    {
        return Err(format!(
            "a piece of {} bytes; the most is {DATA_BYTES_MAX}",
            data.len()
        ));
    }
    if let Some(sender) = shared.route(channel, &frame)? {
        // A call that was dropped in this moment wants no more frames.
        sender.send(frame).await.ok();
    }
    Ok(())
}

async fn write_all(outgoing: Arc<Outgoing>, mut messages: mpsc::Receiver<Message>) {
    while let Some(mut pieces) = messages.recv().await {
        // The reader sees the end of the stream too, after what the guest still had to say.
        if poll_fn(|context| outgoing.poll_write(context, &mut pieces))
            .await
            .is_err()
        {
            return;
        }
    }
}

fn lost(error: &std::io::Error) -> Ending {
    Ending::Lost(format!("the stream to the guest failed: {error}"))
}

fn broken(error: &vulcan_guest_protocol::ProtocolError) -> Ending {
    Ending::Protocol(error.to_string())
}
