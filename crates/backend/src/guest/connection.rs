//! The stream and its two tasks: one cuts what arrives into frames and hands them to their channels, one writes.
//!
//! ```text
//! channel:  open ──Exited | Done | Refused──▶ (forgotten)
//!             │
//!             └─ the call was dropped ──▶ abandoned ──Exited | Done | Refused──▶ (forgotten)
//! ```
//!
//! A frame on a channel that is not in this picture breaks the protocol.

use std::{
    collections::{HashMap, VecDeque},
    io::IoSlice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    task::AbortHandle,
};
use vulcan_guest_protocol::{
    DATA_BYTES_MAX, FromGuest, GENERATION_MAX, GENERATION_MIN, GuestFrame, Hello, HostFrame,
};

use super::upload::{self, Message};
use crate::BackendError;

/// The most requests that are open at once; the agent takes as many.
const CHANNELS_MAX: usize = 64;
/// Frames of one channel that wait for its call; each holds at most [`DATA_BYTES_MAX`].
const FRAMES_MAX: usize = 16;
/// Requests that wait for the writer.
const MESSAGES_MAX: usize = CHANNELS_MAX;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// The most pieces in one vectored write.
const PIECES_MAX: usize = 64;

/// Why a conversation is over.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// The host closed it.
    Stopped,
    /// The stream ended.
    Lost(String),
    /// The guest broke the protocol.
    Protocol(String),
}

impl Ending {
    fn error(&self) -> BackendError {
        match self {
            Self::Stopped => BackendError::Stopped,
            Self::Lost(reason) => BackendError::Lost {
                reason: reason.clone(),
            },
            Self::Protocol(reason) => BackendError::Protocol {
                reason: reason.clone(),
            },
        }
    }
}

#[derive(Debug)]
enum Slot {
    Open {
        frames: mpsc::Sender<GuestFrame>,
        is_running: bool,
    },
    Abandoned,
}

#[derive(Debug, Default)]
struct Channels {
    last: u32,
    slots: HashMap<u32, Slot>,
}

#[derive(Debug)]
struct Shared {
    channels: Mutex<Channels>,
    ending: watch::Sender<Option<Ending>>,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared {
            channels: Mutex::default(),
            ending: watch::Sender::new(None),
        });
        let (read_half, write_half) = tokio::io::split(stream);
        let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
        let (reader_lives, reader_gone) = watch::channel(());
        let writer = tokio::spawn(write_all(write_half, receiver)).abort_handle();
        let reader_shared = Arc::clone(&shared);
        let reader_writer = writer.clone();
        let reader = tokio::spawn(async move {
            let ending = read_all(read_half, decoder, &reader_shared).await;
            reader_shared.end(ending);
            // It holds the other half of the stream, which is only closed when both are gone.
            reader_writer.abort();
            drop(reader_lives);
        });
        Ok(Self {
            shared,
            messages,
            reader_gone,
            tasks: [reader.abort_handle(), writer],
        })
    }

    /// Opens a channel.
    pub(super) fn channel(&self) -> Result<Channel, BackendError> {
        let mut channels = self.shared.channels();
        if let Some(ending) = &*self.shared.ending.borrow() {
            return Err(ending.error());
        }
        let number = channels.last.checked_add(1);
        let Some(number) = number.filter(|_| channels.slots.len() < CHANNELS_MAX) else {
            return Err(BackendError::Exhausted {
                what: "channels to the guest",
                source: None,
            });
        };
        channels.last = number;
        let (sender, frames) = mpsc::channel(FRAMES_MAX);
        let slot = Slot::Open {
            frames: sender,
            is_running: false,
        };
        channels.slots.insert(number, slot);
        Ok(Channel {
            number,
            frames,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Returns the channels whose program runs.
    pub(super) fn running(&self) -> Vec<u32> {
        let channels = self.shared.channels();
        channels
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Open { is_running: true, .. }))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Queues a request; once queued, it is written whole.
    pub(super) async fn send(&self, message: Message) -> Result<(), BackendError> {
        let ended = self.ended();
        tokio::select! {
            biased;
            error = ended => Err(error),
            sent = self.messages.send(message) => match sent {
                Ok(()) => Ok(()),
                // The writer is gone because the stream cannot be written; the reader says why in a moment.
                Err(_) => Err(self.ended().await),
            },
        }
    }

    /// Queues a message although the conversation is over for everybody else.
    pub(super) async fn send_last(&self, message: Message) {
        // A writer that is gone has nobody to write to.
        self.messages.send(message).await.ok();
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

impl Shared {
    fn channels(&self) -> MutexGuard<'_, Channels> {
        // Nothing that holds the lock can panic half way through a change.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, ending: Ending) -> BackendError {
        let mut error = ending.error();
        self.ending.send_if_modified(|current| {
            if let Some(first) = current {
                error = first.error();
                return false;
            }
            *current = Some(ending);
            true
        });
        // The calls that wait see their channel end, and ask why.
        self.channels().slots.clear();
        error
    }

    /// Returns where a frame goes; `None` when nobody wants it any more.
    fn route(&self, number: u32, frame: &GuestFrame) -> Result<Option<mpsc::Sender<GuestFrame>>, String> {
        let is_last = matches!(
            frame,
            GuestFrame::Exited(_) | GuestFrame::Done | GuestFrame::Refused(_)
        );
        let mut channels = self.channels();
        let Some(slot) = channels.slots.get_mut(&number) else {
            return Err(format!("a frame on channel {number}, which is not open"));
        };
        let sender = match slot {
            Slot::Open { frames, is_running } => {
                *is_running |= matches!(frame, GuestFrame::Started);
                Some(frames.clone())
            }
            Slot::Abandoned => None,
        };
        if is_last {
            channels.slots.remove(&number);
        }
        Ok(sender)
    }
}

/// The receiving end of one request. Dropping it makes the rest of the answer be ignored.
#[derive(Debug)]
pub(super) struct Channel {
    number: u32,
    frames: mpsc::Receiver<GuestFrame>,
    shared: Arc<Shared>,
}

impl Channel {
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Waits for the next frame. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<GuestFrame, BackendError> {
        match self.frames.recv().await {
            Some(frame) => Ok(frame),
            // The sender goes with the slot: at the last frame, after which nobody asks, or at the end of everything.
            None => Err(self
                .shared
                .end(Ending::Lost("the channel ended in the middle".into()))),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(slot) = self.shared.channels().slots.get_mut(&self.number) {
            *slot = Slot::Abandoned;
        }
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

async fn write_all<S: AsyncWrite>(mut stream: WriteHalf<S>, mut messages: mpsc::Receiver<Message>) {
    while let Some(mut pieces) = messages.recv().await {
        while let Ok(more) = messages.try_recv() {
            pieces.extend(more);
        }
        // The reader sees the end of the stream too, after what the guest still had to say.
        if write(&mut stream, pieces).await.is_err() {
            return;
        }
    }
}

async fn write<S: AsyncWrite>(stream: &mut WriteHalf<S>, mut pieces: VecDeque<Bytes>) -> std::io::Result<()> {
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
        let written = stream.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        advance(&mut pieces, written);
    }
    stream.flush().await
}

fn advance(pieces: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = pieces.front_mut() {
        if count < first.len() {
            first.advance(count);
            return;
        }
        count -= first.len();
        pieces.pop_front();
    }
}

fn lost(error: &std::io::Error) -> Ending {
    Ending::Lost(format!("the stream to the guest failed: {error}"))
}

fn broken(error: &vulcan_guest_protocol::ProtocolError) -> Ending {
    Ending::Protocol(error.to_string())
}
