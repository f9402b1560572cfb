//! Making an image, told while it happens: whoever asked hears of every step, and of the end.

use std::{future::Future, sync::Arc};

use vulcan_api::{Image, ImageEvent};
use vulcan_bus::{ImageMaking, ImageResult};

use super::{Events, Images};

impl Images {
    /// Makes an image, and tells what comes of it. Ends when nobody listens any more, and leaves nothing but what a repetition
    /// may use.
    pub(super) async fn make(self: &Arc<Self>, how: ImageMaking, events: Events) {
        match how {
            ImageMaking::Bootstrap { names } => told(&events, self.bootstrap(&names, &events)).await,
            ImageMaking::Build { build, context } => {
                let making = async { Ok(vec![self.build(&build, context, &events).await?]) };
                told(&events, making).await;
            }
            other => drop(other),
        }
    }
}

async fn told(events: &Events, making: impl Future<Output = ImageResult<Vec<Image>>>) {
    let made = tokio::select! {
        made = making => made,
        () = events.closed() => return,
    };
    let end = match made {
        Ok(images) => ImageEvent::Done { images },
        Err(problem) => ImageEvent::Failed { problem },
    };
    // Whoever listened may be gone by now.
    let _ = events.send(end).await;
}
