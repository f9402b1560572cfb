//! Commands about images, and what is answered.

use std::sync::Arc;

use vulcan_api::{Image, ImageList, ImageName, ImagesRemoved, ProblemKind};
use vulcan_bus::{ImageCommand, ImageResult};

use super::{
    Images,
    problem::{blocking, disk, problem, refuse},
    record::ImageRecord,
};

/// The fewest digits of a digest that stand for it.
const DIGITS_MIN: usize = 12;

impl Images {
    /// Carries out a command; whoever asked may be gone, and then the answer is nobody's.
    pub(crate) async fn obey(self: Arc<Self>, command: ImageCommand) {
        match command {
            ImageCommand::List { reply } => drop(reply.send(Ok(self.list()))),
            ImageCommand::Inspect { image, reply } => drop(reply.send(self.inspect(&image))),
            ImageCommand::Remove { image, reply } => drop(reply.send(self.remove(&image).await)),
            ImageCommand::Prune { all, reply } => drop(reply.send(self.prune(all).await)),
            ImageCommand::Make { how, events } => self.make(how, events).await,
            ImageCommand::Export {
                image,
                archive,
                bytes,
            } => {
                if let Err(problem) = self.export(&image, archive, &bytes).await {
                    let _ = bytes.send(Err(problem)).await;
                }
            }
        }
    }

    fn list(&self) -> ImageList {
        let records: Vec<ImageRecord> = self.store.state().images.values().cloned().collect();
        let mut images: Vec<Image> = records.iter().map(|record| self.store.image(record)).collect();
        images.sort_by(|one, other| (&one.names, &one.digest).cmp(&(&other.names, &other.digest)));
        ImageList {
            images,
            disk_bytes: self.store.state().disk_bytes(),
            disk_bytes_max: self.setup.options.disk_bytes_max,
        }
    }

    fn inspect(&self, image: &str) -> ImageResult<Image> {
        let (record, _) = self.resolve(image)?;
        Ok(self.store.image(&record))
    }

    async fn remove(&self, image: &str) -> ImageResult<ImagesRemoved> {
        let (record, name) = self.resolve(image)?;
        let store = Arc::clone(&self.store);
        blocking(move || store.remove(&record, name.as_ref())).await
    }

    async fn prune(self: &Arc<Self>, all: bool) -> ImageResult<ImagesRemoved> {
        let images = Arc::clone(self);
        blocking(move || {
            let store = &images.store;
            store
                .clear_partials(|_, hex| !images.makers.is_making(hex))
                .map_err(|error| disk("tidy", store.disk.root(), &error))?;
            let defaults = &images.setup.options.defaults;
            let is_default = |name: &ImageName| defaults.values().any(|default| default == name);
            store.prune(|image| image.names.is_empty() || (all && !image.names.iter().any(is_default)))
        })
        .await
    }

    /// Finds an image by its name, its digest, or the beginning of that; the name, where it was one.
    pub(super) fn resolve(&self, image: &str) -> ImageResult<(ImageRecord, Option<ImageName>)> {
        let digits = image.strip_prefix("sha256:").unwrap_or(image);
        let is_digits = digits.len() >= DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digits || image.starts_with("sha256:") {
            let state = self.store.state();
            let mut found = state
                .images
                .values()
                .filter(|record| is_digits && record.digest.hex().starts_with(digits));
            if let (Some(record), None) = (found.next(), found.next()) {
                return Ok((record.clone(), None));
            }
            if image.starts_with("sha256:") {
                let why = format!(
                    "no single image here has a digest that begins with {image}; 'vulcan image ls' shows them, {DIGITS_MIN} digits are needed"
                );
                return refuse(ProblemKind::ImageNotFound, why);
            }
        }
        let name: ImageName = image
            .parse()
            .map_err(|error| problem(ProblemKind::InvalidParameter, format!("{error}")))?;
        match self.store.find(&name) {
            Some(record) => Ok((record, Some(name))),
            None => refuse(ProblemKind::ImageNotFound, super::images::missing(&name)),
        }
    }
}
