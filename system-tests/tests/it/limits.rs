//! Bad input and limits, with the real archive checks and the real disk.

use serde_json::json;
use vulcan_api::{ErrorCode, Status};

use crate::fixture::{Fixture, archive, slug, spec};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_are_refused_before_anything_starts() {
    let fixture = Fixture::start().await;
    for name in ["../escape.py", "/etc/passwd", "a/../../b"] {
        let files: [(&str, &[u8]); 2] = [("main.py", b""), (name, b"x")];
        let body = json!({"runtime": "python", "code_archive": archive(&files), "entrypoint": "main.py"});
        assert_eq!(
            slug(fixture.try_run(&spec(body)).await),
            "invalid-archive",
            "{name}"
        );
    }
    let bomb = vec![0; 200 << 20];
    let files: [(&str, &[u8]); 2] = [("main.py", b""), ("bomb", &bomb)];
    let body = json!({"runtime": "python", "code_archive": archive(&files), "entrypoint": "main.py"});
    assert_eq!(slug(fixture.try_run(&spec(body)).await), "invalid-archive");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused_with_its_reason() {
    let fixture = Fixture::start().await;
    for (body, expected) in [
        (
            json!({"runtime": "python", "code": "", "isolation": "microvm"}),
            "isolation-unavailable",
        ),
        (
            json!({"runtime": "python", "code": "", "network": "egress"}),
            "network-unavailable",
        ),
        (
            json!({"runtime": "python", "code": "", "resources": {"mem_mb": 99_999_999}}),
            "limit-exceeded",
        ),
        (json!({"runtime": "python"}), "invalid-field"),
        (
            json!({"runtime": "python", "code_archive": "%%%", "entrypoint": "x"}),
            "invalid-field",
        ),
        (
            json!({"runtime": "python", "code_archive": "aGVsbG8=", "entrypoint": "x"}),
            "invalid-archive",
        ),
    ] {
        assert_eq!(
            slug(fixture.try_run(&spec(body.clone())).await),
            expected,
            "{body}"
        );
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_beyond_the_cap_ends_as_failed_with_its_name() {
    let fixture = Fixture::start().await;
    let code = "def handler(i, c): return 'x' * (64 << 20)";
    let body = json!({"runtime": "python", "code": code, "resources": {"mem_mb": 512}});

    let workload = fixture.run(&spec(body)).await;

    assert_eq!(workload.status, Status::Failed);
    assert_eq!(
        workload.error.map(|error| error.code),
        Some(ErrorCode::OutputTooLarge)
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_work_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make a file system that is small enough to fill.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = SmallDisk::mount(folder.path());
    let fixture = Fixture::with(|options| options.data_dir = data.0.join("data")).await;
    let kept = fixture
        .run(&spec(json!({"runtime": "bash", "code": "echo 1"})))
        .await;
    let filler = data.fill();

    let refused = fixture
        .client()
        .run_async(
            &spec(json!({"runtime": "bash", "code": "true", "labels": {"k": "v"}})),
            &vulcan_client::RunOptions::default(),
        )
        .await;

    match refused {
        Err(vulcan_client::ClientError::Problem(problem)) => {
            assert_eq!(problem.slug(), "storage-unavailable");
        }
        other => panic!("no problem, but {other:?}"),
    }
    assert_eq!(fixture.client().get(kept.id).await.unwrap(), kept);
    std::fs::remove_file(filler).unwrap();
    assert_eq!(
        fixture
            .run(&spec(json!({"runtime": "bash", "code": "echo 2"})))
            .await
            .output,
        Some(json!(2))
    );
    fixture.end().await;
}

/// A file system of a few MiB, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Self {
        rustix::mount::mount(
            "tmpfs",
            folder,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            c"size=4m",
        )
        .unwrap();
        Self(folder.to_owned())
    }

    /// Fills it to the last byte.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let block = [1; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
