//! What the node does around its image store: idle instances leave an image that is removed, and the report of what can be run
//! follows what is here.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use vulcan_api::ImageEvent;
use vulcan_bus::ImageCommand;

use crate::{image::Images, node::Node, pool::RootId};

/// How long the end of a making waits until the control plane was told what can be run now.
const REPORT_LIMIT: Duration = Duration::from_secs(2);
/// How many events of a making wait for a slow listener.
const EVENTS_LEN: usize = 16;

/// Carries out a command about images.
pub(crate) async fn obey(node: Arc<Node>, command: ImageCommand) {
    let images = Arc::clone(&node.images);
    match command {
        ImageCommand::Make { how, events } => make(&node, images, how, events).await,
        ImageCommand::Remove { image, reply } => {
            if let Some(digest) = images.digest_of(&image) {
                node.pool.leave_root(RootId::of_digest(&digest)).await;
            }
            images.obey(ImageCommand::Remove { image, reply }).await;
            node.look.notify_one();
        }
        ImageCommand::Prune { .. } => {
            images.obey(command).await;
            node.look.notify_one();
        }
        ImageCommand::List { .. } | ImageCommand::Inspect { .. } | ImageCommand::Export { .. } => {
            images.obey(command).await;
        }
    }
}

/// Makes an image. Whoever hears that it is done may run something on it at once.
async fn make(
    node: &Node,
    images: Arc<Images>,
    how: vulcan_bus::ImageMaking,
    events: mpsc::Sender<ImageEvent>,
) {
    let (sender, mut receiver) = mpsc::channel(EVENTS_LEN);
    let making = images.obey(ImageCommand::Make { how, events: sender });
    let telling = async {
        while let Some(event) = receiver.recv().await {
            if matches!(event, ImageEvent::Done { .. }) {
                let mut told = node.told.subscribe();
                node.look.notify_one();
                // Where it takes longer, the next report says it.
                let _ = timeout(REPORT_LIMIT, told.changed()).await;
            }
            if events.send(event).await.is_err() {
                return;
            }
        }
    };
    // A listener that is gone ends the making.
    tokio::select! {
        ((), ()) = async { tokio::join!(making, telling) } => {}
        () = events.closed() => {}
    }
}
