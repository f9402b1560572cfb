//! Images as files, in both directions, with skopeo on the other side.

use std::{fs, process::Command};

use tempfile::TempDir;
use vulcan_api::ImageArchive;

use super::{
    made::{Made, digest, noise, tar as tar_of},
    registry::layout,
    server::Server,
    stage::Stage,
};

fn skopeo(from: &str, to: &str) {
    let output = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", from, to])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn an_image_is_exported_and_imported_in_both_shapes() {
    let made = Made::new(&[
        tar_of(&[("hello", &noise(300_000, 3))]),
        tar_of(&[(".wh.hello", b"")]),
    ]);
    let server = Server::with(&made).await;
    let stage = Stage::new().await;
    let image = stage.pull(&server.name()).await.unwrap();
    for shape in [ImageArchive::Oci, ImageArchive::Docker] {
        let archive = stage.export(&server.name(), shape).await.unwrap();
        for archive in [super::made::gzip(&archive), archive] {
            let other = Stage::new().await;
            let imported = other.import(None, archive).await.unwrap().remove(0);
            assert_eq!((&imported.names, &imported.config), (&image.names, &image.config));
            assert_eq!(imported.unpacked_bytes, image.unpacked_bytes);
            if shape == ImageArchive::Oci {
                assert_eq!(imported.digest, image.digest);
            }
            other.assert_nothing_half_made().await;
        }
    }
}

#[tokio::test]
async fn skopeo_reads_what_is_exported_and_what_it_writes_is_imported() {
    let folder = TempDir::new().unwrap();
    layout(folder.path());
    let stage = Stage::new().await;
    let at = |name: &str| folder.path().join(name).display().to_string();
    skopeo(
        &format!("oci:{}:image", at("layout")),
        &format!("docker-archive:{}:example.com/app:1", at("docker.tar")),
    );
    skopeo(
        &format!("oci:{}:image", at("layout")),
        &format!("oci-archive:{}:example.com/app:2", at("oci.tar")),
    );
    for (file, name) in [
        ("docker.tar", "example.com/app:1"),
        ("oci.tar", "example.com/app:2"),
    ] {
        let images = stage.import(None, fs::read(at(file)).unwrap()).await.unwrap();
        assert_eq!(images[0].names[0].to_string(), name);
        assert_eq!(images[0].layers.len(), 2);
    }
    let docker = stage
        .export("example.com/app:1", ImageArchive::Docker)
        .await
        .unwrap();
    fs::write(at("out.tar"), docker).unwrap();
    skopeo(
        &format!("docker-archive:{}", at("out.tar")),
        &format!("dir:{}", at("docker")),
    );
    // As a folder: skopeo itself unpacks such an archive only as root.
    let oci = stage
        .export("example.com/app:1", ImageArchive::Oci)
        .await
        .unwrap();
    tar::Archive::new(oci.as_slice()).unpack(at("out")).unwrap();
    skopeo(
        &format!("oci:{}:example.com/app:1", at("out")),
        &format!("dir:{}", at("oci")),
    );
}

#[tokio::test]
async fn an_archive_that_is_changed_or_none_is_refused() {
    let made = Made::new(&[tar_of(&[("hello", &noise(10_000, 3))])]);
    let server = Server::with(&made).await;
    let stage = Stage::new().await;
    stage.pull(&server.name()).await.unwrap();
    let archive = stage.export(&server.name(), ImageArchive::Oci).await.unwrap();
    let layer = &made.layers[0];
    let at = archive
        .windows(layer.len())
        .position(|bytes| bytes == layer)
        .unwrap();
    let mut changed = archive.clone();
    changed[at + layer.len() / 2] ^= 1;

    for archive in [
        changed,
        archive[..archive.len() / 2].to_vec(),
        b"nothing".repeat(200),
        tar_of(&[("x", b"")]),
    ] {
        let other = Stage::new().await;
        let problem = other.import(Some("example.com/app"), archive).await.unwrap_err();
        assert_eq!(problem.slug(), "image-invalid");
        assert_eq!(other.list().await.disk_bytes, 0);
        other.assert_nothing_half_made().await;
    }
}

#[tokio::test]
async fn an_upload_that_is_broken_off_leaves_nothing() {
    let stage = Stage::new().await;
    let (pieces, archive) = tokio::sync::mpsc::channel(1);
    let told = stage
        .make(vulcan_bus::ImageMaking::Import { name: None, archive })
        .await;
    pieces
        .send(vulcan_bus::UploadPiece::Bytes(vec![0; 1000].into()))
        .await
        .unwrap();
    drop(pieces);
    let problem = super::stage::end(told).await.0.unwrap_err();
    assert!(problem.detail.contains("broken off"), "{}", problem.detail);
    stage.assert_nothing_half_made().await;
}

#[tokio::test]
async fn an_image_without_a_name_needs_one() {
    let made = Made::new(&[tar_of(&[("hello", b"hi")])]);
    let archive = {
        let server = Server::with(&made).await;
        let stage = Stage::new().await;
        stage.pull(&server.name()).await.unwrap();
        stage
            .export(&digest(&made.manifest_bytes()), ImageArchive::Docker)
            .await
            .unwrap()
    };
    let stage = Stage::new().await;
    let images = stage.import(Some("example.com/mine:1"), archive).await.unwrap();
    assert_eq!(images[0].names[0].to_string(), "example.com/mine:1");
}
