//! Which requests are open, and where their frames go.
//!
//! ```text
//! channel:  open ──Exited | Done | Refused──▶ (forgotten)
//!             │
//!             └─ the call was dropped ──▶ abandoned ──Exited | Done | Refused──▶ (forgotten)
//! ```
//!
//! A frame on a channel that is not in this picture breaks the protocol.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use vulcan_guest_protocol::GuestFrame;

use crate::BackendError;

/// The most requests that are open at once; the agent takes as many.
pub(super) const CHANNELS_MAX: usize = 64;
/// Frames of one channel that wait for its call; each holds at most [`vulcan_guest_protocol::DATA_BYTES_MAX`].
const FRAMES_MAX: usize = 16;

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
    pub(super) fn error(&self) -> BackendError {
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

/// Whether the program of a channel runs, so that it gets signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Running,
}

#[derive(Debug)]
enum Slot {
    Open {
        frames: mpsc::Sender<GuestFrame>,
        progress: Progress,
    },
    Abandoned,
}

#[derive(Debug, Default)]
struct Channels {
    last: u32,
    slots: HashMap<u32, Slot>,
}

/// What the calls and the two tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    channels: Mutex<Channels>,
    pub(super) ending: watch::Sender<Option<Ending>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            channels: Mutex::default(),
            ending: watch::Sender::new(None),
        }
    }

    /// Opens a channel.
    pub(super) fn open(self: &Arc<Self>, progress: Progress) -> Result<Channel, BackendError> {
        let mut channels = self.channels();
        if let Some(ending) = &*self.ending.borrow() {
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
            progress,
        };
        channels.slots.insert(number, slot);
        Ok(Channel {
            number,
            frames,
            shared: Arc::clone(self),
        })
    }

    /// Returns the channels whose program runs.
    pub(super) fn running(&self) -> Vec<u32> {
        let channels = self.channels();
        channels
            .slots
            .iter()
            .filter(|(_, slot)| {
                matches!(
                    slot,
                    Slot::Open {
                        progress: Progress::Running,
                        ..
                    }
                )
            })
            .map(|(number, _)| *number)
            .collect()
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        // Nothing that holds the lock can panic half way through a change.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the conversation for all calls, and returns the error that they get; the first reason stays.
    pub(super) fn end(&self, ending: Ending) -> BackendError {
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
    pub(super) fn route(
        &self,
        number: u32,
        frame: &GuestFrame,
    ) -> Result<Option<mpsc::Sender<GuestFrame>>, String> {
        let is_last = matches!(
            frame,
            GuestFrame::Exited(_) | GuestFrame::Done | GuestFrame::Refused(_)
        );
        let mut channels = self.channels();
        let Some(slot) = channels.slots.get_mut(&number) else {
            return Err(format!("a frame on channel {number}, which is not open"));
        };
        let sender = match slot {
            Slot::Open { frames, progress } => {
                if matches!(frame, GuestFrame::Started) {
                    *progress = Progress::Running;
                }
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
