//! Registries that stall, break off, lie, or want to know who asks.

use std::fs;

use serde_json::json;
use vulcan_api::{ImageEvent, Problem};
use vulcan_bus::ImageMaking;

use super::{
    made::{Made, digest, gzip, noise, tar},
    server::{Fault, Server},
    stage::{Stage, pull_of},
};
use crate::harness::until;

fn image(bytes: usize) -> Made {
    Made::new(&[tar(&[("hello", &noise(bytes, 7))])])
}

/// What a refusal is: its kind, and that it names the image.
fn kind_of(result: Result<vulcan_api::Image, Problem>, server: &Server) -> String {
    let problem = result.expect_err("it is refused");
    assert!(problem.detail.contains(&server.host), "{}", problem.detail);
    problem.slug().to_owned()
}

#[tokio::test]
async fn a_connection_that_breaks_inside_of_a_layer_is_taken_up_where_it_stopped() {
    let (stage, image) = (Stage::new().await, image(300_000));
    let server = Server::with(&image).await;
    server.faults(&[Fault::Cut(100_000), Fault::Cut(50_000)]);

    let pulled = stage.pull(&server.name()).await.unwrap();

    assert_eq!(pulled.digest, digest(&image.manifest_bytes()));
    assert_eq!(
        server.ranges(&digest(&image.layers[0])),
        [
            None,
            Some("bytes=100000-".to_owned()),
            Some("bytes=150000-".to_owned())
        ]
    );
    assert!(stage.partials().is_empty());
}

#[tokio::test]
async fn a_registry_that_stalls_is_asked_again_for_the_rest() {
    let (stage, image) = (Stage::new().await, image(300_000));
    let server = Server::with(&image).await;
    server.faults(&[Fault::Stall(120_000), Fault::Status(503)]);

    stage.pull(&server.name()).await.unwrap();

    assert_eq!(
        server.ranges(&digest(&image.layers[0]))[1..],
        [Some("bytes=120000-".to_owned()), Some("bytes=120000-".to_owned())]
    );
}

#[tokio::test]
async fn a_pull_that_came_to_nothing_goes_on_after_a_restart() {
    let (stage, image) = (Stage::new().await, image(300_000));
    let server = Server::with(&image).await;
    server.faults(&[Fault::Cut(100_000), Fault::Cut(10_000), Fault::Cut(10_000)]);

    let first = stage.pull(&server.name()).await;
    assert_eq!(kind_of(first, &server), "image-unreachable");
    assert!(stage.list().await.images.is_empty());
    stage.assert_nothing_half_made().await;
    let stage = stage.again().await;
    stage.pull(&server.name()).await.unwrap();

    let ranges = server.ranges(&digest(&image.layers[0]));
    assert_eq!(ranges.last(), Some(&Some("bytes=120000-".to_owned())));
}

#[tokio::test]
async fn a_beginning_that_was_changed_on_disk_is_not_believed() {
    let (stage, image) = (Stage::new().await, image(300_000));
    let server = Server::with(&image).await;
    server.faults(&[Fault::Cut(100_000), Fault::Cut(0), Fault::Cut(0)]);
    stage.pull(&server.name()).await.unwrap_err();
    let partial = stage.folder().join("staging/partial").join(&stage.partials()[0]);
    let mut content = fs::read(&partial).unwrap();
    content[5] ^= 1;
    fs::write(&partial, content).unwrap();

    stage.pull(&server.name()).await.unwrap();
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_digest_says_is_refused_and_can_be_pulled_again() {
    for fault in [Fault::Garbled, Fault::TooLong] {
        let (stage, image) = (Stage::new().await, image(100_000));
        let server = Server::with(&image).await;
        server.faults(&[fault]);

        let refused = stage.pull(&server.name()).await;

        assert_eq!(kind_of(refused, &server), "image-invalid", "{fault:?}");
        assert!(stage.list().await.images.is_empty());
        assert_eq!(stage.layers(), Vec::<std::path::PathBuf>::new());
        assert!(stage.partials().is_empty());
        stage.pull(&server.name()).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_manifest_says_must_be_true() {
    let plain = tar(&[("hello", b"hi")]);
    let mut cases = Vec::new();
    // The config's digest of the plain layer.
    cases.push(Made::of(
        &[digest(b"other")],
        vec![gzip(&plain)],
        std::env::consts::ARCH,
    ));
    // As many layers in both.
    cases.push(Made::of(&[], vec![gzip(&plain)], std::env::consts::ARCH));
    // A layer that is no archive.
    cases.push(Made::new(&[b"no tar at all".repeat(100)]));
    // A layer that leads out.
    let mut out = plain.clone();
    out[..8].copy_from_slice(b"../../xx");
    let sum: u32 = out[..148]
        .iter()
        .chain(&out[156..512])
        .map(|byte| u32::from(*byte))
        .sum::<u32>()
        + 256;
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    cases.push(Made::new(&[out]));
    for (number, case) in cases.iter().enumerate() {
        let stage = Stage::new().await;
        let server = Server::with(case).await;
        let refused = stage.pull(&server.name()).await;
        assert_eq!(kind_of(refused, &server), "image-invalid", "case {number}");
        stage.assert_nothing_half_made().await;
        assert!(stage.partials().is_empty(), "case {number}");
        assert_eq!(stage.list().await.disk_bytes, 0, "case {number}");
    }
}

#[tokio::test]
async fn documents_that_are_old_unknown_or_endless_are_refused_in_words() {
    let stage = Stage::new().await;
    let server = Server::start().await;
    for (content, says) in [
        (
            br#"{"schemaVersion": 1, "fsLayers": []}"#.to_vec(),
            "old schema 1",
        ),
        (b"<html>".to_vec(), "no JSON"),
        (br#"{"schemaVersion": 2}"#.to_vec(), "not known here"),
        (vec![b' '; 5 << 20], "longer than 4194304 bytes"),
    ] {
        server.page("manifests/latest", content, "");
        let problem = stage.pull(&server.name()).await.unwrap_err();
        assert_eq!(problem.slug(), "image-invalid");
        assert!(problem.detail.contains(says), "{}", problem.detail);
    }
}

#[tokio::test]
async fn an_index_gives_this_machines_image_or_says_which_there_are() {
    let stage = Stage::new().await;
    let made = image(1000);
    let server = Server::with(&made).await;
    let manifest = made.manifest_bytes();
    let entry = |os: &str, architecture: &str| {
        json!({
            "mediaType": super::made::MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
            "platform": {"os": os, "architecture": architecture},
        })
    };
    server.put_index(&json!({"schemaVersion": 2, "manifests": [
        entry("linux", "s390x"), entry("windows", "amd64"), entry("unknown", "unknown"),
    ]}));
    let problem = stage.pull(&server.name()).await.unwrap_err();
    assert_eq!(problem.slug(), "image-platform");
    assert!(
        problem.detail.contains("linux/s390x, windows/amd64"),
        "{}",
        problem.detail
    );

    let own = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    server
        .put_index(&json!({"schemaVersion": 2, "manifests": [entry("linux", "s390x"), entry("linux", own)]}));
    let pulled = stage.pull(&server.name()).await.unwrap();
    assert_eq!(pulled.digest, digest(&manifest));
    assert_eq!(pulled.platform, format!("linux/{own}"));

    server.put(&image(1000).for_other_machine());
    let problem = stage.pull(&server.name()).await.unwrap_err();
    assert_eq!(problem.slug(), "image-platform");
}

#[tokio::test]
async fn a_token_is_had_where_the_registry_says_and_goes_nowhere_else() {
    let (stage, image) = (Stage::new().await, image(1000));
    let (server, store) = (Server::with(&image).await, Server::with(&image).await);
    server.ask_for_token("t0k");
    server.send_elsewhere(&store.host);

    stage.pull(&server.name()).await.unwrap();

    assert!(
        server
            .asked()
            .iter()
            .any(|asked| asked.path.contains("scope=repository%3Aapp%3Apull"))
    );
    assert_eq!(store.asked().len(), 2);
    assert!(store.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_refused() {
    let stage = Stage::new().await;
    let server = Server::with(&image(1000)).await;
    server.ask_for_token("two\nlines");
    assert_eq!(
        kind_of(stage.pull(&server.name()).await, &server),
        "image-invalid"
    );
}

#[tokio::test]
async fn nobody_answers_where_no_registry_is() {
    let stage = Stage::new().await;
    let server = Server::start().await;
    let name = server.name();
    drop(server);
    let problem = stage.pull(&name).await.unwrap_err();
    assert_eq!(problem.slug(), "image-unreachable");
    assert!(problem.detail.contains("cannot be reached"), "{}", problem.detail);
}

#[tokio::test]
async fn a_pull_ends_when_nobody_listens_and_goes_on_when_it_is_repeated() {
    let (stage, image) = (
        Stage::with(|options| options.images.stall_s = 60).await,
        image(300_000),
    );
    let server = Server::with(&image).await;
    server.faults(&[Fault::Stall(100_000)]);
    let mut told = stage.make(ImageMaking::Pull(pull_of(&server.name()))).await;
    while !matches!(told.recv().await, Some(ImageEvent::Progress { .. })) {}

    drop(told);

    let name = digest(&image.layers[0])["sha256:".len()..].to_owned();
    let partial = stage.folder().join("staging/partial").join(name);
    until("the first bytes on disk", || {
        fs::metadata(&partial).is_ok_and(|file| file.len() > 0)
    })
    .await;
    stage.pull(&server.name()).await.unwrap();
    stage.assert_nothing_half_made().await;
}

#[tokio::test]
async fn two_who_pull_the_same_share_one_pull() {
    let (stage, image) = (Stage::new().await, image(300_000));
    let server = Server::with(&image).await;
    let name = server.name();
    let (one, other) = tokio::join!(stage.pull(&name), stage.pull(&name));
    assert_eq!(one.unwrap().digest, other.unwrap().digest);
    assert_eq!(server.ranges(&digest(&image.layers[0])), [None]);
}
