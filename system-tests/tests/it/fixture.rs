//! A platform of its own for every test, and ways to ask it for things.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use vulcan::{Listen, Platform, PlatformOptions};
use vulcan_api::{LogLine, Status, Workload, WorkloadId, WorkloadSpec};
use vulcan_client::{Client, ClientError, LogOptions, RunOptions};

/// Longer than anything takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running platform in a folder that goes with it.
pub(crate) struct Fixture {
    platform: Option<Platform>,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// Starts a platform with changed options.
    pub(crate) async fn with(change: impl FnOnce(&mut PlatformOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = Self::platform_in(folder.path().to_owned(), change).await;
        Self {
            platform: Some(platform),
            folder,
        }
    }

    async fn platform_in(folder: PathBuf, change: impl FnOnce(&mut PlatformOptions)) -> Platform {
        let listen = Listen::Unix(folder.join(format!("socket-{}", std::process::id())));
        let mut options = PlatformOptions::new(folder.join("data"), folder.join("cache"), listen);
        change(&mut options);
        Platform::start(options).await.unwrap()
    }

    /// Ends the platform and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.platform().abort().await;
        self.platform.take().unwrap().join().await;
        std::fs::remove_file(self.folder.path().join(format!("socket-{}", std::process::id()))).ok();
        self.platform = Some(Self::platform_in(self.folder.path().to_owned(), |_| ()).await);
    }

    pub(crate) fn platform(&self) -> &Platform {
        self.platform.as_ref().unwrap()
    }

    pub(crate) fn client(&self) -> &Client {
        self.platform().client()
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Waits for the node's first word, and returns its backends.
    pub(crate) async fn backends(&self) -> Vec<vulcan_api::BackendInfo> {
        let asking = async {
            loop {
                let list = self.client().backends().await.unwrap();
                if !list.backends.is_empty() {
                    return list.backends;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, asking).await.unwrap()
    }

    pub(crate) async fn run(&self, spec: &WorkloadSpec) -> Workload {
        self.try_run(spec).await.unwrap()
    }

    pub(crate) async fn try_run(&self, spec: &WorkloadSpec) -> Result<Workload, ClientError> {
        self.client().run(spec, &RunOptions::default()).await
    }

    pub(crate) async fn submit(&self, spec: &WorkloadSpec) -> WorkloadId {
        self.client()
            .run_async(spec, &RunOptions::default())
            .await
            .unwrap()
            .id
    }

    /// Waits until a workload has one of some statuses.
    pub(crate) async fn wait_for(&self, id: WorkloadId, is_wanted: impl Fn(Status) -> bool) -> Workload {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let workload = self.client().get(id).await.unwrap();
            if is_wanted(workload.status) {
                return workload;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "still {} after {LIMIT:?}",
                workload.status
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads a log from its start to the workload's end.
    pub(crate) async fn log(&self, id: WorkloadId) -> Vec<LogLine> {
        let mut tail = self.client().logs(id, LogOptions::default());
        let mut lines = Vec::new();
        while let Some(line) = tail.next().await {
            lines.push(line.unwrap());
        }
        lines
    }

    /// Ends the platform in good order.
    pub(crate) async fn end(mut self) {
        let platform = self.platform.take().unwrap();
        platform.drain().await;
        assert!(platform.join().await, "the platform ended in time and well");
    }
}

/// Makes a spec from what a user would write.
pub(crate) fn spec(body: Value) -> WorkloadSpec {
    serde_json::from_value(body).unwrap()
}

/// A workload that waits until somebody ends it.
pub(crate) fn endless() -> WorkloadSpec {
    spec(json!({"runtime": "bash", "code": "echo up; sleep 1000"}))
}

/// Packs files into a tar.gz in base64.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> String {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        // Not `set_path`: hostile names must get through.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    STANDARD.encode(builder.into_inner().unwrap().finish().unwrap())
}

/// Returns the slug of the problem that a call ended with.
pub(crate) fn slug(result: Result<Workload, ClientError>) -> String {
    match result {
        Err(ClientError::Problem(problem)) => problem.slug().to_owned(),
        other => panic!("no problem, but {other:?}"),
    }
}
