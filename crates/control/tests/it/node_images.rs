//! What the fake node does with images: the name says how it goes.
//!
//! `gone` is found nowhere, `busy` is in use, `broken` fails in the middle, `hold` goes on until nobody listens; every other
//! one goes well.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;
use vulcan_api::{
    Image, ImageConfig, ImageEvent, ImageList, ImageName, ImagesRemoved, Problem, ProblemKind, Timestamp,
};
use vulcan_bus::{ImageCommand, ImageMaking, UploadPiece};

/// What is seen of makings.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What was asked for, in words.
    pub(crate) made: Vec<String>,
    /// How many makings ended because nobody listened.
    pub(crate) left: usize,
}

pub(crate) fn image(name: &str) -> Image {
    Image {
        names: vec![name.parse().unwrap()],
        digest: format!("sha256:{}", "a".repeat(64)),
        node: "newt".parse().unwrap(),
        platform: "linux/amd64".to_owned(),
        packed_bytes: 10,
        unpacked_bytes: 20,
        layers: Vec::new(),
        config: ImageConfig::default(),
        created_at: None,
        added_at: Timestamp::from_millis(0),
        used_at: Timestamp::from_millis(0),
        in_use: 0,
    }
}

fn problem(kind: ProblemKind, detail: &str) -> Box<Problem> {
    Box::new(Problem::new(kind, detail))
}

/// Carries out a command. Whoever asked may be gone.
pub(crate) async fn obey(command: ImageCommand, seen: Arc<Mutex<Seen>>) {
    match command {
        ImageCommand::List { reply } => drop(reply.send(Ok(ImageList {
            images: vec![image("alpine")],
            disk_bytes: 30,
            disk_bytes_max: 100,
        }))),
        ImageCommand::Inspect { image: name, reply } => drop(reply.send(if name.contains("gone") {
            Err(problem(ProblemKind::ImageNotFound, "there is no such image"))
        } else if name.starts_with("sha256:") {
            Ok(image("alpine"))
        } else {
            Ok(image(&name))
        })),
        ImageCommand::Remove { image, reply } => drop(reply.send(if image.contains("busy") {
            Err(problem(ProblemKind::ImageInUse, "2 instances use it"))
        } else {
            Ok(ImagesRemoved {
                names: vec![image.parse().unwrap()],
                digests: Vec::new(),
                freed_bytes: 7,
            })
        })),
        ImageCommand::Prune { all, reply } => drop(reply.send(Ok(ImagesRemoved {
            freed_bytes: u64::from(all),
            ..ImagesRemoved::default()
        }))),
        ImageCommand::Make { how, events } => make(how, events, seen).await,
        ImageCommand::Export {
            image,
            archive,
            bytes,
        } => {
            let piece = Bytes::from(format!("{archive:?} {image}"));
            if image.contains("gone") {
                drop(bytes.send(Err(problem(ProblemKind::ImageNotFound, "none"))).await);
                return;
            }
            drop(bytes.send(Ok(piece)).await);
            if image.contains("broken") {
                drop(bytes.send(Err(problem(ProblemKind::Internal, "disk"))).await);
            }
        }
    }
}

async fn make(how: ImageMaking, events: mpsc::Sender<ImageEvent>, seen: Arc<Mutex<Seen>>) {
    let (name, upload) = match how {
        ImageMaking::Pull(pull) => (pull.image.to_string(), None),
        ImageMaking::Build { build, context } => (format!("{build:?}"), Some(context)),
        ImageMaking::Import { name, archive } => (
            name.as_ref().map_or("none".to_owned(), ImageName::to_string),
            Some(archive),
        ),
        ImageMaking::Bootstrap { names } => (format!("{names:?}"), None),
    };
    seen.lock().unwrap().made.push(name.clone());
    let step = |text: String| events.send(ImageEvent::Step { text });
    if let Some(upload) = upload {
        match taken(upload).await {
            Some(bytes) => drop(step(format!("{bytes} bytes")).await),
            None => return fail(&events, ProblemKind::ImageInvalid, "the archive ends early").await,
        }
    }
    if name.contains("gone") {
        return fail(&events, ProblemKind::ImageNotFound, "the registry has none").await;
    }
    drop(step(name.clone()).await);
    if name.contains("hold") {
        events.closed().await;
        seen.lock().unwrap().left += 1;
        return;
    }
    if name.contains("broken") {
        return fail(&events, ProblemKind::ImageUnreachable, "the registry is gone").await;
    }
    let images = vec![image("alpine")];
    drop(events.send(ImageEvent::Done { images }).await);
}

async fn fail(events: &mpsc::Sender<ImageEvent>, kind: ProblemKind, detail: &str) {
    let problem = problem(kind, detail);
    drop(events.send(ImageEvent::Failed { problem }).await);
}

/// Returns how much came; `None` when the end did not.
async fn taken(mut upload: mpsc::Receiver<UploadPiece>) -> Option<usize> {
    let mut bytes = 0;
    while let Some(piece) = upload.recv().await {
        match piece {
            UploadPiece::Bytes(piece) => bytes += piece.len(),
            UploadPiece::End => return Some(bytes),
        }
    }
    None
}
