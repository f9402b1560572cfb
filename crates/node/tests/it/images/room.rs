//! Names, what goes, and a disk without room.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use tempfile::TempDir;

use super::{
    made::{Made, digest, noise, tar},
    server::{Fault, Server},
    stage::Stage,
};

fn image(seed: u64) -> Made {
    Made::new(&[tar(&[("hello", &noise(200_000, seed))])])
}

#[tokio::test]
async fn an_image_is_found_by_its_name_its_digest_and_twelve_digits() {
    let (stage, made) = (Stage::new().await, image(1));
    let server = Server::with(&made).await;
    let pulled = stage.pull(&server.name()).await.unwrap();
    let digest = digest(&made.manifest_bytes());
    for name in [
        server.name(),
        digest.clone(),
        digest[..19].to_owned(),
        digest[7..19].to_owned(),
    ] {
        assert_eq!(stage.inspect(&name).await.unwrap(), pulled, "{name}");
    }
    for name in [&digest[..18], "sha256:", "example.com/other"] {
        assert_eq!(
            stage.inspect(name).await.unwrap_err().slug(),
            "image-not-found",
            "{name}"
        );
    }
    assert_eq!(
        stage.inspect("Not A Name").await.unwrap_err().slug(),
        "invalid-parameter"
    );
}

#[tokio::test]
async fn a_removed_image_leaves_nothing_on_disk() {
    let (stage, made) = (Stage::new().await, image(1));
    let server = Server::with(&made).await;
    stage.pull(&server.name()).await.unwrap();

    let removed = stage.remove(&server.name()).await.unwrap();

    assert_eq!(removed.digests, [digest(&made.manifest_bytes())]);
    assert!(removed.freed_bytes > 200_000);
    for folder in ["blobs/sha256", "layers", "images", "staging/partial"] {
        assert!(
            super::stage::names_in(&stage.folder().join(folder)).is_empty(),
            "{folder}"
        );
    }
    assert_eq!(
        stage.remove(&server.name()).await.unwrap_err().slug(),
        "image-not-found"
    );
    stage.assert_nothing_half_made().await;
}

#[tokio::test]
async fn a_name_that_goes_to_another_image_leaves_the_former_to_be_pruned() {
    let stage = Stage::new().await;
    let server = Server::with(&image(1)).await;
    stage.pull(&server.name()).await.unwrap();
    let second = image(2);
    server.put(&second);
    stage.pull(&server.name()).await.unwrap();
    assert_eq!(stage.list().await.images.len(), 2);

    let removed = stage.prune(false).await;

    assert_eq!(removed.digests, [digest(&image(1).manifest_bytes())]);
    let left = stage.list().await.images;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].digest, digest(&second.manifest_bytes()));
    assert_eq!(stage.prune(true).await.names.len(), 1);
    assert_eq!(stage.list().await.disk_bytes, 0);
}

#[tokio::test]
async fn the_least_recently_used_image_goes_when_the_store_is_full() {
    // Each takes about 400 kB, packed and unpacked.
    let stage = Stage::with(|options| options.images.disk_bytes_max = 1_000_000).await;
    let mut servers = Vec::new();
    for seed in 1..=3 {
        let server = Server::with(&image(seed)).await;
        stage.pull(&server.name()).await.unwrap();
        servers.push(server);
    }
    let list = stage.list().await;
    let names: Vec<String> = list
        .images
        .iter()
        .flat_map(|image| &image.names)
        .map(ToString::to_string)
        .collect();
    assert!(!names.contains(&servers[0].name()), "{names:?}");
    assert!(names.contains(&servers[2].name()), "{names:?}");
    assert!(list.disk_bytes <= 1_000_000);
}

#[tokio::test]
async fn an_image_larger_than_the_store_is_refused() {
    let stage = Stage::with(|options| options.images.disk_bytes_max = 100_000).await;
    let server = Server::with(&image(1)).await;
    let problem = stage.pull(&server.name()).await.unwrap_err();
    assert_eq!(problem.slug(), "image-storage-full");
    assert_eq!(stage.list().await.disk_bytes, 0);
}

#[tokio::test]
async fn a_layer_that_unpacks_to_more_than_allowed_is_refused() {
    let stage = Stage::with(|options| options.images.unpacked_bytes_max = 1 << 20).await;
    let server = Server::with(&Made::new(&[tar(&[("zeros", &vec![0; 2 << 20])])])).await;
    let problem = stage.pull(&server.name()).await.unwrap_err();
    assert_eq!(problem.slug(), "image-invalid");
    assert!(
        problem.detail.contains("more than 1048576 bytes"),
        "{}",
        problem.detail
    );
    stage.assert_nothing_half_made().await;
}

/// A small disk of its own; taken away with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&at)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(at)
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=8m"])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_the_pull_can_be_repeated() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount a small disk");
        return;
    }
    // Too small for the packed layer, and for the unpacked one beside it.
    for size in ["size=300k", "size=600k"] {
        let directory = Arc::new(TempDir::new().unwrap());
        let disk = SmallDisk::mount(directory.path().join("data/images"), size);
        let stage = Stage::at(Arc::clone(&directory), |_| {}).await;
        let server = Server::with(&Made::new(&[tar(&[("hello", &noise(400_000, 1))])])).await;
        server.faults(&[Fault::Cut(100_000)]);

        let problem = stage.pull(&server.name()).await.unwrap_err();

        assert_eq!(problem.slug(), "image-storage-full", "{}", problem.detail);
        assert!(stage.list().await.images.is_empty());
        stage.assert_nothing_half_made().await;
        disk.grow();
        stage.pull(&server.name()).await.unwrap();
        stage.bench.handle.join().await;
    }
}
