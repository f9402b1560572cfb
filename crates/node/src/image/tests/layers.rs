//! Layers and images that are made here.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;
use vulcan_api::{ImageConfig, ManualClock, Timestamp};

use crate::image::{ImageOptions, Images, LayerSource, Meaning, NewImage, Setup, unpack};

const EPOCH: Timestamp = Timestamp::from_millis(1_000_000_000_000);

pub(super) fn open(folder: &Path) -> Arc<Images> {
    Images::open(Setup {
        folder: folder.join("images"),
        options: ImageOptions::default(),
        node: "newt".parse().unwrap(),
        clock: Arc::new(ManualClock::new(EPOCH)),
        builders: Vec::new(),
    })
    .unwrap()
}

/// A folder of changes with a file of every kind.
fn changes(folder: &Path) {
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::write(folder.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(folder.join("usr/bin/tool"), folder.join("usr/bin/same")).unwrap();
    symlink("usr/bin", folder.join("bin")).unwrap();
    symlink("/x".repeat(80), folder.join("long")).unwrap();
    let deep = folder.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("usr/gone"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
}

#[tokio::test]
async fn a_folder_of_changes_becomes_the_same_layer_every_time() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut layers = Vec::new();
    for place in [&one, &other] {
        let images = open(place.path());
        let scratch = images.scratch().unwrap();
        let folder = scratch.path().join("upper");
        changes(&folder);
        layers.push(
            images
                .add_layer(LayerSource::Folder(folder), EPOCH)
                .await
                .unwrap(),
        );
    }
    assert_eq!(layers[0], layers[1]);

    let folder = &layers[0].folder;
    assert_eq!(
        fs::metadata(folder.join("bin/tool")).unwrap().mode() & 0o7777,
        0o4755
    );
    assert_eq!(fs::metadata(folder.join("usr/bin/same")).unwrap().nlink(), 2);
    assert_eq!(
        fs::metadata(folder.join("usr/bin/tool")).unwrap().mtime(),
        1_000_000_000
    );
    assert!(
        fs::metadata(folder.join("usr/gone"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

#[tokio::test]
async fn what_a_layer_unpacks_to_packs_to_the_same_layer() {
    let place = TempDir::new().unwrap();
    let images = open(place.path());
    let scratch = images.scratch().unwrap();
    let folder = scratch.path().join("upper");
    changes(&folder);
    let made = images
        .add_layer(LayerSource::Folder(folder), EPOCH)
        .await
        .unwrap();
    let blob = fs::File::open(images.store.disk.blob(&made.digest)).unwrap();
    let again = scratch.path().join("again");
    fs::create_dir(&again).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let unpacked = unpack(blob, &again, Meaning::Layer, images.limits(), &stop).unwrap();
    assert_eq!(unpacked.diff_id, made.diff_id);
    let repacked = images.add_layer(LayerSource::Folder(again), EPOCH).await.unwrap();
    assert_eq!(made, repacked);
}

#[tokio::test]
async fn an_image_is_there_after_a_restart_and_what_was_half_made_is_not() {
    let place = TempDir::new().unwrap();
    let name = "vulcan/minimal".parse().unwrap();
    let image = {
        let images = open(place.path());
        let scratch = images.scratch().unwrap();
        let folder = scratch.path().join("upper");
        changes(&folder);
        let layer = images
            .add_layer(LayerSource::Folder(folder), EPOCH)
            .await
            .unwrap();
        let half = images.scratch().unwrap();
        fs::write(half.path().join("half"), "").unwrap();
        std::mem::forget(half);
        images
            .add(NewImage {
                names: vec![name],
                layers: vec![layer],
                config: ImageConfig::default(),
                created: Some(EPOCH),
            })
            .await
            .unwrap()
    };

    let images = open(place.path());
    let name = "vulcan/minimal:latest".parse().unwrap();
    assert_eq!(images.find(&name), Some(image));
    let ready = images.ready(&name).await.unwrap();
    assert!(ready.root.layers[0].join("bin/tool").exists());
    assert_eq!(images.find(&name).unwrap().in_use, 1);
    drop(ready);
    assert_eq!(images.find(&name).unwrap().in_use, 0);
    let staged: Vec<_> = fs::read_dir(place.path().join("images/staging"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(staged, ["partial"]);
}

/// A store with one image of one layer.
async fn with_image(place: &Path) -> (Arc<Images>, vulcan_api::Image) {
    let images = open(place);
    let scratch = images.scratch().unwrap();
    let folder = scratch.path().join("upper");
    changes(&folder);
    let layer = images
        .add_layer(LayerSource::Folder(folder), EPOCH)
        .await
        .unwrap();
    let image = images
        .add(NewImage {
            names: vec!["vulcan/minimal".parse().unwrap()],
            layers: vec![layer],
            config: ImageConfig::default(),
            created: None,
        })
        .await
        .unwrap();
    (images, image)
}

#[tokio::test]
async fn an_image_that_an_instance_uses_is_not_removed() {
    let place = TempDir::new().unwrap();
    let (images, image) = with_image(place.path()).await;
    let ready = images.ready(&image.names[0]).await.unwrap();
    let (record, name) = images.resolve("vulcan/minimal").unwrap();

    let refused = images.store.remove(&record, name.as_ref()).unwrap_err();

    assert_eq!(refused.slug(), "image-in-use");
    assert!(ready.root.layers[0].join("bin/tool").exists());
    assert!(images.store.prune(|_| true).unwrap().digests.is_empty());
    let folder = ready.root.layers[0].clone();
    drop(ready);
    images.store.remove(&record, name.as_ref()).unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_layer_that_a_power_cut_may_have_emptied_is_had_again() {
    let place = TempDir::new().unwrap();
    let (images, image) = with_image(place.path()).await;
    images.store.settle().unwrap();
    drop(images);
    let layers = place.path().join("images/layers");
    let record = fs::read_dir(&layers)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some())
        .unwrap();
    let settled = fs::read_to_string(&record).unwrap();
    assert!(!settled.contains("unsynced_boot"));
    assert!(open(place.path()).find(&image.names[0]).is_some());

    let unsettled = settled.replacen('{', "{\"unsynced_boot\": \"another\",", 1);
    fs::write(&record, unsettled).unwrap();

    assert!(open(place.path()).find(&image.names[0]).is_none());
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
}

#[tokio::test]
async fn the_result_of_a_step_is_kept_until_it_is_pruned() {
    let place = TempDir::new().unwrap();
    let (images, image) = with_image(place.path()).await;
    let key = crate::image::Digest::of(b"step");
    let layer = images.ready(&image.names[0]).await.unwrap().layers.remove(0);
    images.keep_step(&key, &layer).await.unwrap();
    let (record, _) = images.resolve("vulcan/minimal").unwrap();
    images.store.remove(&record, None).unwrap();
    drop((images, layer));

    let images = open(place.path());
    assert!(images.step(&key).unwrap().folder.join("bin/tool").exists());
    images.store.prune(|_| true).unwrap();
    assert_eq!(images.step(&key), None);
    assert_eq!(images.store.state().disk_bytes(), 0);
}
