//! A whole control plane with a fake node, reached over HTTP.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use vulcan_api::{Problem, Workload, WorkloadId};
use vulcan_control::{Handle, Options};

use crate::node::{self, FakeNode, Memory};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Platform {
    pub(crate) handle: Handle,
    pub(crate) node: FakeNode,
    pub(crate) url: String,
    pub(crate) client: Client,
    dir: Arc<TempDir>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) struct Builder {
    dir: Arc<TempDir>,
    memory: Arc<Mutex<Memory>>,
    instances_max: u32,
    change: Box<dyn FnOnce(&mut Options)>,
}

pub(crate) fn platform() -> Builder {
    Builder {
        dir: Arc::new(tempfile::tempdir().unwrap()),
        memory: Arc::default(),
        instances_max: 16,
        change: Box::new(|_| {}),
    }
}

impl Builder {
    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options) + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub(crate) fn instances_max(mut self, instances_max: u32) -> Self {
        self.instances_max = instances_max;
        self
    }

    /// Starts everything, and waits for the node's first word.
    pub(crate) async fn start(self) -> Platform {
        let platform = self.start_unready().await;
        platform
            .until("the node is ready", async |platform| {
                platform.get("/readyz").await.status() == StatusCode::OK
            })
            .await;
        platform
    }

    pub(crate) async fn start_unready(self) -> Platform {
        let mut options = Options::new(self.dir.path().to_owned());
        // The fake node lives in 2025.
        options.retention.keep_for = Duration::from_secs(100 * 365 * 24 * 3600);
        (self.change)(&mut options);
        let (control_end, node_end) = vulcan_bus::local();
        let handle = vulcan_control::start(options, control_end, vulcan_control::new_registry())
            .await
            .unwrap();
        let (node, node_task) = node::start(node_end, self.memory, self.instances_max);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = vulcan_control::serve(
            listener,
            vulcan_control::router(&handle),
            stop.clone().cancelled_owned(),
        );
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Platform {
            handle,
            node,
            url,
            client: client(),
            dir: self.dir,
            stop,
            tasks: vec![node_task, server],
        }
    }
}

impl Platform {
    /// Ends the server as a crash would, as far as the records are concerned, and keeps what the node remembers if asked.
    pub(crate) async fn stop(self, node_survives: bool) -> Builder {
        assert!(self.handle.close(DEADLINE).await);
        self.stop.cancel();
        for task in &self.tasks {
            task.abort();
        }
        let memory = if node_survives {
            Arc::clone(&self.node.memory)
        } else {
            Arc::default()
        };
        Builder {
            dir: Arc::clone(&self.dir),
            memory,
            instances_max: 16,
            change: Box::new(|_| {}),
        }
    }

    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client
            .post(format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Response {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("Idempotency-Key", key);
        request.json(body).send().await.unwrap()
    }

    pub(crate) async fn run(&self, body: &Value) -> Workload {
        let response = self.post("/v1/workloads", body).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// Starts a workload without waiting for it.
    pub(crate) async fn submit(&self, body: &Value) -> WorkloadId {
        let response = self.post("/v1/workloads/async", body).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let answer: Value = response.json().await.unwrap();
        answer["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn record(&self, id: WorkloadId) -> Workload {
        self.get(&format!("/v1/workloads/{id}"))
            .await
            .json()
            .await
            .unwrap()
    }

    pub(crate) async fn end(&self, id: WorkloadId) -> Workload {
        let record: Workload = self
            .get(&format!("/v1/workloads/{id}?wait=20s"))
            .await
            .json()
            .await
            .unwrap();
        assert!(record.status.is_final(), "{record:?}");
        record
    }

    pub(crate) async fn kill(&self, id: WorkloadId) -> Workload {
        let response = self
            .client
            .delete(format!("{}/v1/workloads/{id}", self.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// Polls a condition.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let polling = async {
            while !is_so(self).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            tokio::time::timeout(DEADLINE, polling).await.is_ok(),
            "never: {what}"
        );
    }
}

/// Other rooms of the workspace build this library with TLS, and then it needs its cryptography chosen.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
}

fn client() -> Client {
    client_builder().build().unwrap()
}

/// A request whose code tells the fake node what to do.
pub(crate) fn code(code: &str) -> Value {
    json!({ "runtime": "python", "code": code })
}

/// Reads a response as a problem, and checks what all problems have in common.
pub(crate) async fn problem(response: Response) -> Problem {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    let problem: Problem =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no problem: {status} {text}"));
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(problem.status, status);
    assert_eq!(problem.instance.as_deref(), headers["x-request-id"].to_str().ok());
    let retry = headers
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(retry, problem.retry_after_s.map(|seconds| seconds.to_string()));
    problem
}
