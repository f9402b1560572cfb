//! Making an image, told while it happens: whoever asked hears of every step, and of the end.

use std::{future::Future, sync::Arc};

use vulcan_api::{Image, ImageEvent, ProblemKind};
use vulcan_bus::{ImageMaking, ImageResult};

use super::{Events, Images, teller::Teller};

impl Images {
    /// Makes an image, and tells what comes of it. Ends when nobody listens any more, and leaves nothing but what a repetition
    /// may use.
    pub(super) async fn make(self: &Arc<Self>, how: ImageMaking, events: Events) {
        let teller = Teller::new(events.clone());
        match how {
            ImageMaking::Pull(pull) => {
                let pulling = async { Ok(vec![self.pull(pull, &teller).await?]) };
                self.told(&events, pulling).await;
            }
            ImageMaking::Import { name, archive } => {
                self.told(&events, self.import(name, archive, &teller)).await;
            }
            ImageMaking::Build { build, context } => {
                let building = async { Ok(vec![self.build(&build, context, &events).await?]) };
                self.told(&events, building).await;
            }
            ImageMaking::Bootstrap { names } => {
                self.told(&events, self.bootstrap(&names, &events)).await;
            }
        }
    }

    async fn told(&self, events: &Events, making: impl Future<Output = ImageResult<Vec<Image>>>) {
        // Both may be dropped at any time.
        let made = tokio::select! {
            made = making => Some(made),
            () = events.closed() => None,
        };
        // Layers that are whole are of use when it is repeated; of what cannot be used nothing stays.
        if let Some(Err(problem)) = &made
            && problem.slug() != ProblemKind::ImageUnreachable.slug()
        {
            self.collect_quietly().await;
        }
        let end = match made {
            Some(Ok(images)) => ImageEvent::Done { images },
            Some(Err(problem)) => ImageEvent::Failed { problem },
            None => return,
        };
        // Whoever listened may be gone by now.
        let _ = events.send(end).await;
    }
}
