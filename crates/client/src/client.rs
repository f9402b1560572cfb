//! The operations of the API.

use std::{sync::Arc, time::Duration};

use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Url};
use serde::de::DeserializeOwned;
use vulcan_api::{
    BackendList, Benchmark, BenchmarkId, BenchmarkList, BenchmarkSpec, NodeInfo, NodeList, NodeName, Stats,
    Workload, WorkloadAccepted, WorkloadId, WorkloadList, WorkloadSpec,
};

use crate::{ClientError, Endpoint, ListQuery, LogOptions, LogTail, RunOptions, http::Call};

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request: less than servers keep one, so that none is used that is being closed.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take that needs no program to run.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the whole upload and the answer of a submission may take.
const SUBMIT_LIMIT: Duration = Duration::from_secs(120);
/// What a synchronous run is given beyond the workload's own limit, for the queue.
const QUEUE_LIMIT: Duration = Duration::from_secs(60);
/// The workload's own limit where the request names none; the server's default is far below.
const RUN_LIMIT: Duration = Duration::from_secs(3_600);
/// One long poll; the server answers at the latest then.
const POLL: Duration = Duration::from_secs(30);
/// How often a submission with an idempotency key is tried.
const SUBMITS_MAX: u32 = 3;

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    base: Url,
    endpoint: Endpoint,
    name: String,
}

impl Inner {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    /// `path` is one of ours or made of checked ids: it always joins.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn call(&self, what: &'static str, limit: Duration) -> Call<'_> {
        Call {
            endpoint: &self.name,
            what,
            limit,
        }
    }
}

impl Client {
    /// Makes a client; connects with the first request.
    ///
    /// Proxies of the environment are used for servers on other machines only.
    ///
    /// # Errors
    ///
    /// [`ClientError::Setup`] when the system below refuses.
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        crate::install_tls_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vulcan-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if endpoint.is_local() {
            builder = builder.no_proxy();
        }
        let base = match &endpoint {
            Endpoint::Http(url) => url.clone(),
            Endpoint::Unix(path) => {
                builder = builder.unix_socket(path.as_path());
                Url::parse("http://localhost/").expect("a constant URL")
            }
        };
        let http = builder.build().map_err(|source| ClientError::Setup { source })?;
        let name = endpoint.to_string();
        Ok(Self(Arc::new(Inner {
            http,
            base,
            endpoint,
            name,
        })))
    }

    /// Returns where the server is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Runs a workload, and returns its record when it is over.
    ///
    /// Dropping the future does not stop the workload.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a program that fails is no error, see [`Workload::error`].
    pub async fn run(&self, spec: &WorkloadSpec, options: &RunOptions) -> Result<Workload, ClientError> {
        let limit = options.deadline.unwrap_or_else(|| {
            let own = spec.resources.timeout_s.map(Duration::try_from_secs_f64);
            own.and_then(Result::ok)
                .unwrap_or(RUN_LIMIT)
                .saturating_add(QUEUE_LIMIT)
        });
        let call = self.0.call("run the workload", limit);
        self.submit(call, "v1/workloads", spec, options).await
    }

    /// Hands a workload over, and returns as soon as it is on record.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn run_async(
        &self,
        spec: &WorkloadSpec,
        options: &RunOptions,
    ) -> Result<WorkloadAccepted, ClientError> {
        let limit = options.deadline.unwrap_or(SUBMIT_LIMIT);
        let call = self.0.call("take the workload", limit);
        self.submit(call, "v1/workloads/async", spec, options).await
    }

    /// Returns the record of a workload as it is now.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn get(&self, id: WorkloadId) -> Result<Workload, ClientError> {
        self.fetch(&format!("v1/workloads/{id}"), "send the workload's record")
            .await
    }

    /// Waits until a workload is over, at most for `limit`; returns its record as it is then.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; reaching the limit is no error, see [`vulcan_api::Status::is_final`].
    pub async fn wait(&self, id: WorkloadId, limit: Duration) -> Result<Workload, ClientError> {
        let start = tokio::time::Instant::now();
        loop {
            let rest = limit.saturating_sub(start.elapsed()).min(POLL);
            let call = self
                .0
                .call("send the workload's record", rest.saturating_add(ANSWER_LIMIT));
            let request = self
                .0
                .get(&format!("v1/workloads/{id}"))
                .query(&[("wait", format!("{}ms", rest.as_millis()))]);
            let workload: Workload = call.json(request).await?;
            if workload.status.is_final() || start.elapsed() >= limit {
                return Ok(workload);
            }
        }
    }

    /// Returns one page of workloads, newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn list(&self, query: &ListQuery) -> Result<WorkloadList, ClientError> {
        let request = self.0.get("v1/workloads").query(&query.pairs());
        self.0
            .call("list the workloads", ANSWER_LIMIT)
            .json(request)
            .await
    }

    /// Reads a workload's log; connects with the first line that is asked for.
    #[must_use]
    pub fn logs(&self, id: WorkloadId, options: LogOptions) -> LogTail {
        LogTail::new(Arc::clone(&self.0), id, options)
    }

    /// Kills a workload; one that is over stays as it is. Returns its record.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn kill(&self, id: WorkloadId) -> Result<Workload, ClientError> {
        let request = self.0.http.delete(self.0.url(&format!("v1/workloads/{id}")));
        self.0.call("kill the workload", ANSWER_LIMIT).json(request).await
    }

    /// Returns every backend of every node, with its readiness.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn backends(&self) -> Result<BackendList, ClientError> {
        self.fetch("v1/backends", "list the backends").await
    }

    /// Returns every node.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn nodes(&self) -> Result<NodeList, ClientError> {
        self.fetch("v1/nodes", "list the nodes").await
    }

    /// Returns one node.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn node(&self, name: &NodeName) -> Result<NodeInfo, ClientError> {
        self.fetch(&format!("v1/nodes/{name}"), "send the node's record")
            .await
    }

    /// Returns the platform's counts.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.fetch("v1/stats", "send its counts").await
    }

    /// Begins a benchmark, and returns its first record.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn benchmark_begin(&self, spec: &BenchmarkSpec) -> Result<Benchmark, ClientError> {
        let request = self.0.http.post(self.0.url("v1/benchmarks")).json(spec);
        self.0
            .call("begin the benchmark", SUBMIT_LIMIT)
            .json(request)
            .await
    }

    /// Returns a benchmark once it is over, or as it is after `wait`: a minute at most.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn benchmark_get(&self, id: BenchmarkId, wait: Duration) -> Result<Benchmark, ClientError> {
        let call = self
            .0
            .call("send the benchmark's record", wait.saturating_add(ANSWER_LIMIT));
        let request = self
            .0
            .get(&format!("v1/benchmarks/{id}"))
            .query(&[("wait", format!("{}ms", wait.as_millis()))]);
        call.json(request).await
    }

    /// Ends a benchmark; one that is over stays as it is. Returns its record.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn benchmark_cancel(&self, id: BenchmarkId) -> Result<Benchmark, ClientError> {
        let request = self.0.http.delete(self.0.url(&format!("v1/benchmarks/{id}")));
        self.0.call("end the benchmark", ANSWER_LIMIT).json(request).await
    }

    /// Returns what is kept of all benchmarks, newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn benchmarks(&self) -> Result<BenchmarkList, ClientError> {
        self.fetch("v1/benchmarks", "list the benchmarks").await
    }

    /// Returns all metrics in the OpenMetrics text format.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let call = self.0.call("send its metrics", ANSWER_LIMIT);
        let body = call.body(self.0.get("metrics")).await?;
        String::from_utf8(body.into()).map_err(|_| call.malformed("its metrics are no text"))
    }

    /// Checks within `limit` that a vulcan server lives there: that it says so, and that it speaks this API.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Malformed`] when something else answers.
    pub async fn health(&self, limit: Duration) -> Result<(), ClientError> {
        let call = self.0.call("say that it lives", limit);
        call.within(async {
            let body = call.body(self.0.get("healthz")).await?;
            if body != "ok\n".as_bytes() {
                return Err(call.malformed("its /healthz is not vulcan's"));
            }
            // Many a server answers "ok" there; none but ours has nodes of this shape.
            call.json::<NodeList>(self.0.get("v1/nodes")).await.map(drop)
        })
        .await
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str, what: &'static str) -> Result<T, ClientError> {
        self.0.call(what, ANSWER_LIMIT).json(self.0.get(path)).await
    }

    /// Sends a submission; with an idempotency key a broken connection is no reason to give up at once.
    async fn submit<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        path: &str,
        spec: &WorkloadSpec,
        options: &RunOptions,
    ) -> Result<T, ClientError> {
        let body = bytes::Bytes::from(serde_json::to_vec(spec).expect("a spec has string keys only"));
        let mut tries = 1;
        loop {
            let mut request = self
                .0
                .http
                .post(self.0.url(path))
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .body(body.clone());
            if let Some(key) = &options.idempotency_key {
                request = request.header("idempotency-key", key);
            }
            match call.json(request).await {
                Err(ClientError::Interrupted { .. })
                    if options.idempotency_key.is_some() && tries < SUBMITS_MAX =>
                {
                    tries += 1;
                }
                answer => return answer,
            }
        }
    }
}
