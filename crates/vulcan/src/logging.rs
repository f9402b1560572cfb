//! Where the platform's own log and its traces go.
//!
//! The log goes to standard error, as text for a terminal and as JSON for everything else. Spans go to an OpenTelemetry
//! collector where OpenTelemetry's own variables name one: OTLP over HTTP (opentelemetry.io, "OTLP Exporter Configuration").

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::failure::Failure;

/// The variable that says what is logged.
const VARIABLE: &str = "VULCAN_LOG";
/// The variables that name a collector; the exporter reads them, and those for headers and timeouts, by itself.
const COLLECTOR_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// What is logged, and whether spans leave the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// What applies without `VULCAN_LOG`.
    pub(crate) default_filter: &'static str,
    /// Whether spans go to the collector that the environment names.
    pub(crate) exports_spans: bool,
}

/// Sends the last spans when it is dropped, and waits for that as long as the exporter's own deadline.
#[derive(Debug, Default)]
pub(crate) struct Spans(Option<SdkTracerProvider>);

impl Drop for Spans {
    fn drop(&mut self) {
        // A collector that is gone is no reason to end otherwise.
        if let Some(provider) = self.0.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging. A second call does nothing.
///
/// # Errors
///
/// A [`Failure`] when a variable cannot be understood.
pub(crate) fn start(plan: Plan) -> Result<Spans, Failure> {
    let words = std::env::var(VARIABLE).unwrap_or_default();
    let words = if words.is_empty() {
        plan.default_filter
    } else {
        &words
    };
    let filter = EnvFilter::builder().parse(words).map_err(|error| {
        Failure::usage(format!("could not understand {VARIABLE}={words}: {error}"))
            .hint("write for example info, or warn,vulcan_node=debug")
    })?;
    let provider = if plan.exports_spans { exporter()? } else { None };
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("vulcan")));
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let log = if io::stderr().is_terminal() {
        log.with_target(false).boxed()
    } else {
        log.json().flatten_event(true).with_span_list(false).boxed()
    };
    // It fails where a subscriber is there: in tests, which share a process.
    tracing_subscriber::registry()
        .with(filter)
        .with(log)
        .with(spans)
        .try_init()
        .ok();
    Ok(Spans(provider))
}

/// Makes what sends spans; `None` where no collector is named.
fn exporter() -> Result<Option<SdkTracerProvider>, Failure> {
    let is_named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(variable) = COLLECTOR_VARIABLES.into_iter().find(is_named) else {
        return Ok(None);
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| {
            Failure::usage(format!(
                "could not send spans to the collector that {variable} names: {error}"
            ))
            .hint("write for example http://127.0.0.1:4318; only http is spoken")
        })?;
    let resource = Resource::builder().with_service_name("vulcan").build();
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build(),
    ))
}
