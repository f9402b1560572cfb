//! The real thing: mmdebstrap, Debian's packages, twice.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use tokio::sync::mpsc;
use vulcan_api::{Image, ImageEvent, ManualClock, Timestamp};

use crate::image::{ImageOptions, Images, Setup};

fn open(folder: &Path, now: i64) -> Arc<Images> {
    Images::open(Setup {
        folder: folder.to_owned(),
        options: ImageOptions::default(),
        node: "newt".parse().unwrap(),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(now))),
        builders: Vec::new(),
    })
    .unwrap()
}

/// Makes images, and returns them with what was told.
async fn made(images: &Images, names: &[&str]) -> (Vec<Image>, Vec<String>) {
    let (events, mut told) = mpsc::channel(16);
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    let gather = async {
        let mut steps = Vec::new();
        while let Some(event) = told.recv().await {
            match event {
                ImageEvent::Step { text } => steps.push(text),
                ImageEvent::Log { text } => eprintln!("{text}"),
                other => panic!("{other:?}"),
            }
        }
        steps
    };
    let make = async {
        let made = images.bootstrap(&names, &events).await;
        drop(events);
        made
    };
    let (made, steps) = tokio::join!(make, gather);
    (made.unwrap(), steps)
}

/// The digests of the layers of an image.
fn layers(image: &Image) -> Vec<&str> {
    image.layers.iter().map(|layer| layer.digest.as_str()).collect()
}

#[tokio::test]
async fn the_platforms_images_are_made_twice_alike_and_share_their_base() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it takes root to give files their owners");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let images = open(&folder.path().join("one"), 1_000_000_000_000);

    let (all, steps) = made(&images, &[]).await;

    for step in steps {
        eprintln!("{step}");
    }
    let [minimal, python, node, go] = all.as_slice() else {
        panic!("{} images", all.len());
    };
    for image in [python, node, go] {
        assert_eq!(layers(image)[..1], layers(minimal)[..], "{:?}", image.names);
        assert_eq!(image.layers.len(), 2);
    }
    let mut folders = BTreeMap::new();
    for image in &all {
        let ready = images.ready(&image.names[0]).await.unwrap();
        folders.insert(image.digest.clone(), ready.root.layers.clone());
    }
    let has = |image: &Image, path: &str| {
        folders[&image.digest]
            .iter()
            .any(|folder| fs::symlink_metadata(folder.join(path)).is_ok())
    };
    for path in [
        "usr/bin/bash",
        "usr/bin/sh",
        "usr/bin/awk",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/share/zoneinfo/UTC",
        "var/lib/dpkg/status",
    ] {
        assert!(has(minimal, path), "{path}");
    }
    assert!(has(python, "usr/bin/python3") && has(python, "usr/lib/python3.11/json/__init__.py"));
    assert!(has(node, "usr/bin/node") && has(node, "usr/bin/esbuild"));
    assert!(has(go, "usr/bin/go"));

    // Another store, another day.
    let other = open(&folder.path().join("other"), 1_700_000_000_000);
    let (again, _) = made(&other, &["vulcan/python"]).await;

    assert_eq!(again[0].digest, python.digest);
    assert_eq!(layers(&again[0]), layers(python));
}
