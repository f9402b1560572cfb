//! Images: asking the node that has them. What comes and goes in pieces goes through as it comes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use vulcan_api::{Image, ImageArchive, ImageEvent, ImageList, ImagesRemoved, Problem, ProblemKind};
use vulcan_bus::{Command, ImageCommand, ImageMaking, ImageResult};

use super::Refused;
use crate::service::Service;

/// How long the bus may take to take a command.
const SEND_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the node may take to look at what it has.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the node may take to remove images: folders with a million files.
const REMOVE_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a failure is waited for that could be told as a plain refusal.
const FIRST_EVENT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the first bytes of an archive may take.
const FIRST_BYTES_WAIT_MAX: Duration = Duration::from_secs(60);
/// How many events wait for a slow reader.
const EVENTS_AHEAD: usize = 64;
/// How many pieces of an archive wait for a slow reader.
const PIECES_AHEAD: usize = 8;

impl Service {
    /// Returns what the node has.
    pub(crate) async fn image_list(&self) -> Result<ImageList, Refused> {
        self.ask(LOOK_WAIT_MAX, |reply| ImageCommand::List { reply })
            .await
    }

    /// Returns one image, by name or digest.
    pub(crate) async fn image_get(&self, image: String) -> Result<Image, Refused> {
        self.ask(LOOK_WAIT_MAX, |reply| ImageCommand::Inspect { image, reply })
            .await
    }

    /// Removes a name, and with its last one the image.
    pub(crate) async fn image_remove(&self, image: String) -> Result<ImagesRemoved, Refused> {
        self.ask(REMOVE_WAIT_MAX, |reply| ImageCommand::Remove { image, reply })
            .await
    }

    /// Removes what nobody needs.
    pub(crate) async fn image_prune(&self, all: bool) -> Result<ImagesRemoved, Refused> {
        self.ask(REMOVE_WAIT_MAX, |reply| ImageCommand::Prune { all, reply })
            .await
    }

    /// Has the node make an image. Dropping what is returned ends the making.
    ///
    /// `fault` says what went wrong with the upload that it is made of.
    ///
    /// # Errors
    ///
    /// A failure that is known before anything else is told.
    pub(crate) async fn image_make(
        &self,
        how: ImageMaking,
        fault: Option<oneshot::Receiver<Refused>>,
    ) -> Result<Making, Refused> {
        if let Some(reason) = self.why_draining() {
            return Err(Refused::shutting_down(reason));
        }
        let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
        self.command(ImageCommand::Make { how, events }).await?;
        let mut making = Making {
            first: None,
            events: Some(receiver),
            fault,
            stop: self.stop.clone(),
        };
        // Cancel-safe: an event that is taken is kept or returned.
        match tokio::time::timeout(FIRST_EVENT_WAIT_MAX, making.next()).await {
            Ok(Some(ImageEvent::Failed { problem })) => Err(Refused::from(*problem)),
            Ok(first) => Ok(Making { first, ..making }),
            Err(_) => Ok(making),
        }
    }

    /// Has the node send an image as an archive.
    ///
    /// # Errors
    ///
    /// A failure that is known before the first byte.
    pub(crate) async fn image_export(
        &self,
        image: String,
        archive: ImageArchive,
    ) -> Result<Exporting, Refused> {
        let (bytes, mut pieces) = mpsc::channel(PIECES_AHEAD);
        self.command(ImageCommand::Export {
            image,
            archive,
            bytes,
        })
        .await?;
        match tokio::time::timeout(FIRST_BYTES_WAIT_MAX, pieces.recv()).await {
            Ok(Some(Ok(first))) => Ok(Exporting {
                first: Some(first),
                pieces,
                stop: self.stop.clone(),
            }),
            Ok(Some(Err(problem))) => Err(Refused::from(*problem)),
            Ok(None) => Err(node_gone()),
            Err(_) => Err(node_silent(FIRST_BYTES_WAIT_MAX)),
        }
    }

    async fn ask<T>(
        &self,
        limit: Duration,
        command: impl FnOnce(oneshot::Sender<ImageResult<T>>) -> ImageCommand,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply)).await?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(problem))) => Err(Refused::from(*problem)),
            Ok(Err(_)) => Err(node_gone()),
            Err(_) => Err(node_silent(limit)),
        }
    }

    async fn command(&self, command: ImageCommand) -> Result<(), Refused> {
        let sending = self.commands.send(Command::Image(command));
        match tokio::time::timeout(SEND_WAIT_MAX, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(node_gone()),
            Err(_) => Err(node_silent(SEND_WAIT_MAX)),
        }
    }
}

/// An image that is being made; dropping it ends the making.
#[derive(Debug)]
pub(crate) struct Making {
    first: Option<ImageEvent>,
    /// `None` when the last one was told.
    events: Option<mpsc::Receiver<ImageEvent>>,
    fault: Option<oneshot::Receiver<Refused>>,
    stop: CancellationToken,
}

impl Making {
    /// Returns what is told next; `None` after the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<ImageEvent> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let events = self.events.as_mut()?;
        let told = tokio::select! {
            told = events.recv() => told,
            () = self.stop.cancelled() => Some(failed(Refused::shutting_down("the server is shutting down"))),
        };
        let event = told.unwrap_or_else(|| failed(node_gone()));
        match event {
            ImageEvent::Step { .. } | ImageEvent::Progress { .. } | ImageEvent::Log { .. } => Some(event),
            ImageEvent::Done { .. } => {
                self.events = None;
                Some(event)
            }
            ImageEvent::Failed { problem } => {
                self.events = None;
                // The node saw the upload end early; why it did is known here.
                let fault = self.fault.take().and_then(|mut fault| fault.try_recv().ok());
                Some(fault.map_or(ImageEvent::Failed { problem }, failed))
            }
        }
    }
}

/// An archive that is being sent; dropping it ends the sending.
#[derive(Debug)]
pub(crate) struct Exporting {
    first: Option<Bytes>,
    pieces: mpsc::Receiver<ImageResult<Bytes>>,
    stop: CancellationToken,
}

impl Exporting {
    /// Returns the next piece; `None` after the last one. Nothing follows a failure. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Box<Problem>>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let piece = self.pieces.recv().await;
        if piece.is_none() && self.stop.is_cancelled() {
            // The node may have been ended in the middle: that must not look like the archive's end.
            let problem = Problem::new(ProblemKind::ShuttingDown, "the server is shutting down");
            return Some(Err(Box::new(problem)));
        }
        piece
    }
}

fn failed(refused: Refused) -> ImageEvent {
    ImageEvent::Failed {
        problem: Box::new(refused.into_problem()),
    }
}

fn node_gone() -> Refused {
    Refused::shutting_down("the node that has the images is gone")
}

fn node_silent(limit: Duration) -> Refused {
    Refused::overloaded(format!(
        "the node that has the images did not answer within {} seconds",
        limit.as_secs()
    ))
}
