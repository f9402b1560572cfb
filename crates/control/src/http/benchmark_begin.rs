//! `POST /v1/benchmarks`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use vulcan_api::{Benchmark, BenchmarkSpec, BenchmarkWork, IsolationClass, Problem};

use super::{object::Shape, parameters::Parameters, workload_run::read};
use crate::{app::Refused, service::Handle};

const SHAPE: Shape = Shape {
    // Every class and every work by name fit in many times.
    bytes_max: 16 * 1024,
    allowed,
    secret: "",
};

/// Begins a benchmark, and answers with its first record; one at a time.
///
/// It goes on by itself, with ordinary workloads that carry the label `vulcan.benchmark` and are deleted with their logs as it
/// goes. A restart of the server ends it as `failed`, with what it had measured.
#[utoipa::path(
    post,
    path = "/v1/benchmarks",
    operation_id = "benchmark_begin",
    tag = "benchmarks",
    request_body = BenchmarkSpec,
    responses(
        (status = 202, description = "It has begun", body = Benchmark),
        (status = "4XX", description = "It was refused; `benchmark-running` where another one is being measured", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The platform could not begin it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Refused> {
    parameters.only(&[])?;
    let request = read(&handle, &headers, body).await?;
    let spec = parse(&request.body)?;
    let record: Arc<Benchmark> = handle.benchmark_begin(spec).await?;
    let location = format!("/v1/benchmarks/{}", record.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(record)))
}

/// Reads a spec; each class and work counts once.
fn parse(body: &[u8]) -> Result<BenchmarkSpec, Refused> {
    let mut spec: BenchmarkSpec = SHAPE.read(body)?;
    if let Some(samples) = spec.samples
        && !(1..=BenchmarkSpec::SAMPLES_MAX).contains(&samples)
    {
        return Err(SHAPE.invalid("samples", Some(samples.into()), "it lies outside of its limits"));
    }
    spec.classes.sort_by_key(|class| class.as_str());
    spec.classes.dedup();
    spec.works.sort();
    spec.works.dedup();
    Ok(spec)
}

fn allowed(field: &str) -> String {
    match field.split(['.', '[']).next().unwrap_or(field) {
        "classes" => format!(
            "a list of {}",
            IsolationClass::ALL.map(IsolationClass::as_str).join(", ")
        ),
        "works" => {
            let names: Vec<&str> = BenchmarkWork::ALL.iter().map(|work| work.as_str()).collect();
            format!("a list of {}", names.join(", "))
        }
        "samples" => format!("a whole number from 1 to {}", BenchmarkSpec::SAMPLES_MAX),
        "quick" => "true or false".to_owned(),
        _ => "an object with classes, works, samples, quick; each at most once".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let problem = parse(body.as_bytes()).unwrap_err().into_problem();
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        format!("{} {}", problem.slug(), fields.join(" "))
    }

    #[test]
    fn each_class_and_work_counts_once() {
        let body = br#"{"classes": ["wasm", "sandbox", "wasm"], "works": ["echo", "noop", "echo"]}"#;
        let spec = parse(body).unwrap();
        assert_eq!(spec.classes, [IsolationClass::Sandbox, IsolationClass::Wasm]);
        assert_eq!(spec.works, [BenchmarkWork::Noop, BenchmarkWork::Echo]);
    }

    #[test]
    fn a_bad_body_is_told_by_its_field() {
        assert_eq!(refused("{"), "malformed-body ");
        assert_eq!(refused(&" ".repeat(SHAPE.bytes_max + 1)), "body-too-large body");
        assert_eq!(refused("[1]"), "invalid-field body");
        assert_eq!(refused(r#"{"clases": []}"#), "invalid-field clases");
        assert_eq!(refused(r#"{"classes": ["vm"]}"#), "invalid-field classes[0]");
        assert_eq!(refused(r#"{"works": ["x"]}"#), "invalid-field works[0]");
        assert_eq!(refused(r#"{"samples": 0}"#), "invalid-field samples");
        assert_eq!(refused(r#"{"samples": 1001}"#), "invalid-field samples");
        assert_eq!(refused(r#"{"quick": 1}"#), "invalid-field quick");
    }
}
