//! What people and programs read about the platform: pages, description, metrics.

use serde_json::Value;
use vulcan_api::ProblemKind;

use crate::platform::{code, platform, problem};

#[tokio::test]
async fn every_kind_of_problem_has_its_page() {
    let platform = platform().start().await;
    for kind in ProblemKind::ALL {
        let response = platform.get(&format!("/problems/{}", kind.slug())).await;
        assert_eq!(response.status(), 200, "{}", kind.slug());
        assert!(response.text().await.unwrap().contains(kind.title()));
    }
}

#[tokio::test]
async fn the_description_names_every_route_and_no_reference_dangles() {
    let platform = platform().start().await;
    let text = platform.get("/openapi.json").await.text().await.unwrap();
    assert_eq!(text, vulcan_control::openapi_json());
    let api: Value = serde_json::from_str(&text).unwrap();
    let mut operations: Vec<String> = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, what) in methods.as_object().unwrap() {
            operations.push(format!(
                "{} {path} {}",
                method.to_uppercase(),
                what["operationId"].as_str().unwrap()
            ));
        }
    }
    insta::assert_snapshot!(operations.join("\n"), @r"
    GET /healthz healthz
    GET /metrics metrics
    GET /readyz readyz
    GET /v1/backends backend_list
    GET /v1/benchmarks benchmark_list
    POST /v1/benchmarks benchmark_begin
    DELETE /v1/benchmarks/{id} benchmark_cancel
    GET /v1/benchmarks/{id} benchmark_get
    GET /v1/images image_list
    POST /v1/images/bootstrap image_bootstrap
    POST /v1/images/build image_build
    POST /v1/images/import image_import
    POST /v1/images/prune image_prune
    POST /v1/images/pull image_pull
    DELETE /v1/images/{image} image_remove
    GET /v1/images/{image} image_get
    GET /v1/images/{image}/export image_export
    GET /v1/nodes node_list
    GET /v1/nodes/{name} node_get
    GET /v1/stats stats_get
    GET /v1/workloads workload_list
    POST /v1/workloads workload_run
    POST /v1/workloads/async workload_submit
    DELETE /v1/workloads/{id} workload_kill
    GET /v1/workloads/{id} workload_get
    GET /v1/workloads/{id}/logs workload_logs
    ");
    let schemas = api["components"]["schemas"].as_object().unwrap();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_pages_for_people_are_html() {
    let platform = platform().start().await;
    let response = platform.get("/docs").await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert!(
        response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn metrics_count_workloads_and_requests_without_ids() {
    let platform = platform().start().await;
    let record = platform.run(&code("ok")).await;
    platform.get(&format!("/v1/workloads/{}", record.id)).await;
    platform.get("/nothing/here").await;
    let response = platform.get("/metrics").await;
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = response.text().await.unwrap();
    for line in [
        r#"vulcan_workloads_total{isolation="sandbox",runtime="python",status="completed"} 1"#,
        r#"vulcan_http_requests_total{method="POST",route="/v1/workloads",status="200"} 1"#,
        r#"vulcan_http_requests_total{method="GET",route="/v1/workloads/{id}",status="200"} 1"#,
        r#"vulcan_http_requests_total{method="GET",route="none",status="404"} 1"#,
        "vulcan_nodes_ready 1",
        "vulcan_queue_length 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains(&record.id.to_string()));
}

#[tokio::test]
async fn nodes_and_backends_are_shown() {
    let platform = platform().start().await;
    let nodes: Value = platform.get("/v1/nodes").await.json().await.unwrap();
    let node: Value = platform.get("/v1/nodes/newt").await.json().await.unwrap();
    let backends: Value = platform.get("/v1/backends").await.json().await.unwrap();
    assert_eq!(nodes["nodes"][0], node);
    assert_eq!(backends["backends"][0]["isolation"], "sandbox");
    assert_eq!(backends["backends"][0]["readiness"]["state"], "ready");
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_allowed() {
    let platform = platform().start().await;
    let response = platform
        .client
        .put(format!("{}/v1/workloads", platform.url))
        .send()
        .await
        .unwrap();
    let allow = response.headers()["allow"].to_str().unwrap().to_owned();
    assert_eq!(problem(response).await.slug(), "method-not-allowed");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}
