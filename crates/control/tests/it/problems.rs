//! Requests that are refused.

use std::time::Duration;

use reqwest::Body;
use serde_json::{Value, json};

use crate::platform::{Platform, client_builder, code, platform, problem};

async fn post_raw(
    platform: &Platform,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> reqwest::Response {
    let mut request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .body(body);
    if let Some(content_type) = content_type {
        request = request.header("Content-Type", content_type);
    }
    request.send().await.unwrap()
}

fn python(more: &Value) -> Value {
    let mut body = code("ok");
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

type Case = (Value, &'static str, &'static str);

fn bad_code() -> Vec<Case> {
    vec![
        (json!({"runtime": "python"}), "invalid-field", "code"),
        (python(&json!({"code_archive": "eA=="})), "invalid-field", "code"),
        (
            json!({"runtime": "python", "code_archive": "eA=="}),
            "invalid-field",
            "entrypoint",
        ),
        (
            json!({"runtime": "python", "code_archive": "e A", "entrypoint": "a.py"}),
            "invalid-field",
            "code_archive",
        ),
        (
            json!({"runtime": "python", "code_archive": "eA==", "entrypoint": "a.py"}),
            "invalid-archive",
            "code_archive",
        ),
        (json!({"runtime": "binary", "code": "x"}), "invalid-field", "code"),
        (
            python(&json!({"entrypoint": "/etc/passwd"})),
            "invalid-field",
            "entrypoint",
        ),
        (
            python(&json!({"entrypoint": "a/../../b"})),
            "invalid-field",
            "entrypoint",
        ),
        (
            python(&json!({"env": {"VULCAN_TOKEN": "x"}})),
            "invalid-field",
            "env",
        ),
    ]
}

fn bad_values() -> Vec<Case> {
    vec![
        (python(&json!({"args": ["\u{0}"]})), "invalid-field", "args[0]"),
        (python(&json!({"labels": {"": "x"}})), "invalid-field", "labels"),
        (
            python(&json!({"resources": {"mem_mb": 1_000_000}})),
            "limit-exceeded",
            "resources.mem_mb",
        ),
        (
            python(&json!({"resources": {"mem_mb": 8192}})),
            "limit-exceeded",
            "resources.mem_mb",
        ),
        (
            python(&json!({"resources": {"cpus": 0}})),
            "limit-exceeded",
            "resources.cpus",
        ),
        (
            python(&json!({"resources": {"timeout_s": 1e9}})),
            "limit-exceeded",
            "resources.timeout_s",
        ),
        (
            python(&json!({"network": "egress"})),
            "network-unavailable",
            "network",
        ),
        (
            python(&json!({"isolation": "microvm"})),
            "isolation-unavailable",
            "isolation",
        ),
        (
            json!({"runtime": "go", "code": "x"}),
            "isolation-unavailable",
            "isolation",
        ),
        (
            json!({"runtime": "go", "code": "x", "isolation": "sandbox"}),
            "isolation-unavailable",
            "isolation",
        ),
        (python(&json!({"priority": 7})), "invalid-field", "priority"),
    ]
}

#[tokio::test]
async fn a_bad_workload_is_refused_by_field() {
    let platform = platform().start().await;
    let cases = bad_code().into_iter().chain(bad_values());
    for (body, slug, field) in cases {
        let problem = problem(platform.post("/v1/workloads", &body).await).await;
        assert_eq!(
            (problem.slug(), problem.errors[0].field.as_str()),
            (slug, field),
            "{body}"
        );
        assert!(!problem.errors[0].allowed.is_empty());
    }
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 0);
}

#[tokio::test]
async fn a_refused_class_says_why_and_what_to_do() {
    let platform = platform().start().await;
    let body = json!({"runtime": "go", "code": "x", "isolation": "sandbox"});
    let problem = problem(platform.post("/v1/workloads", &body).await).await;
    assert!(
        problem.detail.contains("go is not installed"),
        "{}",
        problem.detail
    );
    assert!(
        problem.detail.contains("apt-get install golang-go"),
        "{}",
        problem.detail
    );
}

#[tokio::test]
async fn a_body_has_a_type_a_size_and_a_deadline() {
    let platform = platform()
        .options(|options| {
            options.body_bytes_max = 100_000;
            options.body_timeout = Duration::from_millis(200);
            options.input_bytes_max = 1_000;
        })
        .start()
        .await;
    let slug = async |response| problem(response).await.slug().to_owned();

    assert_eq!(
        slug(post_raw(&platform, None, "{}").await).await,
        "unsupported-media-type"
    );
    assert_eq!(
        slug(post_raw(&platform, Some("text/plain"), "{}").await).await,
        "unsupported-media-type"
    );
    assert_eq!(
        slug(post_raw(&platform, Some("application/json"), "{").await).await,
        "malformed-body"
    );
    assert_eq!(
        slug(post_raw(&platform, Some("application/json"), "x".repeat(100_001)).await).await,
        "body-too-large"
    );
    let chunks = futures::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000])));
    let chunked = post_raw(&platform, Some("application/json"), Body::wrap_stream(chunks)).await;
    assert_eq!(slug(chunked).await, "body-too-large");
    let never = Body::wrap_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(
        slug(post_raw(&platform, Some("application/json"), never).await).await,
        "request-timeout"
    );
    let ok = post_raw(
        &platform,
        Some("Application/JSON; charset=utf-8"),
        code("ok").to_string(),
    )
    .await;
    assert_eq!(ok.status(), 200);
    let large = json!({"runtime": "python", "code": "ok", "input": "x".repeat(1_000)});
    assert_eq!(
        slug(platform.post("/v1/workloads", &large).await).await,
        "limit-exceeded"
    );
}

#[tokio::test]
async fn a_key_is_visible_ascii_and_given_once() {
    let platform = platform().start().await;
    for key in ["", "a b", "ü", &"k".repeat(256)] {
        let refused = platform.post_keyed("/v1/workloads", key, &code("ok")).await;
        assert_eq!(problem(refused).await.slug(), "invalid-parameter", "{key:?}");
    }
    let twice = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("ok"));
    let twice = twice
        .header("Idempotency-Key", "a")
        .header("Idempotency-Key", "b")
        .send()
        .await
        .unwrap();
    assert_eq!(problem(twice).await.slug(), "invalid-parameter");
    assert_eq!(
        platform
            .post_keyed("/v1/workloads", &"k".repeat(255), &code("ok"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn too_many_headers_are_a_problem() {
    let platform = platform().start().await;
    let request = platform
        .client
        .get(format!("{}/healthz", platform.url))
        .header("X-Large", "x".repeat(40_000));
    let refused = problem(request.send().await.unwrap()).await;
    assert_eq!(refused.slug(), "invalid-parameter");
    assert_eq!(refused.errors[0].field, "headers");
}

#[tokio::test]
async fn a_full_queue_is_overload() {
    let platform = platform()
        .instances_max(1)
        .options(|options| options.queue_len_max = 2)
        .start()
        .await;
    for _ in 0..3 {
        platform.submit(&code("hold")).await;
    }
    let refused = problem(platform.post("/v1/workloads", &code("ok")).await).await;
    assert_eq!(refused.slug(), "overloaded");
    assert_eq!(refused.retry_after_s, Some(1));
}

#[tokio::test]
async fn a_server_whose_node_is_silent_says_that_it_is_starting() {
    let (control, node) = vulcan_bus::local();
    let dir = tempfile::tempdir().unwrap();
    let options = vulcan_control::Options::new(dir.path().to_owned());
    let handle = vulcan_control::start(options, control, vulcan_control::new_registry())
        .await
        .unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join("http.sock")).unwrap();
    let server = tokio::spawn(vulcan_control::serve(
        listener,
        vulcan_control::router(&handle),
        std::future::pending(),
    ));
    let client = client_builder()
        .unix_socket(dir.path().join("http.sock"))
        .build()
        .unwrap();
    let response = client
        .post("http://vulcan/v1/workloads")
        .json(&code("ok"))
        .send()
        .await
        .unwrap();
    assert_eq!(problem(response).await.slug(), "shutting-down");
    drop(node);
    server.abort();
    assert!(handle.close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_page_whose_name_was_bent_to_this_address_is_refused() {
    let platform = platform().start().await;
    let request = platform
        .client
        .post(format!("{}/v1/workloads", platform.url))
        .json(&code("ok"));
    let refused = problem(request.header("Host", "evil.example:7070").send().await.unwrap()).await;
    assert_eq!(
        (refused.slug(), refused.errors[0].field.as_str()),
        ("invalid-parameter", "Host")
    );
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 0);
}

#[tokio::test]
async fn programs_that_wait_hold_no_more_memory_than_they_may() {
    let platform = platform()
        .instances_max(1)
        .options(|options| options.held_bytes_max = 400_000)
        .start()
        .await;
    let large = |what: &str| json!({"runtime": "python", "code": what, "input": "x".repeat(150_000)});
    platform.submit(&code("hold")).await;
    let first = platform.submit(&large("ok")).await;
    let refused = loop {
        let response = platform.post("/v1/workloads/async", &large("ok")).await;
        if response.status() != 202 {
            break problem(response).await;
        }
    };
    assert_eq!(refused.slug(), "overloaded");
    let running = platform.node.lock(|memory| memory.assigned[0].workload);
    platform.kill(running).await;
    platform.end(first).await;
    platform
        .until("there is memory again", async |platform| {
            platform.post("/v1/workloads", &large("ok")).await.status() == 200
        })
        .await;
}
