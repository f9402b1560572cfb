//! Making them.

use std::path::{Path, PathBuf};

use tokio::time::Instant;
use vulcan_api::{Image, ImageEvent, ImageName, ProblemKind, Timestamp};
use vulcan_bus::ImageResult;

use super::{
    definitions::{Definition, MINIMAL, RUNTIMES},
    packages::{self, Unpacked},
    precompile::precompile,
    tree::{self, Place},
};
use crate::image::{
    Events, Images, Layer, LayerSource, NewImage,
    problem::{blocking, disk, refuse},
};

/// A layer that was made, and what later ones must know of it.
struct Made {
    layer: Layer,
    status: String,
    /// The time of the newest file of its packages.
    newest: Timestamp,
}

impl Images {
    /// Makes the platform's own images, or those of them that are named. May be repeated: equal packages make equal images.
    /// May be dropped at any time.
    ///
    /// # Errors
    ///
    /// When a name is none of ours, mmdebstrap or the network is not there, or the disk is full.
    pub(in crate::image) async fn bootstrap(
        &self,
        names: &[ImageName],
        events: &Events,
    ) -> ImageResult<Vec<Image>> {
        let wanted = wanted(names)?;
        let debs = self.scratch()?;
        let minimal = self.make_layer(&MINIMAL, None, debs.path(), events).await?;
        let mut images = Vec::new();
        for definition in wanted {
            let image = if definition.name == MINIMAL.name {
                self.make_image(definition, vec![minimal.layer.clone()], minimal.newest)
                    .await?
            } else {
                let made = self
                    .make_layer(definition, Some(&minimal), debs.path(), events)
                    .await?;
                let layers = vec![minimal.layer.clone(), made.layer];
                self.make_image(definition, layers, made.newest.max(minimal.newest))
                    .await?
            };
            images.push(image);
        }
        Ok(images)
    }

    async fn make_layer(
        &self,
        definition: &'static Definition,
        below: Option<&Made>,
        debs: &Path,
        events: &Events,
    ) -> ImageResult<Made> {
        let begun = Instant::now();
        let name = definition.name;
        tell(events, format!("{name}: {}", definition.packages.join(" "))).await;
        let scratch = self.scratch()?;
        let names: Vec<String> = definition.packages.iter().map(|&name| name.to_owned()).collect();
        let request = packages::Request {
            packages: &names,
            status: below.map_or("", |below| &below.status),
            pretended: definition.pretended,
            scratch: scratch.path(),
            debs,
        };
        let unpacked = packages::unpack(request, events).await?;
        precompile(&unpacked.tree, events).await?;
        let place = if below.is_some() {
            Place::Upper
        } else {
            Place::Lowest
        };
        let (unpacked, newest) = settle(unpacked, definition.removed, place).await?;
        let layer = self.add_layer(LayerSource::Folder(unpacked.tree), newest).await?;
        let told = format!(
            "{name}: {} packages, {} unpacked, {} packed, in {:.1} s",
            unpacked.packages.len(),
            megabytes(layer.unpacked_bytes),
            megabytes(layer.packed_bytes),
            begun.elapsed().as_secs_f64()
        );
        tell(events, told).await;
        Ok(Made {
            layer,
            status: unpacked.status,
            newest,
        })
    }

    async fn make_image(
        &self,
        definition: &Definition,
        layers: Vec<Layer>,
        created: Timestamp,
    ) -> ImageResult<Image> {
        let name = definition
            .name
            .parse()
            .expect("the names of our images are names");
        let new = NewImage {
            names: vec![name],
            layers,
            config: definition.config(),
            created: Some(created),
        };
        self.add(new).await
    }
}

/// Makes a layer out of unpacked packages; returns the time of the newest file with it.
pub(in crate::image) async fn settle(
    unpacked: Unpacked,
    removed: &'static [&'static str],
    place: Place,
) -> ImageResult<(Unpacked, Timestamp)> {
    blocking(move || {
        let folder: PathBuf = unpacked.tree.clone();
        let failed = |error| disk("write to", &folder, &error);
        // Nothing that was not in the tree before is newer than what apt was told first.
        let begun = unpacked.begun;
        tree::clean(&folder, removed, place, &unpacked.status).map_err(failed)?;
        let newest = tree::settle_times(&folder, begun).map_err(failed)?;
        Ok((unpacked, Timestamp::from_millis(newest.saturating_mul(1000))))
    })
    .await
}

/// Returns what is to be made, each once; all where nothing is named.
fn wanted(names: &[ImageName]) -> ImageResult<Vec<&'static Definition>> {
    let all = || std::iter::once(&MINIMAL).chain(&RUNTIMES);
    let is_named = |definition: &Definition, name: &ImageName| {
        name.is_own()
            && name.repository() == definition.name
            && name.tag() == Some("latest")
            && name.digest().is_none()
    };
    for name in names {
        if !all().any(|definition| is_named(definition, name)) {
            let known: Vec<&str> = all().map(|definition| definition.name).collect();
            return refuse(
                ProblemKind::ImageNotFound,
                format!(
                    "{name} is none of the images that are made here: {}",
                    known.join(", ")
                ),
            );
        }
    }
    Ok(all()
        .filter(|definition| names.is_empty() || names.iter().any(|name| is_named(definition, name)))
        .collect())
}

async fn tell(events: &Events, text: String) {
    // Whoever listened may be gone.
    let _ = events.send(ImageEvent::Step { text }).await;
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let names: Vec<ImageName> = names.iter().map(|name| name.parse().unwrap()).collect();
        wanted(&names)
            .map(|wanted| wanted.iter().map(|definition| definition.name).collect())
            .map_err(|problem| problem.detail)
    }

    #[test]
    fn only_our_own_images_are_made() {
        let all = vec!["vulcan/minimal", "vulcan/python", "vulcan/node", "vulcan/go"];
        assert_eq!(of(&[]), Ok(all));
        assert_eq!(of(&["vulcan/go", "vulcan/go"]), Ok(vec!["vulcan/go"]));
        for name in [
            "vulcan/perl",
            "alpine",
            "vulcan/go:1.19",
            "registry.example/vulcan/go",
        ] {
            assert!(
                of(&[name]).unwrap_err().contains("vulcan/minimal, vulcan/python"),
                "{name}"
            );
        }
    }
}
