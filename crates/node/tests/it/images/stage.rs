//! A node with an image store, asked as the control plane asks.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use vulcan_api::{Image, ImageArchive, ImageEvent, ImageList, ImageName, ImagePull, ImagesRemoved, Problem};
use vulcan_backend::simulator::Simulator;
use vulcan_bus::{Command, ImageCommand, ImageMaking, ImageResult, UploadPiece};
use vulcan_node::Options;

use crate::harness::{Bench, PATIENCE};

pub(super) struct Stage {
    pub(super) bench: Bench,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::at(Arc::new(TempDir::new().unwrap()), change).await
    }

    /// A node over what another one left.
    pub(super) async fn at(directory: Arc<TempDir>, change: impl FnOnce(&mut Options)) -> Self {
        Self::over(directory, Simulator::new(), change).await
    }

    /// The same, with a class of one's own.
    pub(super) async fn over(
        directory: Arc<TempDir>,
        simulator: Simulator,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let quick = |options: &mut Options| {
            options.images.attempts_max = 2;
            options.images.stall_s = 1;
            change(options);
        };
        let bench = Bench::at(directory, simulator, quick).await.unwrap();
        Self { bench }
    }

    /// Ends the node, and starts another one over its data.
    pub(super) async fn again(self) -> Self {
        let directory = Arc::clone(&self.bench.directory);
        self.bench.handle.join().await;
        Self::at(directory, |_| {}).await
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.bench.directory.path().join("data/images")
    }

    /// What is half made: nothing, when nothing is being made.
    pub(super) fn staged(&self) -> Vec<String> {
        names_in(&self.folder().join("staging"))
            .into_iter()
            .filter(|name| name != "partial")
            .collect()
    }

    pub(super) fn partials(&self) -> Vec<String> {
        names_in(&self.folder().join("staging/partial"))
    }

    /// Where a layer of an image is unpacked, the lowest is 0.
    pub(super) fn layers(&self) -> Vec<PathBuf> {
        names_in(&self.folder().join("layers"))
            .iter()
            .filter(|name| !name.contains('.'))
            .map(|name| self.folder().join("layers").join(name))
            .collect()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> ImageCommand) -> T {
        let (reply, answer) = oneshot::channel();
        self.bench.command(Command::Image(command(reply))).await;
        timeout(PATIENCE, answer).await.unwrap().unwrap()
    }

    pub(super) async fn list(&self) -> ImageList {
        self.ask(|reply| ImageCommand::List { reply }).await.unwrap()
    }

    pub(super) async fn inspect(&self, image: &str) -> ImageResult<Image> {
        let image = image.to_owned();
        self.ask(|reply| ImageCommand::Inspect { image, reply }).await
    }

    pub(super) async fn remove(&self, image: &str) -> ImageResult<ImagesRemoved> {
        let image = image.to_owned();
        self.ask(|reply| ImageCommand::Remove { image, reply }).await
    }

    pub(super) async fn prune(&self, all: bool) -> ImagesRemoved {
        self.ask(|reply| ImageCommand::Prune { all, reply })
            .await
            .unwrap()
    }

    pub(super) async fn make(&self, how: ImageMaking) -> mpsc::Receiver<ImageEvent> {
        let (events, told) = mpsc::channel(64);
        self.bench
            .command(Command::Image(ImageCommand::Make { how, events }))
            .await;
        told
    }

    /// Pulls to the end; returns the image and what was told on the way.
    pub(super) async fn pull_told(&self, pull: ImagePull) -> (Result<Image, Problem>, Vec<ImageEvent>) {
        let (result, told) = end(self.make(ImageMaking::Pull(pull)).await).await;
        (result.map(|mut images| images.remove(0)), told)
    }

    pub(super) async fn pull(&self, name: &str) -> Result<Image, Problem> {
        self.pull_told(pull_of(name)).await.0
    }

    pub(super) async fn import(&self, name: Option<&str>, archive: Vec<u8>) -> Result<Vec<Image>, Problem> {
        let (pieces, receiver) = mpsc::channel(4);
        let making = ImageMaking::Import {
            name: name.map(|name| name.parse().unwrap()),
            archive: receiver,
        };
        let told = self.make(making).await;
        let sending = async move {
            for piece in archive.chunks(100_000) {
                // Whoever refuses early does not read the rest.
                if pieces
                    .send(UploadPiece::Bytes(Bytes::copy_from_slice(piece)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            let _ = pieces.send(UploadPiece::End).await;
        };
        let ((), (result, _)) = tokio::join!(sending, end(told));
        result
    }

    pub(super) async fn export(&self, image: &str, archive: ImageArchive) -> ImageResult<Vec<u8>> {
        let (bytes, mut pieces) = mpsc::channel(4);
        let command = ImageCommand::Export {
            image: image.to_owned(),
            archive,
            bytes,
        };
        self.bench.command(Command::Image(command)).await;
        let mut content = Vec::new();
        while let Some(piece) = timeout(PATIENCE, pieces.recv()).await.unwrap() {
            content.extend_from_slice(&piece?);
        }
        Ok(content)
    }

    /// Waits until nothing is half made: scratch folders go in the background.
    pub(super) async fn assert_nothing_half_made(&self) {
        crate::harness::until("an empty staging folder", || self.staged().is_empty()).await;
    }
}

pub(super) fn pull_of(name: &str) -> ImagePull {
    ImagePull {
        image: name.parse::<ImageName>().unwrap(),
        credentials: None,
    }
}

/// Waits for the end of a making.
pub(super) async fn end(
    mut told: mpsc::Receiver<ImageEvent>,
) -> (Result<Vec<Image>, Problem>, Vec<ImageEvent>) {
    let mut events = Vec::new();
    loop {
        match timeout(PATIENCE, told.recv()).await.unwrap().unwrap() {
            ImageEvent::Done { images } => return (Ok(images), events),
            ImageEvent::Failed { problem } => return (Err(*problem), events),
            event => events.push(event),
        }
    }
}

pub(super) fn names_in(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
