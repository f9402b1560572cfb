//! From a file and a context to an image.

use tokio::sync::mpsc;
use vulcan_api::{Image, ImageBuild};
use vulcan_bus::{ImageResult, UploadPiece};

use super::{
    context::Context,
    steps::{Bench, Standing},
};
use crate::image::{Events, Images, NewImage};

/// The name of a recipe; everything else is a Dockerfile.
const RECIPE: &str = "vulcan.toml";

impl Images {
    /// Builds an image. Dropping it ends the step that runs; results of former steps are kept for the next time.
    ///
    /// # Errors
    ///
    /// A problem that names the line and the step, or the field of the recipe.
    pub(in crate::image) async fn build(
        &self,
        build: &ImageBuild,
        context: mpsc::Receiver<UploadPiece>,
        events: &Events,
    ) -> ImageResult<Image> {
        let context: Context = self.receive_context(context, &build.file).await?;
        let bench = Bench::new(self, &context, !build.no_cache, events);
        let mut standing = if is_recipe(&build.file) {
            bench.recipe(build).await?
        } else {
            bench.dockerfile(build).await?
        };
        if standing.layers.is_empty() {
            let layer = bench.make_layer(|_, _| Ok(())).await?;
            bench.push(&mut standing, layer)?;
        }
        let Standing { layers, config } = standing;
        let new = NewImage {
            names: vec![build.name.clone()],
            layers,
            config,
            // The same steps make the same image, whenever that is.
            created: None,
        };
        self.add(new).await
    }
}

fn is_recipe(file: &str) -> bool {
    file.rsplit('/').next() == Some(RECIPE)
}
